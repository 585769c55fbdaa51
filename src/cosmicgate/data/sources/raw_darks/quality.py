"""Check that a frame is a dark: reject it if light has reached the detector, seen as a level, a gradient or stars.

The limits are calibrated on simulated darks alone (docs/data.md), because no real raw dark was available.
"""

from dataclasses import dataclass

import numpy as np
from astropy.stats import gaussian_sigma_to_fwhm
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label, median_filter

from cosmicgate.data.background import background
from cosmicgate.io.fits.frames import Frame

SMOOTHING_BLOCK = 64  # pixels, side of the blocks of the smoothed map
DETECTION_SIGMAS = 3.0  # sigma above the background: detection threshold of sources
WIDTHS = np.geomspace(0.6, 6.0, 24)  # pixels, sigma of the profiles that are fitted
MODEL_ERROR = 0.05  # allowed departure of a star from a Gaussian, as a fraction of its peak


class NotADarkError(ValueError):
    """Raised for a frame that cannot be used as a dark; the message gives the reason."""


@dataclass(frozen=True)
class LightLimits:
    """Limits on the light in a dark.

    Attributes
    ----------
    base, rate : float
        Maximum level of a dark and maximum range of its smoothed image: ``base`` electrons plus ``rate`` electrons
        per second. They allow for bias residuals and three times DECam's specified dark current of 25 electrons per
        hour.
    stars : int
        Number of star-shaped sources of similar width from which a frame is rejected.
    width : float
        Minimum sigma of a star, pixels. Hits are narrower: in DECam's silicon, charge diffuses by half a pixel.
    misfit : float
        Maximum root-mean-square difference between a star and a Gaussian, in units of what noise and the wings of a
        real star explain.
    """

    base: float = 3.0
    rate: float = 0.02
    stars: int = 4
    width: float = 1.0
    misfit: float = 2.0

    def check(self, dark: Frame) -> None:
        """Raise NotADarkError for a frame that light has reached, or without an exposure time.

        Raises
        ------
        NotADarkError
            The message gives the value found and the limit.
        """
        if not dark.exptime > 0:
            raise NotADarkError(
                f"{dark.name}: the exposure is {dark.exptime:g} s, expected a dark with a positive exposure time"
            )
        maximum = self.base + self.rate * dark.exptime
        level, difference = (value * dark.gain for value in level_and_range(dark))
        if level > maximum:
            raise NotADarkError(
                f"{dark.name}: a level of {level:.1f} e-, expected at most {maximum:.1f}: light leaks in"
            )
        if difference > maximum:
            raise NotADarkError(
                f"{dark.name}: a gradient of {difference:.1f} e-, expected at most {maximum:.1f}: light leaks in"
            )
        widths = star_widths(dark, self.width, self.misfit)
        alike = int(np.sum(np.abs(widths - np.median(widths)) < 0.25 * np.median(widths))) if widths.size else 0
        if alike >= self.stars:
            what = f"{alike} sources like stars, {gaussian_sigma_to_fwhm * np.median(widths):.1f} px wide"
            raise NotADarkError(f"{dark.name}: {what}, expected fewer than {self.stars}: the shutter was open")


def level_and_range(dark: Frame) -> tuple[float, float]:
    """Measure the level of a dark, and the range from the 1st to the 99th percentile of its smoothed map (ADU).

    The map has the means of blocks, with values clipped to three sigma around the background: hits hardly change these
    means, and unlike medians they are not quantised to whole ADU.
    """
    level, sigma = background(dark)
    clipped = np.clip(dark.image, level - 3 * sigma, level + 3 * sigma)
    good = ~dark.bad
    rows, columns = (np.arange(0, max(side - SMOOTHING_BLOCK // 2, 1), SMOOTHING_BLOCK) for side in dark.shape)
    sums, numbers = (
        np.add.reduceat(np.add.reduceat(values, rows, axis=0, dtype=np.float64), columns, axis=1)
        for values in (np.where(good, clipped, 0), good)
    )
    middle = sums.sum() / numbers.sum()
    means = np.where(numbers > 0, sums / np.maximum(numbers, 1), middle)
    smooth = median_filter(means, size=3, mode="nearest")
    low, high = np.percentile(smooth, [1, 99])
    return float(middle), float(high - low)


def star_widths(dark: Frame, width: float, misfit: float) -> NDArray[np.float64]:
    """Measure the width (sigma, pixels) of each star-shaped source, (N,).

    A star is nearly round, wider than a hit, and its profile is a round Gaussian within noise and wings. Worms (curved
    electron tracks) may be as wide and as round, but they are not as smooth.
    """
    level, sigma = background(dark)
    if not sigma > 0:
        return np.zeros(0)
    excess = (dark.image - np.float32(level)) / np.float32(sigma)
    sources, _ = label((excess > DETECTION_SIGMAS) & ~dark.bad, np.ones((3, 3), bool))
    sizes = np.bincount(sources.ravel())
    widths = []
    for number, box in enumerate(find_objects(sources), 1):
        height, breadth = (side.stop - side.start for side in box)
        if sizes[number] >= 8 and max(height, breadth) <= min(50, 2.2 * min(height, breadth)):
            fit = _fit(excess, dark.bad, sources[box] == number, box)
            if fit is not None and fit[0] >= width and fit[1] <= misfit:
                widths.append(fit[0])
    return np.array(widths)


def _fit(
    excess: NDArray[np.float32], bad: NDArray[np.bool_], inside: NDArray[np.bool_], box: tuple[slice, slice]
) -> tuple[float, float] | None:
    """Fit a round Gaussian at the centre of a source; return its width and residual, or None if it is not round."""
    light = np.where(inside, excess[box], 0).astype(float)
    y, x = np.indices(light.shape, float)
    row, column = (float((axis * light).sum() / light.sum()) for axis in (y, x))
    y, x = y - row, x - column
    moments = [float((light * product).sum() / light.sum()) for product in (y**2, x**2, y * x)]
    mean, difference = (moments[0] + moments[1]) / 2, np.hypot((moments[0] - moments[1]) / 2, moments[2])
    if mean - difference < 0.25 * (mean + difference):  # an axis ratio of a half
        return None
    reach = int(np.ceil(max(4, 4 * np.sqrt(mean))))
    top, left = round(box[0].start + row), round(box[1].start + column)
    stamp = (slice(max(top - reach, 0), top + reach + 1), slice(max(left - reach, 0), left + reach + 1))
    values = excess[stamp].astype(float)
    if bad[stamp].any() or values.shape != (2 * reach + 1, 2 * reach + 1):
        return None
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(float)
    radii = (y - (box[0].start + row - top)) ** 2 + (x - (box[1].start + column - left)) ** 2
    fits = [_compare_with_gaussian(values, radii, width) for width in WIDTHS]
    best = int(np.argmax([likeness for likeness, _ in fits]))
    return float(WIDTHS[best]), fits[best][1]


def _compare_with_gaussian(
    values: NDArray[np.float64], radii: NDArray[np.float64], width: float
) -> tuple[float, float]:
    """Compare values (in sigma) with a Gaussian; return their correlation, up to 1, and the normalised residual."""
    near = radii < (3 * width) ** 2
    model, seen = np.exp(-radii[near] / (2 * width**2)), values[near]
    peak = float(seen @ model / (model @ model))
    likeness = float(seen @ model / np.sqrt(max(seen @ seen, 1e-12) * (model @ model)))
    return likeness, float(np.sqrt(np.mean((seen - peak * model) ** 2) / (1 + (MODEL_ERROR * peak) ** 2)))
