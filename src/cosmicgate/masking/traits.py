"""Is an image like those a network learned from? A few numbers of its sky and its sharpest sources, and their names."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, uniform_filter

SQUARE = 32  # pixels: side of what is calm or not
SAMPLE = 1024  # pixels: traits are measured on the middle of the image
TRAITS = {
    "background": "its background (counts)",
    "noise": "its noise (counts)",
    "correlation": "the correlation of neighbouring sky pixels (resampled images have one)",
    "sources": "the part of it that sources cover",
    "sharpness": "the part of their light that sources have in their brightest pixel",
}
SLACK = {"correlation": 0.05}  # simulated sky has none at all; that of white noise is measured to a few thousandths


class FarFromTraining(UserWarning):
    """An image unlike those that a network learned from."""


@np.errstate(over="ignore", invalid="ignore")  # of numbers near the largest there are nothing can be said
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
    bright = scaled > 5
    return {
        "background": background,
        "noise": noise,
        "correlation": _correlation(scaled),
        "sources": float((bright & ~bad).mean()),
        "sharpness": _sharpness(scaled, bad),
    }


def _correlation(scaled: NDArray[np.float32]) -> float:
    """Return the correlation of neighbours in the calm fifth of the image.

    From how much less they differ than pixels that are four apart: differences do not see a gradient of the sky, and
    calm squares hold few stars, whose light is correlated in any image.
    """
    rows, columns = (length // SQUARE for length in scaled.shape)
    if not rows * columns:
        return np.nan
    whole = scaled[: rows * SQUARE, : columns * SQUARE].reshape(rows, SQUARE, columns, SQUARE)
    squares = whole.transpose(0, 2, 1, 3).reshape(-1, SQUARE, SQUARE)
    spread = np.median(np.abs(squares - np.median(squares, axis=(1, 2), keepdims=True)), axis=(1, 2))
    calm = squares[spread <= np.quantile(spread, 0.2)]
    near, far = (
        np.median(np.abs(np.concatenate([_step(calm, step, 1).ravel(), _step(calm, step, 2).ravel()])))
        for step in (1, 4)
    )
    return 1 - float(near) ** 2 / float(far) ** 2 if far else np.nan


def _step(squares: NDArray[np.float32], step: int, axis: int) -> NDArray[np.float32]:
    moved = np.moveaxis(squares, axis, 0)
    difference: NDArray[np.float32] = moved[step:] - moved[:-step]
    return difference


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
        value, slack = found.get(trait, np.nan), SLACK.get(trait, 0.0)
        if np.isfinite(value) and not low - slack <= value <= high + slack:
            reasons.append(f"{TRAITS[trait]} is {value:.3g}, {name} learned from {low:.3g} to {high:.3g}")
    if reasons:
        warnings.warn(
            "this image is unlike those of the training: " + "; ".join(reasons), FarFromTraining, stacklevel=3
        )
    return reasons
