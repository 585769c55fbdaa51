"""CosmicGate: cosmic-ray hits in astronomical CCD images, found by attention-gated U-Nets."""

__version__ = "0.1.0"
