"""Measure the background, remove the hits of a science frame, and mask the hits of a dark."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np
from astropy.stats import sigma_clipped_stats
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame

MIN_VARIANCE_RATIO = 2.0  # measured over expected variance, above which a sky must have been subtracted
SKY_TILE = 32  # pixels: small against the gradients of a sky, large against a hit
Sigma = Literal["background", "all"]  # pixels of a dark whose standard deviation is sigma(D)


@dataclass(frozen=True)
class AstroScrappyCleaner:
    """Replace the hits that Astro-SCRAPPY finds by the median of their 5x5 surroundings (step 1 of the paper's recipe).

    Attributes
    ----------
    sigclip, sigfrac, objlim : float
        Astro-SCRAPPY's parameters: the threshold of a hit in sigma, the fraction of it that applies to neighbouring
        pixels, and the minimum contrast between a hit and the fine structure of a star.
    """

    cache_name: ClassVar[str] = "Clean"  # part of the cache keys: must stay even if the class is renamed
    sigclip: float = 4.5
    sigfrac: float = 0.1
    objlim: float = 1.0

    def __call__(self, frame: Frame) -> Frame:
        """Replace the hits of ``frame`` (ADU) in a copy, whose ``hits`` field is None."""
        with extra("train"):  # imported here: neither masking nor training on cached frames needs it
            from astroscrappy import detect_cosmics

        sky = np.float32(subtracted_sky(frame))  # with too low a sky Astro-SCRAPPY takes noise for hits
        hits, cleaned = detect_cosmics(
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
    """Estimate the sky level (ADU) that a pipeline has already subtracted from a read-out frame; 0 if none.

    A sky is taken to have been subtracted if the background's variance is more than twice what the remaining sky and
    the read noise explain.
    """
    level, sigma = background(frame)
    variance = (sigma * frame.gain) ** 2  # electrons squared
    electrons = variance - frame.read_noise**2  # sky whose Poisson noise gives this variance
    explained = max(level * frame.gain, 0) + frame.read_noise**2
    return electrons / frame.gain - level if variance > MIN_VARIANCE_RATIO * explained else 0.0


def background(frame: Frame) -> tuple[float, float]:
    """Measure the level and sigma (ADU) of the background by sigma clipping; bad pixels are left out.

    Frames of 4 million pixels or more are subsampled.

    Raises
    ------
    ValueError
        If every pixel is bad.
    """
    rows, columns = frame.shape
    step = max(1, int(np.sqrt(rows * columns / 1_000_000)))
    good = frame.image[::step, ::step][~frame.bad[::step, ::step]]
    if not good.size:
        raise ValueError(f"{frame.name}: every pixel is marked bad, there is no background to measure")
    _, level, sigma = sigma_clipped_stats(good, sigma=3.0, maxiters=10)
    return float(level), float(sigma)


def snr_map(image: NDArray[np.float32], gain: float, read_noise: float) -> NDArray[np.float32]:
    """Compute the signal-to-noise ratio of each pixel, as if its charge lay on empty sky.

    The signal is the excess over the sky level, the median of the pixel's tile of 32 x 32. The noise is that of this
    sky and of the read-out, sqrt(max(sky, 0) gain + read_noise^2) / gain, and at least one electron. A star under the
    hit therefore adds to the signal but not to the noise, and a sky that was subtracted before is missing from the
    noise.

    Parameters
    ----------
    image : ndarray (H, W), float32
        Image, ADU.
    gain : float
        Electrons per ADU.
    read_noise : float
        Read noise, electrons.

    Returns
    -------
    ndarray (H, W), float32
        Signal-to-noise ratio.
    """
    height, width = image.shape
    padded = np.pad(image, ((0, -height % SKY_TILE), (0, -width % SKY_TILE)), mode="symmetric")
    rows, columns = (side // SKY_TILE for side in padded.shape)
    tiles = padded.reshape(rows, SKY_TILE, columns, SKY_TILE).swapaxes(1, 2).reshape(rows, columns, -1)
    level = np.median(tiles, axis=-1)
    sigma = np.maximum(np.sqrt(np.maximum(level, 0) * gain + read_noise**2), 1) / gain
    sky, noise = (a.repeat(SKY_TILE, 0).repeat(SKY_TILE, 1)[:height, :width] for a in (level, sigma))
    return np.asarray((image - sky) / noise, np.float32)


def dark_mask(
    dark: Frame, n_sigma: float = 3.0, edge: int = 8, floor: float = 5.0, sigma: Sigma = "all"
) -> NDArray[np.bool_]:
    """Mark the hits of a dark frame: D > median(D) + ``n_sigma`` sigma(D) (step 2 of the paper's recipe).

    The paper does not state which pixels define sigma(D) here; in its step 3 they are those without hits.

    Parameters
    ----------
    dark : Frame
        A dark that is read out, ADU.
    n_sigma : float
        Threshold in units of sigma(D); 3 in the paper.
    edge : int
        Width of the border in which no hit is marked, pixels. Bad pixels are left out as well.
    floor : float
        Minimum threshold above the median, in sigma of the background; 0 for none.
    sigma : {"background", "all"}
        Definition of sigma(D). "background": sigma of the pixels without hits, by sigma clipping; a threshold of
        three sigma is then low and marks much noise. "all": sigma of all pixels, hits included; the threshold then
        depends on the dark's brightest hits, and in a dark with few hits only ``floor`` keeps it out of the noise.

    Returns
    -------
    ndarray (H, W), bool
        The mask, not dilated.

    Raises
    ------
    ValueError
        If ``sigma`` is unknown, or no good pixel is left inside the border.
    """
    if sigma not in get_args(Sigma):
        raise ValueError(f"sigma = {sigma!r}: expected one of {', '.join(get_args(Sigma))}")
    level, noise = background(dark)
    good = ~dark.bad
    if edge:
        inside = np.zeros(dark.shape, bool)
        inside[edge:-edge, edge:-edge] = True
        good &= inside
    if not good.any():
        raise ValueError(f"{dark.name}: no pixel is left {edge} px from the edge of a dark of {dark.shape}")
    spread = float(dark.image[good].std(dtype=np.float64)) if sigma == "all" else noise
    return good & (dark.image > level + max(n_sigma * spread, floor * noise))


def dilate(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate ``mask`` (H, W) by one pixel in all eight directions (M to M^D in the paper)."""
    return np.asarray(binary_dilation(mask, KERNEL_3X3))
