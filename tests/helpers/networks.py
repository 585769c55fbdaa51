"""Build small networks whose batch norms have running statistics, and images for them."""

import torch

from cosmicgate.models import UNet


def network(
    norm: str = "batch", scaling: str = "none", depth: int = 3, gate: bool = True, shared: bool = False
) -> UNet:
    """Build a network whose running means and variances are not 0 and 1."""
    torch.manual_seed(0)
    made = UNet(
        depth, 8, norm=norm, scaling=scaling, gate=gate, gate_norm=gate, shared_norm=shared, momentum=0.5
    ).train()
    for _ in range(3):
        made(torch.randn(2, 1, 64, 64) * 2 + 1)
    return made.eval()


def noise_image(height: int, width: int) -> torch.Tensor:
    """Simulate noise (H, W) of sigma 1 with a bright track."""
    image = torch.randn(height, width, generator=torch.Generator().manual_seed(1))
    image[height // 2, width // 3 :] += 50
    return image


def gated_network(norm):
    """Build a gated network of 16 channels whose running means and variances are not 0 and 1."""
    torch.manual_seed(0)
    made = UNet(channels=16, norm=norm, gate=True)
    with torch.no_grad():
        made.train()(torch.randn(4, 1, 64, 64))
    return made.eval()
