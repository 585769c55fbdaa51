"""Build a tiny network that detects isolated bright pixels, its model card, and images for it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from cosmicgate.models import UNet
from cosmicgate.pretrained.card import ModelCard, save_model, serialize

NETWORK = dict(depth=2, channels=4, norm="batch", scaling="robust")


def tiny_network() -> UNet:
    """Build a U-Net whose logit is a pixel's excess over the mean of its neighbours, in units of the noise.

    One channel of the first block carries the excess and the others are zero, so that it finds hits without training.
    """
    torch.manual_seed(0)
    network = UNet(**NETWORK)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1)
        first, last = network.encoder[0], network.decoder[0]
        kernel = torch.full((3, 3), -1 / 8)
        kernel[1, 1] = 1
        first.conv1.weight[0, 0] = kernel
        for convolution in (first.conv2, last.conv1, last.conv2):
            convolution.weight[0, 0, 1, 1] = 1
        network.head.weight[0, 0] = 12
        network.head.bias.fill_(-21.6)  # a hit is about 9 sigma above its neighbours
    return network.eval()


def tiny_model(folder: Path, name: str = "tiny", **more: Any) -> Path:
    """Write the network and its card into a folder; return the path of the weights, as option ``-m`` takes it."""
    folder.mkdir(parents=True, exist_ok=True)
    content, sha256 = serialize(tiny_network().state_dict())
    about = dict(title="Tiny", version="0", trained_on="nothing", command="", data_hash="", seed=0, machine="")
    calibration = [[1e-5, 0.99], [1e-3, 0.5], [1e-2, 0.1]]
    card = ModelCard(
        **(dict(name=name, network=NETWORK, sha256=sha256, ring=True, calibration=calibration) | about | more)
    )
    return save_model(card, content, folder)


def sky(shape: tuple[int, int] = (64, 80), seed: int = 0, level: float = 100.0, noise: float = 5.0) -> np.ndarray:
    """Simulate sky (H, W), float32, with hits of a few pixels at the positions of :func:`hit`."""
    image = np.random.default_rng(seed).normal(level, noise, shape).astype(np.float32)
    image[hit(shape)] += 100 * noise
    return image


def hit(shape: tuple[int, int] = (64, 80)) -> np.ndarray:
    """Make the mask (H, W), bool, of the hit pixels of :func:`sky`."""
    where = np.zeros(shape, bool)
    for row, column in ((shape[0] // 2, shape[1] // 3), (shape[0] // 4, 2 * shape[1] // 3)):
        where[row, column] = where[row - 1, column + 1] = True
    return where
