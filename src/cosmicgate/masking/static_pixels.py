"""Find pixels and columns that are hot, warm or flickering, by comparing the frames of one detector.

A single exposure cannot tell a hot pixel from a hit of one pixel; several exposures can. Each frame is measured by
itself (:func:`measure`): its pixels that stand above their surroundings, and how sharp they are. :func:`find_static`
then counts in how many frames a pixel stands out, and compares its sharpness with that of the stars, which stay on the
same pixels if the telescope does not move between exposures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d
from scipy.stats import binom

from cosmicgate.data.noise_samples import SAME_FRAME_CORRELATION, noise_correlations, noise_sample
from cosmicgate.inference.background_grid import MESH_SIZE, MIN_GOOD_PIXELS
from cosmicgate.io.urls import Address
from cosmicgate.masking.arrays import image_and_bad, is_nddata
from cosmicgate.models.normalization import level_and_noise

if TYPE_CHECKING:
    from astropy.nddata import NDData

MIN_FRAMES = 5  # minimum number of frames of a detector, and of those in which a pixel is good
MIN_EXCESS = 4.0  # sigma, by which a pixel stands above its surroundings
MIN_DETECTIONS = 3  # number of frames in which a static pixel stands out
MIN_DETECTION_FRACTION = 0.1  # number of these frames, relative to those in which the pixel is good
MAX_BY_CHANCE = 0.1  # expected number of pixels of a detector in which hits coincide often enough
MIN_STAR_EXCESS = 30.0  # sigma: brightness of the stars whose sharpness is measured
# A neighbour ratio is the light of the two neighbours of a pixel, in its row or column, relative to its own.
MIN_STAR_RATIO = 0.15  # neighbour ratio of a peak above which it may be a star
DEFAULT_STAR_RATIO = 0.15  # neighbour ratio of the sharpest stars that is assumed if there are few stars
MIN_STARS = 20
CENTRED_RATIO = 0.4  # neighbour ratio of a star centred on a pixel, relative to the median of stars: 0.4 or more
MAX_STARS = 500  # maximum number of stars that are used of a frame
MIN_SIGNIFICANCE = 4.0  # sigma, by which a static pixel is sharper than stars in all frames together
MAX_SCORE = 5.0  # sigma, by which it counts as sharper in one frame
RATIO_NOISE = 1.7  # noise of the light of two neighbours above their surroundings, in sigma of a pixel
LINE_WINDOW = 33  # pixels of a column or row, of which half must be static for the others to be static too
# Names of arrays in the files of measurements, where they are not the present names of the attributes.
SAVED_NAMES = {"neighbour_ratio": "light", "fingerprint": "noise"}
NEIGHBOURHOOD = ((-2, -2), (-2, 0), (-2, 2), (0, -2), (0, 2), (2, -2), (2, 0), (2, 2))


@dataclass(frozen=True, eq=False)
class Measurement:
    """Pixels of a frame that stand above their surroundings.

    Attributes
    ----------
    shape : ndarray (2,), int
        Rows and columns.
    index : ndarray (N,), uint32
        Pixels that stand out, as indices into the flattened frame, in ascending order.
    excess : ndarray (N,), float32
        Excess over their surroundings, in sigma.
    neighbour_ratio : ndarray (2, N), float32
        Excess of their two neighbours in the row, and in the column, relative to their own; infinite if one is bad.
    stars : ndarray (S,), float32
        Lesser one of these two numbers, for bright peaks that may be stars.
    bad : ndarray, uint8
        Bad pixels of the flattened frame, as packed bits.
    fingerprint : ndarray (M,), float32
        Sample of the noise, by which a copy of the frame is recognised.
    """

    shape: NDArray[np.int64]
    index: NDArray[np.uint32]
    excess: NDArray[np.float32]
    neighbour_ratio: NDArray[np.float32]
    stars: NDArray[np.float32]
    bad: NDArray[np.uint8]
    fingerprint: NDArray[np.float32]

    def arrays(self, prefix: str = "") -> dict[str, NDArray[Any]]:
        """Collect the arrays by name, to save them."""
        return {prefix + SAVED_NAMES.get(one.name, one.name): getattr(self, one.name) for one in fields(self)}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> Measurement:
        """Make a measurement from arrays that :meth:`arrays` named."""
        return cls(*(arrays[prefix + SAVED_NAMES.get(one.name, one.name)] for one in fields(cls)))


@dataclass(frozen=True, eq=False)
class StaticMap:
    """Static pixels of a detector.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns.
    index : ndarray (N,), uint32
        Static pixels as indices into the flattened frame, in ascending order.
    frames : int
        Number of different exposures that were compared.
    """

    shape: tuple[int, int]
    index: NDArray[np.uint32]
    frames: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Static pixels (H, W), bool."""
        mask = np.zeros(self.shape, bool)
        mask.ravel()[self.index] = True
        return mask


