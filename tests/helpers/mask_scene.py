"""Make an image with pixels of every label."""

import numpy as np

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY


def labelled_scene(height=60, width=80):
    """Make an image (H, W) with one hit, and its labels (H, W)."""
    truth = np.full((height, width), SKY, np.uint8)
    truth[40:45, 50:60] = RING
    truth[41:44, 51:59] = CORE
    truth[0, 0] = IGNORED
    return np.random.default_rng(0).normal(100, 5, truth.shape), truth
