"""Score hit by hit: count true hits found and false detections, each once whatever its size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3, SKY

# Lower limit of each class of hits; the upper one is where the next class begins.
LENGTHS = (1, 3, 6, 11, 21)  # pixels
SNRS = (-np.inf, 5.0, 10.0, 20.0, 50.0, 100.0)
FOUND_FRACTION = 0.5  # fraction of its core that must be predicted for a hit to be found


@dataclass(frozen=True, eq=False)
class HitTable:
    """The N true hits of one frame, and the number of false detections.

    Attributes
    ----------
    length : ndarray (N,), int64
        Longer side of the bounding box of the core, pixels.
    found : ndarray (N,), bool
        True where enough of the core is predicted.
    snr : ndarray (N,), float64
        Highest signal-to-noise ratio in the core; NaN if no map was given.
    false_hits : int
        Number of connected components of the prediction that touch neither a hit nor an ignored pixel.
    """

    length: NDArray[np.int64]
    found: NDArray[np.bool_]
    snr: NDArray[np.float64]
    false_hits: int


def match_hits(
    truth: NDArray[np.uint8],
    predicted_mask: NDArray[np.bool_],
    snr: NDArray[np.floating] | None = None,
) -> HitTable:
    """Check for each hit of ``truth`` whether a mask finds it, and count false detections.

    A hit is a connected component (8 neighbours) of core pixels: two tracks that cross are one hit, and a track that an
    ignored column cuts is two.

    Parameters
    ----------
    truth : ndarray (H, W), uint8
        Codes of :mod:`cosmicgate.data.pixel_labels`.
    predicted_mask : ndarray (H, W), bool
        True where the detector predicts a cosmic ray.
    snr : ndarray (H, W), float, optional
        Signal-to-noise ratio of each pixel.

    Raises
    ------
    ValueError
        If shapes or dtypes are wrong.
    """
    shapes = {a.shape for a in (truth, predicted_mask, snr) if a is not None}
    if len(shapes) > 1 or truth.ndim != 2:
        raise ValueError(f"expected images of one shape (H, W), got {sorted(shapes)}")
    if truth.dtype != np.uint8 or predicted_mask.dtype != np.bool_:
        raise ValueError(f"expected uint8 truth and a bool mask, got {truth.dtype} and {predicted_mask.dtype}")
    false_hits = int(false_objects(truth, predicted_mask).max(initial=0))
    labels, hits = ndimage.label(truth == CORE, KERNEL_3X3)
    if hits == 0:
        none = np.zeros(0, np.int64)
        return HitTable(none, np.zeros(0, bool), np.zeros(0), false_hits)
    # Core pixels are few: sort their list by hit and reduce each segment, which is faster than a pass per hit.
    y, x = np.nonzero(labels)
    order = np.argsort(labels[y, x], kind="stable")
    y, x = y[order], x[order]
    start = np.searchsorted(labels[y, x], np.arange(1, hits + 1))
    pixels = np.diff(start, append=y.size)
    height, width = (np.maximum.reduceat(c, start) - np.minimum.reduceat(c, start) + 1 for c in (y, x))
    predicted = np.add.reduceat(predicted_mask[y, x].astype(np.int64), start)
    return HitTable(
        length=np.maximum(height, width),
        found=predicted / pixels >= FOUND_FRACTION,
        snr=np.full(hits, np.nan) if snr is None else np.maximum.reduceat(snr[y, x], start).astype(np.float64),
        false_hits=false_hits,
    )


def tally(values: NDArray[np.number], found: NDArray[np.bool_], starts: Sequence[float]) -> NDArray[np.int64]:
    """Count hits, and hits found, by class: (classes, 2), int64; ``starts`` is LENGTHS or SNRS."""
    place = np.searchsorted(starts, values, side="right") - 1
    counts = [np.bincount(place[chosen], minlength=len(starts)) for chosen in (np.full(found.shape, True), found)]
    return np.stack(counts, axis=1).astype(np.int64)


def false_objects(truth: NDArray[np.uint8], predicted_mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Label the connected components of a mask that touch neither a hit nor an ignored pixel: (H, W), from 1."""
    labels, components = ndimage.label(predicted_mask, KERNEL_3X3)
    y, x = np.nonzero(labels)
    not_sky = np.pad(truth != SKY, 1)
    touches = np.zeros(y.size, bool)
    for dy in range(3):
        for dx in range(3):
            touches |= not_sky[y + dy, x + dx]
    false = np.ones(components + 1, bool)
    false[labels[y[touches], x[touches]]] = False
    false[0] = False
    return np.asarray(np.where(false, np.cumsum(false), 0).astype(np.int32)[labels])
