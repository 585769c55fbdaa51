"""Replace masked pixels from the rim of the mask inwards, with the algorithm of the package maskfill."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fill_from_rim(values: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Estimate masked pixels by iterative medians, then smooth the estimates.

    In each iteration every masked pixel that touches a known one gets the median of the known pixels in its 3x3 square,
    and counts as known in the next iteration. At the end each estimate is replaced by the mean of its square, which
    hides the seams. The algorithm is that of van Dokkum & Pasha (2024, PASP 136, 034503) with its default settings.

    Parameters
    ----------
    values : ndarray (H, W), float
        Image; NaN where a pixel is masked or bad.
    rows, columns : ndarray (N,), int
        Masked pixels to estimate. Other NaN pixels are neither filled nor used.

    Returns
    -------
    ndarray (N,), same dtype as ``values``
        Estimates; NaN where no chain of masked pixels leads to a known one.
    """
    image = np.pad(values, 1, constant_values=np.nan)
    y, x = rows + 1, columns + 1
    unknown = np.arange(rows.size)
    while unknown.size:
        squares = _squares(image, y[unknown], x[unknown])
        rim = np.isfinite(squares).any(axis=1)
        if not rim.any():
            break
        image[y[unknown[rim]], x[unknown[rim]]] = np.nanmedian(squares[rim], axis=1)
        unknown = unknown[~rim]
    guesses = np.full(rows.size, np.nan, values.dtype)
    finite = np.isfinite(image[y, x])
    guesses[finite] = np.nanmean(_squares(image, y[finite], x[finite]), axis=1)
    return guesses


def _squares(image: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any]) -> NDArray[Any]:
    """Gather the 3x3 squares (N, 9) around pixels that are not on the border."""
    step = np.array([-1, 0, 1])
    squares: NDArray[Any] = image[rows[:, None, None] + step[:, None], columns[:, None, None] + step]
    return squares.reshape(rows.size, step.size**2)
