"""Detect colour mosaics of 2x2 pixels, and scale their colours to one sky so that they can be searched."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.stats import mad_std
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from cosmicgate.data.bad_pixels import interpolate_bad_pixels
from cosmicgate.inference.background_grid import BackgroundGrid
from cosmicgate.io.fits.colour_mosaics import is_binned, mosaic_of
from cosmicgate.masking.inpainting import COLOUR_SLICES, apply_to_each_colour
from cosmicgate.models.normalization import asinh_unstretch

CELL = 64  # side of the blocks in which the sky is measured: pixels of one colour, so 128 pixels of the mosaic
SAMPLE_SIZE = 2**18  # pixels of each colour used to compare their skies
STARLIGHT = 1.0  # median of a pixel and its neighbours of the same colour that is brighter than the sky, in sigma
MIN_SKY_DIFFERENCE = 0.5  # least difference between the sky levels of a mosaic's colour planes, in sigma


def equalize_colour_skies(image: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Scale the four colours of a mosaic to one sky level and noise, so that it can be searched as one image.

    What remains is the colour of stars relative to the sky, seen from pixel to pixel in their cores.

    Parameters
    ----------
    image : ndarray (H, W)
        Counts.
    bad : ndarray (H, W), bool
        Pixels to ignore; they are interpolated from good pixels of their colour to the left and right.

    Returns
    -------
    ndarray (H, W), float32
        Counts, with the mean sky level and the mean noise of the four colours.

    Raises
    ------
    ValueError
        The image has no good pixel.
    """
    filled = np.zeros(image.shape, np.float32)
    levels, sigmas = [], []
    for plane in COLOUR_SLICES:
        if (bad[plane] | ~np.isfinite(image[plane])).all():
            continue
        colour, colour_bad = map(torch.from_numpy, interpolate_bad_pixels(image[plane], bad[plane]))
        sky = BackgroundGrid.of(colour, colour_bad, CELL)
        filled[plane] = asinh_unstretch(sky.scaled(colour)).numpy()
        levels.append(float(sky.level.median()))
        sigmas.append(float(sky.sigma.median()))
    if not levels:
        raise ValueError(f"all {bad.size} pixels are bad or not finite: there is nothing to search")
    filled *= np.float32(np.mean(sigmas))
    filled += np.float32(np.mean(levels))
    return filled


def starlit_pixels(image: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find pixels whose neighbours of the same colour are brighter than the sky, as a star makes them but no hit does.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Mosaic with its colours on one sky (:func:`equalize_colour_skies`).
    """
    threshold = np.median(image) + STARLIGHT * mad_std(image)
    return np.asarray(apply_to_each_colour(partial(median_filter, size=3), image) > threshold)


def find_mosaic_card(
    headers: Sequence[fits.Header], image: NDArray[Any], bad: NDArray[np.bool_], override: bool | None = None
) -> tuple[str, str]:
    """Find the header card by which an image is a colour mosaic, and a note for the user.

    Parameters
    ----------
    headers : sequence of Header
        Headers of the image and of its file.
    image, bad : ndarray (H, W)
        Pixel values in counts, and pixels to ignore (bool).
    override : bool, optional
        The user's decision; None: decided by the headers.

    Returns
    -------
    str
        Header card by which it is a mosaic, such as ``"BAYERPAT = 'RGGB'"``; empty if it is none.
    str
        Note for the user; may be empty.

    Raises
    ------
    FitsError
        The pattern is larger than 2x2 pixels.
    """
    if override is not None:
        return ("as requested" if override else ""), ""
    found = mosaic_of(headers)
    skies_differ = has_mosaic_sky_levels(image, bad)
    if found and is_binned(headers) and not skies_differ:
        return "", f"{found}, but its pixels are binned and have one sky: it is searched as an image of one colour"
    if skies_differ and not found:
        note = "the sky levels of its odd and even rows or columns differ: if it is a colour mosaic, use --mosaic"
        return "", note
    return found, ""


def has_mosaic_sky_levels(image: NDArray[Any], bad: NDArray[np.bool_]) -> bool:
    """Check whether the sky levels of the four interleaved planes of an image (H, W) differ as in a mosaic."""
    levels, noises = [], []
    for plane in COLOUR_SLICES:
        good = image[plane][~bad[plane]][:SAMPLE_SIZE].astype(np.float64)
        if good.size < 64:
            return False
        low, high = np.percentile(good, (15.87, 84.13))
        sky = good[(good >= 2 * low - high) & (good <= 2 * high - low)]  # 3 sigma; a median of integers jumps
        levels.append(sky.mean())
        noises.append(sky.std())
    return bool(max(levels) - min(levels) > MIN_SKY_DIFFERENCE * max(noises))
