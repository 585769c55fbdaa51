"""MaxiMask (Paillassa, Bertin & Bouy 2020, A&A 634, A48) in PyTorch, its cosmic-ray channel alone.

Its published weights come from ``scripts/convert_maximask.py``. What is described here, oddities too, is version 1.4.1.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import median_filter
from torch import Tensor, nn

from cosmicgate.data.fits.frames import Frame
from cosmicgate.detectors import NEVER, Detection, Unavailable
from cosmicgate.detectors.inputs import BRIDGED, bridged
from cosmicgate.detectors.packaged.unpacking import ready
from cosmicgate.tracking import tree_hash

WINDOW, STEP = 400, 200  # px: the network sees a window; of it the inner half counts, and the image's own edges
MESH = 200  # px
RANGE = (-500.0, 80000.0)  # ADU
TRAINING_PRIOR = 0.010  # the share of hit pixels in its training
# Sides that MaxiMask refuses (400 px and less) are mirrored to so many px: 400 would do for the network, but the sky of
# 2x2 meshes is off everywhere (see `normalised`). Under 3300 ADU of sky a cut-out of the tests' scene keeps 146 of the
# 267 px that are found in the whole frame, and with 600 px 236.
SMALLEST = 600

# Levels 0 to 4 hold pixels of 1, 2, 4, 8, 16 px. Channels into and out of the decoder's levels:
WIDE, NARROW = (32, 64, 128, 256, 256), (14, 32, 64, 128, 256)
CUT = 3  # from this level to level 0 the decoder works on what is kept of the window,
HALO = 12  # and on so many px around it: 1 for the head and 1 x 1, 1 x 2, 2 x 4 for the convolutions of levels 0, 1, 2


def convolutions(*channels: int) -> nn.Sequential:
    """Return 3x3 convolutions at constant size, each with its ReLU."""
    layers = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)) for a, b in pairwise(channels)]
    return nn.Sequential(*(part for layer in layers for part in layer))


class MaxiMaskNet(nn.Module):
    """A SegNet with added skips, whose every level is also brought to full size and has a say in the last layer.

    Layers stand in the order in which an image goes through them, which is also that of the published file.
    """

    def __init__(self) -> None:
        super().__init__()
        ends = [(1, 32), (32, 64), (64, 128, 128), (128, 256, 256), (256, 256, 256)]
        self.encoder = nn.ModuleList(convolutions(*channels) for channels in ends)
        self.middle = convolutions(256, 256)
        inner = [(WIDE[k], *([WIDE[k]] if k >= 2 else []), NARROW[k]) for k in range(5)]
        self.decoder = nn.ModuleList(convolutions(*inner[k]) for k in (4, 3, 2, 1, 0))
        self.rise = nn.ModuleList(
            convolutions(WIDE[k], NARROW[k]) for start in (4, 3, 2, 1) for k in reversed(range(start))
        )
        self.head = nn.Conv2d(5 * NARROW[0], 1, 3, padding=1)

    def forward(self, image: Tensor, rows: slice = slice(0, WINDOW), columns: slice = slice(0, WINDOW)) -> Tensor:
        """Return the logits (N, 1, rows, columns) of ``image`` (N, 1, 400, 400), in sigmas above the sky.

        The logits are those of the whole window; the decoder's fine levels compute no more than they need.
        """
        cut = _outwards(rows), _outwards(columns)
        x = image.asinh()
        skips, origins = [], []
        for level, block in enumerate(self.encoder):
            skip = block(x)
            x, places = F.max_pool2d(skip, 2, ceil_mode=True, return_indices=True)
            origin = F.max_unpool2d(torch.ones_like(x), places, [2, 2], output_size=skip.shape[-2:])
            skips.append(_cut(skip, level, cut) if level < CUT else skip)
            origins.append(_cut(origin, level, cut) if level < CUT else origin)
        x = self.middle(x)
        decoded = []
        for level, block in zip((4, 3, 2, 1, 0), self.decoder, strict=True):
            x = block(_unpooled(x, origins[level]) + skips[level])
            x = _cut(x, level, cut) if level == CUT else x
            decoded.append(x)
        full_size, steps = [decoded.pop()], iter(self.rise)
        for start, x in zip((4, 3, 2, 1), decoded, strict=True):
            for level in reversed(range(start)):
                x = next(steps)(_unpooled(x, origins[level]))
                x = _cut(x, level, cut) if level == CUT else x
            full_size.append(x)
        logits: Tensor = self.head(torch.cat(full_size, dim=1))
        top, left = (part.start - outer.start for part, outer in zip((rows, columns), cut, strict=True))
        return logits[..., top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def _outwards(part: slice) -> slice:
    """Return ``part`` with its halo, on whole pixels of the level where the window is cut, inside the window."""
    grid = 2**CUT
    return slice(max(0, (part.start - HALO) // grid * grid), min(WINDOW, -(-(part.stop + HALO) // grid) * grid))


def _cut(x: Tensor, level: int, cut: tuple[slice, slice]) -> Tensor:
    rows, columns = (slice(part.start >> level, part.stop >> level) for part in cut)
    return x[..., rows, columns]


def _unpooled(x: Tensor, origin: Tensor) -> Tensor:
    """Put each value where its maximum came from (``origin`` is 1 there), and 0 around it."""
    height, width = origin.shape[-2:]
    return F.interpolate(x, scale_factor=2)[..., :height, :width] * origin


def normalised(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``image`` (H, W), ADU, in sigmas above the sky, both from a spline through meshes of 200 px.

    As in MaxiMask the median filter of the meshes counts zeros beyond the image, so that sky and sigma are too low
    within 100 px of its four corners (in the last pixel by 9 %; 14 % in an image of 2x2 meshes, off everywhere).
    """
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(image), *RANGE)
    offsets = [size % MESH // 2 for size in image.shape]
    meshes = [range(offset, size - MESH + 1, MESH) for offset, size in zip(offsets, image.shape, strict=True)]
    values = [[sky_and_sigma(clipped[y : y + MESH, x : x + MESH]) for x in meshes[1]] for y in meshes[0]]
    sky, sigma = (_map(grid, image.shape, offsets) for grid in np.moveaxis(np.array(values, np.float64), -1, 0))
    return np.where(sigma != 0, (clipped - sky) / np.where(sigma != 0, sigma, 1), 0)


def sky_and_sigma(mesh: NDArray[np.float32]) -> tuple[float, float]:
    """Return the sky and its noise after clipping at 3 sigma until nothing more goes; crowded meshes get the mode."""
    if not mesh.any():
        return 0.0, 1.0
    values = mesh.ravel()
    first = values.std()
    while True:
        median, sigma = np.median(values), values.std()
        kept = (values >= median - 3 * sigma) & (values <= median + 3 * sigma)
        if kept.all():
            break
        values = values[kept]
    if 0.8 * first < sigma < 1.2 * first:
        return float(values.mean()), float(sigma)
    return float(2.5 * median - 1.5 * values.mean()), float(sigma)


def _map(grid: NDArray[np.float64], shape: tuple[int, ...], offsets: list[int]) -> NDArray[np.float32]:
    """Spread the values of the meshes over the image, without those that stand out."""
    outlying = np.zeros(grid.shape, bool)
    for _ in range(5):
        rest = grid[~outlying]
        outlying |= np.abs(grid - np.median(rest)) > 3 * rest.std()
    grid = np.where(outlying, np.nan, grid)
    while np.isnan(grid).any():
        for y, x in np.argwhere(outlying):
            around = grid[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            if not np.isnan(around).all():
                grid[y, x] = np.nanmean(around)
    padded = median_filter(np.pad(grid, 1, "edge"), 3, mode="constant")
    centres = [(np.arange(n) - 0.5) * MESH + offset for n, offset in zip(padded.shape, offsets, strict=True)]
    spline = RectBivariateSpline(*centres, padded)
    return np.asarray(spline(np.arange(shape[0]), np.arange(shape[1])), np.float32)


def windows(size: int) -> list[tuple[int, slice]]:
    """Return where the windows along a side of ``size`` px start, and the part of the side that each decides."""
    starts = sorted({*range(0, size - WINDOW + 1, STEP), size - WINDOW})
    edges = [0, *(start + WINDOW // 4 for start in starts[1:]), size]
    return [(start, slice(*part)) for start, part in zip(starts, pairwise(edges), strict=True)]


@torch.inference_mode()
def logits(network: nn.Module, sigmas: NDArray[np.float32]) -> Tensor:
    """Return the logits (H, W) of a normalised image (H, W) of at least 400 px a side."""
    device = next(network.parameters()).device
    result = torch.empty(sigmas.shape)
    for y, rows in windows(sigmas.shape[0]):
        for x, columns in windows(sigmas.shape[1]):
            window = torch.from_numpy(sigmas[y : y + WINDOW, x : x + WINDOW])[None, None].to(device)
            inner = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
            result[rows, columns] = network(window.contiguous(memory_format=torch.channels_last), *inner)[0, 0].cpu()
    return result


@dataclass(frozen=True)
class MaxiMask:
    """MaxiMask's cosmic rays, as its command finds them; its mask is not dilated.

    Attributes
    ----------
    network : Module
        A :class:`MaxiMaskNet` with the published weights.
    identity : object
        Hash of the weights, and the prior.
    threshold : float
        Probability, after the prior, above which a pixel is called hit.
    prior : float
        The share of pixels that are hit; MaxiMask's own default.
    """

    network: nn.Module
    identity: Any
    threshold: float = 0.43
    prior: float = 0.0005
    grow: bool = False
    title: str = "MaxiMask"
    trained_on: str | None = "many imagers, DECam among them, real (MaxiMask 1.4.1)"

    def detect(self, frame: Frame) -> Detection:
        """Return the logits, ``prior`` included, of a frame, whose bad pixels are never called hit."""
        image, bad = bridged(frame.image, frame.bad)
        height, width = image.shape
        missing = [SMALLEST - size if size <= WINDOW else 0 for size in image.shape]
        top, left = (number // 2 for number in missing)
        image = np.pad(image, [(n // 2, n - n // 2) for n in missing], "symmetric")
        odds = (1 - TRAINING_PRIOR) / TRAINING_PRIOR * self.prior / (1 - self.prior)
        found = logits(self.network, normalised(image)) + math.log(odds)
        found = found[top : top + height, left : left + width]
        return Detection(logits=found.masked_fill(torch.from_numpy(bad), NEVER))


def load(weights: str, threshold: float = 0.43, prior: float = 0.0005) -> MaxiMask:
    """Return MaxiMask with the weights that ``scripts/convert_maximask.py`` wrote.

    Raises
    ------
    Unavailable
        There is no such file.
    ValueError
        The file holds something else, or a probability is not between 0 and 1.
    """
    if not (0 < prior < 1 and 0 < threshold < 1):
        raise ValueError(f"expected a prior and a threshold between 0 and 1, got {prior} and {threshold}")
    if not Path(weights).is_file():
        make = "pip install --no-deps -r requirements-maximask.txt && python scripts/convert_maximask.py"
        raise Unavailable(f"MaxiMask: its weights are not at {weights!r}; to make them: {make}")
    try:
        network = ready(MaxiMaskNet(), torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many kinds: zip, pickle, runtime
        raise ValueError(f"{weights}: not the weights of MaxiMask ({error.__class__.__name__})") from error
    return MaxiMask(network, ["maximask", tree_hash(Path(weights)), prior, BRIDGED], threshold, prior)
