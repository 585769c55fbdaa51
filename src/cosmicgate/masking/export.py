"""A network as an ONNX file, for programs that have no torch."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from cosmicgate.files import write_whole
from cosmicgate.masking.engine import Logits, expect_unet, onnx_model
from cosmicgate.masking.masker import Masker

SCALINGS = {
    "none": "counts as they are",
    "robust": "asinh((counts - median) / (3 * 1.4826 * median deviation)), both of the 128 px around, see Levels",
}


class Probability(Logits):
    """Scaled images (N, 1, H, W) in, probabilities out."""

    def forward(self, image: Tensor) -> Tensor:
        """Return what the network says of images whose sides are multiples of its pooling."""
        return super().forward(image).sigmoid()


def export(masker: Masker, path: Path) -> None:
    """Write a network as ONNX: scaled images (N, 1, H, W), float32, in, probabilities of that shape out.

    N, H and W are free; H and W are multiples of 4 (of 2 for a UNet-2). The scaling stays outside, as a median is no
    operation of ONNX: the file's metadata say what it is, and :class:`cosmicgate.models.scaling.Levels` does it.

    Raises
    ------
    ImportError
        The packages ``onnx`` and ``onnxscript`` are not installed.
    ValueError
        The network is no UNet.
    """
    expect_unet(masker.network)
    step = masker.network.step
    model = onnx_model(Probability(masker.network), step, "probability")
    told: dict[str, Any] = {"scaling": SCALINGS[masker.network.scaling], "sides": f"multiples of {step}"}
    told |= {key: getattr(masker.card, key) for key in ("name", "version", "licence", "trained_on", "input")}
    told |= {"threshold": masker.card.threshold, "calibration": masker.card.calibration}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    write_whole(path, model.SerializeToString())
