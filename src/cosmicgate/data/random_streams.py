"""Make independent streams of random numbers, one for each purpose, and draw from them."""

from zlib import crc32

import numpy as np


def random_stream(purpose: str, *numbers: int) -> np.random.Generator:
    """Make the random generator of a purpose and some integers, such as a seed, an epoch and an index.

    The purpose and the number of integers are part of the seed. Otherwise two purposes could share a stream by
    accident: ``np.random.default_rng([a, b])`` and ``np.random.default_rng([a, b, 0])`` give the same numbers.
    """
    return np.random.default_rng([crc32(purpose.encode()), len(numbers), *numbers])


def log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Draw a number between ``limits``, uniform in its logarithm."""
    return float(np.exp(rng.uniform(*np.log(limits))))
