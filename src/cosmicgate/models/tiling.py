"""Logits of an image of any size, tile by tile."""

from collections.abc import Callable
from itertools import groupby, product

import torch
from torch import Tensor

GRID = 4  # pixels: tiles begin where the pooling of the whole image would


@torch.inference_mode()
def tiled_logits(
    network: Callable[[Tensor], Tensor], image: Tensor, tile: int = 256, halo: int = 0, batch: int = 16
) -> Tensor:
    """Return the logits (H, W), float32, of an image (H, W) of any size.

    Tiles hold nothing but the image: the last of a row or column is moved inwards, and an image smaller than a tile
    is one tile. (Filling tiles up with repeated pixels spoils a network that measures the sky of its tile.)

    Parameters
    ----------
    network : callable
        A network in evaluation mode, images (N, 1, H, W) in, logits out.
    image : Tensor (H, W), float32
        In the units that the network knows, on the device to compute on.
    tile : int
        Side of the square that goes through the network at once; a multiple of 4. With group norm, whose statistics
        are the tile's, it is part of the model.
    halo : int
        Pixels at each inner side of a tile whose logits are thrown away, a multiple of 4. 0 gives the paper's separate
        patches; with 24, a UNet-3 with batch norm gives what it gives for the whole image.
    batch : int
        Tiles that go through the network together.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image (H, W), got {tuple(image.shape)}")
    if tile % GRID or halo % GRID or halo < 0 or tile <= 2 * halo:
        raise ValueError(f"tile={tile}, halo={halo}: expected multiples of {GRID} and tile > 2 halo >= 0")
    height, width = image.shape
    windows = list(product(spans(height, tile, halo), spans(width, tile, halo)))
    logits = torch.empty(height, width)
    for _, alike in groupby(sorted(windows, key=_size), key=_size):
        same = list(alike)
        for first in range(0, len(same), batch):
            chunk = same[first : first + batch]
            tiles = torch.stack([image[y[0] : y[1], x[0] : x[1]] for y, x in chunk])[:, None]
            scores = network(tiles.contiguous(memory_format=torch.channels_last))[:, 0].float().cpu()
            for (y, x), score in zip(chunk, scores, strict=True):
                logits[y[2] : y[3], x[2] : x[3]] = score[y[2] - y[0] : y[3] - y[0], x[2] - x[0] : x[3] - x[0]]
    return logits


Span = tuple[int, int, int, int]  # first and last + 1 pixel of a tile, first and last + 1 pixel that is kept of it


def spans(length: int, tile: int, halo: int) -> list[Span]:
    """Cover ``length`` pixels with tiles inside it; each pixel is kept from one tile, ``halo`` from its inner sides."""
    starts = list(range(0, max(length - tile, 0), tile - 2 * halo))
    starts.append(max(0, (length - tile) // GRID * GRID))
    stops = [start + tile for start in starts[:-1]] + [length]
    cuts = [(left + right) // 2 for left, right in zip(stops, starts[1:], strict=False)]
    return list(zip(starts, stops, [0, *cuts], [*cuts, length], strict=True))


def _size(window: tuple[Span, Span]) -> tuple[int, int]:
    (top, bottom, _, _), (left, right, _, _) = window
    return bottom - top, right - left
