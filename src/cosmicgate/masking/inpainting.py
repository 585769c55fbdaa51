"""What hits hid, guessed from the good pixels around."""

from typing import Any, Literal

import numpy as np
from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans
from astropy.nddata import NDData
from numpy.typing import NDArray

Method = Literal["median", "interpolate"]
CHUNK = 65536  # pixels that are replaced at once


def clean(
    image: NDArray[Any],
    mask: NDArray[np.bool_],
    method: Method = "median",
    size: int = 5,
    bad: NDArray[np.bool_] | None = None,
) -> NDArray[Any]:
    """Return a copy of an image with other values where the mask is true.

    Parameters
    ----------
    image : ndarray (H, W)
        Of any numeric type, which the copy keeps; whole numbers are rounded. What a masked array masks is bad.
    mask : ndarray (H, W), bool
        What is replaced.
    method : {"median", "interpolate"}
        The median of the good pixels in a square around, or the mean of those near weighted by a Gaussian (astropy's
        ``interpolate_replace_nans``).
    size : int
        Side of the square, an odd number of pixels; it grows where a hit leaves no good pixel in it. Of the Gaussian
        it is five standard deviations.
    bad : ndarray (H, W), bool, optional
        Pixels that are neither replaced nor asked.
    """
    if isinstance(image, NDData):
        raise TypeError(f"expected an array, got {type(image).__name__}: masker.clean(ccd) cleans all planes of one")
    if isinstance(image, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(image)
        image, bad = image.data, masked if bad is None else masked | bad
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != np.shape(image) or mask.ndim != 2:
        raise ValueError(
            f"expected a mask of bool and of the image's two sides {np.shape(image)}, got {mask.dtype} {mask.shape}"
        )
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size={size}: expected an odd number of pixels, 3 or more")
    if method not in ("median", "interpolate"):
        raise ValueError(f"unknown method {method!r}: expected 'median' or 'interpolate'")
    cleaned = np.array(image)
    values = cleaned.astype(np.result_type(cleaned, np.float32))  # float64 for integers of four bytes and more
    unknown = mask | ~np.isfinite(values)
    unknown = unknown if bad is None else unknown | bad
    replaced = mask if bad is None else mask & ~bad
    if not replaced.any() or unknown.all():
        return cleaned
    values[unknown] = np.nan
    rows, columns = np.nonzero(replaced)
    guesses = (
        _medians(values, rows, columns, size) if method == "median" else _interpolated(values, rows, columns, size / 5)
    )
    if np.issubdtype(cleaned.dtype, np.integer):
        limits = np.iinfo(cleaned.dtype)
        below = np.nextafter(float(limits.max + 1), 0)  # the largest number that does not wrap: limits.max may round up
        guesses = np.clip(np.rint(guesses), limits.min, below)
    cleaned[rows, columns] = guesses
    return cleaned


def _medians(values: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the median of what is not NaN in squares around pixels; a square that has nothing grows by a ring."""
    guesses = np.full(rows.size, np.nan, values.dtype)
    left = np.arange(rows.size)
    reach = size // 2
    while left.size:
        offsets = np.arange(-reach, reach + 1)
        for first in range(0, left.size, chunk := max(CHUNK * 25 // (2 * reach + 1) ** 2, 1)):
            here = left[first : first + chunk]
            y = rows[here, None, None] + offsets[:, None]
            x = columns[here, None, None] + offsets
            inside = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
            around = values[np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)]
            around = np.where(inside, around, np.nan).reshape(here.size, -1)
            some = np.isfinite(around).any(axis=1)
            guesses[here[some]] = np.nanmedian(around[some], axis=1)
        left = left[np.isnan(guesses[left])]
        reach += 1 if reach < 8 else reach
    return guesses


def _interpolated(values: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Return Gaussian means, each hit in a window of its own so that the whole image is not convolved."""
    kernel = Gaussian2DKernel(sigma)
    margin = kernel.shape[0]
    guesses = np.full(rows.size, np.nan, values.dtype)
    order = np.lexsort((columns, rows))
    while order.size:
        y, x = rows[order[0]], columns[order[0]]
        near = order[(np.abs(rows[order] - y) < 64) & (np.abs(columns[order] - x) < 64)]
        top, left = max(rows[near].min() - margin, 0), max(columns[near].min() - margin, 0)
        window = values[top : rows[near].max() + margin + 1, left : columns[near].max() + margin + 1]
        filled = interpolate_replace_nans(window, kernel, boundary="extend")
        guesses[near] = filled[rows[near] - top, columns[near] - left]
        order = order[~np.isin(order, near)]
    lost = np.isnan(guesses)
    if lost.any():  # a hole wider than the Gaussian
        guesses[lost] = _medians(values, rows[lost], columns[lost], margin)
    return guesses
