"""MaxiMask (Paillassa, Bertin & Bouy 2020, A&A 634, A48) in PyTorch, with its cosmic-ray channel only.

``scripts/convert_maximask.py`` converts its published weights. This reproduces version 1.4.1, including its quirks.
"""

import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from textwrap import shorten

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.ndimage import median_filter
from torch import Tensor, nn

from cosmicgate.detectors.base import MissingDependency
from cosmicgate.detectors.network import INTERPOLATED, NetworkDetector
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.atomic import tree_hash
from cosmicgate.pretrained.registry import prepare_for_inference

# px: size and spacing of the network's windows; the inner half of a window is kept, and its outer part at the edges of
# the image.
WINDOW, STEP = 400, 200
MESH = 200  # px: side of the meshes in which the sky is measured
RANGE = (-500.0, 80000.0)  # ADU: values are clipped to this range
TRAINED_ON = "many imagers, DECam among them, real (MaxiMask 1.4.1)"
TRAINING_PRIOR = 0.010  # fraction of hit pixels in its training set
# Sides of up to 400 px, which MaxiMask refuses, are extended by reflection to this size, px. 400 would be enough for
# the network, but the sky of 2x2 meshes is wrong everywhere (see `normalize`). With a sky of 3300 ADU, a cut-out of
# the tests' scene then keeps 146 of the 267 px that are found in the whole frame; with 600 px it keeps 236.
MIN_SIDE = 600

# Levels 0 to 4 have pixels of 1, 2, 4, 8 and 16 px. Channels into and out of the levels of the decoder:
IN_CHANNELS, OUT_CHANNELS = (32, 64, 128, 256, 256), (14, 32, 64, 128, 256)
# From level CROP_LEVEL to level 0, the decoder computes only the part of the window that is kept, and HALO px around:
# 1 for the head, and 1 x 1, 1 x 2 and 2 x 4 for the convolutions of levels 0, 1 and 2.
CROP_LEVEL = 3
HALO = 12


def convolutions(*channels: int) -> nn.Sequential:
    """Make 3x3 convolutions at constant image size, each followed by ReLU."""
    layers = [(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(inplace=True)) for a, b in pairwise(channels)]
    return nn.Sequential(*(part for layer in layers for part in layer))


class MaxiMaskNet(nn.Module):
    """SegNet with additive skip connections; every decoder level is also upsampled to full size for the last layer.

    Layers are listed in the order in which an image passes through them, which is also that of the published file.
    """

    def __init__(self) -> None:
        super().__init__()
        ends = [(1, 32), (32, 64), (64, 128, 128), (128, 256, 256), (256, 256, 256)]
        self.encoder = nn.ModuleList(convolutions(*channels) for channels in ends)
        self.middle = convolutions(256, 256)
        inner = [(IN_CHANNELS[k], *([IN_CHANNELS[k]] if k >= 2 else []), OUT_CHANNELS[k]) for k in range(5)]
        self.decoder = nn.ModuleList(convolutions(*inner[k]) for k in (4, 3, 2, 1, 0))
        # Convolutions that upsample the deeper levels of the decoder to full size; their name is in files of weights.
        self.rise = nn.ModuleList(
            convolutions(IN_CHANNELS[k], OUT_CHANNELS[k]) for start in (4, 3, 2, 1) for k in reversed(range(start))
        )
        self.head = nn.Conv2d(5 * OUT_CHANNELS[0], 1, 3, padding=1)

    def forward(self, image: Tensor, rows: slice = slice(0, WINDOW), columns: slice = slice(0, WINDOW)) -> Tensor:
        """Compute the logits (N, 1, rows, columns) of ``image`` (N, 1, 400, 400), in sigma above the sky.

        The logits are those of the whole window, but the fine levels of the decoder compute only the part needed.
        """
        crop = _extend_to_grid(rows), _extend_to_grid(columns)
        x = image.asinh()
        skips, origins = [], []
        for level, block in enumerate(self.encoder):
            skip = block(x)
            x, indices = F.max_pool2d(skip, 2, ceil_mode=True, return_indices=True)
            origin = F.max_unpool2d(torch.ones_like(x), indices, [2, 2], output_size=skip.shape[-2:])
            skips.append(_crop(skip, level, crop) if level < CROP_LEVEL else skip)
            origins.append(_crop(origin, level, crop) if level < CROP_LEVEL else origin)
        x = self.middle(x)
        decoded = []
        for level, block in zip((4, 3, 2, 1, 0), self.decoder, strict=True):
            x = block(_unpool(x, origins[level]) + skips[level])
            x = _crop(x, level, crop) if level == CROP_LEVEL else x
            decoded.append(x)
        full_size, steps = [decoded.pop()], iter(self.rise)
        for start, x in zip((4, 3, 2, 1), decoded, strict=True):
            for level in reversed(range(start)):
                x = next(steps)(_unpool(x, origins[level]))
                x = _crop(x, level, crop) if level == CROP_LEVEL else x
            full_size.append(x)
        logits: Tensor = self.head(torch.cat(full_size, dim=1))
        top, left = (part.start - outer.start for part, outer in zip((rows, columns), crop, strict=True))
        return logits[..., top : top + rows.stop - rows.start, left : left + columns.stop - columns.start]


