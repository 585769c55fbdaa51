"""Predict a frame from the other exposures of its field: expected light, noise and sources."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.lco.io import catalogue_of
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame

with extra("label"):
    import sep

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
MESH = 64  # pixels, mesh of the sky map
MAX_DEPTH = 5.0  # sigma below the sky beyond which a pixel has no data: dead, set to zero, or over-subtracted
HIT_SIGMAS = 4.0  # sigma by which a frame must exceed the lowest one at a pixel to count as hit there
SOURCE_PIXELS = 5  # minimum number of pixels of a source
REACH = 3  # pixels around a source within which its light is summed
MIN_SOURCE_SIGMAS = 50.0  # sigma, minimum flux of a source that is used for the flux ratio of two frames
MIN_SOURCES = 3  # minimum number of sources for a flux ratio


@dataclass(frozen=True, eq=False)
class SkySubtracted:
    """Sky-subtracted signal (H, W), electrons, NaN in bad and dark pixels; and the sky's variance (H, W)."""

    signal: Image
    variance: Image

    @classmethod
    def of(cls, frame: Frame) -> "SkySubtracted":
        """Measure and subtract the sky of a frame, on a mesh that is robust against stars.

        Pixels far below the sky are bad: in dithered frames, the sky of the others would exceed them like a hit.
        """
        electrons = np.ascontiguousarray(frame.image * np.float32(frame.gain))
        background = sep.Background(electrons, mask=frame.bad, bw=MESH, bh=MESH)
        sky = background.back()
        # If a pipeline has subtracted the sky, its noise is missing from the first term, but is part of the second.
        variance = np.maximum(np.maximum(sky, 0) + frame.read_noise**2, background.rms() ** 2)
        signal = electrons - sky
        signal[frame.bad | (signal < -MAX_DEPTH * np.sqrt(variance))] = np.nan
        return cls(signal.astype(np.float32), variance.astype(np.float32))

    @property
    def noise(self) -> float:
        """Sigma of the sky, electrons."""
        return float(np.sqrt(np.median(self.variance)))


def clipped_mean(stack: NDArray[np.float32], variances: NDArray[np.float32]) -> tuple[Image, Image, NDArray[np.int64]]:
    """Combine frames into their clipped mean (H, W), its variance (H, W), and the number of frames with data (H, W).

    The mean is weighted by the inverse variances, so that a frame taken through clouds does not drown the others. A
    frame that exceeds the lowest one at a pixel by over :data:`HIT_SIGMAS` sigma has a hit there, and is left out.

    Parameters
    ----------
    stack : ndarray (N, H, W), float32
        Signals of N frames, resampled and scaled to one of them, electrons; NaN where there is no data.
    variances : ndarray (N, H, W), float32
        Variances of their skies, on the same scale.
    """
    finite = np.isfinite(stack)
    filled = np.where(finite, stack, np.inf)
    place = filled.argmin(axis=0)[None]
    lowest, lowest_variance = (np.take_along_axis(values, place, axis=0)[0] for values in (filled, variances))
    lowest[np.isinf(lowest)] = 0
    noise = np.sqrt(variances + lowest_variance + 2 * np.maximum(lowest, 0))
    counted = filled <= lowest + HIT_SIGMAS * noise
    weights = np.where(counted, 1 / np.maximum(variances, np.finfo(np.float32).tiny), 0)
    weights /= np.maximum(weights.sum(axis=0), np.finfo(np.float32).tiny)
    mean = (weights * np.where(counted, stack, 0)).sum(axis=0)
    variance = (weights**2 * (variances + np.maximum(mean, 0))).sum(axis=0)
    return mean.astype(np.float32), variance.astype(np.float32), finite.sum(axis=0)


def flux_ratio(one: Image, other: Image, noise: float, guess: float) -> float:
    """Measure the flux ratio of ``one`` to ``other``, as the median over bright sources.

    Parameters
    ----------
    one, other : ndarray (H, W), float32
        Signals in the same pixels; NaN where there is no data.
    noise : float
        Sigma of their sky.
    guess : float
        Ratio of the exposure times, which is returned if there are too few sources.
    """
    both = np.fmin(one, other * np.float32(guess))  # the minimum removes hits, which are in one image only
    smooth = ndimage.uniform_filter(np.nan_to_num(both), 3)
    labels, count = ndimage.label(ndimage.binary_dilation(smooth > 3 * noise, iterations=REACH))
    usable = np.isfinite(one) & np.isfinite(other)
    index = np.arange(1, count + 1)
    broken = ndimage.maximum(~usable, labels, index)
    sums = [ndimage.sum(np.where(usable, image, 0), labels, index) for image in (one, other)]
    areas = ndimage.sum(usable, labels, index)
    sure = (
        (np.minimum(*sums) > MIN_SOURCE_SIGMAS * noise)
        & (np.minimum(*sums) > 5 * noise * np.sqrt(areas))
        & ~broken.astype(bool)
    )
    return float(np.median(sums[0][sure] / sums[1][sure])) if sure.sum() >= MIN_SOURCES else guess


def find_sources(image: Image, noise: Image, sigmas: float) -> tuple[Mask, NDArray[np.void]]:
    """Detect sources; return the mask (H, W) of their pixels, and a table of them.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Image without sky and hits.
    noise : ndarray (H, W), float32
        Sigma of each pixel.
    sigmas : float
        Detection threshold in the smoothed image, in units of ``noise``.
    """
    sep.set_extract_pixstack(max(300_000, image.size))
    sep.set_sub_object_limit(4096)
    found, segments = sep.extract(image, sigmas, err=noise, minarea=SOURCE_PIXELS, segmentation_map=True)
    return segments > 0, catalogue_of(found["x"] + 1, found["y"] + 1, found["flux"])
