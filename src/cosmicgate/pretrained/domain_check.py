"""Check whether an image is like those that a network was trained on, and warn with advice if it is not.

The check compares a few features of the sky and the sharpest sources with their ranges in the training frames.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter

from cosmicgate.models.normalization import level_and_noise

SKY_BLOCK = 32  # px: side of the blocks, of which the calm ones are sky
SAMPLE_SIZE = 1024  # px: features are measured on the central part of this size
STRIP_ROWS = 64  # length over which a spectral line is straight
LINE_DISTANCE = 6  # px: distance from a line at which the profile beside it is measured
MIN_LINE_HEIGHT = 10.0  # sigma: height above that profile from which a peak counts as a line
MIN_NEIGHBOUR_HEIGHT = 0.2  # height of a line's higher neighbour relative to its peak; a defective column has less
MIN_PROFILE = 16  # px: shorter profiles are not searched for lines
MIN_PEAK = 20.0  # sigma: height from which the sharpness of a source is measured
MIN_SOURCES = 20  # minimum number of sources measured for a sharpness: of fewer, many are hits and hot pixels
MAX_PEAKS = 20_000  # maximum number of peaks that are measured; more are sampled evenly
# Of 5x5 pixels, counted from 0 by rows: those of the rim, and the neighbours of the middle.
RIM = [n for n in range(25) if n // 5 in (0, 4) or n % 5 in (0, 4)]
NEIGHBOURS = [6, 7, 8, 11, 13, 16, 17, 18]
FEATURES = {
    "background": "background (counts)",
    "noise": "noise (counts)",
    "correlation": "correlation of neighbouring sky pixels",
    "sources": "fraction of the image covered by sources",
    "sharpness": "fraction of a source's light in its brightest pixel",
}
# Advice for a feature that is too low, and for one that is too high.
ADVICE = {
    "background": ("check its unit", "check its unit"),
    "noise": ("check its unit", "check its unit"),
    "correlation": (
        "was it sharpened? search the frames before that",
        "was it resampled or smoothed? search the frames before that",
    ),
    "sources": ("", "a crowded field, a nebula or a spectrum: look at some of its hits, raise the threshold"),
    "sharpness": (
        "stars are trailed or out of focus: look at some of its hits",
        "stars are undersampled (FWHM below about 1 px): single pixels that are called hit may be stars; raise the"
        " threshold, compare two exposures",
    ),
}
# Features that no training frame has: the highest value accepted, and the warning with advice.
NEVER_IN_TRAINING = {
    "resampling": (
        0.22,  # read-out patterns cause up to 0.17 in real frames
        "noise of neighbouring pixels is correlated ({:.2f}): the image was resampled or smoothed, so noise looks like"
        " faint hits, and hits are blurred; search the frames before resampling",
    ),
    "lines": (
        4.0,
        "it has many narrow lines ({:.0f} in most strips): a spectrum or an arc lamp, whose lines may be called hits;"
        " raise the threshold, compare two exposures",
    ),
}
# Tolerance beyond the training range: simulated sky has no correlation at all, and that of white noise is measured to a
# few thousandths.
RANGE_TOLERANCE = {"correlation": 0.05}
MAX_SKEW = 0.05  # calm blocks with a larger skew are correlated by the light of sources, as in a crowded field


# Highest fraction of the pixels that particles hit per second: ten times the 0.029 % of a 90 s frame of DECam, a thick
# CCD on a mountain (docs/simulation.md). Cameras in orbit also reach it: 1.5 to 3 % in 1000 s of HST/ACS (ACS
# Instrument Handbook, 7.3).
MAX_HIT_RATE = 10 * 0.00029 / 90
READOUT_TIME = 60.0  # s: particles also hit during the read-out
MAX_FALSE_FRACTION = 0.0005  # fraction of the pixels that may be false positives
LONG_HIT_PIXELS = 150  # px: one hit in a hundred is longer, so in a small image a single hit may be a large fraction
MAX_HIT_FRACTION = 0.03  # fraction of the pixels allowed if the exposure time is not known: that of 1000 s in orbit


MAX_LOWEST = 0.25  # fraction of the pixels that may have the lowest value, if these lie scattered
MIN_SCATTERED = 0.05  # fraction of the pixels that have the lowest value and whose neighbour has another, if scattered
MAX_ONE_VALUE = 0.85  # fraction of the pixels that may have one value


class ImageWarning(UserWarning):
    """Warning that a mask should be inspected before it is used."""


class OutOfDomainWarning(ImageWarning):
    """Warning that an image is unlike those that the network was trained on."""


class HighHitFractionWarning(ImageWarning):
    """Warning that more of an image is masked than particles can hit."""


class NoNoiseWarning(ImageWarning):
    """Warning that the noise of an image cannot be measured, so that hits cannot be told from it."""


@np.errstate(over="ignore", invalid="ignore")  # values near the largest float overflow
def domain_features(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> dict[str, float]:
    """Measure the features of :data:`FEATURES` and :data:`NEVER_IN_TRAINING` in an image (H, W).

    A feature that cannot be measured in it is NaN.
    """
    top, left = (max((length - SAMPLE_SIZE) // 2, 0) for length in image.shape)
    middle = np.s_[top : top + SAMPLE_SIZE, left : left + SAMPLE_SIZE]
    image, bad = image[middle], bad[middle]
    if bad.all():
        return dict.fromkeys((*FEATURES, *NEVER_IN_TRAINING), np.nan)
    background, noise = (float(one) for one in level_and_noise(torch.from_numpy(image[~bad])[None]))
    scaled = (image - np.float32(background)) / np.float32(noise or 1.0)
    calm = _calm_blocks(scaled, bad)
    return {
        "background": background,
        "noise": noise,
        "correlation": _correlation(calm, 1),
        "sources": float(((scaled > 5) & ~bad).mean()),
        "sharpness": _sharpness(scaled, bad),
        "resampling": np.nan if _skew(calm) > MAX_SKEW else _correlation(calm, 2),
        "lines": _lines(np.where(bad, 0, scaled)),
    }


def _calm_blocks(scaled: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Cut out the fifth (N, S, S) of the blocks without bad pixels that vary least, because they hold few stars."""
    rows, columns = (length // SKY_BLOCK for length in scaled.shape)
    whole = np.stack([scaled, bad])[:, : rows * SKY_BLOCK, : columns * SKY_BLOCK]
    whole = whole.reshape(2, rows, SKY_BLOCK, columns, SKY_BLOCK).transpose(0, 1, 3, 2, 4)
    whole = whole.reshape(2, -1, SKY_BLOCK, SKY_BLOCK)
    blocks: NDArray[np.float32] = whole[0][~whole[1].any(axis=(1, 2))]
    if not len(blocks):
        return blocks
    spread = np.median(np.abs(blocks - np.median(blocks, axis=(1, 2), keepdims=True)), axis=(1, 2))
    calm: NDArray[np.float32] = blocks[spread <= np.quantile(spread, 0.2)]
    return calm


def _correlation(calm: NDArray[np.float32], order: int) -> float:
    """Measure the correlation of neighbours in calm blocks (N, S, S).

    It compares the differences of neighbours with those of pixels four apart. Differences are insensitive to the sky
    level, and those of second order also to its gradient.
    """
    if not len(calm):
        return np.nan
    near, far = (
        np.concatenate([np.abs(_differences(calm, step, axis, order)).ravel() for axis in (1, 2)]) for step in (1, 4)
    )
    most = 4.5 * np.median(far)  # 3 sigma: larger differences, of stars and hits, are clipped to it
    square = float(np.mean(np.minimum(far, most) ** 2))
    return 1 - float(np.mean(np.minimum(near, most) ** 2)) / square if square else np.nan


def _differences(blocks: NDArray[np.float32], step: int, axis: int, order: int) -> NDArray[np.float32]:
    found = np.moveaxis(blocks, axis, 0)
    for _ in range(order):
        found = found[step:] - found[:-step]
    return found


def _skew(calm: NDArray[np.float32]) -> float:
    """Measure the skew of the values of calm blocks (N, S, S), -1 to 1, each block about its own median."""
    if not len(calm):
        return np.nan
    low, middle, high = np.mean(np.quantile(calm, [0.1, 0.5, 0.9], axis=(1, 2)), axis=1)
    return float((low + high - 2 * middle) / (high - low)) if high > low else np.nan


def _lines(scaled: NDArray[np.float32]) -> float:
    """Count the spectral lines along rows or columns in strips of 64 px; the result is the median over the strips.

    A line is a peak of a strip's median profile that is :data:`MIN_LINE_HEIGHT` above the profile
    :data:`LINE_DISTANCE` away on both sides, and wider than a single defective column.
    """
    counts = []
    for image in (scaled, scaled.T):
        strips = [
            np.median(image[top : top + STRIP_ROWS], axis=0)
            for top in range(0, len(image) - STRIP_ROWS + 1, STRIP_ROWS)
        ]
        if not strips or len(strips[0]) < MIN_PROFILE:
            continue
        profile = np.stack(strips)
        away = LINE_DISTANCE
        peak = profile[:, away:-away]
        beside = np.maximum(profile[:, : -2 * away], profile[:, 2 * away :])
        near = np.maximum(profile[:, away - 1 : -away - 1], profile[:, away + 1 : 1 - away])
        height = peak - beside
        found = (height > MIN_LINE_HEIGHT) & (peak >= near) & (near - beside > MIN_NEIGHBOUR_HEIGHT * height)
        counts.append(float(np.median(found.sum(axis=1))))
    return max(counts, default=np.nan)


def _sharpness(scaled: NDArray[np.float32], bad: NDArray[np.bool_]) -> float:
    """Measure the median share of peaks in the light of their 3x3 pixels: 1/9 on a plateau, near 1 if undersampled.

    Peaks without light beside them are left out (:func:`_is_single_pixel`).
    """
    if min(scaled.shape) < 5:
        return np.nan
    peaks = (scaled == maximum_filter(scaled, 3)) & (scaled > MIN_PEAK) & ~maximum_filter(bad, 3)
    rows, columns = np.nonzero(peaks[2:-2, 2:-2])
    step = len(rows) // MAX_PEAKS + 1
    around = sliding_window_view(scaled, (5, 5))[rows[::step], columns[::step]]
    around = around[~_is_single_pixel(around)]
    peak, light = around[:, 2, 2], around[:, 1:-1, 1:-1].sum(axis=(1, 2))
    return float(np.median(peak / np.maximum(light, peak))) if len(around) >= MIN_SOURCES else np.nan


def _is_single_pixel(around: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Check for peaks in the middle of 5x5 pixels (N, 5, 5), in sigma, whether the pixels beside them are dark (N,).

    Such a peak is a hot pixel, or a star or hit narrower than a pixel. It does not tell how wide stars are: of stars
    with a FWHM of half a pixel, four in five lie so near an edge that there is light beyond it.
    """
    flat = around.reshape(-1, 25)
    level = np.median(flat[:, RIM], axis=1)
    height, beside = flat[:, 12] - level, flat[:, NEIGHBOURS].max(axis=1) - level
    single: NDArray[np.bool_] = (height > MIN_PEAK / 2) & (beside < np.maximum(5, 0.1 * height))
    return single


def warn_if_out_of_domain(found: Mapping[str, float], ranges: Mapping[str, Any]) -> list[str]:
    """Warn, with advice, if features lie outside the range of the training frames; return one reason per feature."""
    reasons = []
    for feature, (low, high) in ranges.items():
        value, tolerance = found.get(feature, np.nan), RANGE_TOLERANCE.get(feature, 0.0)
        if np.isfinite(value) and not low - tolerance <= value <= high + tolerance:
            advice = ADVICE[feature][int(value > high)]
            text = f"{FEATURES[feature]}: {value:.3g}, training range {low:.3g} to {high:.3g}"
            reasons.append(f"{text} ({advice})" if advice else text)
    for feature, (most, text) in NEVER_IN_TRAINING.items() if ranges else ():
        if found.get(feature, np.nan) > most:
            reasons.append(text.format(found[feature]))
    if reasons:
        warnings.warn(
            "this image is unlike those of the training: " + "; ".join(reasons), OutOfDomainWarning, stacklevel=3
        )
    return reasons


def warn_if_no_noise(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> None:
    """Warn if the noise of an image (H, W) cannot be measured, because many of its good pixels share a value.

    All of them do in a constant image, most if the steps of the converter are wider than the noise, and many if values
    below the lowest were cut off. Pixels of one value that lie together, such as an empty margin, do not matter.
    """
    good = image[~bad]
    lowest = good.min()
    at_lowest = (image == lowest) & ~bad
    scattered = np.count_nonzero(at_lowest[:, :-1] & ~at_lowest[:, 1:] & ~bad[:, 1:]) / good.size
    part, middle = np.count_nonzero(at_lowest) / good.size, np.median(good)
    if part == 1:
        why = "a constant image, BSCALE = 0, or values that were cut off"
        message = f"there is nothing to search: all {good.size} good pixels are {lowest:g} ({why})"
    elif part > MAX_LOWEST and scattered > MIN_SCATTERED:
        message = (
            f"{part:.0%} of the good pixels have the lowest value, {lowest:g}: values below it were cut off, so the "
            "noise cannot be measured, and may be taken for hits; search the image before values are cut off"
        )
    elif (part := np.count_nonzero(good == middle) / good.size) > MAX_ONE_VALUE:
        message = (
            f"{part:.0%} of the good pixels have the value {middle:g}: the noise is finer than the steps of the values "
            "and cannot be measured, so hits may be missed, and noise taken for hits"
        )
    else:
        return
    warnings.warn(message, NoNoiseWarning, stacklevel=3)


def warn_if_hit_fraction_high(hit: int, searched: int, exptime: float | None = None, fpr: float | None = None) -> None:
    """Warn if more pixels are classified as hits than particles can have hit.

    Parameters
    ----------
    hit, searched : int
        Number of pixels classified as hits, before the mask is dilated, and of all searched pixels.
    exptime : float, optional
        Exposure time, s; None if it is not known.
    fpr : float, optional
        False-positive rate that the user has requested.
    """
    part = MAX_HIT_FRACTION if exptime is None else MAX_FALSE_FRACTION + MAX_HIT_RATE * max(exptime, READOUT_TIME)
    if hit <= LONG_HIT_PIXELS + (part + 2 * (fpr or 0)) * searched:
        return
    time = "in any usual exposure" if exptime is None else f"in {exptime:g} s"
    message = (
        f"{hit / searched:.2%} of the pixels are called hit, more than particles can hit {time} (at most {part:.2%}): "
        "most of them will be noise, stars or defects; look at the image and the mask before they are used"
    )
    warnings.warn(message, HighHitFractionWarning, stacklevel=3)
