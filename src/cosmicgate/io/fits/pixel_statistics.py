"""Classify HDUs by their pixels (noise of a sky, flags, a smooth map), and check whether two show the same image."""

import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

ROWS, COLUMNS = 64, 256  # size of the central part that is examined
MAX_VALUES = 16  # most distinct integers in a plane of flags in which neighbours mostly differ
# Ratio of second to first differences below which pixels are smooth: 1.7 for white noise, near 0 for maps.
MAX_SMOOTH_RATIO = 0.6
MEAN_BLOCK = 4  # pixels, side of averaged blocks: a filtered image may have lost its noise from pixel to pixel
MIN_BLOCKS = 256  # number of blocks below which a correlation may be chance
# Limits of the correlation of residuals. Measured on real frames: an error map and its image 0.87 to 1, two exposures
# of one field up to 0.5, two fields 0.03. In blocks: an image and its median-filtered copy 0.6 to 1, two fields 0.03.
SAME_PIXELS, LIKE_PIXELS, LIKE_BLOCKS = 0.75, 0.4, 0.35
SIGMA_TO_MAD = float(ndtri(0.75))  # median absolute deviation of a Gaussian of unit sigma: half of it lies within
MIN_RELATIVE_NOISE = 1e-6  # noise relative to the level below which it is only the rounding of float32

Kind = Literal["noise", "flags", "smooth", "constant", "nothing", "unreadable"]


@dataclass(frozen=True, eq=False)
class PixelStatistics:
    """Statistics of the central part of an HDU.

    Attributes
    ----------
    kind : {"noise", "flags", "smooth", "constant", "nothing", "unreadable"}
        In this order: pixel-to-pixel noise like that of a sky; integers of few values; no such noise; a single value
        in the whole HDU; no finite pixel; damaged.
    noise : float
        Robust standard deviation of a pixel, in the unit of the HDU.
    level : float
        Median, in the same unit.
    residuals, blocks : ndarray (h, w - 2), float32
        Central part, and its block averages, each minus the mean of left and right neighbours and in units of sigma;
        empty if ``kind`` is not "noise".
    """

    kind: Kind
    noise: float = 0.0
    level: float = 0.0
    residuals: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    blocks: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))


def pixel_statistics(hdu: Any) -> PixelStatistics:
    """Compute the statistics of the central part of an image HDU; if it may be flags, classify the whole HDU.

    A damaged HDU does not raise here: the error is reported when the whole HDU is read.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = _middle(hdu)
            kind, noise = _kind(values)
            if kind in ("flags", "constant", "nothing"):
                everything = np.asarray(hdu.data, np.float64).reshape(hdu.shape[-2:])
                del hdu.data
                kind, noise = _kind(everything)
            level = float(np.nanmedian(values)) if np.isfinite(values).any() else 0.0
    except Exception:  # astropy, zlib and cfitsio raise their own exceptions for a broken file
        return PixelStatistics("unreadable")
    if kind != "noise":
        return PixelStatistics(kind, noise, level)
    return PixelStatistics(kind, noise, level, _residuals(values), _residuals(_in_blocks(values)))


def show_same_image(first: PixelStatistics, second: PixelStatistics, *, filtered_copies: bool) -> bool:
    """Check whether two HDUs of one shape show the same image, as an image and its error map or filtered copy do.

    Their residuals are then correlated, those of two different images are not. Two HDUs that are equal in each pixel
    are copies of an image, not an image and its errors: the result is False.

    Parameters
    ----------
    first, second : PixelStatistics
        Statistics of the two HDUs.
    filtered_copies : bool
        Whether a filtered copy counts: if sky or noise differ, limits are lower and block averages count as well, and
        two exposures of one field may then count as the same image. Otherwise only a plane computed from the image
        pixel by pixel does.
    """
    same_scale = (first.level, first.noise) == (second.level, second.noise)
    if same_scale and np.array_equal(first.residuals, second.residuals, equal_nan=True):
        return False
    if not filtered_copies or _have_one_scale(first, second):
        return _correlation(first.residuals, second.residuals) > SAME_PIXELS
    if _correlation(first.residuals, second.residuals) > LIKE_PIXELS:
        return True
    return first.blocks.size >= MIN_BLOCKS and _correlation(first.blocks, second.blocks) > LIKE_BLOCKS


def _have_one_scale(first: PixelStatistics, second: PixelStatistics) -> bool:
    """Check whether sky level and noise agree, as for two frames of one camera but not for an image and its errors."""
    low, high = sorted((first.noise, second.noise))
    return high < 1.5 * low and abs(first.level - second.level) < 10 * low


def _correlation(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    if first.shape != second.shape or not first.size:
        return 0.0
    good = np.isfinite(first) & np.isfinite(second)
    power = float(np.sqrt(np.square(first[good]).sum() * np.square(second[good]).sum()))
    return abs(float((first[good] * second[good]).sum())) / max(power, 1e-12)


def is_of_few_values(values: NDArray[Any]) -> bool:
    """Check whether values (H, W) look like flags or labels: integers of few values, or areas of one value."""
    flat = values.ravel()
    good = flat[np.isfinite(flat)]
    if not good.size or (good != np.rint(good)).any():
        return False
    same = float((values[:, 1:] == values[:, :-1]).mean()) if values.shape[1] > 1 else 0.0
    return same > 0.5 or (good.min() == 0 and np.unique(good).size <= MAX_VALUES)


def _middle(hdu: Any) -> NDArray[np.float64]:
    rows, columns = hdu.shape[-2:]
    top, left = max((rows - ROWS) // 2, 0), max((columns - COLUMNS) // 2, 0)
    where = (0,) * (len(hdu.shape) - 2) + (slice(top, top + ROWS), slice(0, columns))
    part: NDArray[np.float64] = np.array(hdu.section[where], dtype=np.float64).reshape(-1, columns)
    return part[:, left : left + COLUMNS]


def _kind(values: NDArray[np.float64]) -> tuple[Kind, float]:
    good = values[np.isfinite(values)]
    if not good.size:
        return "nothing", 0.0
    if good.min() == good.max():
        return "constant", 0.0
    if is_of_few_values(values):
        return "flags", 0.0
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
    bends = [np.abs(np.diff(values, 2, axis=axis)) for axis in (0, 1)]
    step, bend = (max(float(np.nanmedian(one)) if one.size else 0.0 for one in both) for both in (steps, bends))
    noise = bend / SIGMA_TO_MAD / 6**0.5
    if bend < MAX_SMOOTH_RATIO * step or noise <= MIN_RELATIVE_NOISE * abs(float(np.median(good))):
        return "smooth", noise
    return "noise", noise


def _in_blocks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    rows, columns = (side // MEAN_BLOCK for side in values.shape)
    cut = values[: rows * MEAN_BLOCK, : columns * MEAN_BLOCK].reshape(rows, MEAN_BLOCK, columns, MEAN_BLOCK)
    means: NDArray[np.float64] = cut.mean(axis=(1, 3))
    return means


def _residuals(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Subtract the mean of left and right neighbours and clip at 3 sigma, lest single hits or stars dominate."""
    left = values[:, 1:-1] - (values[:, :-2] + values[:, 2:]) / 2
    sigma = float(np.nanmedian(np.abs(left))) / SIGMA_TO_MAD if np.isfinite(left).any() else 0.0
    return np.clip(left / (sigma or 1.0), -3, 3).astype(np.float32)
