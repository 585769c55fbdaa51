"""Run a network in onnxruntime, which is faster than torch on many processors."""

import contextlib
import io
import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cosmicgate.inference.background_grid import scale_of
from cosmicgate.inference.fuse_batch_norm import fuse_batch_norm, has_group_norm
from cosmicgate.inference.tiling import tiled_logits
from cosmicgate.models import UNet

INPUT = "image"
TILE, HALO = 768, 24  # px: large tiles, because the halo is computed twice; the receptive field of a UNet-3 is 23 px
MAX_DEPTH = 3


class OnnxModel:
    """Network in onnxruntime that maps scaled images (N, 1, H, W) to logits.

    Parameters
    ----------
    content : bytes
        Serialised ONNX model.
    """

    def __init__(self, content: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads must not use cores
        self.content = content
        self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the serialised model, because a session cannot be pickled."""
        return type(self), (self.content,)

    def __call__(self, images: Tensor) -> Tensor:
        """Compute the logits (N, 1, H, W) of images whose sides are multiples of the network's pooling."""
        logits: Any = self.session.run(None, {INPUT: np.ascontiguousarray(images.numpy())})[0]
        return torch.from_numpy(logits)


class LogitsModule(nn.Module):
    """Module that computes the logits of scaled images, for export to ONNX."""

    def __init__(self, network: UNet) -> None:
        super().__init__()
        self.network = fuse_batch_norm(network).cpu()

    def forward(self, image: Tensor) -> Tensor:
        """Compute the logits of images whose sides are multiples of the network's pooling."""
        return self.network.logits(image)


def convert_to_onnx(network: UNet) -> OnnxModel:
    """Convert a network for onnxruntime.

    Raises
    ------
    ImportError
        A package of the extra ``onnx`` is not installed.
    ValueError
        The network is not a UNet, has group norm, whose statistics differ for every frame, or has too many levels.
    """
    expect_unet(network)
    if has_group_norm(network):
        raise ValueError("onnxruntime takes networks with batch norm: group norm has other statistics in every frame")
    if len(network.up) >= MAX_DEPTH:
        raise ValueError(f"onnxruntime takes networks of up to {MAX_DEPTH} levels, got {len(network.up) + 1}")
    try:
        import onnxruntime  # noqa: F401 (fail now, not after the seconds that the export takes)
    except ImportError as error:
        raise missing_package(error) from error
    return OnnxModel(export_onnx(LogitsModule(network), network.total_stride, "logits").SerializeToString())


def expect_unet(network: nn.Module) -> UNet:
    """Check that a network is a UNet, whose pooling and scaling are known; raise ValueError if not."""
    if not isinstance(network, UNet):
        raise ValueError(f"ONNX is for the networks of this package, a UNet; got {type(network).__name__}")
    return network


def onnx_logits(model: OnnxModel, network: UNet, image: Tensor, bad: Tensor | None = None) -> Tensor:
    """Compute the logits (H, W) of an image (H, W), ADU, by overlapping tiles; they are those of the whole image.

    The pixels marked in ``bad`` (H, W), bool, are left out when sky level and noise are measured.
    """
    scale = scale_of(network.scaling, image, bad)
    below, right = (-length % network.total_stride for length in image.shape)
    scaled = torch.empty(image.shape[0] + below, image.shape[1] + right)
    for top in range(0, len(image), TILE):
        part = scale(image[top : top + TILE], top, 0)
        scaled[top : top + len(part), : image.shape[1]] = part
    scaled[image.shape[0] :] = scaled[image.shape[0] - 1]  # as in UNet.logits
    scaled[:, image.shape[1] :] = scaled[:, image.shape[1] - 1 : image.shape[1]]
    logits = tiled_logits(model, scaled, TILE, HALO, batch=1)
    return logits[: image.shape[0], : image.shape[1]]


def export_onnx(module: nn.Module, step: int, output: str) -> Any:
    """Export a module of images (N, 1, H, W) to ONNX; N, H and W are free, H and W multiples of ``step``."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401 (torch's exporter needs both)
    except ImportError as error:
        raise missing_package(error) from error
    free = dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it logs every operation that it does not know
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


def missing_package(error: ImportError) -> ImportError:
    """Make an ImportError that says what to install."""
    return ImportError(f"for ONNX, install {error.name}: pip install '.[onnx]' in a clone of cosmicgate")
