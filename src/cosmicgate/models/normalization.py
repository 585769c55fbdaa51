"""Normalise images for a network by their own sky level and noise.

Crops and tiles are measured as a whole, as here; a whole frame is measured in blocks
(:mod:`cosmicgate.inference.background_grid`).
"""

from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

Scaling = Literal["none", "robust"]
MIN_FILL_FRACTION = 0.02  # fraction of the pixels that may share a value before it is tested for being a fill value
MAX_SIGMAS = 1e6  # clip, in units of 3 sigma: a sentinel of 1e30 carries no more information, and its square overflows
SAMPLE_SIZE = 1024  # pixels of a block in which quantisation steps are searched for
MIN_EQUAL_PIXELS = 4  # sampled pixels that must share a value for it to count as a quantisation level
MAX_STEPS = 32  # steps: quantisation is corrected below this median absolute deviation, which it changes by 1 % or more
MAX_TAIL_FRACTION = 0.002  # a most frequent value with fewer pixels below (or above) it ends the distribution
GRID_POINTS = 32  # grid points per unit at which the cumulative distribution is evaluated
SOFTENING = 3  # sigma: smaller deviations from the sky are scaled linearly by the asinh
MAD_TO_SIGMA = 1.4826  # ratio of standard deviation to median absolute deviation of Gaussian noise


def asinh_normalize(image: Tensor, bad: Tensor | None = None) -> Tensor:
    """Scale each image to asinh((image - median) / 3 sigma), with sky and noise measured on its good pixels.

    Parameters
    ----------
    image : Tensor (N, 1, H, W), counts
        Images.
    bad : Tensor (N, 1, H, W), bool, optional
        Pixels to leave out of the measurement. An image without a good pixel is measured on all of its pixels.
    """
    level, sigma = level_and_noise(image.flatten(1))
    if bad is not None:
        for row in bad.flatten(1).any(dim=1).nonzero()[:, 0].tolist():
            good = image[row][~bad[row]]
            if len(good):
                level[row : row + 1], sigma[row : row + 1] = level_and_noise(good[None])
    sigma[sigma == 0] = 1.0
    return asinh_stretch(image, level.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1))


def asinh_stretch(image: Tensor, level: Tensor, sigma: Tensor) -> Tensor:
    """Compute asinh((image - level) / 3 sigma)."""
    return torch.asinh(((image - level) / (SOFTENING * sigma)).clamp(-MAX_SIGMAS, MAX_SIGMAS))


def asinh_unstretch(scaled: Tensor) -> Tensor:
    """Convert asinh((image - level) / 3 sigma) to (image - level) / sigma."""
    return SOFTENING * torch.sinh(scaled)


