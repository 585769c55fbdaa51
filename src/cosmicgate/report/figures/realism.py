"""Compare simulated with real hits: cut them out one by one, measure and draw them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.simulation.ccd import ITL
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays
from cosmicgate.evaluation.hits import EIGHT_NEIGHBOURS

Stamp = NDArray[np.float32]  # a hit in its bounding box (h, w), electrons, zero outside the hit

SEGMENTS = (2, 8)  # rows and columns of the ITL sensor's segments, each 2000 x 509 px, read and searched separately
ITL_EXPTIME = 500.0  # s; the table of real hits is the sum of three such exposures
ITL_THRESHOLDS = np.linspace(50, 56, 16)  # electrons, by segment: the lowest pixel values in the table
ITL_NOISE = float(ITL_THRESHOLDS.mean()) / 7  # electrons, with dark current; the table's threshold is 7 sigma
# A sensor facing sideways in its test dewar is hit by fewer muons, at larger angles; concrete walls emit more gamma
# rays. The angle and the share of Compton recoils are fitted; the muon rate follows from the total rate. There is no
# scatter between frames, as all are of one calibrated sensor.
LABORATORY: dict[str, Any] = {
    "rates": Rates(muons=0.6, compton=2.5),
    "zenith_angle": 75.0,
    "rate_scatter": 0.0,
    "charge_scatter": 0.0,
    "diffusion_scatter": 0.0,
}
MIN_PIXELS, MIN_CHARGE = 3, 400.0  # px, electrons: smaller footprints are near the noise, or X-rays and hot pixels
QUANTITIES = {
    "pixels": "pixels per hit",
    "charge": "charge per hit (e$^-$)",
    "elongation": "length / width",
    "length": "length (px)",
}
REAL_COLOUR, SIMULATED_COLOUR = "#0072B2", "#D55E00"  # blue and vermilion of Okabe & Ito
COLUMNS, SIDE = 14, 24  # gallery: number of hits in a row, side of each in pixels


def find_hits(image: NDArray[np.floating[Any]], threshold: float) -> list[Stamp]:
    """Find connected groups of pixels above ``threshold`` in ``image`` (H, W), both in electrons.

    Charges are truncated to whole electrons, as in the table of real hits. Groups below ``MIN_PIXELS`` or
    ``MIN_CHARGE`` are left out.
    """
    labels, _ = ndimage.label(image > threshold, EIGHT_NEIGHBOURS)
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


def features_of(hits: Sequence[Stamp]) -> dict[str, NDArray[np.float64]]:
    """Measure all hits: feature -> array (N,)."""
    rows = [features(hit) for hit in hits]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def hits_figure(
    samples: Mapping[str, Sequence[Stamp]],
    rng: np.random.Generator,
    quantities: Sequence[str] = ("pixels", "charge", "elongation"),
) -> Figure:
    """Draw histograms of measured features, and a row of random hits of each sample.

    Parameters
    ----------
    samples : mapping of str to sequence of ndarray (h, w), electrons
        Kind -> hits. The kind "real" is drawn filled and blue, any other as a vermilion line.
    rng : numpy.random.Generator
        Source of random numbers, by which the hits shown are chosen.
    quantities : sequence of str
        Features to draw, keys of ``QUANTITIES``.
    """
    figure = Figure(figsize=(11, 3.6 + 0.8 * len(samples)), dpi=110, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3.6, 0.8 * len(samples)), squeeze=False)[:, 0]
    measured = {kind: features_of(hits) for kind, hits in samples.items()}
    panels = top.subplots(1, len(quantities), squeeze=False)[0]
    for axes, name in zip(panels, quantities, strict=True):
        low, high = np.percentile(np.concatenate([sample[name] for sample in measured.values()]), (0, 99.8))
        bins = np.geomspace(low, high, 25).tolist()
        for kind, sample in measured.items():
            values = sample[name]
            look: dict[str, Any] = {"color": SIMULATED_COLOUR, "histtype": "step", "linewidth": 2}
            look = {"color": REAL_COLOUR, "alpha": 0.45} if kind == "real" else look
            axes.hist(
                values, bins, weights=np.full(values.size, 1 / values.size), label=f"{kind} ({values.size})", **look
            )
        axes.set(xscale="log", xlabel=QUANTITIES[name])
    panels[0].set_ylabel("fraction of hits")
    panels[-1].legend(frameon=False)
    gallery = bottom.subplots(len(samples), COLUMNS, squeeze=False)
    for row, (kind, hits) in zip(gallery, samples.items(), strict=True):
        fitting = [hit for hit in hits if max(hit.shape) <= SIDE - 2 and np.count_nonzero(hit) >= 6]
        chosen = rng.permutation(len(fitting))[:COLUMNS]
        for axes, number in zip(row, chosen, strict=False):
            picture = np.arcsinh(_framed(fitting[number]) / 100)
            axes.imshow(picture, cmap="cividis", vmin=0, vmax=np.arcsinh(60), origin="lower")
        for axes in row:
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(kind)
    return figure


def _framed(stamp: Stamp) -> Stamp:
    """Pad a hit to a centred square of ``SIDE`` pixels."""
    before = [(SIDE - length) // 2 for length in stamp.shape]
    return np.pad(stamp, [(b, SIDE - length - b) for b, length in zip(before, stamp.shape, strict=True)])
