"""A detector from what it is called: a packaged network, a run folder, a checkpoint."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from torch import nn

from cosmicgate import __version__
from cosmicgate.detectors.packaged.cards import Card, names
from cosmicgate.detectors.packaged.unpacking import screen_of, unpacked
from cosmicgate.masking.engine import runtime
from cosmicgate.masking.masker import Masker, Precision, on_gpu
from cosmicgate.models import UNet
from cosmicgate.models.inference import knows_bfloat16

Engine = Literal["torch", "onnxruntime"]
ENGINES = get_args(Engine)


def load(
    model: str | Path = "general",
    precision: Precision | None = None,
    check: bool = True,
    fast: bool = False,
    engine: Engine = "torch",
) -> Masker:
    """Return a detector: a packaged network by name, or one of your own.

    Parameters
    ----------
    model : str or Path
        One of :func:`cosmicgate.detectors.packaged.cards.names`, the folder of a run of ``train.py``, a checkpoint of
        it, or a file of weights with its card beside it.
    precision : {"float32", "bfloat16", "float16"}, optional
        As in :class:`Masker`; None: float16 on a GPU, float32 elsewhere.
    check : bool
        As in :class:`Masker`.
    fast : bool
        Use the network's screen.
    engine : {"torch", "onnxruntime"}
        What computes. onnxruntime, where it is installed (requirements-onnx.txt), is faster on many processors.
    """
    if engine not in ENGINES:
        raise ValueError(f"unknown engine {engine!r}: expected one of {', '.join(ENGINES)}")
    path = Path(model)
    if path.is_dir() and str(model) not in names():  # a folder of that name is ./NAME
        path = path / "checkpoints" / "best.ckpt"
    if path.suffix == ".ckpt":
        if fast:
            raise ValueError(f"{path} has no screen for fast=True: a packaged network has one")
        network, card = from_checkpoint(path)
        screen = None
    else:
        network, card, tensors = unpacked(model)
        screen = screen_of(card, tensors) if fast else None
    if engine == "onnxruntime":
        network.cpu()
    precision = precision or usual_precision(network)
    masker = Masker(network, card, precision, check, screen, runtime(network) if engine == "onnxruntime" else None)
    if precision == "bfloat16" and not masker.on_gpu and not knows_bfloat16():
        warnings.warn("this processor does not know bfloat16 and imitates it: far slower than float32", stacklevel=2)
    return masker


def usual_precision(network: UNet) -> Precision:
    """Return what to compute in: half precision on a GPU, if the images are scaled (65504 is its largest number)."""
    scaled = isinstance(network, UNet) and network.scaling == "robust"
    return "float16" if on_gpu(network) and scaled else "float32"


def begin_with(network: UNet, model: str | Path | None, going_on: Path | None = None) -> str | None:
    """Give a network the weights of another of the same form, as :func:`load` finds it; None leaves its own.

    A training that goes on from its own checkpoint gets nothing: what it began with, which may be gone, is in there.

    Returns
    -------
    str or None
        The SHA-256 of the file of weights or the checkpoint.

    Raises
    ------
    ValueError
        Its weights do not fit, or mean something else: another scaling of the image, other groups of the norm.
    """
    if going_on is not None:
        from cosmicgate.detectors.network import read_checkpoint

        began: str | None = read_checkpoint(going_on)["config"].get("started_from")
        return began
    if model is None:
        return None
    other = load(model, check=False)
    for what, form in (("scaling", _scaling), ("groups of the norm", _groups)):
        if form(network) != form(other.network):
            raise ValueError(f"start={model} has {what} {form(other.network)}, model has {form(network)}")
    try:
        network.load_state_dict(other.network.state_dict())
    except RuntimeError as error:
        told = ", ".join(f"{key}={value}" for key, value in other.card.network.items())
        raise ValueError(f"start={model} is a network of another form than model: {told}") from error
    return other.card.sha256


def _scaling(network: nn.Module) -> object:
    return getattr(network, "scaling", None)


def _groups(network: nn.Module) -> object:
    return sorted({part.num_groups for part in network.modules() if isinstance(part, nn.GroupNorm)})


def from_checkpoint(path: Path) -> tuple[UNet, Card]:
    """Return the network of a checkpoint and what its card can say before it is packaged.

    Raises
    ------
    FileNotFoundError, ValueError
        There is no such file, or it is no checkpoint of ``train.py`` whose network can be made here.
    """
    # Hydra, Lightning and W&B: 180 MB that a packaged network does not need
    from cosmicgate.detectors.network import has_ring, read_checkpoint, rebuilt

    checkpoint = read_checkpoint(path)
    config = checkpoint["config"]
    known = config if isinstance(config, Mapping) else {}
    missing = [key for key in ("model", "title", "trained_on", "seed", "threshold") if key not in known]
    if missing:
        raise ValueError(f"{path}: its configuration has no {', '.join(missing)}: it is not a checkpoint of train.py")
    network = rebuilt(checkpoint, path)
    card = Card(
        name=str(path),
        title=config["title"],
        version=__version__,
        network={k: v for k, v in config["model"].items() if not k.startswith("_")},
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        trained_on=config["trained_on"],
        command="",
        data_hash="",
        seed=config["seed"],
        machine="",
        ring=has_ring(config.get("data", {})),
        threshold=config["threshold"],
    )
    return network, card
