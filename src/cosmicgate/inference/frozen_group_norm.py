"""Freeze group norm at the statistics of a whole frame, so that masks do not depend on tiles.

Group norm scales features by their mean and variance in the tile that it is given, so the mask changes with the size
and place of the tiles. Here these statistics are measured once, layer after layer, on patches from all over the frame,
and are constant from then on: group norm becomes batch norm in evaluation mode, with the statistics of the frame as its
running statistics. The network is then local, so the frame can be streamed by rows.

A network with one channel per group lost a third of its hits this way, compared with tiles (docs/results.md);
networks with four or more channels per group did not.
"""

import copy
import math

import torch
from torch import Tensor, nn

from cosmicgate.inference.background_grid import Scale, identity_scale
from cosmicgate.inference.fuse_batch_norm import PAIRS
from cosmicgate.models.unet import UNet

PATCH = 128  # px: side of the patches on which the statistics are measured; the size of the training crops
MAX_PATCHES = 24
MAX_BAD_FRACTION = 0.25  # patches with a larger fraction of bad pixels are left out


class FrozenGroupNorm(nn.Module):
    """Group norm that normalises a batch by its median statistics, and a batch norm that keeps these.

    Attributes
    ----------
    norm : GroupNorm
        Layer that is replaced.
    batch_norm : BatchNorm2d
        Batch norm in evaluation mode with the weights of ``norm``; after a forward pass, its running statistics are
        those of the batch.
    """

    def __init__(self, norm: nn.GroupNorm, device: torch.device) -> None:
        super().__init__()
        self.norm = norm
        self.batch_norm = nn.BatchNorm2d(norm.num_channels, norm.eps, device=device).eval()
        if norm.affine:
            self.batch_norm.load_state_dict({"weight": norm.weight, "bias": norm.bias}, strict=False)

    def forward(self, x: Tensor) -> Tensor:
        """Measure the statistics of features (N, C, H, W) and normalise all images of the batch by them."""
        groups = x.reshape(len(x), self.norm.num_groups, -1)  # (N, groups, values)
        size = x.shape[1] // self.norm.num_groups
        mean, variance = (
            statistic.median(dim=0).values.repeat_interleave(size)
            for statistic in (groups.mean(dim=2), groups.var(dim=2, correction=0))
        )
        self.batch_norm.running_mean, self.batch_norm.running_var = mean, variance
        normal: Tensor = self.batch_norm(x)
        return normal


@torch.inference_mode()
def with_frozen_group_norm(
    network: UNet, image: Tensor, scale: Scale = identity_scale, bad: Tensor | None = None
) -> UNet:
    """Copy a network with its group norm replaced by batch norm that has the statistics of an image.

    Each statistic is the median over patches of the image, so that a bright star in one of them has no effect.

    Parameters
    ----------
    network : UNet
        Network in evaluation mode, with group norm, on the device to compute on.
    image : Tensor (H, W), float32, ADU
        Frame that the statistics are measured on.
    scale : callable
        Normalisation of each part of the image (:data:`~cosmicgate.inference.background_grid.Scale`).
    bad : Tensor (H, W), bool, optional
        Bad pixels; patches with many of them are left out.

    Returns
    -------
    UNet
        Copy with batch norm in place of group norm.
    """
    network = copy.deepcopy(network)
    device = next(network.parameters()).device
    norms = [
        (part, norm)
        for part in network.modules()
        for _, norm in PAIRS.get(type(part), ())
        if isinstance(getattr(part, norm), nn.GroupNorm)
    ]
    for part, norm in norms:  # a norm that two convolutions share is frozen separately for each
        setattr(part, norm, FrozenGroupNorm(getattr(part, norm), device))
    network.logits(sample_patches(image, scale, bad)[:, None].to(device))
    for part, norm in norms:
        setattr(part, norm, getattr(part, norm).batch_norm)
    return network


def sample_patches(image: Tensor, scale: Scale = identity_scale, bad: Tensor | None = None) -> Tensor:
    """Cut scaled patches (N, S, S) from all over an image (H, W); a small image is returned whole, as (1, H, W).

    Patches with many bad pixels are used only if there are no others.
    """
    height, width = image.shape
    if max(height, width) <= PATCH:
        return scale(image, 0, 0)[None]
    side = min(PATCH, height, width)
    tops, lefts = (torch.linspace(0, size - side, size // side).round().int().tolist() for size in image.shape)
    corners = [(top, left) for top in tops for left in lefts]
    if bad is not None:
        good = [corner for corner in corners if not _has_many_bad_pixels(bad, *corner, side)]
        corners = good or corners
    step = -(-len(corners) // MAX_PATCHES)
    while math.gcd(step, len(lefts)) > 1:  # or every row of patches would contribute the same columns
        step += 1
    return torch.stack([scale(image[top : top + side, left : left + side], top, left) for top, left in corners[::step]])


def _has_many_bad_pixels(bad: Tensor, top: int, left: int, side: int) -> bool:
    return float(bad[top : top + side, left : left + side].float().mean()) > MAX_BAD_FRACTION
