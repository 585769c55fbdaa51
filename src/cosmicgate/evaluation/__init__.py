"""Score detectors: count pixels and hits of each frame, then compute scores and bootstrap intervals of test sets."""
