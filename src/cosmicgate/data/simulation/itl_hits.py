"""Simulate dark frames of the LSST ITL sensor, find the hits in them one by one, and measure hits.

The table of real hits with which they are compared is that of imSim (``scripts/compare_hits.py``).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.simulation.ccd import ITL
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays

Stamp = NDArray[np.float32]  # a hit in its bounding box (h, w), electrons, zero outside the hit

SEGMENTS = (2, 8)  # rows and columns of the ITL sensor's segments, each 2000 x 509 px, read and searched separately
ITL_EXPTIME = 500.0  # s; the table of real hits is the sum of three such exposures
ITL_THRESHOLDS = np.linspace(50, 56, 16)  # electrons, by segment: the lowest pixel values in the table
ITL_NOISE = float(ITL_THRESHOLDS.mean()) / 7  # electrons, with dark current; the table's threshold is 7 sigma
# A sensor facing sideways in its test dewar is hit by fewer muons, at larger angles; concrete walls emit more gamma
# rays. The angle and the share of Compton recoils are fitted; the muon rate follows from the total rate. There is no
# scatter between frames, as all are of one calibrated sensor.
LABORATORY: dict[str, Any] = {
    "rates": Rates(charged=0.6, compton=2.5),
    "zenith_angle": 75.0,
    "rate_scatter": 0.0,
    "charge_scatter": 0.0,
    "diffusion_scatter": 0.0,
}
MIN_PIXELS, MIN_CHARGE = 3, 400.0  # px, electrons: smaller footprints are near the noise, or X-rays and hot pixels


def find_hits(image: NDArray[np.floating[Any]], threshold: float) -> list[Stamp]:
    """Find connected groups of pixels above ``threshold`` in ``image`` (H, W), both in electrons.

    Charges are truncated to whole electrons, as in the table of real hits. Groups below ``MIN_PIXELS`` or
    ``MIN_CHARGE`` are left out.
    """
    labels, _ = ndimage.label(image > threshold, np.ones((3, 3), bool))
    boxes = enumerate(ndimage.find_objects(labels), start=1)
    found = [np.where(labels[box] == n, np.trunc(image[box]), 0).astype(np.float32) for n, box in boxes]
    return [stamp for stamp in found if np.count_nonzero(stamp) >= MIN_PIXELS and stamp.sum() >= MIN_CHARGE]


def simulate_hits(
    frames: int, rng: np.random.Generator, shape: tuple[int, int] = ITL.shape, **conditions: Any
) -> list[Stamp]:
    """Simulate dark frames of the ITL sensor and find their hits.

    Parameters
    ----------
    frames : int
        Number of frames, of 500 s each.
    rng : numpy.random.Generator
        Source of all random numbers.
    shape : tuple of int
        Rows and columns; a part of the sensor is faster to simulate.
    **conditions
        Arguments of :func:`~cosmicgate.data.simulation.cosmic_rays.cosmic_rays`: none for the conditions at a
        telescope, or ``LABORATORY``.
    """
    hits = []
    for _ in range(frames):
        image = cosmic_rays(replace(ITL, shape=shape), ITL_EXPTIME, rng, **conditions)
        image += ITL_NOISE * rng.standard_normal(image.shape, np.float32)
        halves = np.array_split(image, SEGMENTS[0], axis=0)
        segments = [segment for half in halves for segment in np.array_split(half, SEGMENTS[1], axis=1)]
        for segment, threshold in zip(segments, ITL_THRESHOLDS, strict=True):
            hits += find_hits(segment, threshold)
    return hits


def features(stamp: Stamp) -> dict[str, float]:
    """Measure a hit: number of pixels, charges in electrons, lengths in pixels, and ratios of these."""
    rows, columns = np.nonzero(stamp)
    charge = stamp[rows, columns].astype(float)
    covariance = np.cov(rows, columns, bias=True) + np.eye(2) / 12  # plus the variance of one pixel's width
    minor, major = np.sqrt(12 * np.linalg.eigvalsh(covariance))
    total = float(charge.sum())
    return {
        "pixels": float(charge.size),
        "charge": total,
        "elongation": major / minor,
        "length": major,
        "width": minor,
        "filling": charge.size / stamp.size,
        "peak": float(charge.max()),
        "faintest": float(charge.min()),
        "charge per length": total / major,
        "contrast": float(charge.std()) / total * charge.size,
    }


def hit_features(hits: Sequence[Stamp]) -> dict[str, NDArray[np.float64]]:
    """Measure all hits: feature -> array (N,)."""
    rows = [features(hit) for hit in hits]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
