"""Find what a detector should leave alone in real frames: stars that other exposures show as well, and hot pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from cosmicgate.data.background import snr_map
from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3, RING
from cosmicgate.data.star_match import best_shift
from cosmicgate.io.fits.frames import Frame

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
Places = NDArray[np.float64]
STAR_SNR, MIN_COUNTERPART_SNR = 10.0, 5.0  # lowest S/N of the brightest pixel of a star, and of its counterparts
MIN_NEIGHBOURS = 0.1  # minimum mean of the eight pixels around a star's peak, relative to it; a hot pixel's is about 0
HIT_DISTANCE = 3  # pixels from a hit, within which no star is counted
NEIGHBOUR_EXPOSURES = 2  # exposures before and after a frame in which its stars are looked for
MAX_ALIGNMENT_STARS = 80  # brightest stars, by which the shift of two exposures is found
MIN_PAIRS = 5  # minimum number of stars of two exposures that coincide after the shift
RADIUS = 1.0  # pixels, maximum distance of a star from its counterpart
MIN_EXPOSURES = 3  # from which static pixels can be told from hits
MAX_CLIPPED_SNR, HOT_SNR = 10.0, 5.0  # hot: mean S/N over the exposures, each clipped, above HOT_SNR
# Maximum mean S/N of a hot pixel's neighbours, as a fraction of its own; that of undersampled stars is above 0.3.
MAX_NEIGHBOURS = 0.25


@dataclass(frozen=True, eq=False)
class KnownObjects:
    """The stars and hot pixels of exposures of one camera, found by comparing them.

    A star is a local maximum that is wider than a pixel, not saturated, and at the same place of the sky in two of the
    exposures before and after it (or in one, if no more show the same sky). Exposures may be shifted, not turned. A hot
    pixel stands out from its neighbours in the mean of all exposures.

    Attributes
    ----------
    paths : sequence of Path
        Files, in the order of time.
    read : callable
        Reads the frame of a file.
    """

    paths: Sequence[Path]
    read: Callable[[Path], Frame]

    def facts(self, path: Path, truth: NDArray[np.uint8]) -> dict[str, Any]:
        """List the stars and hot pixels of a frame for its facts; stars at hits of its truth (H, W) are left out.

        Returns
        -------
        dict
            ``stars``: row, column and S/N of the brightest pixel of each; ``hot_pixels``: row and column of each.
            Either is missing where there are too few exposures to tell.
        """
        found: dict[str, Any] = {}
        stars, hot = self._stars[path], self._hot_pixels.get(truth.shape)
        if hot is not None:
            found["hot_pixels"] = _columns(np.argwhere(hot), ("row", "column"), int)
        if stars is not None:
            blocked = ndimage.binary_dilation(np.isin(truth, (CORE, RING)), KERNEL_3X3, iterations=HIT_DISTANCE)
            if hot is not None:
                blocked |= ndimage.binary_dilation(hot, KERNEL_3X3)
            rows, columns = stars[:, :2].astype(int).T
            stars = stars[~blocked[rows, columns]]
            found["stars"] = _columns(stars[:, :2], ("row", "column"), int) | _columns(stars[:, 2:], ("snr",), float)
        return found

    @cached_property
    def _measured(self) -> tuple[dict[Path, Places], dict[tuple[int, ...], tuple[Image, int]]]:
        """Read every frame once: its peaks, and the sum of the clipped S/N of all frames of a shape."""
        peaks: dict[Path, Places] = {}
        sums: dict[tuple[int, ...], tuple[Image, int]] = {}
        for path in self.paths:
            frame = self.read(path)
            snr = snr_map(frame.image, frame.gain, frame.read_noise)
            peaks[path] = find_peaks(snr, frame.bad | (frame.image >= 0.9 * frame.saturation))
            total, number = sums.get(frame.shape, (np.zeros(frame.shape, np.float32), 0))
            clipped = np.where(frame.bad, np.float32(0), np.clip(snr, -MAX_CLIPPED_SNR, MAX_CLIPPED_SNR))
            sums[frame.shape] = (total + clipped).astype(np.float32), number + 1
        return peaks, sums

    @cached_property
    def _hot_pixels(self) -> dict[tuple[int, ...], Mask]:
        sums = self._measured[1].items()
        return {shape: hot_pixels_in_mean(total / np.float32(n)) for shape, (total, n) in sums if n >= MIN_EXPOSURES}

    @cached_property
    def _stars(self) -> dict[Path, Places | None]:
        peaks = list(self._measured[0].values())
        found: dict[Path, Places | None] = {}
        for number, path in enumerate(self.paths):
            around = peaks[max(0, number - NEIGHBOUR_EXPOSURES) : number]
            around += peaks[number + 1 : number + 1 + NEIGHBOUR_EXPOSURES]
            found[path] = confirmed_stars(peaks[number], around)
        return found


def find_peaks(snr: Image, unusable: Mask) -> Places:
    """Find local maxima that are wider than a pixel.

    Parameters
    ----------
    snr : ndarray (H, W), float32
        Signal-to-noise ratio of each pixel.
    unusable : ndarray (H, W), bool
        Bad and saturated pixels; no peak touches them.

    Returns
    -------
    ndarray (N, 5), float64
        Row, column and S/N of the brightest pixel of each peak, then row and column of its centre of light; the
        brightest peak first.
    """
    smooth = ndimage.gaussian_filter(snr, 1.0)
    peak = (smooth == ndimage.maximum_filter(smooth, 5)) & (smooth > MIN_COUNTERPART_SNR / 4)
    peak &= ~ndimage.binary_dilation(unusable, KERNEL_3X3, iterations=2)
    peak[:3] = peak[-3:] = peak[:, :3] = peak[:, -3:] = False
    y, x = np.nonzero(peak)
    if not y.size:
        return np.zeros((0, 5))
    offset = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    brightest = np.argmax(snr[y[:, None] + offset[:, 0], x[:, None] + offset[:, 1]], axis=1)
    y, x = y + offset[brightest, 0], x + offset[brightest, 1]
    near = snr[y[:, None] + offset[:, 0], x[:, None] + offset[:, 1]].astype(np.float64)
    value, light = near[:, 4], np.maximum(near, 0)
    width = (near.sum(axis=1) - value) / 8 / np.maximum(value, 1e-9)
    centre = np.stack([y, x], axis=1) + (light @ offset) / np.maximum(light.sum(axis=1), 1e-9)[:, None]
    table = np.column_stack([y, x, value, centre])[(value >= MIN_COUNTERPART_SNR) & (width > MIN_NEIGHBOURS)]
    return np.asarray(table[np.argsort(-table[:, 2], kind="stable")])


def confirmed_stars(peaks: Places, others: Sequence[Places]) -> Places | None:
    """Keep the peaks (N, 5) of an exposure that others of the same sky have too: row, column, S/N (M, 3).

    None if no other exposure shows the same sky.
    """
    times, compared = np.zeros(len(peaks), int), 0
    for other in others:
        if not len(peaks) or not len(other):
            continue
        shift, pairs = best_shift(peaks[:MAX_ALIGNMENT_STARS, 3:], other[:MAX_ALIGNMENT_STARS, 3:])
        if pairs < max(MIN_PAIRS, 0.25 * min(len(peaks), len(other), MAX_ALIGNMENT_STARS)):
            continue
        compared += 1
        times += KDTree(other[:, 3:]).query(peaks[:, 3:] + shift)[0] < RADIUS
    if not compared:
        return None
    return peaks[(times >= min(2, compared)) & (peaks[:, 2] >= STAR_SNR), :3]


def hot_pixels_in_mean(mean_snr: Image) -> Mask:
    """Mark the pixels (H, W) that stand out from all their neighbours in the mean S/N of several exposures."""
    around = KERNEL_3X3.copy()
    around[1, 1] = False
    neighbour = ndimage.maximum_filter(mean_snr, footprint=around)
    return np.asarray((mean_snr > HOT_SNR) & (neighbour < MAX_NEIGHBOURS * mean_snr))


def _columns(table: NDArray[Any], names: Sequence[str], kind: type) -> dict[str, list[Any]]:
    return {name: [kind(value) for value in table[:, place]] for place, name in enumerate(names)}
