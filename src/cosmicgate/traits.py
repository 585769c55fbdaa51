"""Is an image like those a network learned from? A few numbers of its sky and its sharpest sources, and their names."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

SAMPLE = 1024  # pixels: traits are measured on the middle of the image
TRAITS = {
    "background": "its background (counts)",
    "noise": "its noise (counts)",
    "correlation": "the correlation of neighbouring sky pixels (resampled images have one)",
    "sources": "the part of it that sources cover",
    "sharpness": "the part of their light that sources have in their brightest pixel",
}


class FarFromTraining(UserWarning):
    """An image unlike those that a network learned from."""


def traits(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> dict[str, float]:
    """Return the numbers of an image (H, W) that :data:`TRAITS` names; NaN where there is nothing to measure."""
    top, left = (max((length - SAMPLE) // 2, 0) for length in image.shape)
    middle = np.s_[top : top + SAMPLE, left : left + SAMPLE]
    image, bad = image[middle], bad[middle]
    if bad.all():
        return dict.fromkeys(TRAITS, np.nan)
    background = float(np.median(image[~bad]))
    noise = 1.4826 * float(np.median(np.abs(image[~bad] - background)))
    scaled = (image - background) / (noise or 1.0)
    calm = (np.abs(scaled) < 3) & ~bad
    pairs = [(scaled[:, 1:], scaled[:, :-1], calm[:, 1:] & calm[:, :-1])]
    pairs.append((scaled[1:], scaled[:-1], calm[1:] & calm[:-1]))
    bright = scaled > 5
    return {
        "background": background,
        "noise": noise,
        "correlation": float(np.mean([_correlation(a[both], b[both]) for a, b, both in pairs])),
        "sources": float((bright & ~bad).mean()),
        "sharpness": _sharpness(scaled, bad),
    }


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if first.size < 100 or first.std() == 0 or second.std() == 0:
        return np.nan
    return float(np.corrcoef(first, second)[0, 1])


def _sharpness(scaled: NDArray[np.float32], bad: NDArray[np.bool_]) -> float:
    """Return the median share that peaks have in the 3x3 pixels around them: 1/9 for a plateau, 1 for a hot pixel."""
    if min(scaled.shape) < 3:
        return np.nan
    peaks = (scaled == maximum_filter(scaled, 3)) & (scaled > 20) & ~maximum_filter(bad, 3)
    around = 9 * uniform_filter(scaled, 3)
    shares = scaled[peaks] / np.maximum(around[peaks], scaled[peaks])
    return float(np.median(shares)) if shares.size >= 10 else np.nan


def warn_if_far(found: Mapping[str, float], ranges: Mapping[str, Any], name: str) -> list[str]:
    """Warn of each trait outside of the range that the network learned from; return the reasons."""
    reasons = []
    for trait, (low, high) in ranges.items():
        value = found.get(trait, np.nan)
        if np.isfinite(value) and not low <= value <= high:
            reasons.append(f"{TRAITS[trait]} is {value:.3g}, {name} learned from {low:.3g} to {high:.3g}")
    if reasons:
        warnings.warn(
            "this image is unlike those of the training: " + "; ".join(reasons), FarFromTraining, stacklevel=3
        )
    return reasons
