"""Pixels of a dark whose charge no particle left: edges, bad columns, hot pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, median_filter

from cosmicgate.data.clean import background
from cosmicgate.data.fits.frames import Frame

NEIGHBOURS = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool)


@dataclass(frozen=True)
class Defects:
    """Finds the bad pixels of a dark; what a known mask says is added to them.

    Attributes
    ----------
    edge : int
        Rows and columns at each border that are left out.
    column : float
        A part of a column is bad where its mean differs from those of the columns around it by more than this many
        deviations of such means; 0 to look for none.
    hot : float
        A pixel is hot where it exceeds the background by more than this many deviations, and its brightest neighbour
        by no more than four deviations or a twentieth of it; 0 to look for none. A hit that stayed within one pixel
        is lost with them.
    rows : int
        Length of the parts of a column that are judged.
    """

    edge: int = 16
    column: float = 12.0
    hot: float = 10.0
    rows: int = 256

    def __call__(self, dark: Frame) -> NDArray[np.bool_]:
        """Return the bad pixels (H, W) of ``dark``, those included that it knows already."""
        bad = dark.bad.copy()
        if self.edge:
            if 2 * self.edge >= min(dark.shape):
                raise ValueError(
                    f"{dark.name}: expected an edge that leaves something of {dark.shape}, got {self.edge}"
                )
            inside = np.zeros(dark.shape, bool)
            inside[self.edge : -self.edge, self.edge : -self.edge] = True
            bad |= ~inside
        level, deviation = background(dark)
        if deviation > 0:
            excess = dark.image - np.float32(level)
            if self.column:
                bad |= bad_columns(excess, deviation, self.column, self.rows)
            if self.hot:
                bad |= hot_pixels(excess, deviation, self.hot)
        return bad


def bad_columns(excess: NDArray[np.float32], deviation: float, n_sigma: float, rows: int) -> NDArray[np.bool_]:
    """Mark the parts of columns (H, W) that stand out of the columns around them, and the parts next to these.

    ``excess`` is an image without its background. What counts is the mean of a part with its values held within three
    deviations of the noise: a hit hardly moves it, and it is not rounded to whole ADU as a median is.
    """
    held = np.clip(excess, -3 * deviation, 3 * deviation)
    starts = range(0, len(held), rows)
    means = np.array([held[start : start + rows].mean(axis=0, dtype=np.float64) for start in starts])
    lengths = np.array([min(rows, len(held) - start) for start in starts])
    difference = means - median_filter(means, size=(1, 31), mode="nearest")
    spread = 1.4826 * np.median(np.abs(difference), axis=1)
    standing_out = np.abs(difference) > n_sigma * np.maximum(spread, deviation / np.sqrt(lengths))[:, None]
    standing_out = binary_dilation(standing_out, np.ones((3, 1), bool))
    return np.repeat(standing_out, rows, axis=0)[: len(held)]


def hot_pixels(excess: NDArray[np.float32], deviation: float, n_sigma: float) -> NDArray[np.bool_]:
    """Mark the pixels (H, W) that are bright and alone in an image without its background."""
    brightest = maximum_filter(excess, footprint=NEIGHBOURS)
    return np.asarray((excess > n_sigma * deviation) & (brightest < np.maximum(4 * deviation, 0.05 * excess)))
