"""Check whether the saturation in a header fits the image: in another unit it could hide every hit."""

import numpy as np
from astropy.stats import sigma_clipped_stats
from numpy.typing import NDArray

MIN_SIGMA_ABOVE_SKY = 10.0  # no detector saturates closer to its sky
# Fraction of the good pixels above which saturated pixels must lie at a common ceiling.
MAX_SCATTERED_FRACTION = 0.01
# Half-width of that ceiling, relative to its height above the sky; half of the pixels must be within.
CEILING_HALF_WIDTH = 0.05
# Factor by which the median of the saturated pixels may exceed the saturation, both above the sky.
MAX_MEDIAN_EXCESS = 2.0
MIN_PIXELS = 20  # with fewer saturated pixels MAX_MEDIAN_EXCESS is not tested
SAMPLE_SIZE = 200_000  # pixels on which the sky is measured


def check_saturation(image: NDArray[np.float32], bad: NDArray[np.bool_], saturation: float) -> tuple[bool, str]:
    """Check by the pixel values whether a saturation is plausible.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Image in the unit of the saturation.
    bad : ndarray (H, W), bool
        Pixels to ignore.
    saturation : float
        Value from the header or from the table of instruments.

    Returns
    -------
    usable : bool
        False if the value lies within the noise of the sky, if at least half of the image reaches it, if more than 1 %
        does without a common ceiling, or if most pixels that reach it are more than twice as bright.
    note : str
        Reason why it is not used, or that much of the image is saturated; empty otherwise.
    """
    good = image[~bad & np.isfinite(image)]
    full = good[good >= saturation]
    if not full.size:
        return True, ""
    named = f"the header's saturation of {saturation:g}"
    part = full.size / good.size
    if 2 * full.size >= good.size:
        return False, f"more than half of the image is above {named}, which is therefore ignored"
    sample = good[:: max(good.size // SAMPLE_SIZE, 1) | 1].astype(np.float64)  # squares of 1e30 are beyond float32
    _, level, sigma = sigma_clipped_stats(sample, sigma=3.0, maxiters=10)
    if saturation <= level + MIN_SIGMA_ABOVE_SKY * sigma:
        sky = f"{level:.4g} +- {sigma:.3g}"
        return False, f"{named} lies within the noise of the sky ({sky}) and is ignored: it seems to be in another unit"
    middle = float(np.median(full)) - level
    if full.size >= MIN_PIXELS and middle > MAX_MEDIAN_EXCESS * (saturation - level):
        many = f"most of the {full.size} pixels above {named} are more than twice as bright"
        return False, f"{many}, so it is ignored: it seems to be in another unit"
    if part > MAX_SCATTERED_FRACTION:
        piled = np.mean(np.abs(full - level - middle) <= CEILING_HALF_WIDTH * middle) >= 0.5
        if not piled:
            return False, f"{part:.1%} of the image is above {named}, at no common level, so it is ignored"
        return True, f"{part:.1%} of the image is saturated (at about {middle + level:.5g}) and not searched"
    return True, ""
