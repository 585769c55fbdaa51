"""Building blocks of the U-Net: norm layers, the double convolution and the attention gate."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import Tensor, nn

Norm = Literal["batch", "group"]
MakeNorm = Callable[[int], nn.Module]


def norm_maker(norm: Norm, groups: int = 8, affine: bool = True, momentum: float = 0.005) -> MakeNorm:
    """Choose the function that makes a norm layer for a given number of channels.

    Parameters
    ----------
    norm : {"batch", "group"}
        Batch norm or group norm.
    groups : int
        Number of groups of the group norm. A feature map with fewer channels (in the gates) gets one group.
    affine : bool
        Whether group norm learns a scale and an offset. The paper's released networks do not.
    momentum : float
        Weight of each batch in batch norm's running statistics. deepCR uses 0.005.

    Raises
    ------
    ValueError
        The norm is neither "batch" nor "group".
    """
    if norm == "batch":
        return partial(nn.BatchNorm2d, momentum=momentum)
    if norm == "group":
        return lambda channels: nn.GroupNorm(groups if channels >= groups else 1, channels, affine=affine)
    raise ValueError(f"unknown norm {norm!r}: expected 'batch' or 'group'")


class DoubleConv(nn.Module):
    """Two times 3x3 convolution, norm and ReLU, at constant image size.

    With ``shared_norm``, both convolutions use the same norm layer, as in the code that the paper's authors released.
    """

    def __init__(self, inputs: int, outputs: int, make_norm: MakeNorm, shared_norm: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm1 = make_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm2 = self.norm1 if shared_norm else make_norm(outputs)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map features (N, inputs, H, W) to (N, outputs, H, W)."""
        x = self.relu(self.norm1(self.conv1(x)))
        x = self.relu(self.norm2(self.conv2(x)))
        return x


class AttentionGate(nn.Module):
    """Additive attention gate (Oktay et al. 2018): the decoder's features weight those of the skip connection.

    Both inputs have the same resolution, as in the paper, so nothing is resampled. ``make_norm`` puts a norm layer
    behind each 1x1 convolution, as in the released code; the gate of the paper's text has none. With ``shared_norm``,
    both arms use the same norm layer.
    """

    def __init__(self, channels: int, make_norm: MakeNorm | None = None, shared_norm: bool = False) -> None:
        super().__init__()
        half = channels // 2
        identity: MakeNorm = lambda _: nn.Identity()  # noqa: E731
        make_norm = make_norm or identity
        self.gate_conv = nn.Conv2d(channels, half, 1)
        self.gate_norm = make_norm(half)
        self.skip_conv = nn.Conv2d(channels, half, 1)
        self.skip_norm = self.gate_norm if shared_norm else make_norm(half)
        self.map_conv = nn.Conv2d(half, 1, 1)
        self.map_norm = make_norm(1)
        self.relu = nn.ReLU(inplace=True)

    def attention(self, gate: Tensor, skip: Tensor) -> Tensor:
        """Compute the attention map (N, 1, H, W), with values in (0, 1)."""
        joined = self.gate_norm(self.gate_conv(gate)) + self.skip_norm(self.skip_conv(skip))
        weights: Tensor = self.map_norm(self.map_conv(self.relu(joined))).sigmoid()
        return weights

    def forward(self, gate: Tensor, skip: Tensor) -> Tensor:
        """Multiply ``skip`` by the attention map; both inputs and the output are (N, channels, H, W)."""
        return skip * self.attention(gate, skip)
