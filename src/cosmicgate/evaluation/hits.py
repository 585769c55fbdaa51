"""Hits are counted one by one, whatever their size: what a pixel score cannot say."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.truth import CORE, SKY

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
# Where each class of hits begins; it ends where the next one does.
LENGTHS = (1, 3, 6, 11, 21)  # pixels
SNRS = (-np.inf, 5.0, 10.0, 20.0, 50.0, 100.0)
SKY_TILE = 32  # pixels: small against the gradients of a sky, large against a hit


@dataclass(frozen=True, eq=False)
class HitTable:
    """The hits of one frame, a row each, and the predictions that are none.

    Attributes
    ----------
    pixels : ndarray (N,), int64
        Core pixels.
    length : ndarray (N,), int64
        Longer side of the bounding box of the core, pixels.
    found : ndarray (N,), bool
        Enough of the core is predicted.
    snr : ndarray (N,), float64
        Highest signal-to-noise ratio in the core; NaN where no map was given.
    false_hits : int
        Connected components of the prediction that lie on no hit, beside no hit, and at no ignored pixel.
    """

    pixels: NDArray[np.int64]
    length: NDArray[np.int64]
    found: NDArray[np.bool_]
    snr: NDArray[np.float64]
    false_hits: int


def match_hits(
    truth: NDArray[np.uint8],
    predicted_mask: NDArray[np.bool_],
    found_fraction: float = 0.5,
    snr: NDArray[np.floating] | None = None,
) -> HitTable:
    """Take the hits of ``truth`` one by one and see which of them a mask finds.

    A hit is a connected component (8 neighbours) of core pixels; two that cross are one, one that an ignored
    column cuts is two.

    Parameters
    ----------
    truth : ndarray (H, W), uint8
        See :mod:`cosmicgate.truth`.
    predicted_mask : ndarray (H, W), bool
        True where the detector says cosmic ray.
    found_fraction : float
        A hit is found when at least this part of its core is predicted; above 0, at most 1.
    snr : ndarray (H, W), float, optional
        Signal-to-noise ratio of each pixel.

    Raises
    ------
    ValueError
        Shapes or dtypes are wrong, or ``found_fraction`` is out of range.
    """
    shapes = {a.shape for a in (truth, predicted_mask, snr) if a is not None}
    if len(shapes) > 1 or truth.ndim != 2:
        raise ValueError(f"expected images of one shape (H, W), got {sorted(shapes)}")
    if truth.dtype != np.uint8 or predicted_mask.dtype != np.bool_:
        raise ValueError(f"expected uint8 truth and a bool mask, got {truth.dtype} and {predicted_mask.dtype}")
    if not 0 < found_fraction <= 1:
        raise ValueError(f"found_fraction {found_fraction}: expected above 0, at most 1")
    false_hits = _count_false_hits(truth, predicted_mask)
    labels, hits = ndimage.label(truth == CORE, EIGHT_NEIGHBOURS)
    if hits == 0:
        none = np.zeros(0, np.int64)
        return HitTable(none, none, np.zeros(0, bool), np.zeros(0), false_hits)
    # Core pixels are few: list them hit after hit, and reduce each stretch of the list.
    y, x = np.nonzero(labels)
    order = np.argsort(labels[y, x], kind="stable")
    y, x = y[order], x[order]
    start = np.searchsorted(labels[y, x], np.arange(1, hits + 1))
    pixels = np.diff(start, append=y.size)
    height, width = (np.maximum.reduceat(c, start) - np.minimum.reduceat(c, start) + 1 for c in (y, x))
    predicted = np.add.reduceat(predicted_mask[y, x].astype(np.int64), start)
    return HitTable(
        pixels=pixels,
        length=np.maximum(height, width),
        found=predicted / pixels >= found_fraction,
        snr=np.full(hits, np.nan) if snr is None else np.maximum.reduceat(snr[y, x], start).astype(np.float64),
        false_hits=false_hits,
    )


def snr_map(image: NDArray[np.float32], gain: float, read_noise: float) -> NDArray[np.float32]:
    """Return the signal-to-noise ratio of each pixel, as of charge on an empty sky.

    The signal is what lies above the sky, the median of the pixel's tile of 32 x 32; the noise is that of this sky
    and of the read-out, sqrt(max(sky, 0) gain + read_noise^2) / gain, and at least one electron. A star below the
    hit is part of the signal and not of the noise; a sky that was subtracted before is missing from the noise.

    Parameters
    ----------
    image : ndarray (H, W), float32
        ADU.
    gain, read_noise : float
        Electrons per ADU, electrons.
    """
    height, width = image.shape
    padded = np.pad(image, ((0, -height % SKY_TILE), (0, -width % SKY_TILE)), mode="symmetric")
    rows, columns = (side // SKY_TILE for side in padded.shape)
    tiles = padded.reshape(rows, SKY_TILE, columns, SKY_TILE).swapaxes(1, 2).reshape(rows, columns, -1)
    level = np.median(tiles, axis=-1)
    deviation = np.maximum(np.sqrt(np.maximum(level, 0) * gain + read_noise**2), 1) / gain
    sky, noise = (a.repeat(SKY_TILE, 0).repeat(SKY_TILE, 1)[:height, :width] for a in (level, deviation))
    return np.asarray((image - sky) / noise, np.float32)


def tally(values: NDArray[np.number], found: NDArray[np.bool_], starts: Sequence[float]) -> NDArray[np.int64]:
    """Count hits by class: (classes, 2), int64, hits and those found; ``starts`` is LENGTHS or SNRS."""
    place = np.searchsorted(starts, values, side="right") - 1
    counts = [np.bincount(place[chosen], minlength=len(starts)) for chosen in (np.full(found.shape, True), found)]
    return np.stack(counts, axis=1).astype(np.int64)


def _count_false_hits(truth: NDArray[np.uint8], predicted_mask: NDArray[np.bool_]) -> int:
    labels, components = ndimage.label(predicted_mask, EIGHT_NEIGHBOURS)
    y, x = np.nonzero(labels)
    not_sky = np.pad(truth != SKY, 1)
    touches = np.zeros(y.size, bool)
    for dy in range(3):
        for dx in range(3):
            touches |= not_sky[y + dy, x + dx]
    return int(components - np.unique(labels[y[touches], x[touches]]).size)
