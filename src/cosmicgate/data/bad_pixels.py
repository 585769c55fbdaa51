"""Prepare an image for a network: bring it to float32, and interpolate bad pixels and those that are not finite."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_TYPICAL = 1e25  # counts: above this value, and below its inverse, hits or noise exceed the range of float32
MAX_SAMPLE = 10_000  # number of sampled pixels whose median is the typical value


def to_native_float32(image: NDArray[Any], bad: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Copy an image to native float32, which every library accepts, and mark non-finite pixels as bad.

    Parameters
    ----------
    image : ndarray (H, W), ADU
        Image of any dtype, byte order and memory layout; may be read-only.
    bad : ndarray (H, W), bool
        Bad pixels.

    Returns
    -------
    ndarray (H, W), float32, ADU
        C-contiguous copy in native byte order; non-finite pixels have the median of the good ones.
    ndarray (H, W), bool
        Bad and non-finite pixels.

    Raises
    ------
    ValueError
        The image has no good pixel.
    """
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, and so a bad pixel
        filled = np.array(image, dtype=np.float32, order="C")
    not_finite = ~np.isfinite(filled)
    if (bad | not_finite).all():
        raise ValueError(f"all {filled.size} pixels are bad or not finite: there is nothing to search")
    if not_finite.any():
        filled[not_finite] = np.median(filled[~(bad | not_finite)])
    return filled, bad | not_finite


def scale_to_float32_range(image: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[Any]:
    """Divide an image (H, W) of very large or very small values by a power of two, so that they fit into float32.

    This is for networks that measure the sky themselves and so do not depend on the unit. Images of ordinary values are
    returned unchanged.
    """
    size = np.abs(image[~bad][:: max(image.size // MAX_SAMPLE, 1) | 1].astype(np.float64))
    size = size[np.isfinite(size)]
    typical = float(np.median(size)) if size.size else 0.0
    if typical == 0 or 1 / MAX_TYPICAL < typical < MAX_TYPICAL:
        return image
    return np.ldexp(image.astype(np.float64), -math.frexp(typical)[1])


def interpolate_bad_pixels(
    image: NDArray[Any], bad: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Copy an image as :func:`to_native_float32` does, and interpolate bad pixels linearly along their row.

    Networks take no mask and would find hits at the sides of a hot column. Pipelines interpolate in the same way, and
    the published networks were trained on their frames. A row without a good pixel gets the median of the image.
    """
    image, bad = to_native_float32(image, bad)
    blank = bad.all(axis=1)
    if blank.any():
        image[blank] = np.median(image[~bad])
    for row in np.flatnonzero(bad.any(axis=1) & ~blank):
        good = np.flatnonzero(~bad[row])
        image[row, bad[row]] = np.interp(np.flatnonzero(bad[row]), good, image[row, good])
    return image, bad
