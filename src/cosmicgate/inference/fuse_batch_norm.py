"""Fuse a trained network's batch norm into the convolutions before it."""

import copy

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from cosmicgate.models.layers import AttentionGate, DoubleConv
from cosmicgate.models.unet import UNet

PAIRS = {
    DoubleConv: (("conv1", "norm1"), ("conv2", "norm2")),
    AttentionGate: (("gate_conv", "gate_norm"), ("skip_conv", "skip_norm"), ("map_conv", "map_norm")),
}


def has_group_norm(network: nn.Module) -> bool:
    """Return True if the network has group norm, so that a pixel's logit depends on the whole tile around it."""
    return any(isinstance(module, nn.GroupNorm) for module in network.modules())


def fuse_batch_norm(network: UNet) -> UNet:
    """Copy a network with its batch norm fused into the convolutions; group norm is left unchanged."""
    if network.training:
        raise ValueError("batch norm can be fused in evaluation mode only: call network.eval() first")
    network = copy.deepcopy(network)
    for part in network.modules():
        for convolution, norm in PAIRS.get(type(part), ()):
            if isinstance(getattr(part, norm), nn.BatchNorm2d):
                setattr(part, convolution, fuse_conv_bn_eval(getattr(part, convolution), getattr(part, norm)))
                setattr(part, norm, nn.Identity())
    return network
