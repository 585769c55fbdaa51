"""Apply a network to frames of any size: by rows, by tiles, in onnxruntime, or as a cascade with a small network."""

from cosmicgate.inference.predictor import Predictor

__all__ = ["Predictor"]
