"""Augmentations of training patches; the caller passes the random generator, so that they are reproducible."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray

Image = NDArray[np.float32]
Truth = NDArray[np.uint8]


class Transform(Protocol):
    """An augmentation of an image (H, W), ADU, and its truth (H, W)."""

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Transform an image and its truth; the inputs are not modified."""


@dataclass(frozen=True)
class SkyAugmentation:
    """Simulate a darker or brighter sky: n' = n + alpha * sky (as in the paper; Zhang & Bloom 2020).

    It has no effect on images whose sky has been subtracted, nor with ``model.scaling=robust``, which subtracts the
    median.

    Attributes
    ----------
    low, high : float
        Limits of alpha, which is drawn uniformly. The sky is the patch's median; its noise is not changed.
    """

    low: float = -0.9
    high: float = 3.0

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Change the sky level of an image; its truth stays."""
        alpha = rng.uniform(self.low, self.high)
        return image + np.float32(alpha * np.median(image)), truth

    @staticmethod
    def has_sky(image: Image) -> bool:
        """Return True if the median exceeds the noise; if not, the sky has been subtracted and cannot be scaled."""
        step = max(1, int(np.sqrt(image.size / 100_000)))
        values = np.asarray(image[::step, ::step])
        return bool(np.median(values) > mad_std(values))


@dataclass(frozen=True)
class Flips:
    """Random rotation by a multiple of 90 degrees and mirroring (eight orientations of a square patch).

    Not in the paper; for data sets with few hits.
    """

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Rotate and mirror image and truth in the same way."""
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        image, truth = np.rot90(image, turns), np.rot90(truth, turns)
        return (np.fliplr(image), np.fliplr(truth)) if mirror else (image, truth)
