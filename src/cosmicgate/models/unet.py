"""The U-Net whose arguments make it deepCR, Att deepCR, Cosmic-CoNN or Att Cosmic-CoNN."""

import math

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from cosmicgate.models.layers import AttentionGate, DoubleConv, Norm, norm_maker
from cosmicgate.models.normalization import Scaling, asinh_normalize


class UNet(nn.Module):
    """U-Net for one-channel images, with optional attention gates; "UNet-``depth``-``channels``" in the papers.

    Parameters
    ----------
    depth : int
        Number of resolution levels. A 2x2 max-pool leads to the next level down, a transposed 2x2 convolution up.
    channels : int
        Number of channels at full resolution; each level down has twice as many.
    norm : {"batch", "group"}
        Batch norm as in deepCR, or group norm as in Cosmic-CoNN.
    groups : int
        Number of groups of the group norm.
    momentum : float
        Momentum of batch norm's running statistics. deepCR's 0.005 needs a thousand batches to forget the initial
        statistics; a short training needs a larger value.
    norm_affine : bool
        Whether group norm learns scale and offset: the original Cosmic-CoNN does, the paper's release does not.
    shared_norm : bool
        Whether both convolutions of a block, and both arms of a gate, share one norm layer, as in the released code.
    gate : bool
        Whether every skip connection has an attention gate.
    gate_norm : bool
        Whether a norm layer follows each 1x1 convolution of the gates, as in the released code but not in the paper's
        text.
    scaling : {"none", "robust"}
        Normalisation of the input. "none": raw ADU, as in the paper. "robust": each image is normalised by its own
        median and noise (:func:`~cosmicgate.models.normalization.asinh_normalize`), so that the network sees the same
        sky everywhere; training is many times faster.
    prior : float, optional
        Hit probability that the untrained network predicts for each pixel: the head's bias starts at its log-odds.
        None keeps torch's initialisation, near one half; the network then first has to learn that almost no pixel is
        hit, which turns all weights of the head negative (Lin et al. 2017 start at 0.01).

    Attributes
    ----------
    architecture : dict
        Arguments that determine the shapes and the meaning of the weights.

    Raises
    ------
    ValueError
        An argument is out of range, or ``channels`` cannot be divided into ``groups``.

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
        prior: float | None = None,
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
        self.architecture: dict[str, object] = {
            **dict(depth=depth, channels=channels, norm=norm, shared_norm=shared_norm, gate=gate, scaling=scaling),
            **(dict(groups=groups, norm_affine=norm_affine) if norm == "group" else {}),
            **(dict(gate_norm=gate_norm) if gate else {}),
        }
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
        if prior is not None:
            if not 0 < prior < 1:
                raise ValueError(f"prior={prior}: expected a probability between 0 and 1, or null")
            nn.init.constant_(self.head.bias, math.log(prior / (1 - prior)))  # type: ignore[arg-type]

    @property
    def total_stride(self) -> int:
        """Total pooling factor, px: the image's sides are padded to a multiple of it."""
        return int(2 ** len(self.up))

    @property
    def receptive_field_radius(self) -> int:
        """Radius of the receptive field, px: two 3x3 convolutions per level, down and up."""
        return 7 * self.total_stride - 5

    def forward(self, image: Tensor, bad: Tensor | None = None) -> Tensor:
        """Compute the logits (N, 1, H, W) of images (N, 1, H, W) of any size.

        With ``scaling="robust"``, the pixels marked in ``bad`` (N, 1, H, W), bool, are left out when sky and noise are
        measured.
        """
        return self.logits(asinh_normalize(image, bad) if self.scaling == "robust" else image)

    def logits(self, image: Tensor) -> Tensor:
        """Compute the logits (N, 1, H, W) of images (N, 1, H, W) that are already scaled.

        Sides that the pooling cannot halve are padded at the bottom and the right by repeating the last row and column.
        """
        height, width = image.shape[-2:]
        below, right = -height % self.total_stride, -width % self.total_stride
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