def level_and_noise(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the median and the noise (N,) of each row of pixels (N, P).

    The noise is 1.4826 times the median absolute deviation. For quantised values (whole numbers, multiples of a gain),
    median and deviation are corrected for the quantisation (:func:`_without_quantisation`). Where more than half of the
    pixels have one value and almost none lies below it, or almost none above, the noise is the standard deviation of
    the 98 % of the pixels nearest to the median.

    Fill values are left out of the measurement. Candidates are zero, the lowest and the highest value, where more than
    2 % of the pixels have it, and a value that more than half of the pixels have. It is a fill value if it is far from
    all other pixels (the border of a mosaic or of a drizzled image, saturated pixels), or if it lies among pixels that
    are not quantised (gaps that were filled with the sky level).
    """
    level, sigma = _median_and_noise(pixels)
    zero, ends = torch.zeros_like(level), torch.aminmax(pixels, dim=1)
    fraction = MIN_FILL_FRACTION
    for candidates, least in ((zero, fraction), (ends.min, fraction), (ends.max, fraction), (level.clone(), 0.5)):
        for row in ((pixels == candidates[:, None]).float().mean(dim=1) > least).nonzero()[:, 0].tolist():
            rest = pixels[row][pixels[row] != candidates[row]]
            if not len(rest) or (rest == rest[0]).all():
                continue
            rest_level, noise = _median_and_noise(rest[None])
            if _is_outlier(candidates[row], rest, rest_level, noise) or _fills_gaps(candidates[row], rest):
                level[row], sigma[row] = rest_level[0], noise[0]
    return level, sigma


def _is_outlier(value: Tensor, rest: Tensor, level: Tensor, noise: Tensor) -> bool:
    """Check whether a value lies outside the distribution of the other pixels (P,), of given level and noise (1,).

    It must also be more than three quantisation steps away: in a photon-counting image most pixels are 0 and the others
    1 or 2, and those zeros are sky.
    """
    distance = (level - value).abs()
    if not distance > 10 * noise:
        return False
    steps = rest.sort().values.diff()
    return bool(distance > 3 * steps[steps > 0].min())


def _fills_gaps(value: Tensor, rest: Tensor) -> bool:
    """Check whether a frequent value lies within the range of the other pixels (P,), and these are not quantised."""
    below = (rest < value).float().mean()
    if not MIN_FILL_FRACTION < below < 1 - MIN_FILL_FRACTION:
        return False
    level = rest.median()[None]
    return bool(_quantisation_step(rest[None], level, (rest - level).abs().median()[None]).isinf())


def _median_and_noise(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Measure median and noise (N,) as :func:`level_and_noise` does, on all pixels (N, P), fill values included."""
    level = pixels.median(dim=1).values
    deviation = (pixels - level[:, None]).abs()
    mad = deviation.median(dim=1).values
    sigma = MAD_TO_SIGMA * mad
    for row in (sigma == 0).nonzero()[:, 0].tolist():
        nearest = deviation[row].argsort()[: max(int(0.98 * pixels.shape[1]), 1)]
        near = (pixels[row][nearest] - level[row]).double()  # minus the level: exactly zero where all are equal
        sigma[row] = near.std(correction=0)
    steps = _quantisation_step(pixels, level, mad)
    coarse = (mad < MAX_STEPS * steps) & steps.isfinite()
    if coarse.any():
        found = _without_quantisation(pixels[coarse], level[coarse], mad[coarse], steps[coarse])
        one_sided = (mad[coarse] == 0) & (torch.minimum(*found[2:]) < MAX_TAIL_FRACTION)
        level[coarse] = torch.where(one_sided, level[coarse], found[0])
        sigma[coarse] = torch.where(one_sided, sigma[coarse], found[1])
    return level, sigma


def _quantisation_step(pixels: Tensor, level: Tensor, mad: Tensor) -> Tensor:
    """Measure the quantisation step (N,) of each row of pixels (N, P) near its median; inf where values are continuous.

    Only values that at least :data:`MIN_EQUAL_PIXELS` pixels of a sample share are considered, so that a few averaged
    pixels do not hide the steps of the others. ``level`` and ``mad`` are the medians (N,) of the pixels and of their
    absolute deviations.
    """
    step = max(pixels.shape[1] // SAMPLE_SIZE, 1) | 1  # odd, so that the sample covers all columns of a block
    values = pixels[:, ::step].sort(dim=1).values
    if values.shape[1] <= MIN_EQUAL_PIXELS:
        return torch.full_like(level, torch.inf)
    near = ((values - level[:, None]).abs() <= 3 * mad[:, None]) | (mad[:, None] == 0)
    shared = (values[:, MIN_EQUAL_PIXELS - 1 :] == values[:, : 1 - MIN_EQUAL_PIXELS]) & near[:, : 1 - MIN_EQUAL_PIXELS]
    lowest = torch.where(shared, values[:, : 1 - MIN_EQUAL_PIXELS], -torch.inf).cummax(dim=1).values
    gaps = lowest[:, 1:] - lowest[:, :-1]
    return torch.where((gaps > 0) & gaps.isfinite(), gaps, torch.inf).amin(dim=1)


def _without_quantisation(
    pixels: Tensor, level: Tensor, mad: Tensor, step: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Measure level and noise (N,) of quantised pixels (N, P), and the fractions of pixels below and above the level.

    A value stands for all numbers that were rounded to it, half a step to either side. The cumulative distribution is
    known at these edges, and interpolated between them by the Gaussian through both. The median and the median
    deviation follow from it, exactly for Gaussian noise of any width. The variance of the rounding, step^2 / 12, is
    added to the noise, as the image contains it.

    Returns
    -------
    level, sigma, below, above : Tensor (N,)
        Corrected level and noise, and the fractions of the pixels half a step or more below and above ``level`` as it
        was given.
    """
    most = int((mad / step).max().ceil()) + 3
    edges = 2 * most + 2
    codes = ((pixels - level[:, None]) / step[:, None]).round_().clamp_(-most, most).to(torch.int32) + most
    codes += (edges - 1) * torch.arange(len(pixels), dtype=torch.int32, device=pixels.device)[:, None]
    counts = torch.bincount(codes.flatten(), minlength=len(pixels) * (edges - 1)).view(len(pixels), -1)
    below = F.pad(counts.cumsum(dim=1), (1, 0)).to(pixels.dtype) / pixels.shape[1]  # (N, edges)
    scores = torch.special.ndtri(below)

    def fraction_below(at: Tensor) -> Tensor:
        """Interpolate the fraction of pixels below ``at`` (N, K), given in steps from ``level``."""
        place = (at + most + 0.5).clamp(0, edges - 1)
        left = place.floor().clamp(max=edges - 2).long()
        linear, gaussian = (torch.lerp(t.gather(1, left), t.gather(1, left + 1), place - left) for t in (below, scores))
        return torch.where(gaussian.isfinite(), torch.special.ndtr(gaussian), linear)

    tries = torch.linspace(-1, 1, 2 * GRID_POINTS + 1, dtype=pixels.dtype, device=pixels.device)
    shift = _crossing(fraction_below(tries / 2 + torch.zeros_like(level)[:, None]), 0.5) / 2
    start = (mad / step).clamp(min=1)[:, None]  # the deviation from the shifted level is within a step of this
    around = fraction_below(shift[:, None] + start + tries) - fraction_below(shift[:, None] - start - tries)
    deviation = start[:, 0] + _crossing(around, 0.5)
    sigma = step * ((MAD_TO_SIGMA * deviation).square() + 1 / 12).sqrt()
    return level + step * shift, sigma, below[:, most], 1 - below[:, most + 1]


def _crossing(values: Tensor, wanted: float) -> Tensor:
    """Find where increasing values (N, 2 GRID_POINTS + 1), on an even grid from -1 to 1, reach ``wanted``: (N,)."""
    last = values.shape[1] - 1
    right = (values < wanted).sum(dim=1, keepdim=True).clamp(1, last)
    low, high = values.gather(1, right - 1)[:, 0], values.gather(1, right)[:, 0]
    share = ((wanted - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    return (right[:, 0] - 1 + share) / GRID_POINTS - 1
