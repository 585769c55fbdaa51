"""Draw curves, frames with the masks of detectors, feature maps, and simulated beside real hits."""

from cosmicgate.extras import extra

with extra("train"):
    import matplotlib  # noqa: F401
