"""Cosmic-ray detectors with one interface: networks, L.A.Cosmic and published packages."""

from cosmicgate.detectors.base import (
    Detection,
    Detector,
    MissingDependency,
    Setting,
    detect_for_truth,
    for_telescope,
)
from cosmicgate.inference.cascade import NO_HIT_LOGIT

__all__ = ["NO_HIT_LOGIT", "Detection", "Detector", "MissingDependency", "Setting", "detect_for_truth", "for_telescope"]
