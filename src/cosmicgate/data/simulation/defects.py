"""Simulate the warm and hot pixels and columns of a detector, some of which flicker from frame to frame.

They are as sharp as hits, and no mask marks them; those that flicker are not removed with a dark either. Positions and
rates belong to the detector (:func:`draw_defects`), the state of each frame is drawn by :meth:`Defects.charge`.

References
----------
.. [1] Hopkins & Hopkinson 1993, IEEE Trans. Nucl. Sci. 40, 1567: the dark current of some pixels of a CCD switches
   between two levels (random telegraph signal) with dwell times of seconds to hours. The warm pixels of Chandra's
   aspect camera do so too (cxc.harvard.edu/mta/ASPECT/flicker).
.. [2] Measured for this project in five darks of 60 s of the ARCSAT 0.5 m telescope: 2.8, 1.6, 0.6 and 0.3 of 1000
   pixels have more than 1.1, 2.3, 11 and 23 electrons per second.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.random_streams import log_uniform

HOT_SHARE = (1e-5, 3e-3)  # fraction of the pixels above the lowest rate; the upper end is [2]_
HOT_RATES = (0.3, 1000.0)  # electrons per second, limits of a power law
HOT_SLOPE = 0.7  # number above a rate r: r^-0.7, as in [2]_
DEFERRED = 0.15  # fraction of the hot pixels that leave a part of their charge in the next row (charge transfer)
FLICKERING = (0.1, 0.6)  # fraction of the hot pixels that switch between two levels [1]_; a range of our own
MAX_COLUMNS = 3  # maximum number of warm columns, our own choice, as are all numbers of columns below
COLUMN_CHARGE = (5.0, 200.0)  # electrons, mean of a warm column's flicker in a pixel
COLUMN_DUTY = (0.01, 0.3)  # fraction of its pixels that are bright in a frame
COLUMN_RUN = 1.5  # pixels, mean length of a bright run


@dataclass(frozen=True, eq=False)
class Defects:
    """The warm and hot pixels of one detector.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns.
    pixels : ndarray (N,), int
        Indices in the flat image.
    rates : ndarray (N,), electrons per second
        Dark current; of a flickering pixel, that of its upper level.
    lower : ndarray (N,)
        Lower level in units of the upper one; 1 for a pixel that does not flicker.
    columns : ndarray (M, 5)
        Column, first and last row, mean charge (electrons) of a bright pixel, and fraction of pixels that are bright.
    """

    shape: tuple[int, int]
    pixels: NDArray[np.int64]
    rates: NDArray[np.float64]
    lower: NDArray[np.float64]
    columns: NDArray[np.float64]

    def charge(self, exptime: float, rng: np.random.Generator) -> NDArray[np.float32]:
        """Draw the expected charge (H, W), electrons, that the defects add to a frame of ``exptime`` seconds."""
        charge = np.zeros(self.shape, np.float32)
        upper = rng.beta(0.5, 0.5, self.pixels.size)  # part of the exposure at the upper level: mostly none or all
        rates = self.rates * (self.lower + (1 - self.lower) * upper)
        np.add.at(charge.reshape(-1), self.pixels, (rates * exptime).astype(np.float32))
        for column, first, last, level, duty in self.columns:
            rows = int(last) - int(first)
            bright = _runs(rows, duty, rng)
            charge[int(first) : int(last), int(column)] += bright * rng.exponential(level, rows)
        return charge


def draw_defects(shape: tuple[int, int], rng: np.random.Generator) -> Defects:
    """Draw the defects of a detector of ``shape`` (rows, columns)."""
    rows, columns = shape
    share = log_uniform(HOT_SHARE, rng)
    number = rng.poisson(share * rows * columns)
    pixels = rng.integers(0, rows * columns, number)
    steepness = (HOT_RATES[1] / HOT_RATES[0]) ** -HOT_SLOPE
    rates = HOT_RATES[0] * (1 - rng.random(number) * (1 - steepness)) ** (-1 / HOT_SLOPE)
    flickers = rng.random(number) < rng.uniform(*FLICKERING)
    lower = np.where(flickers, rng.uniform(0, 0.8, number), 1.0)
    trailing = (rng.random(number) < DEFERRED) & (pixels < (rows - 1) * columns)
    parts = rng.uniform(0.05, 0.5, number)
    warm = np.zeros((int(rng.integers(0, MAX_COLUMNS + 1)), 5))
    for line in warm:
        first = rng.integers(0, rows) if rng.random() < 0.5 else 0
        level, duty = (log_uniform(limits, rng) for limits in (COLUMN_CHARGE, COLUMN_DUTY))
        line[:] = rng.integers(0, columns), first, rows, level, duty
    return Defects(
        shape=shape,
        pixels=np.concatenate([pixels, pixels[trailing] + columns]),
        rates=np.concatenate([rates, (rates * parts)[trailing]]),
        lower=np.concatenate([lower, lower[trailing]]),
        columns=warm,
    )


def _runs(rows: int, duty: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw which of ``rows`` pixels are bright: runs of ``COLUMN_RUN`` pixels on average, ``duty`` of all pixels."""
    bright = np.zeros(rows, bool)
    starts = np.flatnonzero(rng.random(rows) < -np.log1p(-duty) / COLUMN_RUN)
    for start, length in zip(starts, rng.geometric(1 / COLUMN_RUN, starts.size), strict=True):
        bright[start : start + length] = True
    return bright
