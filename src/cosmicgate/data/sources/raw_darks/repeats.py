"""Compare the darks of one detector: signal that repeats from dark to dark is a defect, not a hit."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label
from scipy.stats import binom

from cosmicgate.data.background import background, dark_mask
from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame

with extra("train"):
    import sep

log = logging.getLogger(__name__)

MESH = 64  # pixels, mesh of the background map: bias, dark current, amplifier glow
MIN_SIGMAS = 4.0  # sigma above which a pixel is examined
HIT_SIGMAS = 5.0  # sigma, detection threshold of hits
# A bright pixel repeats if the median of the other darks exceeds REPEAT_SIGMAS sigma there and has at least
# MIN_CHARGE_FRACTION of this dark's charge, or all of it but less than HIT_SIGMAS sigma: hot pixels scale with the
# exposure time and flicker.
REPEAT_SIGMAS = 2.0
MIN_CHARGE_FRACTION = 0.5
MAX_LOST_FRACTION = 0.01  # fraction of real hit pixels that may be lost because hits of several darks coincide
SMALL_PIXELS = 2  # pixels; a hit of this size or less may as well be a hot pixel
MAX_SMALL_FRACTION, MIN_HITS = 0.9, 20  # warn if more than this fraction of at least so many hits is small


@dataclass(frozen=True, eq=False)
class RepeatingDefects:
    """Defects that repeat in the darks of one detector.

    Attributes
    ----------
    pixels : ndarray (H, W), bool
        Defective pixels, common to all darks.
    charge : ndarray (H, W), float32, ADU per second
        Charge of the defective pixels in the median dark; 0 elsewhere.
    """

    pixels: NDArray[np.bool_]
    charge: NDArray[np.float32]


def compare_darks(lazy_frames: Sequence[LazyFrame], camera: str) -> list[LazyFrame]:
    """Extend the lazy frames of one detector's darks: subtract the smooth level, and mark repeating pixels as bad.

    Parameters
    ----------
    lazy_frames : sequence of LazyFrame
        Darks of the detector in all splits, because a defect is the same in each.
    camera : str
        Name of the camera, for the log.

    Returns
    -------
    list of LazyFrame
        One lazy frame for each dark, in the same order; the darks are compared when the first of them is made.
    """
    keys = tuple(lazy.key for lazy in lazy_frames)

    @cache
    def defects() -> RepeatingDefects:
        return _find_and_log(lazy_frames, camera)

    def with_defects(lazy: LazyFrame) -> LazyFrame:
        return LazyFrame(lazy.name, ["compared darks", lazy.key, *sorted(keys)], lambda: _reduced(lazy, defects()))

    return [with_defects(lazy) for lazy in lazy_frames]


_compared: dict[tuple[str, ...], list[LazyFrame]] = {}


def compare_darks_once(camera: str, lazy_frames: list[LazyFrame]) -> list[LazyFrame]:
    """Call :func:`compare_darks`, or return its earlier result for the same darks: they are compared once per run."""
    return _compared.setdefault(tuple(lazy.key for lazy in lazy_frames), compare_darks(lazy_frames, camera))


def subtract_smooth_level(dark: Frame) -> Frame:
    """Subtract the smooth level of a dark (pedestal, dark current, glow), so that only hits and defects are left."""
    image = np.ascontiguousarray(dark.image)
    smooth = sep.Background(image, mask=dark.bad, bw=MESH, bh=MESH).back()
    level = float(np.median(smooth))
    return replace(dark, image=image - smooth, saturation=max(dark.saturation - level, 1.0))


def find_repeating(darks: Sequence[Callable[[], Frame]]) -> RepeatingDefects:
    """Find the pixels that repeat in the darks of one detector; each dark is read twice to save memory.

    A bright pixel repeats if the median of the other darks has at least half of its charge, or if the difference is
    below the threshold of a hit (a warm pixel). Both are tested with charge scaled by exposure time (a hot pixel) and
    unscaled (a column of the bias). A pixel also repeats if it is bright in more darks than hits coincide by chance.
    """
    bright: NDArray[np.int64] | None = None
    for build in darks:
        dark = subtract_smooth_level(build())
        over = (_excess(dark) > MIN_SIGMAS) & ~dark.bad
        if bright is not None and over.shape != bright.shape:
            raise ValueError(f"{dark.name}: expected a dark of {bright.shape} as the others, got {over.shape}")
        bright = over.astype(np.int64) if bright is None else bright + over
    if bright is None:
        raise ValueError("expected one dark at least")
    where = np.nonzero(bright)
    values, times, noises = np.empty((len(darks), len(where[0])), np.float32), [], []
    for row, build in enumerate(darks):
        dark = subtract_smooth_level(build())
        noises.append(background(dark)[1])
        times.append(max(dark.exptime, 1e-3))
        values[row] = np.where(dark.bad[where], 0, dark.image[where])
    repeated = _repeats(values, np.array(times, np.float32), np.array(noises, np.float32))
    repeated |= bright[where] >= _too_often(bright, len(darks))
    pixels = np.zeros(bright.shape, bool)
    pixels[where] = repeated
    charge = np.zeros(bright.shape, np.float32)
    rates = values / np.array(times, np.float32)[:, None]
    charge[where] = np.where(repeated, _lower_median(rates), 0)
    return RepeatingDefects(pixels, charge)


def _excess(dark: Frame) -> NDArray[np.float32]:
    level, noise = background(dark)
    return np.asarray((dark.image - np.float32(level)) / np.float32(noise or 1.0), np.float32)


def _repeats(values: NDArray[np.float32], times: NDArray[np.float32], noises: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mark the pixels (C,) that are bright in one of the darks ``values`` (N, C) and in the median of the others."""
    repeated = np.zeros(values.shape[1], bool)
    for row in range(len(values)):
        others = np.arange(len(values)) != row
        for scale in (np.ones(len(values), np.float32), times / times[row]):
            middle = _lower_median(values[others] / scale[others, None])
            noise = float(np.median(noises[others] / scale[others])) / np.sqrt(max(1, others.sum() / 2))
            like = (middle > MIN_CHARGE_FRACTION * values[row]) | (values[row] - middle < HIT_SIGMAS * noises[row])
            repeated |= (middle > REPEAT_SIGMAS * noise) & like & (values[row] > MIN_SIGMAS * noises[row])
    return repeated


