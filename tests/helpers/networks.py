"""Make small networks with weights that are not the identity."""

import torch

from cosmicgate.models import UNet


def network(
    norm: str = "batch", scaling: str = "none", depth: int = 3, gate: bool = True, shared: bool = False
) -> UNet:
    torch.manual_seed(0)
    made = UNet(
        depth, 8, norm=norm, scaling=scaling, gate=gate, gate_norm=gate, shared_norm=shared, momentum=0.5
    ).train()
    for _ in range(3):  # running statistics other than 0 and 1
        made(torch.randn(2, 1, 64, 64) * 2 + 1)
    return made.eval()


def noise(height: int, width: int) -> torch.Tensor:
    image = torch.randn(height, width, generator=torch.Generator().manual_seed(1))
    image[height // 2, width // 3 :] += 50
    return image


def gated_network(norm):
    """Build a gated network with running statistics that are neither zero nor one."""
    torch.manual_seed(0)
    made = UNet(channels=16, norm=norm, gate=True)
    with torch.no_grad():
        made.train()(torch.randn(4, 1, 64, 64))
    return made.eval()
