"""Compute the logits of an image of any size tile by tile."""

from collections.abc import Callable
from itertools import groupby, product

import torch
from torch import Tensor

GRID = 4  # px: tiles start at multiples of it, so that they are pooled on the same grid as the whole image


@torch.inference_mode()
def tiled_logits(
    network: Callable[..., Tensor],
    image: Tensor,
    tile: int = 256,
    halo: int = 0,
    batch: int = 16,
    bad: Tensor | None = None,
) -> Tensor:
    """Compute the logits (H, W), float32, of an image (H, W) of any size.

    Tiles are never padded: the last tile of a row or column is moved inwards, and an image smaller than a tile is one
    tile. (Padding with repeated pixels would bias a network that measures the sky of its tile.)

    Parameters
    ----------
    network : callable
        Network in evaluation mode that maps images (N, 1, H, W) to logits. With ``bad``, it is also given the bad
        pixels of the tiles as a second argument.
    image : Tensor (H, W), float32
        Image in the units that the network expects, on the device to compute on.
    tile : int
        Side of a tile, px; a multiple of 4. With group norm, whose statistics are those of a tile, the logits depend on
        it.
    halo : int
        Width of the margin at each inner side of a tile whose logits are discarded, px; a multiple of 4. 0 gives the
        paper's separate patches; with 24, a UNet-3 with batch norm gives the same logits as for the whole image.
    batch : int
        Number of tiles in a batch.
    bad : Tensor (H, W), bool, optional
        Pixels that the network leaves out when it measures the sky.

    Raises
    ------
    ValueError
        The image is not two-dimensional, or tile and halo do not fit each other.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image (H, W), got {tuple(image.shape)}")
    if tile % GRID or halo % GRID or halo < 0 or tile <= 2 * halo:
        raise ValueError(f"tile={tile}, halo={halo}: expected multiples of {GRID} and tile > 2 halo >= 0")
    height, width = image.shape
    windows = list(product(spans(height, tile, halo), spans(width, tile, halo)))
    logits = torch.empty(height, width)
    for _, of_one_size in groupby(sorted(windows, key=_size), key=_size):
        group = list(of_one_size)
        for first in range(0, len(group), batch):
            chunk = group[first : first + batch]
            tiles, *bad_tiles = (
                torch.stack([whole[y[0] : y[1], x[0] : x[1]] for y, x in chunk])[:, None]
                for whole in (image, bad)
                if whole is not None
            )
            scores = network(tiles.contiguous(memory_format=torch.channels_last), *bad_tiles)[:, 0].float().cpu()
            for (y, x), score in zip(chunk, scores, strict=True):
                logits[y[2] : y[3], x[2] : x[3]] = score[y[2] - y[0] : y[3] - y[0], x[2] - x[0] : x[3] - x[0]]
    return logits


Span = tuple[int, int, int, int]  # along one side: start and stop of a tile, start and stop of the part that is kept


def spans(length: int, tile: int, halo: int) -> list[Span]:
    """Cover ``length`` pixels with tiles; each pixel is kept from one tile, at least ``halo`` from its inner sides."""
    starts = list(range(0, max(length - tile, 0), tile - 2 * halo))
    starts.append(max(0, (length - tile) // GRID * GRID))
    stops = [start + tile for start in starts[:-1]] + [length]
    cuts = [(left + right) // 2 for left, right in zip(stops, starts[1:], strict=False)]
    return list(zip(starts, stops, [0, *cuts], [*cuts, length], strict=True))


def _size(window: tuple[Span, Span]) -> tuple[int, int]:
    (top, bottom, _, _), (left, right, _, _) = window
    return bottom - top, right - left
