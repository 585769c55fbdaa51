"""Recognise copies of a frame, as other reductions of it have, by a sample of its noise."""

import numpy as np
from astropy.stats import mad_std
from numpy.typing import NDArray

SAME_FRAME_CORRELATION = 0.8  # correlation of the noise of two frames above which they are the same exposure
SIZE = 4096  # pairs of neighbouring pixels in a sample
BLOCK = 128  # pairs among which the faintest ones are chosen
FAINTEST = 0.25  # fraction of pairs whose differences are noise, not stars, which all exposures of a field share
MIN_PAIRS = 256  # minimum number of pairs that are kept, of a frame that has so many


def noise_sample(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sample the differences (N,) of neighbouring pixels of the sky, in sigma, clipped to three.

    They are 0 for pairs with a star or a bad pixel (not finite) of ``image`` (H, W).
    """
    pairs = image[:, : 2 * (image.shape[1] // 2)].reshape(-1, 2)
    pairs = pairs[:: max(1, len(pairs) // SIZE)][:SIZE]
    brighter = np.where(np.isfinite(pairs).all(axis=1), pairs.max(axis=1), np.inf)
    fraction = min(1.0, max(FAINTEST, MIN_PAIRS / max(1, len(pairs))))
    sky = np.isfinite(brighter)
    for start in range(0, len(pairs), BLOCK):
        part = brighter[start : start + BLOCK]
        sky[start : start + BLOCK] &= part <= np.sort(part)[int(np.ceil(fraction * len(part))) - 1]
    steps = np.zeros(len(pairs), np.float32)
    if sky.any():
        steps[sky] = np.diff(pairs[sky], axis=1)[:, 0]
        steps[sky] -= np.median(steps[sky])
        steps = np.clip(steps / (float(mad_std(steps[sky])) or 1.0), -3, 3)
    return steps.astype(np.float32)


def noise_correlations(samples: NDArray[np.float32], own: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlate samples (N, M) with another one (M,), over the pairs that neither leaves out."""
    squares = (samples**2 @ (own != 0).astype(np.float32)) * ((samples != 0).astype(np.float32) @ own**2)
    return np.asarray(samples @ own / np.sqrt(np.where(squares > 0, squares, 1)), np.float32)