@dataclass(frozen=True, eq=False)
class StaticPixels:
    """Static pixels of the detectors of a night, and which image was taken by which detector.

    Attributes
    ----------
    maps : sequence of StaticMap
        One for each detector that took five frames or more.
    images : mapping of str to mapping
        For each file (absolute path): number of an image's HDU -> number of its detector in ``maps``.
    """

    maps: Sequence[StaticMap] = ()
    images: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def maps_for_file(self, file: Address) -> dict[int, StaticMap]:
        """Look up the static pixels of each image of a file, by the number of its HDU."""
        numbers = self.images.get(str(file.absolute()), {})
        return {hdu: self.maps[number] for hdu, number in numbers.items()}

    def digest(self, file: Address) -> str:
        """Hash the static pixels of a file's images; empty if none of its detectors was compared."""
        return ",".join(f"{hdu}:{self._digests[number]}" for hdu, number in self._numbers(file))

    def _numbers(self, file: Address) -> list[tuple[int, int]]:
        return sorted(self.images.get(str(file.absolute()), {}).items())

    @cached_property
    def _digests(self) -> list[str]:
        return [hashlib.sha256(str(one.shape).encode() + one.index.tobytes()).hexdigest()[:32] for one in self.maps]

    @property
    def line(self) -> str:
        """Number of static pixels and of the frames that were compared, in one line."""
        if not self.maps:
            return f"static pixels: not searched for, as no detector took {MIN_FRAMES} different frames or more"
        count, size = sum(len(one.index) for one in self.maps), sum(one.shape[0] * one.shape[1] for one in self.maps)
        low, high = min(one.frames for one in self.maps), max(one.frames for one in self.maps)
        frames = f"{low}" if low == high else f"{low} to {high}"
        many = f" of each of {len(self.maps)} detectors" if len(self.maps) > 1 else ""
        return f"static pixels: {count} ({1e6 * count / size:.0f} a megapixel) in {frames} frames{many}"


