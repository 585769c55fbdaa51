"""What is drawn: curves, frames under the masks of detectors, what a network sees inside, hits beside real ones."""
