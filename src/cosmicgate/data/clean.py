"""Find what is not sky: the hits of a science frame, to take them out; the hits of a dark, to use them."""

from dataclasses import dataclass, replace

import astroscrappy
import numpy as np
from astropy.stats import sigma_clipped_stats
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.data.fits.frames import Frame

FAR_ABOVE = 2.0  # times the variance that is explained, from which a sky must have been subtracted
SQUARE = np.ones((3, 3), bool)


@dataclass(frozen=True)
class Clean:
    """Replace the hits that Astro-SCRAPPY finds by the median of their 5x5 surroundings (step 1 of the recipe).

    Attributes
    ----------
    sigclip, sigfrac, objlim : float
        Astro-SCRAPPY's thresholds: of a hit, of its neighbours, against the fine structure of stars.
    """

    sigclip: float = 4.5
    sigfrac: float = 0.1
    objlim: float = 1.0

    def __call__(self, frame: Frame) -> Frame:
        """Return ``frame`` (ADU) without its hits; its ``hits`` are no longer in it."""
        sky = np.float32(subtracted_sky(frame))  # without it Astro-SCRAPPY takes its noise for hits
        hits, cleaned = astroscrappy.detect_cosmics(
            frame.image + sky,
            inmask=frame.bad,
            gain=frame.gain,
            readnoise=frame.read_noise,
            satlevel=frame.saturation * frame.gain,
            sigclip=self.sigclip,
            sigfrac=self.sigfrac,
            objlim=self.objlim,
            cleantype="medmask",
        )
        image = np.where(hits, cleaned - sky, frame.image)
        return replace(frame, image=image.astype(np.float32), hits=None)


def subtracted_sky(frame: Frame) -> float:
    """Return how much sky (ADU) was taken from a frame that is read out before it came here, 0 if none.

    Its scatter tells: more than twice the variance that what is left of the sky and the read noise explain.
    """
    level, deviation = background(frame)
    variance = (deviation * frame.gain) ** 2  # electrons squared
    electrons = variance - frame.read_noise**2  # of the sky that scatters so
    explained = max(level * frame.gain, 0) + frame.read_noise**2
    return electrons / frame.gain - level if variance > FAR_ABOVE * explained else 0.0


def background(frame: Frame) -> tuple[float, float]:
    """Return level and standard deviation of the pixels that hold no source, hit or defect (ADU)."""
    rows, columns = frame.shape
    step = max(1, int(np.sqrt(rows * columns / 1_000_000)))
    good = frame.image[::step, ::step][~frame.bad[::step, ::step]]
    if not good.size:
        raise ValueError(f"{frame.name}: every pixel is marked bad, there is no background to measure")
    _, level, deviation = sigma_clipped_stats(good, sigma=3.0, maxiters=10)
    return float(level), float(deviation)


def dark_mask(dark: Frame, n_sigma: float = 3.0, edge: int = 8, floor: float = 5.0) -> NDArray[np.bool_]:
    """Mark the hits of a dark frame: D > median(D) + ``n_sigma`` sigma(D) (step 2 of the recipe).

    sigma(D) is the deviation of all pixels, hits included, as the paper has it. In a dark with few hits that falls
    to the read noise and would mark its tail; ``floor`` (in deviations of the pixels without hits; 0 for none)
    keeps the threshold above it.

    Parameters
    ----------
    dark : Frame
        ADU, read out.
    n_sigma : float
        The paper's 3.
    edge : int
        Rows and columns at each border in which no hit is taken. Bad pixels are left out as well.
    floor : float
        Lowest threshold above the median, in deviations of the background.

    Returns
    -------
    ndarray (H, W), bool
        Not dilated.
    """
    level, deviation = background(dark)
    good = ~dark.bad
    if edge:
        inside = np.zeros(dark.shape, bool)
        inside[edge:-edge, edge:-edge] = True
        good &= inside
    if not good.any():
        raise ValueError(f"{dark.name}: no pixel is left {edge} px from the edge of a dark of {dark.shape}")
    spread = float(dark.image[good].std(dtype=np.float64))
    return good & (dark.image > level + max(n_sigma * spread, floor * deviation))


def dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Grow ``mask`` (H, W) by one pixel in all eight directions (M to M^D)."""
    return np.asarray(binary_dilation(mask, SQUARE))
