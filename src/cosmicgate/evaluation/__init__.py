"""Detectors judged: which of them, what is counted of each frame, and the scores of a row with their intervals."""
