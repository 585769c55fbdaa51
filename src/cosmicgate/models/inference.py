"""Logits of a frame: by rows, as a whole, or by the paper's patches."""

import torch
from torch import Tensor, nn

from cosmicgate.models.folding import has_group_norm
from cosmicgate.models.scaling import Levels
from cosmicgate.models.settling import settled
from cosmicgate.models.streaming import streamed_logits, unscaled
from cosmicgate.models.tiling import tiled_logits
from cosmicgate.models.unet import UNet

TILE = 256  # pixels: for networks that are no U-Net of ours


@torch.inference_mode()
def frame_logits(
    network: nn.Module,
    image: Tensor,
    tile: int | None = None,
    halo: int = 0,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
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
        (:class:`~cosmicgate.models.scaling.Levels`), and group norm has the statistics of the whole image
        (:func:`~cosmicgate.models.settling.settled`).
    dtype : torch.dtype
        Type to compute in: float32, or bfloat16 where the machine is faster with it.
    overwrite : bool
        The image's memory may be used for the logits.
    """
    device = next(network.parameters()).device
    if tile is not None or not isinstance(network, UNet):
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return tiled_logits(network, image.to(device), tile or TILE, halo)
    scale = Levels.of(image).scaled if network.scaling == "robust" else unscaled
    if has_group_norm(network):
        network = settled(network, image, scale)
    return streamed_logits(network, image, scale, dtype=dtype, overwrite=overwrite)


def knows_bfloat16() -> bool:
    """Say whether the processor computes in bfloat16 itself."""
    told = torch.cpu.get_capabilities()
    return any(told.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last on ARM
