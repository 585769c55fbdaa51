"""Normalise a whole frame by a sky level and noise that vary across it.

Tiles that are each scaled by their own median do not match at their seams. Here sky and noise are measured in blocks of
128 px, the size of the training crops, and interpolated between them: the scale of a pixel depends on its surroundings
alone, wherever the frame is cut afterwards.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from cosmicgate.inference.threads import for_each
from cosmicgate.models.normalization import Scaling, asinh_stretch, level_and_noise

Scale = Callable[[Tensor, int, int], Tensor]  # (part of the image, its first row, its first column) -> scaled part
MESH_SIZE = 128  # px: the size of the training crops, each of which is normalised by its own median and noise
MIN_GOOD_PIXELS = 512  # good pixels that a block needs to be measured by itself; in a small block 1/32 of its pixels
FILL_NOISE = torch.randn(251, 251, generator=torch.Generator().manual_seed(0)).clamp(-2.5, 2.5)  # noise of sigma 1


def identity_scale(part: Tensor, top: int, left: int) -> Tensor:  # noqa: ARG001 (signature of BackgroundGrid.scaled)
    """Leave the image as it is (``scaling="none"``)."""
    return part


def scale_of(scaling: Scaling, image: Tensor, bad: Tensor | None = None) -> Scale:
    """Make the function that scales any part of an image (H, W) for a network; the sky is measured on good pixels."""
    return BackgroundGrid.of(image, bad).scaled if scaling == "robust" else identity_scale


@dataclass(frozen=True)
class BackgroundGrid:
    """Sky level and noise of an image, measured in blocks of 128 px and interpolated linearly between their centres.

    A block of equal pixels (a dead amplifier, a border of zeros) has neither sky nor noise: it takes the mean of the
    surrounding blocks, so that it does not spoil the scale of its neighbours.

    Attributes
    ----------
    rows, columns : Tensor (R,), (C,)
        Centres of the blocks, px.
    level, sigma : Tensor (R, C), ADU
        Sky level and noise of the blocks.
    bad : Tensor (H, W), bool, optional
        Pixels of the image that were left out of the measurement.
    """

    rows: Tensor
    columns: Tensor
    level: Tensor
    sigma: Tensor
    bad: Tensor | None = None

    @classmethod
    def of(cls, image: Tensor, bad: Tensor | None = None, block: int = MESH_SIZE) -> "BackgroundGrid":
        """Measure sky level and noise of an image on its good pixels.

        Parameters
        ----------
        image : Tensor (H, W), counts
            The whole image.
        bad : Tensor (H, W), bool, optional
            Pixels to leave out, whatever was filled in for them. A block with few good pixels takes level and noise
            from the surrounding blocks.
        block : int
            Side of the blocks, px.
        """
        tops, lefts = _block_starts(image.shape[0], block), _block_starts(image.shape[1], block)
        level, sigma = torch.empty(len(tops), len(lefts)), torch.empty(len(tops), len(lefts))

        def measure(row: int) -> None:
            strip = image[tops[row] : tops[row] + block]
            blocks = torch.stack([strip[:, left : left + block].flatten() for left in lefts])
            level[row], sigma[row] = level_and_noise(blocks)
            if bad is not None and (bad_strip := bad[tops[row] : tops[row] + block]).any():
                for number, left in enumerate(lefts):
                    good = ~bad_strip[:, left : left + block].flatten()
                    if not good.all():
                        found = _measure_good_pixels(blocks[number][good], good.numel())
                        level[row, number], sigma[row, number] = found

        for_each(measure, range(len(tops)), torch.get_num_threads() if image.device.type == "cpu" else 1)
        rows, columns = (
            torch.tensor([start + (min(block, length) - 1) / 2 for start in starts])
            for starts, length in ((tops, image.shape[0]), (lefts, image.shape[1]))
        )
        if bad is not None and not (sigma.isfinite() & (sigma > 0)).any() and not bad.all():
            whole = level_and_noise(image[~bad][None])  # no block has enough good pixels of its own
            level, sigma = (torch.full_like(level, one.item()) for one in whole)
        return cls(rows, columns, *_filled_gaps(level, sigma), bad)

    def scaled(self, part: Tensor, top: int = 0, left: int = 0) -> Tensor:
        """Scale the part (H, W) of the image whose first pixel is (top, left).

        The formula is that of :func:`cosmicgate.models.normalization.asinh_normalize`. The values
        filled in for bad pixels get sky noise added, and a row without a good pixel becomes sky level plus noise: next
        to a smooth patch, ordinary noise would look like faint hits. The added noise is the same in every run and
        however the image is cut.
        """
        down = _linear_weights(self.rows, torch.arange(top, top + part.shape[0], dtype=torch.float32))
        across = _linear_weights(self.columns, torch.arange(left, left + part.shape[1], dtype=torch.float32))
        level, sigma = (down @ mesh @ across.T for mesh in (self.level, self.sigma))
        if self.bad is not None:
            near = self.bad[top : top + part.shape[0]]
            bad, blank = near[:, left : left + part.shape[1]], near.all(dim=1)[:, None]
            if bad.any():
                row, column = (torch.arange(n) + start for n, start in zip(part.shape, (top, left), strict=True))
                grain = FILL_NOISE[row % len(FILL_NOISE)][:, column % len(FILL_NOISE)]
                part = torch.where(bad, torch.where(blank, level, part) + sigma * grain, part)
        return asinh_stretch(part, level, sigma)


def _measure_good_pixels(good: Tensor, size: int) -> tuple[float, float]:
    """Measure level and noise of the good pixels (P,) of a block of ``size`` pixels; NaN if they are too few."""
    if len(good) < min(MIN_GOOD_PIXELS, size // 32 + 1):
        return torch.nan, torch.nan
    level, sigma = level_and_noise(good[None])
    return level.item(), sigma.item()


def _filled_gaps(level: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Replace blocks (R, C) without noise or with non-finite values by the mean of the valid blocks around them."""
    known = (sigma > 0) & sigma.isfinite() & level.isfinite()
    if not known.any():
        return torch.where(level.isfinite(), level, 0), torch.ones_like(sigma)
    level, sigma = torch.where(known, level, 0), torch.where(known, sigma, 0)
    while not known.all():
        part, *means = (F.avg_pool2d(mesh[None, None], 3, 1, 1)[0, 0] for mesh in (known.float(), level, sigma))
        filled = ~known & (part > 0)
        level, sigma = (
            torch.where(filled, mean / part, mesh) for mean, mesh in zip(means, (level, sigma), strict=True)
        )
        known = known | filled
    return level, sigma


def _block_starts(length: int, block: int) -> list[int]:
    # The last block is moved inwards, so that it ends at the edge of the image.
    starts = list(range(0, max(length - block, 0) + 1, block))
    return starts if starts[-1] + block >= length else [*starts, length - block]


def _linear_weights(centres: Tensor, at: Tensor) -> Tensor:
    """Compute weights (P, K) that interpolate linearly between K centres at P points, constant beyond the outermost."""
    weights = torch.zeros(len(at), len(centres))
    if len(centres) == 1:
        return weights + 1
    below = (torch.searchsorted(centres, at, right=True) - 1).clamp(0, len(centres) - 2)
    share = ((at - centres[below]) / (centres[below + 1] - centres[below])).clamp(0, 1)
    rows = torch.arange(len(at))
    weights[rows, below] = 1 - share
    weights[rows, below + 1] = share
    return weights
