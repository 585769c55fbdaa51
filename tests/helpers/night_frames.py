"""Simulate frames of one detector: stars, hits that differ from frame to frame, static pixels and a column."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SHAPE = (192, 224)
COLUMN, TOP = 150, 60  # a hot column, from this row to the last one


@dataclass
class Night:
    """Frames (H, W), float32, and the masks (H, W), bool, of their static pixels, stars and hits."""

    frames: list[NDArray[np.float32]]
    static: NDArray[np.bool_]
    stars: NDArray[np.bool_]
    hits: list[NDArray[np.bool_]]


def simulate_night(frames=6, dither=0.0, fwhm=1.5, stars=150, seed=0, exptimes=(30.0,), shape=SHAPE) -> Night:
    """Simulate frames of a camera with 40 hot, warm and flickering pixels and a hot column.

    Parameters
    ----------
    frames, stars : int
        Numbers of frames and of stars.
    dither : float
        Sigma of the telescope's offsets between frames, px.
    fwhm : float
        FWHM of the stars, px; below 1.5 they are almost as sharp as hot pixels.
    exptimes : sequence of float
        Exposure times, s, taken in turn; light and dark current are proportional to them.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places, fluxes = rng.uniform(0, shape, (stars, 2)), 10 ** rng.uniform(1.5, 3.5, stars)
    static = np.zeros(shape, bool)
    static.ravel()[rng.choice(static.size, 40, replace=False)] = True
    rates = np.where(static, 10 ** rng.uniform(0.7, 2.5, shape), 0)  # electrons per second: at least 150 in 30 s
    flickers = static & (rng.random(shape) < 0.25)
    rates[TOP:, COLUMN : COLUMN + 1] = 10.0  # of a narrow frame, nothing
    static[TOP:, COLUMN : COLUMN + 1] = True
    images, all_hits, all_stars = [], [], np.zeros(shape, bool)
    for number in range(frames):
        exptime = exptimes[number % len(exptimes)]
        light = np.full(shape, 100.0)
        offset = rng.normal(0, dither, 2) if dither else 0.0
        for (row, column), flux in zip(places + offset, fluxes, strict=True):
            profile = np.exp(-4 * np.log(2) * ((rows - row) ** 2 + (columns - column) ** 2) / fwhm**2)
            light += flux * exptime / 30 * profile
            all_stars |= profile > 0.05
        hits = np.zeros(shape, bool)
        for row, column in rng.integers(4, np.array(shape) - 8, (15, 2)):
            step = np.arange(rng.integers(1, 5))
            hits[row + step // 2, column + step] = True
        dark = rates * exptime * np.where(flickers, rng.random(shape) < 0.7, 1)
        electrons = rng.poisson(light + dark + 900.0 * hits) + rng.normal(0, 8, shape)
        images.append(electrons.astype(np.float32))
        all_hits.append(hits)
    return Night(images, static, all_stars, all_hits)
