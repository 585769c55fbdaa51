"""Networks from their weights: what astronomers load, in little memory, so nothing of training is imported here."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmicgate.detectors.packaged.cards import SCREEN, Card, find, read_card, read_weights
from cosmicgate.models import UNet
from cosmicgate.models.screening import Screen

FAST = torch.channels_last


def ready(network: nn.Module, weights: dict[str, Tensor], layout: torch.memory_format = FAST) -> nn.Module:
    """Return the network with its weights, on the fastest device, in evaluation mode."""
    network.load_state_dict(weights, strict=True)
    network.to("cuda" if torch.cuda.is_available() else "cpu", memory_format=layout)  # type: ignore[call-overload]
    return network.eval()


def unpacked(model: str | Path) -> tuple[UNet, Card, dict[str, Tensor]]:
    """Return a packaged network, its card, and its tensors, those of its screen among them."""
    weights = find(model)
    card = read_card(weights)
    tensors = read_weights(weights, card.sha256)
    network = UNet(**card.network)
    ready(network, {name: value for name, value in tensors.items() if not name.startswith(SCREEN)})
    return network, card, tensors


def screen_of(card: Card, tensors: Mapping[str, Tensor]) -> Screen:
    """Return the screen that was packaged with a network."""
    if card.screen is None:
        raise ValueError(f"{card.name} has no screen for fast=True")
    network = UNet(**card.screen["network"])
    ready(network, {k.removeprefix(SCREEN): v for k, v in tensors.items() if k.startswith(SCREEN)})
    return Screen(network, **card.screen["settings"])
