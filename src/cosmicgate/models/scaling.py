"""What happens to an image before a network sees it: nothing, or every sky is made alike."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Scaling = Literal["none", "robust"]
BLOCK = 128  # pixels: the crops that our networks learn from, each of which is brought to its own median and noise
BLANK = 0.02  # part of a block that may be zero before it is asked whether zero stands for no value
FARTHEST = 1e6  # times three sigma from the level: a sentinel of 1e30 tells no more, and its squares overflow
TO_SIGMA = 1.4826  # a median deviation of Gaussian noise times this is its standard deviation


def robust(image: Tensor) -> Tensor:
    """Return asinh((image - median) / 3 sigma) for each image (N, 1, H, W); see :func:`level_and_noise`."""
    level, sigma = level_and_noise(image.flatten(1))
    sigma[sigma == 0] = 1.0
    return stretched(image, level.view(-1, 1, 1, 1), sigma.view(-1, 1, 1, 1))


def stretched(image: Tensor, level: Tensor, sigma: Tensor) -> Tensor:
    """Return asinh((image - level) / 3 sigma)."""
    return torch.asinh(((image - level) / (3 * sigma)).clamp(-FARTHEST, FARTHEST))


def level_and_noise(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the median and the noise (N,) of each row of pixels (N, P).

    The noise is 1.4826 median deviations. Where whole numbers hide that (more than half of the pixels are equal), it
    is the standard deviation of the 98 % nearest to the median. A value that stands for none, far from all else (the
    border of a mosaic, of a drizzled image), is no sky: the other pixels are measured. That is zero, the lowest value
    of many pixels, or what more than half of them are.
    """
    level, sigma = _of_all(pixels)
    zero, lowest = torch.zeros_like(level), pixels.min(dim=1).values
    for fillings, part in ((zero, BLANK), (lowest, BLANK), (level.clone(), 0.5)):
        for row in ((pixels == fillings[:, None]).float().mean(dim=1) > part).nonzero()[:, 0].tolist():
            rest = pixels[row][pixels[row] != fillings[row]]
            steps = rest.sort().values.diff()
            steps = steps[steps > 0]
            if not len(steps):
                continue
            there, noise = _of_all(rest[None])
            # Where photons are counted one by one, most pixels hold none, and the others one or two: that is a sky.
            if (there - fillings[row]).abs() > torch.maximum(10 * noise, 3 * steps.min()):
                level[row], sigma[row] = there[0], noise[0]
    return level, sigma


def _of_all(pixels: Tensor) -> tuple[Tensor, Tensor]:
    level = pixels.median(dim=1).values
    deviation = (pixels - level[:, None]).abs()
    sigma = TO_SIGMA * deviation.median(dim=1).values
    for row in (sigma == 0).nonzero()[:, 0].tolist():
        near = deviation[row].sort().values[: max(int(0.98 * pixels.shape[1]), 1)]
        sigma[row] = near.square().mean().sqrt()
    return level, sigma


@dataclass(frozen=True)
class Levels:
    """Level and noise of an image, from blocks of 128 px and linear between their centres.

    A tile that is scaled by its own median differs from its neighbour at the seam. Here each pixel is scaled by its
    surroundings, wherever the image is cut afterwards. A block of equal pixels (a dead amplifier, a border of zeros)
    has no sky and no noise: the median of the other blocks stands there, or its neighbours would be scaled by it.

    Attributes
    ----------
    rows, columns : Tensor (R,), (C,)
        Centres of the blocks, px.
    level, sigma : Tensor (R, C)
        ADU.
    """

    rows: Tensor
    columns: Tensor
    level: Tensor
    sigma: Tensor

    @classmethod
    def of(cls, image: Tensor, block: int = BLOCK) -> "Levels":
        """Measure an image (H, W)."""
        tops, lefts = _starts(image.shape[0], block), _starts(image.shape[1], block)
        level, sigma = [], []
        for top in tops:
            strip = image[top : top + block]
            blocks = torch.stack([strip[:, left : left + block].flatten() for left in lefts])
            here, noise = level_and_noise(blocks)
            level.append(here)
            sigma.append(noise)
        rows, columns = (
            torch.tensor([start + (min(block, length) - 1) / 2 for start in starts])
            for starts, length in ((tops, image.shape[0]), (lefts, image.shape[1]))
        )
        return cls(rows, columns, *_without_gaps(torch.stack(level), torch.stack(sigma)))

    def scaled(self, part: Tensor, top: int = 0, left: int = 0) -> Tensor:
        """Return what :func:`robust` does, of the part (H, W) of the image whose first pixel is (top, left)."""
        down = _linear(self.rows, torch.arange(top, top + part.shape[0], dtype=torch.float32))
        across = _linear(self.columns, torch.arange(left, left + part.shape[1], dtype=torch.float32))
        level, sigma = (down @ mesh @ across.T for mesh in (self.level, self.sigma))
        return stretched(part, level, sigma)


def _without_gaps(level: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Return level and noise of blocks (R, C), those without noise, or beyond all numbers, filled by the others."""
    flat = (sigma == 0) | ~sigma.isfinite()
    if flat.all():
        return level, torch.ones_like(sigma)
    return tuple(torch.where(flat, mesh[~flat].median(), mesh) for mesh in (level, sigma))  # type: ignore[return-value]


def _starts(length: int, block: int) -> list[int]:
    starts = list(range(0, max(length - block, 0) + 1, block))
    return starts if starts[-1] + block >= length else [*starts, length - block]


def _linear(centres: Tensor, at: Tensor) -> Tensor:
    """Return the weights (P, K) of K centres at P places: linear between two of them, constant beyond the outermost."""
    weights = torch.zeros(len(at), len(centres))
    if len(centres) == 1:
        return weights + 1
    below = (torch.searchsorted(centres, at, right=True) - 1).clamp(0, len(centres) - 2)
    share = ((at - centres[below]) / (centres[below + 1] - centres[below])).clamp(0, 1)
    place = torch.arange(len(at))
    weights[place, below] = 1 - share
    weights[place, below + 1] = share
    return weights
