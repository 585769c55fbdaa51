"""A network as an ONNX file, for programs that have no torch."""

import contextlib
import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cosmicgate.files import whole
from cosmicgate.masker import Masker
from cosmicgate.models import UNet
from cosmicgate.models.folding import folded

INPUT, OUTPUT = "image", "probability"
SCALINGS = {
    "none": "counts as they are",
    "robust": "asinh((counts - median) / (3 * 1.4826 * median deviation)), both of the 128 px around, see Levels",
}


class Probability(nn.Module):
    """Scaled images (N, 1, H, W) in, probabilities out."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = folded(network)

    def forward(self, image: Tensor) -> Tensor:
        """Return what the network says of images whose sides are multiples of its pooling."""
        return self.network.logits(image).sigmoid()


def export(masker: Masker, path: Path) -> None:
    """Write a network as ONNX: scaled images (N, 1, H, W), float32, in, probabilities of that shape out.

    N, H and W are free; H and W are multiples of 4 (of 2 for a UNet-2). The scaling stays outside, as a median is no
    operation of ONNX: the file's metadata say what it is, and :class:`cosmicgate.models.scaling.Levels` does it.

    Raises
    ------
    ImportError
        The packages ``onnx`` and ``onnxscript`` are not installed.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401 (torch's exporter needs it)
    except ImportError as error:
        raise ImportError(f"to export, install {error.name}: pip install -r requirements-onnx.txt") from error
    step = 2 ** len(masker.network.up)
    free = {INPUT: {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}}
    example = torch.zeros(2, 1, 16 * step, 24 * step)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names every operation that it does not know
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            Probability(masker.network.cpu()).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=free,
        )
    assert program is not None
    model = program.model_proto
    told: dict[str, Any] = {"scaling": SCALINGS[masker.network.scaling], "sides": f"multiples of {step}"}
    told |= {key: getattr(masker.card, key) for key in ("name", "version", "licence", "trained_on", "input")}
    told |= {"threshold": masker.card.threshold, "calibration": masker.card.calibration}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value))
    with whole(path) as partial:
        onnx.save(model, str(partial))
