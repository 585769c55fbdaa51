"""Export a network as an ONNX file, for programs without torch."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from cosmicgate.inference.onnx_runtime import LogitsModule, expect_unet, export_onnx
from cosmicgate.io.atomic import atomic_write
from cosmicgate.masking.masker import CosmicRayMasker

SCALINGS = {
    "none": "counts as they are",
    "robust": "asinh((counts - median) / (3 * 1.4826 * median deviation)), both of the 128 px around",
}


class Probability(LogitsModule):
    """Module that computes probabilities from scaled images (N, 1, H, W)."""

    def forward(self, image: Tensor) -> Tensor:
        """Compute the probabilities of images whose sides are multiples of the network's total pooling factor."""
        return super().forward(image).sigmoid()


def export(masker: CosmicRayMasker, path: Path) -> None:
    """Write a network as an ONNX file that maps scaled images to probabilities.

    Input and output are float32 (N, 1, H, W) with free N, H and W; H and W must be multiples of 4 (of 2 for a UNet-2).
    The scaling is not part of the file, because ONNX has no median: its metadata describe the scaling, which
    :class:`cosmicgate.inference.background_grid.BackgroundGrid` computes.

    Raises
    ------
    ImportError
        The packages ``onnx`` and ``onnxscript`` are not installed.
    ValueError
        The network is no UNet.
    """
    network = expect_unet(masker.network)
    step = network.total_stride
    model = export_onnx(Probability(network), step, "probability")
    metadata: dict[str, Any] = {"scaling": SCALINGS[network.scaling], "sides": f"multiples of {step}"}
    metadata |= {key: getattr(masker.card, key) for key in ("name", "version", "licence", "trained_on", "input")}
    metadata |= {"threshold": masker.card.threshold, "calibration": masker.card.calibration}
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    atomic_write(path, model.SerializeToString())
