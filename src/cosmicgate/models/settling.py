"""Group norm with the statistics of a whole frame: then a mask depends on no tile, and a frame can go by rows.

Group norm scales features by their mean and variance in the tile that it is given, so tiles of another size or place
give other masks. Here these statistics are measured once, on squares from all over the frame, layer after layer, and
from then on are constants: the network computes as one with batch norm does in evaluation mode, with the frame's
statistics for running ones.

A network whose groups were single channels lost a third of its hits so, against tiles (docs/evaluation.md); those with
four channels a group and more did not.
"""

import copy
import math

import torch
from torch import Tensor, nn

from cosmicgate.models.folding import PAIRS
from cosmicgate.models.streaming import Scale, unscaled
from cosmicgate.models.unet import UNet

SQUARE = 128  # pixels: side of the squares that statistics are measured on, as large as the crops of our trainings
SQUARES = 24  # at most


class Settling(nn.Module):
    """A group norm, on a device, that normalises all images of a batch by the same statistics and remembers them."""

    def __init__(self, norm: nn.GroupNorm, device: torch.device) -> None:
        super().__init__()
        self.norm = norm
        self.settled = nn.BatchNorm2d(norm.num_channels, norm.eps, device=device).eval()
        if norm.affine:
            self.settled.load_state_dict({"weight": norm.weight, "bias": norm.bias}, strict=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        groups = x.reshape(len(x), self.norm.num_groups, -1)  # (N, groups, values)
        size = x.shape[1] // self.norm.num_groups
        mean, variance = (
            statistic.median(dim=0).values.repeat_interleave(size)
            for statistic in (groups.mean(dim=2), groups.var(dim=2, correction=0))
        )
        self.settled.running_mean, self.settled.running_var = mean, variance
        normal: Tensor = self.settled(x)
        return normal


@torch.inference_mode()
def settled(network: UNet, image: Tensor, scale: Scale = unscaled) -> UNet:
    """Return a copy of a network whose group norm has the statistics of an image.

    Of each statistic the median over the squares is taken, so that a bright star in one of them does not count.

    Parameters
    ----------
    network : UNet
        In evaluation mode, with group norm, on the device to compute on.
    image : Tensor (H, W), float32
        ADU.
    scale : callable
        What happens to each part of it before the network sees it.

    Returns
    -------
    UNet
        With batch norm in the places of group norm.
    """
    network = copy.deepcopy(network)
    device = next(network.parameters()).device
    places = [
        (part, norm)
        for part in network.modules()
        for _, norm in PAIRS.get(type(part), ())
        if isinstance(getattr(part, norm), nn.GroupNorm)
    ]
    for part, norm in places:  # one for each use, where two convolutions share a norm
        setattr(part, norm, Settling(getattr(part, norm), device))
    network.logits(squares(image, scale)[:, None].to(device))
    for part, norm in places:
        setattr(part, norm, getattr(part, norm).settled)
    return network


def squares(image: Tensor, scale: Scale = unscaled) -> Tensor:
    """Return scaled squares (N, S, S) from all over an image (H, W); of a small one itself (1, H, W)."""
    height, width = image.shape
    if max(height, width) <= SQUARE:
        return scale(image, 0, 0)[None]
    side = min(SQUARE, height, width)
    tops, lefts = (torch.linspace(0, size - side, size // side).round().int().tolist() for size in image.shape)
    places = [(top, left) for top in tops for left in lefts]
    step = -(-len(places) // SQUARES)
    while math.gcd(step, len(lefts)) > 1:  # or the same columns would come in every row
        step += 1
    chosen = places[::step]
    return torch.stack([scale(image[top : top + side, left : left + side], top, left) for top, left in chosen])
