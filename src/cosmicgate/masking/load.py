"""Load a detector by name or path: a pretrained network, the folder of a run, or a checkpoint."""

import os
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Literal, get_args

import torch

from cosmicgate.inference.onnx_runtime import convert_to_onnx
from cosmicgate.inference.precision import Precision, has_fast_bfloat16
from cosmicgate.inference.predictor import Predictor
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.models import UNet
from cosmicgate.pretrained.load import load_network, model_file
from cosmicgate.pretrained.registry import cascade_of

Engine = Literal["torch", "onnxruntime"]
ENGINES = get_args(Engine)
MAX_CACHED = 4  # number of networks that :func:`load_cached` keeps
_LOCK = Lock()


def load(
    model: str | Path = "general",
    precision: Precision | None = None,
    check: bool = True,
    fast: bool = False,
    engine: Engine = "torch",
    trust: Sequence[str] = (),
) -> CosmicRayMasker:
    """Load a detector: a pretrained network by name, or one of your own by path.

    Parameters
    ----------
    model : str or Path
        One of :func:`cosmicgate.pretrained.registry.pretrained_names`, the folder of a run of ``train.py``, a
        checkpoint of such a run, or a weights file with its model card beside it.
    precision : {"float32", "bfloat16", "float16"}, optional
        As in :class:`~cosmicgate.inference.predictor.Predictor`. None: float16 on a GPU if the network scales its
        images itself, else float32.
    check : bool
        As in :class:`CosmicRayMasker`.
    fast : bool
        Use the network's cascade: a small network, its coarse stage, selects the cells that the network searches,
        which is several times faster. The card says how many hits this may miss.
    engine : {"torch", "onnxruntime"}
        Library that computes. onnxruntime, if the extra ``onnx`` is installed, is faster on many processors.
    trust : sequence of str
        Modules, beside this package, whose classes a checkpoint may instantiate: those of your own networks.

    Returns
    -------
    CosmicRayMasker
        Detector with the network in evaluation mode.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such network, its weights are damaged or hold NaN or infinite values, or a checkpoint refers to a
        module that is not trusted.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
    if fast and engine == "onnxruntime":
        raise ValueError("the cascade (fast=True) runs in torch only: leave out either fast or engine='onnxruntime'")
    if fast and (path := model_file(model)).suffix == ".ckpt":
        raise ValueError(f"{path} has no cascade for fast=True: a pretrained network such as general has one")
    network, card, tensors = load_network(model, trust)
    cascade = cascade_of(card, tensors) if fast and tensors is not None else None
    onnx = None
    if engine == "onnxruntime":
        onnx = convert_to_onnx(network.cpu())
    predictor = Predictor(network, precision=precision or usual_precision(network), cascade=cascade, onnx=onnx)
    if predictor.precision == "bfloat16" and not predictor.on_gpu and not has_fast_bfloat16():
        warnings.warn("bfloat16 is slower than float32 on this processor", stacklevel=2)
    return CosmicRayMasker(predictor, card, check)


def load_cached(model: str | Path = "general", fast: bool = False) -> CosmicRayMasker:
    """Load a detector as :func:`load` does, or take it from the cache if this process has loaded it before.

    The last four detectors are kept. A file that has changed since is loaded again. Safe to call from several threads.
    """
    path = model_file(model).absolute()
    state = (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None
    with _LOCK:
        return _load_once(path, fast, state)


def _begin_child() -> None:
    """Prepare a forked process: neither torch's threads nor the thread that may hold the lock survive the fork."""
    global _LOCK
    _LOCK = Lock()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_begin_child)


@lru_cache(MAX_CACHED)
def _load_once(path: Path, fast: bool, state: tuple[int, int] | None) -> CosmicRayMasker:  # noqa: ARG001 (part of the key)
    return load(path, fast=fast)


def usual_precision(network: UNet) -> Precision:
    """Choose the precision: float16 on a GPU if the images are scaled (its largest number is 65504), else float32."""
    scaled = isinstance(network, UNet) and network.scaling == "robust"
    return "float16" if scaled and next(network.parameters()).is_cuda else "float32"
