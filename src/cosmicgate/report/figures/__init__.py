"""Draw curves, frames with the masks of detectors, feature maps, and simulated beside real hits."""
