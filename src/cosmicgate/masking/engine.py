"""A network in onnxruntime, which on many processors is faster than torch."""

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosmicgate.models import UNet
from cosmicgate.models.folding import folded, has_group_norm
from cosmicgate.models.scaling import Levels
from cosmicgate.models.streaming import unscaled
from cosmicgate.models.tiling import tiled_logits

INPUT = "image"
TILE, HALO = 768, 24  # pixels: large, as the halo is computed twice; of a UNet-3 a pixel sees 23 around it
DEEPEST = 3


class Runtime:
    """A network in onnxruntime: scaled images (N, 1, H, W) in, logits out.

    Parameters
    ----------
    content : bytes
        The ONNX model.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.content = content
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as the model: a session cannot."""
        return type(self), (self.content,)

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, 1, H, W) of images whose sides are multiples of the network's pooling."""
        logits: Any = self.session.run(None, {INPUT: np.ascontiguousarray(images.numpy())})[0]
        return torch.from_numpy(logits)


class Logits(nn.Module):
    """A network that takes scaled images."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = folded(network).cpu()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of images whose sides are multiples of its pooling."""
        return self.network.logits(image)


def runtime(network: UNet) -> Runtime:
    """Return a network in onnxruntime.

    Raises
    ------
    ImportError
        A package of requirements-onnx.txt is not installed.
    ValueError
        It has group norm, whose statistics come anew with every frame, or is too deep.
    """
    expect_unet(network)
    if has_group_norm(network):
        raise ValueError("onnxruntime takes networks with batch norm: group norm has other statistics in every frame")
    if len(network.up) >= DEEPEST:
        raise ValueError(f"onnxruntime takes networks of up to {DEEPEST} levels, got {len(network.up) + 1}")
    try:
        import onnxruntime  # noqa: F401 (before the seconds that the model takes)
    except ImportError as error:
        raise missing(error) from error
    return Runtime(onnx_model(Logits(network), network.step, "logits").SerializeToString())


def expect_unet(network: nn.Module) -> None:
    """Refuse a network of somebody's own, whose pooling and scaling are not known."""
    if not isinstance(network, UNet):
        raise ValueError(f"ONNX is for the networks of this package, a UNet; got {type(network).__name__}")


def runtime_logits(engine: Runtime, network: UNet, image: Tensor) -> Tensor:
    """Return the logits (H, W) of an image (H, W), ADU: those of the whole image, by tiles that overlap."""
    scale = Levels.of(image).scaled if network.scaling == "robust" else unscaled
    below, right = (-length % network.step for length in image.shape)
    scaled = torch.empty(image.shape[0] + below, image.shape[1] + right)
    for top in range(0, len(image), TILE):
        part = scale(image[top : top + TILE], top, 0)
        scaled[top : top + len(part), : image.shape[1]] = part
    scaled[image.shape[0] :] = scaled[image.shape[0] - 1]  # as in UNet.logits
    scaled[:, image.shape[1] :] = scaled[:, image.shape[1] - 1 : image.shape[1]]
    logits = tiled_logits(engine, scaled, TILE, HALO, batch=1)
    return logits[: image.shape[0], : image.shape[1]]


def onnx_model(module: nn.Module, step: int, output: str) -> Any:
    """Return a module, images (N, 1, H, W) in, as an ONNX model; N, H and W are free, sides multiples of ``step``."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 (torch's exporter needs both)
    except ImportError as error:
        raise missing(error) from error
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names every operation that it does not know
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (torch.zeros(2, 1, 16 * step, 24 * step),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[output],
            dynamic_shapes={INPUT: free},
        )
    assert program is not None
    return program.model_proto


def missing(error: ImportError) -> ImportError:
    """Return an error that says what to install."""
    return ImportError(f"for ONNX, install {error.name}: pip install -r requirements-onnx.txt")
