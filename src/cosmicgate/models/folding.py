"""A trained network without its batch norm, which has become part of the convolutions before it."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cosmicgate.models.blocks import AttentionGate, DoubleConv
from cosmicgate.models.unet import UNet

PAIRS = {
    DoubleConv: (("conv1", "norm1"), ("conv2", "norm2")),
    AttentionGate: (("gate_conv", "gate_norm"), ("skip_conv", "skip_norm"), ("map_conv", "map_norm")),
}


def has_group_norm(network: nn.Module) -> bool:
    """Say whether what the network gives for a pixel depends on the whole tile around it."""
    return any(isinstance(module, nn.GroupNorm) for module in network.modules())


def folded(network: UNet) -> UNet:
    """Return a copy that computes the same with fewer steps; group norm stays as it is."""
    if network.training:
        raise ValueError("batch norm can be folded in evaluation mode only: call network.eval() first")
    network = copy.deepcopy(network)
    for part in network.modules():
        for convolution, norm in PAIRS.get(type(part), ()):
            if isinstance(getattr(part, norm), nn.BatchNorm2d):
                setattr(part, convolution, fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
    return network
