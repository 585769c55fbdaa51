"""Stretch an image for the eye; needs numpy alone, as ``cosmicgate show`` does without the packages of figures."""

import math
from typing import Any

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray


def stretch(image: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Convert an image (H, W) to RGB (H, W, 3) in [0, 1] by an inverted asinh stretch; non-finite pixels are white."""
    values = np.where(np.isfinite(image), image, np.nan).astype(float)
    sky = np.nanmedian(values)
    noise = mad_std(values, ignore_nan=True) or 1.0
    bright = np.arcsinh(np.nan_to_num((values - sky) / noise, nan=-2) / 3)
    low, high = math.asinh(-2 / 3), max(math.asinh(20 / 3), float(np.percentile(bright, 99.8)))
    return np.repeat(1 - np.clip((bright - low) / (high - low), 0, 1)[..., None], 3, axis=2)
