"""Simulate skies, darks and straight tracks with known levels and noise."""

import numpy as np

from cosmicgate.io.fits.frames import Frame

SHAPE = (200, 240)
GAIN, READ_NOISE = 4.0, 6.5


def generator(seed=0):
    return np.random.default_rng(seed)


def make_frame(image, **fields):
    """Make a frame of an image (H, W), ADU."""
    values = {"gain": GAIN, "read_noise": READ_NOISE, "saturation": 45_000.0, "exptime": 90.0, "name": "science-1"}
    return Frame(image=np.asarray(image, np.float32), **(values | fields))


def sky_frame(level, shape=SHAPE, gain=GAIN, seed=0):
    """Simulate a frame of empty sky of ``level`` ADU with photon and read noise."""
    electrons = generator(seed).poisson(level * gain, shape) + generator(seed + 1).normal(0, READ_NOISE, shape)
    return make_frame(electrons / gain, gain=gain)


def dark_frame(hits, noise=2.0, seed=5, **fields):
    """Simulate a dark of 3 ADU with Gaussian ``noise``, ADU, and ``hits`` (H, W), electrons, not recorded in it."""
    image = generator(seed).normal(3, noise, hits.shape) + hits / GAIN
    return make_frame(image, **({"name": "dark-1"} | fields))


def tracks(charge, shape=SHAPE, number=12):
    """Draw straight hits of ``charge`` electrons per pixel, 10 px long, away from the edges."""
    image = np.zeros(shape, np.float32)
    for row, column in generator(3).integers(20, min(shape) - 20, (number, 2)):
        steps = np.arange(10)
        image[row + steps // 2, column + steps] = charge
    return image


def robust_sigma(values):
    """Estimate the standard deviation from the quartiles, which hits do not change."""
    low, high = np.percentile(values, [25, 75])
    return (high - low) / 1.349