def _extend_to_grid(part: slice) -> slice:
    """Extend ``part`` by the halo to whole pixels of level :data:`CROP_LEVEL`, within the window."""
    grid = 2**CROP_LEVEL
    return slice(max(0, (part.start - HALO) // grid * grid), min(WINDOW, -(-(part.stop + HALO) // grid) * grid))


def _crop(x: Tensor, level: int, crop: tuple[slice, slice]) -> Tensor:
    rows, columns = (slice(part.start >> level, part.stop >> level) for part in crop)
    return x[..., rows, columns]


def _unpool(x: Tensor, origin: Tensor) -> Tensor:
    """Unpool: put each value at the position of its maximum (``origin`` is 1 there), and 0 elsewhere."""
    height, width = origin.shape[-2:]
    return F.interpolate(x, scale_factor=2)[..., :height, :width] * origin


def normalize(image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Normalise ``image`` (H, W), ADU, to sigma above the sky; both are splines through meshes of 200 px.

    As in MaxiMask, the median filter of the meshes assumes zeros outside the image, so that sky and sigma are too low
    within 100 px of its four corners (by 9 % in the last pixel; in an image of 2x2 meshes by 14 %, and everywhere).
    """
    clipped: NDArray[np.float32] = np.clip(np.nan_to_num(image), *RANGE)
    offsets = [size % MESH // 2 for size in image.shape]
    meshes = [range(offset, size - MESH + 1, MESH) for offset, size in zip(offsets, image.shape, strict=True)]
    values = [[sky_and_sigma(clipped[y : y + MESH, x : x + MESH]) for x in meshes[1]] for y in meshes[0]]
    sky, sigma = (
        _interpolate_meshes(grid, image.shape, offsets) for grid in np.moveaxis(np.array(values, np.float64), -1, 0)
    )
    return np.where(sigma != 0, (clipped - sky) / np.where(sigma != 0, sigma, 1), 0)


def sky_and_sigma(mesh: NDArray[np.float32]) -> tuple[float, float]:
    """Measure sky and noise of a mesh by iterative clipping at 3 sigma; in a crowded mesh the sky is the mode."""
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


def _interpolate_meshes(grid: NDArray[np.float64], shape: tuple[int, ...], offsets: list[int]) -> NDArray[np.float32]:
    """Interpolate the values of the meshes over the image by a spline, after replacing outliers."""
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
    """List the start of each window along a side of ``size`` px, and the part of the side that is kept from it."""
    starts = sorted({*range(0, size - WINDOW + 1, STEP), size - WINDOW})
    edges = [0, *(start + WINDOW // 4 for start in starts[1:]), size]
    return [(start, slice(*part)) for start, part in zip(starts, pairwise(edges), strict=True)]


@torch.inference_mode()
def maximask_logits(network: nn.Module, image: Tensor, prior: float) -> Tensor:
    """Compute the logits (H, W) of an image (H, W), ADU, as MaxiMask's command does.

    Parameters
    ----------
    network : Module
        :class:`MaxiMaskNet` with the published weights.
    image : Tensor (H, W), float32, ADU
        Frame of any size; sides of up to 400 px are extended by reflection.
    prior : float
        Expected fraction of hit pixels, for which the probabilities are corrected.
    """
    missing = [MIN_SIDE - size if size <= WINDOW else 0 for size in image.shape]
    padded = np.pad(image.numpy(), [(n // 2, n - n // 2) for n in missing], "symmetric")
    odds = (1 - TRAINING_PRIOR) / TRAINING_PRIOR * prior / (1 - prior)
    logits = windowed_logits(network, normalize(padded)) + math.log(odds)
    top, left = (n // 2 for n in missing)
    return logits[top : top + image.shape[0], left : left + image.shape[1]]


def windowed_logits(network: nn.Module, sigmas: NDArray[np.float32]) -> Tensor:
    """Compute the logits (H, W) of a normalised image (H, W) with sides of at least 400 px."""
    device = next(network.parameters()).device
    result = torch.empty(sigmas.shape)
    for y, rows in windows(sigmas.shape[0]):
        for x, columns in windows(sigmas.shape[1]):
            window = torch.from_numpy(sigmas[y : y + WINDOW, x : x + WINDOW])[None, None].to(device)
            inner = slice(rows.start - y, rows.stop - y), slice(columns.start - x, columns.stop - x)
            result[rows, columns] = network(window.contiguous(memory_format=torch.channels_last), *inner)[0, 0].cpu()
    return result


def load_maximask(weights: str, threshold: float = 0.43, prior: float = 0.0005) -> NetworkDetector:
    """Load MaxiMask with the weights that ``scripts/convert_maximask.py`` wrote; its mask is not dilated.

    Parameters
    ----------
    weights : str
        File of the weights.
    threshold : float
        Probability, corrected for the prior, from which a pixel is classified as a hit; the default is MaxiMask's.
    prior : float
        Expected fraction of hit pixels; the default is MaxiMask's.

    Raises
    ------
    MissingDependency
        There is no such file.
    ValueError
        The file holds something else, or prior or threshold is not between 0 and 1.
    """
    if not (0 < prior < 1 and 0 < threshold < 1):
        raise ValueError(f"expected a prior and a threshold between 0 and 1, got {prior} and {threshold}")
    if not Path(weights).is_file():
        make = "pip install --no-deps -r requirements-maximask.txt && python scripts/convert_maximask.py"
        raise MissingDependency(f"MaxiMask: its weights are not at {weights!r}; to make them: {make}")
    try:
        network = prepare_for_inference(
            MaxiMaskNet(), torch.load(weights, map_location="cpu", weights_only=True), "the file"
        )
    except Exception as error:  # torch raises many types: zip, pickle and runtime errors
        reason = shorten(f"{error.__class__.__name__}: {error}", 300)
        raise ValueError(f"{weights}: not the weights of MaxiMask ({reason})") from error
    cache_key = ["maximask", tree_hash(Path(weights)), prior, INTERPOLATED]
    predictor = Predictor(network, procedure=partial(maximask_logits, prior=prior))
    return NetworkDetector(predictor, "MaxiMask", TRAINED_ON, cache_key, threshold)
