"""Logits of a frame: by rows where the network allows it, else by tiles that overlap, or by the paper's patches."""

import torch
from torch import Tensor, nn

from cosmicgate.models.folding import folded, has_group_norm
from cosmicgate.models.scaling import Levels
from cosmicgate.models.streaming import streamed_logits, unscaled
from cosmicgate.models.tiling import tiled_logits
from cosmicgate.models.unet import UNet

GROUP_TILE = 256  # pixels: group norm learned from statistics of about so many
GROUP_HALO = 32


@torch.inference_mode()
def frame_logits(
    network: nn.Module,
    image: Tensor,
    tile: int | None = None,
    halo: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the logits (H, W), float32, of an image (H, W) of any size.

    Parameters
    ----------
    network : Module
        In evaluation mode, on the device to compute on.
    image : Tensor (H, W), float32
        ADU.
    tile, halo : int, optional
        As in :func:`~cosmicgate.models.tiling.tiled_logits`, each tile scaled by itself: 256 and 0 are the paper's
        patches. None: as the whole image. The sky is then levelled over the whole image
        (:class:`~cosmicgate.models.scaling.Levels`); what is left to tiles is group norm, in tiles of 256 px that
        overlap by 64.
    dtype : torch.dtype
        Type to compute in: float32, or bfloat16 where the machine is faster with it.
    """
    device = next(network.parameters()).device
    if tile is not None or not isinstance(network, UNet):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return tiled_logits(network, image.to(device), tile or GROUP_TILE, halo)
    scale = Levels.of(image).scaled if network.scaling == "robust" else unscaled
    if not has_group_norm(network):
        return streamed_logits(network, image, scale, dtype=dtype)
    scaled = torch.empty_like(image)
    for top in range(0, len(image), GROUP_TILE):
        scaled[top : top + GROUP_TILE] = scale(image[top : top + GROUP_TILE], top, 0)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return tiled_logits(folded(network).logits, scaled.to(device), GROUP_TILE, GROUP_HALO)
