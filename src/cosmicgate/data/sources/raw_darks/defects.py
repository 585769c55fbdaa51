"""Find the defects of a dark: edges, bad columns and hot pixels, whose charge is not from particles."""

from dataclasses import dataclass

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, median_filter

from cosmicgate.data.background import background
from cosmicgate.io.fits.frames import Frame

NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)


@dataclass(frozen=True)
class DefectFinder:
    """Find the bad pixels of a dark, in addition to those that it has already.

    Attributes
    ----------
    edge : int
        Width of the border that is marked bad, pixels.
    column : float
        Threshold of bad columns. A section of a column is bad if its mean differs from those of the columns around it
        by more than this many sigma of such means; 0 to find none.
    hot : float
        Threshold of hot pixels. A pixel is hot if it exceeds the background by more than this many sigma, while its
        brightest neighbour exceeds it by less than four sigma or a twentieth of the pixel's excess; 0 to find none.
        Hits within a single pixel are lost with them.
    rows : int
        Length of the column sections, pixels.
    """

    edge: int = 16
    column: float = 12.0
    hot: float = 10.0
    rows: int = 256

    def __call__(self, dark: Frame) -> NDArray[np.bool_]:
        """Find the bad pixels (H, W) of ``dark``, including those of ``dark.bad``."""
        bad = dark.bad.copy()
        if self.edge:
            if 2 * self.edge >= min(dark.shape):
                raise ValueError(
                    f"{dark.name}: expected an edge that leaves something of {dark.shape}, got {self.edge}"
                )
            inside = np.zeros(dark.shape, bool)
            inside[self.edge : -self.edge, self.edge : -self.edge] = True
            bad |= ~inside
        level, sigma = background(dark)
        if sigma > 0:
            excess = dark.image - np.float32(level)
            if self.column:
                bad |= bad_columns(excess, sigma, self.column, self.rows)
            if self.hot:
                bad |= isolated_hot_pixels(excess, sigma, self.hot)
        return bad


def bad_columns(excess: NDArray[np.float32], sigma: float, n_sigma: float, rows: int) -> NDArray[np.bool_]:
    """Mark sections of columns (H, W) that differ from the columns around them, and the sections next to these.

    ``excess`` is an image without its background, and ``sigma`` its noise. The mean of a section is taken with the
    values clipped to three sigma: hits hardly change it, and unlike a median it is not quantised to whole ADU.
    """
    clipped = np.clip(excess, -3 * sigma, 3 * sigma)
    starts = range(0, len(clipped), rows)
    means = np.array([clipped[start : start + rows].mean(axis=0, dtype=np.float64) for start in starts])
    lengths = np.array([min(rows, len(clipped) - start) for start in starts])
    difference = means - median_filter(means, size=(1, 31), mode="nearest")
    spread = mad_std(difference, axis=1)
    standing_out = np.abs(difference) > n_sigma * np.maximum(spread, sigma / np.sqrt(lengths))[:, None]
    standing_out = binary_dilation(standing_out, np.ones((3, 1), bool))
    return np.repeat(standing_out, rows, axis=0)[: len(clipped)]


def isolated_hot_pixels(excess: NDArray[np.float32], sigma: float, n_sigma: float) -> NDArray[np.bool_]:
    """Mark the isolated bright pixels (H, W) of an image without its background."""
    brightest = maximum_filter(excess, footprint=NEIGHBOURS)
    return np.asarray((excess > n_sigma * sigma) & (brightest < np.maximum(4 * sigma, 0.05 * excess)))
