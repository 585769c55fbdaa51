"""What training does to a patch; each draw is the caller's, so that it repeats."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Truth = NDArray[np.uint8]


class Transform(Protocol):
    """A change of an image (H, W), ADU, and its truth (H, W)."""

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Return new arrays; the input stays as it is."""


@dataclass(frozen=True)
class SkyAugmentation:
    """n' = n + alpha * sky: as if the patch lay under a darker or brighter sky (the paper; Zhang & Bloom 2020).

    Attributes
    ----------
    low, high : float
        alpha is uniform between them. The sky is the patch's median; its noise is not changed.
    """

    low: float = -0.9
    high: float = 3.0

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Return the image under its new sky and the truth as it was."""
        alpha = rng.uniform(self.low, self.high)
        return image + np.float32(alpha * np.median(image)), truth


@dataclass(frozen=True)
class Flips:
    """One of the eight ways to lay a square on itself. The paper has none: for sets with few hits."""

    def __call__(self, image: Image, truth: Truth, rng: np.random.Generator) -> tuple[Image, Truth]:
        """Turn and mirror image and truth alike."""
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        image, truth = np.rot90(image, turns), np.rot90(truth, turns)
        return (np.fliplr(image), np.fliplr(truth)) if mirror else (image, truth)
