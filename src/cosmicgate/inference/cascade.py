"""Compute logits by a cascade: a coarse stage picks candidate cells, and the fine stage searches these alone.

Cosmic rays hit about one pixel in some thousand. The coarse stage, a network of a few thousand weights with a low
threshold, finds every cell of 8x8 pixels that could hold a hit. The fine stage, the full network, then sees these cells
only, and a halo around them. With a halo of 24 px a UNet-3 gives the same logits as for the whole image; with 16 px, as
in the cascade of the general network, probabilities differed by up to 0.02 on simulated frames, and no mask did.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor

from cosmicgate.inference.background_grid import Scale, scale_of
from cosmicgate.inference.fuse_batch_norm import fuse_batch_norm, has_group_norm
from cosmicgate.inference.precision import has_fast_bfloat16
from cosmicgate.inference.streaming import CHANNELS_LAST, streamed_logits
from cosmicgate.inference.threads import for_each
from cosmicgate.models.unet import UNet

NO_HIT_LOGIT = -30.0  # logit of the pixels outside all candidate cells, and of bad pixels
MAX_WINDOW_CELLS = 8  # cells along a side of a window
MARGIN = 4  # px kept around a box at every resolution (see logits_within)
COARSE_ROWS = 64  # rows that enter the coarse network at once on a CPU
BATCH, BATCH_GPU = 1 << 15, 1 << 20  # pixels in a batch of the fine stage
Box = tuple[int, int, int, int]  # start and stop row, start and stop column
Window = tuple[Box, Box]  # what the fine network is given, and the part of it whose logits are kept


@dataclass(frozen=True)
class Cascade:
    """The coarse stage of a cascade, and the geometry of the cells that it hands to the fine stage.

    Attributes
    ----------
    network : UNet
        Coarse network: few channels, batch norm, and the same ``scaling`` as the fine network.
    threshold : float
        Logit of the coarse network from which a pixel makes its cell a candidate.
    cell : int
        Side of the square cells, px; a multiple of the fine network's pooling (4 for a UNet-3).
    margin : int
        Width of the margin around a cell in which a pixel over the threshold makes it a candidate too, px.
    halo : int
        Width of the margin around a cell that the fine network sees as well, px. With 24, a UNet-3 gives the same
        logits in the cell as for the whole image.
    """

    network: UNet
    threshold: float
    cell: int = 8
    margin: int = 4
    halo: int = 24


@torch.inference_mode()
def cascade_logits(
    network: UNet,
    cascade: Cascade,
    image: Tensor,
    dtype: torch.dtype = torch.float32,
    bad: Tensor | None = None,
) -> Tensor:
    """Compute the logits of an image in its candidate cells; elsewhere they are :data:`NO_HIT_LOGIT`.

    Parameters
    ----------
    network : UNet
        Fine network, in evaluation mode, with batch norm, on the device to compute on. If the halo is at least its
        receptive field, its logits in a candidate cell are those of the whole image.
    cascade : Cascade
        Coarse stage that picks the candidate cells.
    image : Tensor (H, W), float32, counts
        Frame to search.
    dtype : torch.dtype
        Type to compute in. The coarse stage decides about cells, not about pixels, so it uses bfloat16 on processors
        with native support for it.
    bad : Tensor (H, W), bool, optional
        Pixels left out when sky level and noise are measured.

    Returns
    -------
    Tensor (H, W), float32
        Logits of the image.

    Raises
    ------
    ValueError
        The network has group norm, cell or halo are no multiples of its pooling, or the coarse logits contain NaN.
    """
    if has_group_norm(network):
        raise ValueError("a cascade needs batch norm: the statistics of group norm would be those of single cells")
    if cascade.cell % network.total_stride or cascade.halo % network.total_stride:
        expected = f"expected cell and halo to be multiples of {network.total_stride}"
        raise ValueError(f"{expected}, got {cascade.cell}, {cascade.halo}")
    scale = scale_of(network.scaling, image, bad)
    cells = candidate_cells(cascade, image, scale, dtype)
    logits = torch.full(image.shape, NO_HIT_LOGIT)
    fused = fuse_batch_norm(network).to(dtype)
    device = next(fused.parameters()).device

    def search(windows: list[Window]) -> None:
        """Write the logits of a batch of windows of one shape."""
        (top, _, left, _), (y0, y1, x0, x1) = windows[0]
        box = y0 - top, y1 - top, x0 - left, x1 - left
        tiles = torch.stack([scale(image[t:b, lo:hi], t, lo) for (t, b, lo, hi), _ in windows])[:, None]
        tiles = tiles.to(device, dtype).contiguous(memory_format=CHANNELS_LAST)
        found = logits_within(fused, tiles, box)[:, 0].float().cpu()
        for (_, (y0, y1, x0, x1)), score in zip(windows, found, strict=True):
            logits[y0:y1, x0:x1] = score

    batch = BATCH_GPU if device.type == "cuda" else BATCH
    threads = 1 if device.type == "cuda" else torch.get_num_threads()
    for_each(search, batches(windows_by_shape(cells, cascade, image.shape), batch), threads)
    return logits


def batches(groups: Iterable[list[Window]], pixels: int) -> Iterator[list[Window]]:
    """Split each list of windows of one shape into batches of about so many pixels."""
    for windows in groups:
        top, bottom, left, right = windows[0][0]
        step = max(pixels // ((bottom - top) * (right - left)), 1)
        for first in range(0, len(windows), step):
            yield windows[first : first + step]


def logits_within(network: UNet, tiles: Tensor, box: Box) -> Tensor:
    """Compute the logits (N, 1, h, w) of ``network.logits(tiles)`` in a box of the scaled tiles (N, 1, H, W).

    The decoder computes only what the box needs. At each resolution, its two convolutions see two pixels around the
    box, and the two pixels next to a cut are wrong, because the zero padding there is not the image. So :data:`MARGIN`
    pixels are kept around the box at every resolution.
    """
    height, width = tiles.shape[-2:]
    x = F.pad(tiles, (0, -width % network.total_stride, 0, -height % network.total_stride), mode="replicate")
    skips: list[Tensor] = []
    for level, block in enumerate(network.encoder):
        x = block(F.max_pool2d(x, 2) if level else x)
        skips.append(x)
    skips.pop()
    top = left = 0  # position of x in the tile, in pixels of its resolution
    for level in reversed(range(len(network.up))):
        x, top, left = network.up[level](x), 2 * top, 2 * left
        y0, x0 = (max(side // 2**level - MARGIN, 0) for side in (box[0], box[2]))
        y1, x1 = (-(-side // 2**level) + MARGIN for side in (box[1], box[3]))
        skip = skips[level][:, :, y0:y1, x0:x1]
        x = x[:, :, y0 - top : y1 - top, x0 - left : x1 - left]
        top, left = y0, x0
        skip = network.gates[level](x, skip) if network.gates else skip
        x = network.decoder[level](torch.cat([skip, x], dim=1))
    x = x[:, :, box[0] - top : box[1] - top, box[2] - left : box[3] - left]
    logits: Tensor = network.head(x)
    return logits


def candidate_cells(cascade: Cascade, image: Tensor, scale: Scale, dtype: torch.dtype = torch.float32) -> Tensor:
    """Find the cells of an image (H, W) that could hold a hit: Tensor (rows, columns), bool."""
    if has_fast_bfloat16() and not next(cascade.network.parameters()).is_cuda:
        dtype = torch.bfloat16
    highest = max_logit_per_cell(cascade, coarse_logits(cascade, image, scale, dtype))
    if torch.isnan(highest).any():  # NaN is above no threshold, so its cell would be skipped
        raise ValueError("the coarse network returned NaN for this image: are its weights damaged or too large?")
    return highest >= cascade.threshold


def coarse_logits(cascade: Cascade, image: Tensor, scale: Scale, dtype: torch.dtype = torch.float32) -> Tensor:
    """Compute the logits (H, W) of the coarse network for an image (H, W)."""
    on_gpu = next(cascade.network.parameters()).is_cuda
    return streamed_logits(cascade.network, image, scale, None if on_gpu else COARSE_ROWS, dtype)


def max_logit_per_cell(cascade: Cascade, logits: Tensor) -> Tensor:
    """Find the highest logit (rows, columns) in each cell of an image (H, W), its margin included."""
    cell, margin = cascade.cell, cascade.margin
    step = margin if margin and cell % margin == 0 else 1  # pool to the margin's size first, once for all cells
    found = F.max_pool2d(logits[None, None], step, ceil_mode=True) if step > 1 else logits[None, None]
    below, right = (-length % (cell // step) for length in found.shape[2:])
    around = margin // step
    found = F.pad(found, (around, right + around, around, below + around), value=NO_HIT_LOGIT)
    return F.max_pool2d(found, (cell + 2 * margin) // step, cell // step)[0, 0]


def windows_by_shape(cells: Tensor, cascade: Cascade, shape: tuple[int, ...] | torch.Size) -> Iterator[list[Window]]:
    """Yield lists of windows, one list per shape; neighbouring candidate cells share a window."""
    height, width = shape
    groups: dict[tuple[int, ...], list[Window]] = defaultdict(list)
    for top, bottom, left, right in merge_cells(cells):
        kept = (
            top * cascade.cell,
            min(bottom * cascade.cell, height),
            left * cascade.cell,
            min(right * cascade.cell, width),
        )
        window = (
            max(kept[0] - cascade.halo, 0),
            min(kept[1] + cascade.halo, height),
            max(kept[2] - cascade.halo, 0),
            min(kept[3] + cascade.halo, width),
        )
        inside = kept[0] - window[0], kept[1] - window[0], kept[2] - window[2], kept[3] - window[2]
        groups[*inside, window[1] - window[0], window[3] - window[2]].append((window, kept))
    yield from groups.values()


def merge_cells(cells: Tensor) -> Iterator[Box]:
    """Yield boxes, in cells, that cover all candidate cells; cells that touch, also at corners, share a box.

    No side is longer than :data:`MAX_WINDOW_CELLS`, or the box of a trail across the frame would be the whole frame.
    """
    candidates = [(row, column) for row, column in cells.nonzero().tolist()]
    left_over = set(candidates)
    for cell in candidates:
        if cell not in left_over:
            continue
        row, column = cell
        top, bottom, left, right = row, row + 1, column, column + 1
        waiting = [cell]
        left_over.remove(cell)
        while waiting:
            row, column = waiting.pop()
            for near in product(range(row - 1, row + 2), range(column - 1, column + 2)):
                if near not in left_over:
                    continue
                wider = min(top, near[0]), max(bottom, near[0] + 1), min(left, near[1]), max(right, near[1] + 1)
                if max(wider[1] - wider[0], wider[3] - wider[2]) <= MAX_WINDOW_CELLS:
                    top, bottom, left, right = wider
                    waiting.append(near)
                    left_over.remove(near)
        yield top, bottom, left, right
