"""What the other exposures of a field lead one to expect of a frame: its light, its noise, its sources."""

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.lco.masked_fits import catalogue_of

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
MESH = 64  # pixels, of the map of the sky
CLIP = 4.0  # of several frames, one that exceeds the lowest by so many deviations has a hit there
SOURCE_PIXELS = 5  # of a source, at least
REACH = 3  # pixels around a source in which its light is summed up
SURE = 50.0  # deviations of a source whose flux counts in the ratio of two frames
ENOUGH = 3  # sources that such a ratio needs


@dataclass(frozen=True, eq=False)
class Level:
    """A frame in electrons: what is above its sky, (H, W), NaN where it is bad; the variance of its sky, (H, W)."""

    signal: Image
    variance: Image

    @classmethod
    def of(cls, frame: Frame) -> "Level":
        """Measure the sky of a frame, on a mesh that stars do not raise."""
        electrons = np.ascontiguousarray(frame.image * np.float32(frame.gain))
        background = sep.Background(electrons, mask=frame.bad, bw=MESH, bh=MESH)
        sky = background.back()
        # A sky that a pipeline has subtracted is missing from the first; the second has it.
        variance = np.maximum(np.maximum(sky, 0) + frame.read_noise**2, background.rms() ** 2)
        signal = np.where(frame.bad, np.nan, electrons - sky)
        return cls(signal.astype(np.float32), variance.astype(np.float32))

    @property
    def noise(self) -> float:
        """Standard deviation of its sky."""
        return float(np.sqrt(np.median(self.variance)))


def expectation(stack: NDArray[np.float32], variances: NDArray[np.float32]) -> tuple[Image, Image, NDArray[np.int64]]:
    """Return the mean of what frames have at each pixel, its variance, and how many frames know the pixel.

    A frame that exceeds the lowest there by :data:`CLIP` deviations has a hit, and does not count.

    Parameters
    ----------
    stack : ndarray (N, H, W), float32
        Signals of N frames in the pixels of one, on its scale; NaN where they know nothing.
    variances : ndarray (N, H, W), float32
        Of their skies, on the same scale.
    """
    known = np.isfinite(stack)
    filled = np.where(known, stack, np.inf)
    lowest = filled.min(axis=0)
    lowest[np.isinf(lowest)] = 0
    noise = np.sqrt(2 * (variances.mean(axis=0) + np.maximum(lowest, 0)))
    counted = filled <= lowest + CLIP * noise
    number = np.maximum(counted.sum(axis=0), 1)
    mean = np.where(counted, stack, 0).sum(axis=0) / number
    variance = (np.where(counted, variances, 0).sum(axis=0) / number + np.maximum(mean, 0)) / number
    return mean.astype(np.float32), variance.astype(np.float32), known.sum(axis=0)


def flux_ratio(one: Image, other: Image, noise: float, guess: float) -> float:
    """Return how many times brighter the sources of ``one`` are than those of ``other``, by the median source.

    Parameters
    ----------
    one, other : ndarray (H, W), float32
        Signals in the same pixels; NaN where nothing is known.
    noise : float
        Standard deviation of their sky.
    guess : float
        For fields without sources: the ratio of the exposure times.
    """
    both = np.fmin(one, other * np.float32(guess))  # without hits, which are in one of them
    smooth = ndimage.uniform_filter(np.nan_to_num(both), 3)
    labels, count = ndimage.label(ndimage.binary_dilation(smooth > 3 * noise, iterations=REACH))
    usable = np.isfinite(one) & np.isfinite(other)
    index = np.arange(1, count + 1)
    broken = ndimage.maximum(~usable, labels, index)
    sums = [ndimage.sum(np.where(usable, image, 0), labels, index) for image in (one, other)]
    areas = ndimage.sum(usable, labels, index)
    sure = (np.minimum(*sums) > SURE * noise) & (np.minimum(*sums) > 5 * noise * np.sqrt(areas)) & ~broken.astype(bool)
    return float(np.median(sums[0][sure] / sums[1][sure])) if sure.sum() >= ENOUGH else guess


def find_sources(image: Image, noise: Image, sigmas: float) -> tuple[Mask, NDArray[np.void]]:
    """Return the pixels (H, W) of sources, and a table of them.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Without sky and hits.
    noise : ndarray (H, W), float32
        Standard deviation.
    sigmas : float
        Above which a pixel of the smoothed image is a source's.
    """
    sep.set_extract_pixstack(max(300_000, image.size))
    sep.set_sub_object_limit(4096)
    found, segments = sep.extract(image, sigmas, err=noise, minarea=SOURCE_PIXELS, segmentation_map=True)
    return segments > 0, catalogue_of(found["x"] + 1, found["y"] + 1, found["flux"])
