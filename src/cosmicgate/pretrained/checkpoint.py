"""Read checkpoints of ``train.py`` safely, and build the network and the data that they describe.

A checkpoint may come from anywhere. So it is read as tensors and plain values only, its weights are checked, and of the
classes that its configuration names, only those of this package and of modules that the user trusts are instantiated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import nn

from cosmicgate.config import build, cause_of
from cosmicgate.extras import extra
from cosmicgate.io.run_files import BEST
from cosmicgate.pretrained.load_weights import check_weights, weights_sha256
from cosmicgate.pretrained.registry import prepare_for_inference
from cosmicgate.pretrained.renamed_targets import with_current_targets

with extra("train"):
    import pytorch_lightning as pl
    from hydra.utils import get_object

PREFIX = "network."  # prefix of the network's weights in a checkpoint
HASHES = "weights_sha256"  # key of a checkpoint: the hash of each of its sets of weights
# Sets of weights. With weight averaging, the first has the averaged weights and the second those that training resumes
# from.
WEIGHTS = ("state_dict", "current_model_state")
PACKAGE = "cosmicgate"
Part = Literal["model", "data"]  # node of a configuration


def checkpoint_file(path: str | Path) -> Path:
    """Find a checkpoint, given the file itself or a run folder (its best weights)."""
    path = Path(path).expanduser()
    return path / BEST if path.is_dir() else path


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ``train.py`` and check its weights; only tensors and plain values, so that no code can run.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not a checkpoint of ``train.py``, or its weights are NaN, infinite or not those that were saved.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such checkpoint: {str(path)!r}")
    try:
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types: zip, pickle and runtime errors
        raise ValueError(f"{path} is not a readable checkpoint ({error.__class__.__name__}: {error})") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= set(checkpoint):
        raise ValueError(f"{path} has no 'state_dict' and 'config': it is not a checkpoint of train.py")
    for key in ("state_dict", "config"):
        if not isinstance(checkpoint[key], Mapping):
            raise ValueError(f"{path}: its {key!r} is no mapping: it is not a checkpoint of train.py")
    try:
        for part in _weights(checkpoint):
            check_weights(network_weights(checkpoint[part]), str(path))
        _check_hashes(checkpoint, path)
    except RuntimeError as error:  # for example sparse tensors, or tensors without values
        raise ValueError(f"{path}: its weights are not plain tensors ({shorten(str(error), 200)})") from error
    return checkpoint | {"config": with_current_targets(checkpoint["config"])}


def add_weights_hash(checkpoint: dict[str, Any], epoch: int) -> None:
    """Add the hashes of the weights to a checkpoint before it is saved after an epoch (from 0), or refuse to save it.

    Raises
    ------
    ValueError
        A weight of the network is NaN or infinite.
    """
    for part in _weights(checkpoint):
        try:
            check_weights(network_weights(checkpoint[part]), f"epoch {epoch + 1}")
        except ValueError as error:
            raise ValueError(
                f"{error}: training has diverged and is not saved; try a lower module.optimizer.lr, "
                "model.scaling=robust or trainer.precision=32-true, in a new run folder or with resume=false"
            ) from error
    checkpoint[HASHES] = {part: weights_sha256(checkpoint[part]) for part in _weights(checkpoint)}


def _weights(checkpoint: Mapping[str, Any]) -> list[str]:
    return [part for part in WEIGHTS if isinstance(checkpoint.get(part), Mapping)]


def _check_hashes(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Compare the weights with the hashes that were saved with them; checkpoints up to version 0.1.3 have none."""
    saved = checkpoint.get(HASHES)
    if saved is None:
        return
    found = {part: weights_sha256(checkpoint[part]) for part in _weights(checkpoint)}
    if found != saved:
        raise ValueError(
            f"{path}: its weights are not those that train.py saved (their SHA-256 is another): the file is damaged or "
            "was changed; copy it again"
        )


def network_weights(state: Mapping[str, Any]) -> dict[str, Any]:
    """Select the network's weights from the state dict of a training module, without their prefix."""
    return {name.removeprefix(PREFIX): value for name, value in state.items() if str(name).startswith(PREFIX)}


