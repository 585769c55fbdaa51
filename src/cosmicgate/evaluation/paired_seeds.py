"""Compare two networks by trainings with the same seeds: Student's t over seeds, and what it could have detected."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True)
class SeedMean:
    """Mean over seeds, with its 95 % interval by Student's t.

    Attributes
    ----------
    mean, low, high : float
        Mean, and the ends of its interval. They include the scatter of seeds, but not that of frames.
    detectable : float
        Smallest true mean that such seeds would show to differ from zero with a probability of 80 %.
    seeds : int
        Number of seeds.
    """

    mean: float
    low: float
    high: float
    detectable: float
    seeds: int


def seed_mean(values: Sequence[float]) -> SeedMean:
    """Average the scores of several seeds, or the differences of two networks for each seed.

    The detectable mean is (t(0.975) + t(0.8)) standard errors, the usual approximation. The interval is NaN for one
    seed, and for seeds of exactly the same score (all hits found, say): how much other seeds scatter is then not known.
    """
    seeds, mean = len(values), float(np.mean(values))
    if len(set(values)) < 2:
        return SeedMean(mean, math.nan, math.nan, math.nan, seeds)
    error = float(np.std(values, ddof=1)) / math.sqrt(seeds)
    wide, power = (float(t.ppf(level, seeds - 1)) for level in ((1 + CONFIDENCE) / 2, POWER))
    return SeedMean(mean, mean - wide * error, mean + wide * error, (wide + power) * error, seeds)