def _lower_median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the median over the rows (N, C), the lower of two middle values: one hit does not change it."""
    middle = (len(values) - 1) // 2
    return np.asarray(np.partition(values, middle, axis=0)[middle])


def _too_often(bright: NDArray[np.int64], number: int) -> int:
    """Compute the number of darks from which a pixel is bright too often to be explained by coinciding hits."""
    once = float(np.sum(bright == 1)) / (max(number, 1) * bright.size)
    counts = np.arange(2, number + 2)
    enough = binom.sf(counts - 2, max(number - 1, 1), once) < MAX_LOST_FRACTION
    return int(counts[np.argmax(enough)]) if enough.any() else number + 1


def _reduced(lazy: LazyFrame, defects: RepeatingDefects) -> Frame:
    """Make a dark without its smooth level; defects are bad, except those covered by a hit that extends beside them."""
    dark = subtract_smooth_level(lazy.build())
    steady = defects.charge * np.float32(dark.exptime)
    noise = np.float32(background(dark)[1])
    hit = (dark.image > HIT_SIGMAS * noise) & ~defects.pixels & ~dark.bad
    above = dark.image - steady > np.maximum(HIT_SIGMAS * noise, MIN_CHARGE_FRACTION * np.abs(steady))
    covered = defects.pixels & binary_dilation(hit, KERNEL_3X3) & above
    image = np.where(covered, dark.image - steady, dark.image)
    return replace(dark, image=image.astype(np.float32), bad=dark.bad | (defects.pixels & ~covered))


def _find_and_log(lazy_frames: Sequence[LazyFrame], camera: str) -> RepeatingDefects:
    """Compare darks, and log the number of defects and hits; warn if the hits are probably hot pixels."""
    number = len(lazy_frames)
    if number > 1:
        defects = find_repeating([lazy.build for lazy in lazy_frames])
    else:
        shape = lazy_frames[0].build().shape
        defects = RepeatingDefects(np.zeros(shape, bool), np.zeros(shape, np.float32))
    sizes: list[int] = []
    for lazy in lazy_frames:
        labels, _ = label(dark_mask(_reduced(lazy, defects)), KERNEL_3X3)
        sizes += np.bincount(labels.ravel())[1:].tolist()
    count = f"{number} dark{'s' * (number > 1)} of camera {camera}"
    if number > 1:
        repeats = int(defects.pixels.sum())
        log.info("%s: %d pixels repeat and are no hits; %d hits", count, repeats, len(sizes))
    else:
        advice = "its hot pixels count as hits; give a second dark, or a mask of bad pixels (data.darks.mask)"
        log.warning("%s: nothing to compare it with, %s", count, advice)
    small = int(np.sum(np.array(sizes) <= SMALL_PIXELS)) if sizes else 0
    if len(sizes) >= MIN_HITS and small > MAX_SMALL_FRACTION * len(sizes):
        found = f"{small} of {len(sizes)} hits are of one or two pixels"
        advice = "give more darks, or a mask of bad pixels (data.darks.mask)"
        log.warning("%s: %s: they may be hot pixels rather than particles; %s", count, found, advice)
    return defects