def build_network(checkpoint: Mapping[str, Any], path: Path, trust: Sequence[str] = ()) -> Any:
    """Build the network of a checkpoint, ready for inference.

    Parameters
    ----------
    checkpoint : mapping
        Checkpoint as read by :func:`read_checkpoint`.
    path : Path
        File of the checkpoint, for error messages.
    trust : sequence of str
        Modules whose networks may be instantiated, in addition to this package.

    Raises
    ------
    ValueError
        The network cannot be built here, or the weights do not fit it.
    """
    node = checkpoint["config"].get("model")
    try:
        _check_targets(node, "model", trust)
        network = build(node)
    except Exception as error:  # the constructor of a trusted module may raise anything
        raise ValueError(f"{path}: its network cannot be made: {shorten(str(cause_of(error)), 400)}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"{path}: its network cannot be made: its configuration names none")
    return prepare_for_inference(network, network_weights(checkpoint["state_dict"]), str(path))


def data_config(path: Path, trust: Sequence[str] = ()) -> Any:
    """Read the configuration of the data that a checkpoint was trained on, if all classes in it may be instantiated.

    Raises
    ------
    ValueError
        The checkpoint has no such configuration, or it names a class that may not be instantiated.
    """
    node = read_checkpoint(path)["config"].get("data")
    if not isinstance(node, Mapping):
        raise ValueError(f"{path}: its configuration has no data: give data=NAME to score it on")
    try:
        _check_targets(node, "data", trust)
    except (ValueError, ImportError, RecursionError) as error:
        raise ValueError(f"{path}: its data cannot be made: {error}; or give data=NAME") from error
    return node


def _check_targets(node: Any, part: Part, trust: Sequence[str], top: bool = True) -> None:
    """Raise an error if a configuration node names, at any depth, anything but a trusted class of the right kind.

    Raises
    ------
    ValueError, ImportError
        A ``_target_`` is in another module, is of another kind or is not found, or a string contains an interpolation
        (``${...}``), which could turn into a node.
    """
    if isinstance(node, str) and "${" in node:
        raise ValueError(f"expected a configuration without interpolations, found {node!r}")
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_kind(_trusted_class(node["_target_"], trust), part, top)
        for key, value in node.items():
            _check_targets(key, part, trust, top=False)
            _check_targets(value, part, trust, top=False)
    elif isinstance(node, Sequence | set | frozenset) and not isinstance(node, str | bytes):
        for value in node:
            _check_targets(value, part, trust, top=False)


def _check_kind(found: type, part: Part, top: bool) -> None:
    """Raise ValueError for a class that does not belong in a node: a model is a Module, data a LightningDataModule."""
    if part == "model" and not issubclass(found, nn.Module):
        raise ValueError(f"expected a subclass of torch.nn.Module, found {_name(found)}")
    if part == "data" and top and not issubclass(found, pl.LightningDataModule):
        raise ValueError(f"expected data to train on, a LightningDataModule, found {_name(found)}")
    own, of_data = (_within(found.__module__, [package]) for package in (PACKAGE, f"{PACKAGE}.data"))
    described = is_dataclass(found) or issubclass(found, pl.LightningDataModule)
    if part == "data" and own and not (of_data and described):
        raise ValueError(f"expected a class of {PACKAGE}.data that a configuration describes, found {_name(found)}")


def _trusted_class(target: Any, trust: Sequence[str]) -> type:
    """Find the class that a target names, without importing an untrusted module."""
    if not isinstance(target, str):
        raise ValueError(f"expected the name of a class, found {target!r}")
    module, _, name = target.rpartition(".")
    allowed = [PACKAGE, *trust]
    if not _within(module, allowed):
        raise ValueError(_not_trusted(target, module))
    try:
        found = getattr(import_module(module), name, None)
    except ImportError as error:
        raise ValueError(f"expected a class, {target} is none ({error})") from error
    if not isinstance(found, type) or get_object(target) is not found:
        raise ValueError(f"expected a class, {target} is none")
    if not _within(found.__module__, allowed):
        raise ValueError(_not_trusted(target, found.__module__))
    return found


def _not_trusted(target: str, module: str) -> str:
    return (
        f"expected classes of {PACKAGE} alone, found {target}; if you know the module {module!r} and trust it: "
        f"trust=[{module}], of the command cosmicgate --trust {module}"
    )


def _within(module: str, packages: Sequence[str]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _name(found: type) -> str:
    return f"{found.__module__}.{found.__qualname__}"


def expect_keys(config: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if the configuration of a checkpoint lacks a key that is needed to apply its network."""
    missing = [key for key in ("model", "title", "trained_on", "seed", "threshold") if key not in config]
    if missing:
        raise ValueError(f"{path}: its configuration has no {', '.join(missing)}: it is not a checkpoint of train.py")


def has_ring(data: Mapping[str, Any]) -> bool:
    """Return True if, by its data configuration, the truth of a training had a ring around each hit."""
    parts = data.get("parts", {"all": data}).values()
    recipes = [part if {"ring", "dilate"} & part.keys() else part.get("contamination", {}) for part in parts]
    recipes = [recipe.get("first", recipe) for recipe in recipes]  # one that draws from two has the same in both
    return all(recipe.get("ring", True) and recipe.get("dilate", True) for recipe in recipes)
