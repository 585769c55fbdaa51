"""Compute confidence intervals of scores by bootstrap over frames.

Pixels of one frame share its seeing, sky and stars, and pixels of one hit are found or missed together. Whole frames
are therefore resampled, with replacement; frames that share their sky (several sets of hits on one exposure) are
resampled together, as one field.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.random_streams import random_stream

SAMPLES = 1000  # number of bootstrap samples
SEED = 0
CHUNK = 32  # samples summed at a time: with 3 x 16384 bins each they take 12 MB
LEVELS = (0.025, 0.975)
MIN_DEFINED_FRACTION = 0.95  # fraction of the samples in which a score must be defined


def resamples(frames: int) -> NDArray[np.float64]:
    """Draw how often each frame occurs in each bootstrap sample.

    The samples depend only on the number of frames. Two detectors on the same frames therefore have the same samples,
    and the difference of their scores in each of them is a paired bootstrap.

    Returns
    -------
    ndarray (SAMPLES, frames), float64
        Counts; of shape (0, frames) for fewer than two frames, from which no interval can be estimated.
    """
    if frames < 2:
        return np.zeros((0, frames))
    return random_stream("frames", SEED, frames).multinomial(frames, [1 / frames] * frames, SAMPLES).astype(float)


def sums(weights: NDArray[np.float64], counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the sum (...) of counts (frames, ...) over the frames of each sample, exactly."""
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # for BLAS; integers below 2^53 stay exact
    for start in range(0, len(weights), CHUNK):
        for total in weights[start : start + CHUNK] @ flat:
            yield total.astype(np.int64).reshape(counts.shape[1:])


def interval(samples: NDArray[np.float64]) -> list[float] | None:
    """Compute the 95 % interval (percentiles) of samples of a score; None if over 5 % of them are undefined."""
    finite = samples[np.isfinite(samples)]
    if not finite.size or finite.size < MIN_DEFINED_FRACTION * samples.size:
        return None
    return [float(limit) for limit in np.quantile(finite, LEVELS)]


def above_zero(samples: NDArray[np.float64]) -> float | None:
    """Compute the fraction of samples of a difference above zero, zeros as half; None if over 5 % are undefined."""
    finite = samples[np.isfinite(samples)]
    if not finite.size or finite.size < MIN_DEFINED_FRACTION * samples.size:
        return None
    return float(np.mean((finite > 0) + 0.5 * (finite == 0)))
