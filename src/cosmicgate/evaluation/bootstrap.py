"""How far a score would move with other frames: intervals from drawing the frames again, with replacement.

Pixels of one frame share its seeing, sky and stars, and pixels of one hit are found or missed together: only whole
frames can be drawn again.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
SEED = 0
CHUNK = 32  # draws that are added up at a time: 3 x 16384 bins of them are 12 MB
LEVELS = (0.025, 0.975)
KNOWN = 0.95  # part of the draws in which a score must exist


def resamples(frames: int) -> NDArray[np.float64]:
    """Return how often each frame is in each draw: (DRAWS, frames); (0, 1) for a single frame, which tells nothing.

    It depends on the number of frames alone. Two detectors on the same frames so meet the same draws, and the
    difference of their scores, draw by draw, is a paired bootstrap.
    """
    if frames < 2:
        return np.zeros((0, frames))
    return np.random.default_rng([SEED, frames]).multinomial(frames, [1 / frames] * frames, DRAWS).astype(float)


def sums(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Add up the frames of each draw: counts (frames, ...) -> (...) draw by draw, exactly."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # for BLAS; whole numbers below 2^53 stay whole
    for start in range(0, len(weights), CHUNK):
        for total in weights[start : start + CHUNK] @ flat:
            yield total.astype(np.int64).reshape(counts.shape[1:])


def interval(draws: NDArray[np.float64]) -> list[float] | None:
    """Return the 95 % interval (percentiles) of a score's draws; None if it is missing from many of them."""
    known = draws[np.isfinite(draws)]
    if not known.size or known.size < KNOWN * draws.size:
        return None
    return [float(limit) for limit in np.quantile(known, LEVELS)]


def above_zero(draws: NDArray[np.float64]) -> float | None:
    """Return the part of a difference's draws that is above zero, a draw of no difference as half."""
    known = draws[np.isfinite(draws)]
    if not known.size or known.size < KNOWN * draws.size:
        return None
    return float(np.mean((known > 0) + 0.5 * (known == 0)))
