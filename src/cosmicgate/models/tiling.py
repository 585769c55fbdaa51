"""Logits of an image of any size, tile by tile."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn


@torch.inference_mode()
def tiled_logits(network: nn.Module, image: Tensor, tile: int = 256, halo: int = 0, batch: int = 16) -> Tensor:
    """Return the logits (H, W), float32, of an image (H, W) of any size.

    Parameters
    ----------
    network : Module
        In evaluation mode, on the device to compute on.
    image : Tensor (H, W), float32
        In the units that the network knows.
    tile : int
        Side of the square that goes through the network at once. With group norm, whose statistics are the
        tile's, it is part of the model.
    halo : int
        Pixels at each side of a tile whose logits are thrown away. 0 gives the paper's separate patches.
    batch : int
        Tiles that go through the network together.
    """
    if image.ndim != 2:
        raise ValueError(f"expected an image (H, W), got {tuple(image.shape)}")
    if tile <= 2 * halo or halo < 0:
        raise ValueError(f"a tile of {tile} px has no pixel left inside a halo of {halo} px")
    height, width = image.shape
    device = next(network.parameters()).device
    step = tile - 2 * halo
    below, right = -height % step, -width % step
    framed = F.pad(image[None, None], (halo, halo + right, halo, halo + below), mode="replicate")[0, 0]
    corners = [(y, x) for y in range(0, height, step) for x in range(0, width, step)]
    logits = torch.empty(height, width)
    for start in range(0, len(corners), batch):
        chunk = corners[start : start + batch]
        tiles = torch.stack([framed[y : y + tile, x : x + tile] for y, x in chunk])[:, None].to(device)
        scores = network(tiles.contiguous(memory_format=torch.channels_last)).float().cpu()
        for (y, x), score in zip(chunk, scores[:, 0], strict=True):
            inner = score[halo : tile - halo, halo : tile - halo][: height - y, : width - x]
            logits[y : y + inner.shape[0], x : x + inner.shape[1]] = inner
    return logits