def static_pixels(
    frames: Sequence[NDArray[Any] | NDData], bad: Sequence[NDArray[np.bool_]] | None = None, mosaic: bool = False
) -> NDArray[np.bool_]:
    """Find the static pixels of a detector: those that are hot, warm or flickering whatever the telescope points at.

    Parameters
    ----------
    frames : sequence of ndarray (H, W) or NDData
        Five or more frames of one detector and window, of at least 8x8 pixels, not resampled, in any unit; dithered or
        not, and of any exposure time. An iterator of frames is not enough, but a list of memory maps is.
    bad : sequence of ndarray (H, W), bool, optional
        Pixels to ignore in each frame, in addition to those that are masked or not finite.
    mosaic : bool
        Whether the frames are colour mosaics of 2x2 pixels.

    Returns
    -------
    ndarray (H, W), bool
        True where a pixel is static; give it as ``bad`` to :meth:`cosmicgate.CosmicRayMasker.mask`.

    Raises
    ------
    TypeError, ValueError
        There are fewer than five different frames, they differ in shape, or one is no image of numbers.
    """
    shapes = [np.shape(one.data if is_nddata(one) else one) for one in frames]
    if len(frames) < MIN_FRAMES:
        raise ValueError(f"expected {MIN_FRAMES} frames of one detector or more, got {len(frames)}")
    if len(set(shapes)) > 1 or len(shapes[0]) != 2:
        raise ValueError(f"expected frames (H, W) of one shape, got {', '.join(map(str, sorted(set(shapes))))}")
    if bad is not None and [np.shape(one) for one in bad] != shapes:
        raise ValueError(f"expected for each of the {len(frames)} frames a mask of its shape {shapes[0]}")
    images = (image_and_bad(one, None if bad is None else bad[number]) for number, one in enumerate(frames))
    measured = [measure(np.asarray(values, np.float32), bad_here, mosaic) for values, bad_here in images]
    found = find_static(measured)
    if found is None:
        raise ValueError(f"expected {MIN_FRAMES} different frames or more: some are copies of others, or have no noise")
    return found.mask


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # values near the largest float overflow
def measure(image: NDArray[np.float32], bad: NDArray[np.bool_], mosaic: bool = False) -> Measurement:
    """Find the pixels of a frame that stand above their surroundings, and measure how sharp they are.

    The surroundings are eight pixels at a distance of two; noise is measured in blocks of 128 px, and from the scatter
    of the fainter ones of the eight, which is larger on stars and nebulae.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Frame, in any unit.
    bad : ndarray (H, W), bool
        Pixels to ignore.
    mosaic : bool
        Whether it is a colour mosaic of 2x2 pixels: pixels of one colour are then compared.
    """
    step = 2 if mosaic else 1
    bad = bad | ~np.isfinite(image)
    image = np.where(bad, np.float32(np.nan), image)
    padded = np.pad(image, 2 * step, mode="reflect")
    parts = [
        _measure_rows(padded[top : top + MESH_SIZE + 4 * step], top, step)
        for top in range(0, image.shape[0], MESH_SIZE)
    ]  # by strips of rows, to save memory
    index, excess, neighbour_ratio, stars = (np.concatenate(one, axis=-1) for one in zip(*parts, strict=True))
    return Measurement(
        shape=np.array(image.shape),
        index=index.astype(np.uint32),
        excess=excess.astype(np.float32),
        neighbour_ratio=neighbour_ratio.astype(np.float32),
        stars=stars[:: -(-len(stars) // MAX_STARS) or 1].astype(np.float32),
        bad=np.packbits(bad),
        fingerprint=noise_sample(image[::step, ::step]),
    )


def _measure_rows(padded: NDArray[np.float32], top: int, step: int) -> tuple[NDArray[Any], ...]:
    """Measure a strip of rows that begins at row ``top`` of its frame and is padded by ``2 * step`` pixels.

    Returns
    -------
    index, excess, neighbour_ratio, stars : ndarray
        As in :class:`Measurement`.
    """
    edge = 2 * step
    height, width = padded.shape[0] - 2 * edge, padded.shape[1] - 2 * edge

    def shifted(down: int, across: int) -> NDArray[np.float32]:
        """View the pixels that lie ``down`` and ``across`` steps away."""
        rows, columns = edge + down * step, edge + across * step
        return padded[rows : rows + height, columns : columns + width]

    def ratio_at(where: Any, level: NDArray[np.float32]) -> NDArray[np.float32]:
        """Measure the excess (2, N) of both neighbours in row and column, relative to the pixel; infinite if bad."""
        pairs = [((0, -1), (0, 1)), ((-1, 0), (1, 0))]
        own = shifted(0, 0)[where] - level
        ratio = np.array([(shifted(*one)[where] + shifted(*other)[where] - 2 * level) / own for one, other in pairs])
        return np.where(np.isfinite(ratio) & (own > 0), ratio, np.float32(np.inf))

    image = shifted(0, 0)
    level, noise = _level_and_noise(image, edge)
    bright = np.nonzero(image > level + MIN_STAR_EXCESS * noise)
    near = [(down, across) for down in (-1, 0, 1) for across in (-1, 0, 1) if down or across]
    is_peak = np.all([~(shifted(*one)[bright] > image[bright]) for one in near], axis=0)
    peaks = tuple(one[is_peak] for one in bright)
    star_ratio = ratio_at(peaks, _around(shifted, peaks)[4])
    stars = star_ratio[:, np.isfinite(star_ratio).all(axis=0)].min(axis=0, initial=np.inf)

    below = np.zeros(image.shape, np.uint8)
    for offset in NEIGHBOURHOOD:
        below += shifted(*offset) < image - MIN_EXCESS * noise
    where = np.nonzero(below > len(NEIGHBOURHOOD) // 2)  # far above the median of the eight
    around = _around(shifted, where)
    scatter = (around[4] - around[1]) / np.float32(0.99)  # the expected difference of these two is 0.99 sigma
    excess = (image[where] - around[4]) / np.maximum(noise[where], scatter)
    out = excess > MIN_EXCESS
    where = tuple(one[out] for one in where)
    neighbour_ratio = ratio_at(where, around[4][out])
    return (where[0] + top) * width + where[1], excess[out], neighbour_ratio, stars[stars > MIN_STAR_RATIO]


def _around(shifted: Callable[[int, int], NDArray[np.float32]], where: Any) -> NDArray[np.float32]:
    """Sort the eight pixels (8, N) at a distance of two around each of N pixels; bad ones come last."""
    return np.sort([shifted(*offset)[where] for offset in NEIGHBOURHOOD], axis=0)


def _level_and_noise(image: NDArray[np.float32], apart: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Measure level and noise (H, W) of a strip of rows in blocks of about 128 px; NaN where there is none.

    The noise is that of the differences of pixels ``apart`` pixels apart, so that gradients do not add to it.
    """
    level, noise = np.full((2, *image.shape), np.nan, np.float32)
    edges = np.linspace(0, image.shape[1], max(1, round(image.shape[1] / MESH_SIZE)) + 1).astype(int)
    for left, right in pairwise(edges):
        part = np.s_[:, left:right]
        steps = image[part][:, apart:] - image[part][:, :-apart]
        good = steps[np.isfinite(steps)]
        if good.size >= max(1, min(MIN_GOOD_PIXELS, steps.size // 4)):
            sigma = float(level_and_noise(torch.from_numpy(good)[None])[1]) / np.sqrt(2)
            noise[part], level[part] = sigma or np.nan, np.nanmedian(image[part])
    return level, noise


def find_static(measured: Sequence[Measurement]) -> StaticMap | None:
    """Find the pixels that stand out in many frames of a detector and are sharper than its stars.

    A pixel must stand out in at least three frames and a tenth of those in which it is good, and in so many that hits
    do not fall on one pixel as often by chance. The light of its neighbours, in the row or in the column, must be
    significantly less than beside the peaks of the sharpest stars. Where half of a piece of a column or row is static,
    all of it is.

    Parameters
    ----------
    measured : sequence of Measurement
        Frames of one shape. A sequence that reads them when they are accessed needs little memory: each is accessed
        twice.

    Returns
    -------
    StaticMap or None
        None if there are fewer than five different frames.
    """
    independent, stars = _independent_frames(measured)
    if len(independent) < MIN_FRAMES:
        return None
    first = measured[independent[0]].shape
    shape, sharpest_ratio = (int(first[0]), int(first[1])), _sharpest_star_ratio(stars)
    good = np.zeros(shape[0] * shape[1], np.uint16)
    detections, scores = np.zeros(good.size, np.uint16), np.zeros((2, good.size), np.float32)
    outstanding = np.zeros(good.size, np.uint16)
    for one in (measured[number] for number in independent):
        good += 1 - np.unpackbits(one.bad, count=good.size)
        score = np.clip((sharpest_ratio - one.neighbour_ratio) * one.excess / RATIO_NOISE, -MAX_SCORE, MAX_SCORE)
        scores[:, one.index] += score
        outstanding[one.index] += 1
        detections[one.index[one.neighbour_ratio.min(axis=0, initial=np.inf) < sharpest_ratio]] += 1
    min_detections = _detections_beyond_chance(detections, len(independent))
    enough = (detections >= min_detections) & (detections >= MIN_DETECTION_FRACTION * good) & (good >= MIN_FRAMES)
    significance = scores.max(axis=0) / np.sqrt(np.maximum(outstanding, 1))
    static = (enough & (significance > MIN_SIGNIFICANCE)).reshape(shape)
    for axis, side in enumerate(shape):
        if side >= LINE_WINDOW:
            static |= uniform_filter1d(static.astype(np.float32), LINE_WINDOW, axis=axis) >= 0.5
    return StaticMap(shape, np.flatnonzero(static).astype(np.uint32), len(independent))


def _independent_frames(measured: Sequence[Measurement]) -> tuple[list[int], NDArray[np.float32]]:
    """List the numbers of the frames that are different exposures, and collect the neighbour ratios of their stars.

    Of copies of one exposure, raw and reduced say, only the first counts. Frames without noise are left out.
    """
    numbers: list[int] = []
    stars: list[NDArray[np.float32]] = []
    fingerprints = np.empty((len(measured), 0), np.float32)
    for number, one in enumerate(measured):
        if not numbers:
            fingerprints = np.empty((len(measured), len(one.fingerprint)), np.float32)
        own = one.fingerprint
        if own.any() and not (noise_correlations(fingerprints[: len(numbers)], own) > SAME_FRAME_CORRELATION).any():
            fingerprints[len(numbers)] = own
            numbers.append(number)
            stars.append(one.stars)
    return numbers, np.concatenate([np.empty(0, np.float32), *stars])


def _sharpest_star_ratio(stars: NDArray[np.float32]) -> float:
    """Estimate the neighbour ratio of the sharpest stars.

    It is derived from the median, as there is least light beside a star's brightest pixel if the star is centred on it.
    Hits among the peaks only make the number smaller.
    """
    return CENTRED_RATIO * float(np.median(stars)) if stars.size >= MIN_STARS else DEFAULT_STAR_RATIO


def _detections_beyond_chance(detections: NDArray[np.uint16], frames: int) -> int:
    """Find the number of detections that hits on one pixel of a detector hardly ever reach by chance.

    The rate of hits is taken from pixels that stand out once or twice.
    """
    counts = np.bincount(detections, minlength=3)
    rate = (counts[1] + 2 * counts[2]) / (detections.size * frames)
    expected = detections.size * binom.sf(np.arange(frames + 1) - 1, frames, rate)
    rare = expected < MAX_BY_CHANCE
    return max(MIN_DETECTIONS, int(np.argmax(rare)) if rare.any() else frames + 1)
