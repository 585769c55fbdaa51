"""One U-Net that is deepCR, Att deepCR, Cosmic-CoNN and Att Cosmic-CoNN, by its arguments."""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from cosmicgate.models.blocks import AttentionGate, DoubleConv, Norm, norm_maker
from cosmicgate.models.scaling import Scaling, robust


class UNet(nn.Module):
    """UNet-``depth``-``channels`` on one-channel images.

    Parameters
    ----------
    depth : int
        Levels of resolution; between two of them a 2x2 max-pool goes down, a transposed 2x2 convolution up.
    channels : int
        Channels at full resolution; each level below has twice as many.
    norm : {"batch", "group"}
        deepCR's batch norm or Cosmic-CoNN's group norm.
    groups : int
        Groups of the group norm.
    momentum : float
        Of batch norm's running statistics. deepCR's 0.005 has forgotten where it began after a thousand batches; a
        short training needs more.
    norm_affine : bool
        Whether group norm learns scale and offset: the original Cosmic-CoNN does, the paper's release does not.
    shared_norm : bool
        One norm layer for both convolutions of a block and for both arms of a gate, as the released code trains.
    gate : bool
        An attention gate on every skip connection.
    gate_norm : bool
        A norm layer behind each 1x1 convolution of the gates: in the released code, not in the paper's text.
    scaling : {"none", "robust"}
        What happens to the image first. "none": raw ADU, as in the paper. "robust": each image is brought to its own
        median and noise (:func:`~cosmicgate.models.scaling.robust`), so that bright and dark skies look alike; it
        trains many times faster.

    References
    ----------
    Zhang & Bloom 2020 (deepCR); Xu et al. 2021 (Cosmic-CoNN); Bhavanam et al. 2022 (the gates).
    """

    def __init__(
        self,
        depth: int = 3,
        channels: int = 32,
        norm: Norm = "batch",
        groups: int = 8,
        momentum: float = 0.005,
        norm_affine: bool = True,
        shared_norm: bool = False,
        gate: bool = False,
        gate_norm: bool = False,
        scaling: Scaling = "none",
    ) -> None:
        super().__init__()
        if depth < 1 or channels < 2 or channels % 2:
            raise ValueError(
                f"expected depth >= 1 and an even number of channels, got depth={depth}, channels={channels}"
            )
        if norm == "group" and channels % groups:
            raise ValueError(f"channels={channels} cannot be divided into groups={groups}")
        if scaling not in ("none", "robust"):
            raise ValueError(f"unknown scaling {scaling!r}: expected 'none' or 'robust'")
        self.scaling: Scaling = scaling
        make_norm = norm_maker(norm, groups, norm_affine, momentum)
        width = [channels * 2**level for level in range(depth)]
        steps = range(depth - 1)
        self.encoder = nn.ModuleList(
            DoubleConv(inputs, outputs, make_norm, shared_norm)
            for inputs, outputs in zip([1, *width[:-1]], width, strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(width[i + 1], width[i], 2, stride=2) for i in steps)
        self.gates = nn.ModuleList(
            AttentionGate(width[i], make_norm if gate_norm else None, shared_norm) for i in steps if gate
        )
        self.decoder = nn.ModuleList(DoubleConv(2 * width[i], width[i], make_norm, shared_norm) for i in steps)
        self.head = nn.Conv2d(channels, 1, 1)

    @property
    def step(self) -> int:
        """What the sides of an image are filled up to a multiple of, px."""
        return int(2 ** len(self.up))

    @property
    def reach(self) -> int:
        """How far from a pixel the image decides on its logit, px: two 3x3 convolutions a level, down and up."""
        return 7 * self.step - 5

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (N, 1, H, W) of an image (N, 1, H, W) of any size."""
        return self.logits(robust(image) if self.scaling == "robust" else image)

    def logits(self, image: Tensor) -> Tensor:
        """Return the logits of an image (N, 1, H, W) that is scaled already.

        Sides that the pooling cannot halve are filled up below and to the right with the last row and column.
        """
        height, width = image.shape[-2:]
        below, right = -height % self.step, -width % self.step
        x = F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for level in reversed(range(len(self.up))):
            x = self.up[level](x)
            skip = self.gates[level](x, skips[level]) if self.gates else skips[level]
            x = self.decoder[level](torch.cat([skip, x], dim=1))
        logits: Tensor = self.head(x)
        return logits[..., :height, :width]
