"""Load a network by the name of a pretrained one, a run folder, a checkpoint or a file of weights."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from cosmicgate import __version__
from cosmicgate.extras import extra
from cosmicgate.io.run_files import BEST
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import WEIGHTS, ModelCard
from cosmicgate.pretrained.registry import find_weights, load_pretrained, pretrained_names


def load_network(model: str | Path, trust: Sequence[str] = ()) -> tuple[UNet, ModelCard, Mapping[str, Tensor] | None]:
    """Load a network and its card.

    Parameters
    ----------
    model : str or Path
        One of :func:`cosmicgate.pretrained.registry.pretrained_names`, a run folder of ``train.py``, a checkpoint, a
        file of weights with its card beside it, or a folder with one such file.
    trust : sequence of str
        Modules whose networks a checkpoint may contain, in addition to this package.

    Returns
    -------
    network : UNet
        Network in evaluation mode.
    card : ModelCard
        Its card; for a checkpoint, one with what the training configuration says.
    tensors : mapping of str to Tensor, or None
        All tensors of a file of weights, those of the coarse stage included; None for a checkpoint.
    """
    path = model_file(model)
    if path.suffix == ".ckpt":
        return *from_checkpoint(path, trust), None
    return load_pretrained(path)


def model_file(model: str | Path) -> Path:
    """Find the file of a model: a checkpoint, which need not exist, or a file of weights.

    A folder stands for the file of weights in it (``cosmicgate adapt`` writes such folders), else for a run of
    ``train.py``.
    """
    path = Path(model).expanduser()
    # A folder with a pretrained network's name is given as ./NAME.
    if path.is_dir() and str(model) not in pretrained_names():
        weights = sorted(path.glob(f"*{WEIGHTS}"))
        path = weights[0] if len(weights) == 1 else path / BEST
    return path if path.suffix == ".ckpt" else find_weights(path)


def from_checkpoint(path: Path, trust: Sequence[str] = ()) -> tuple[UNet, ModelCard]:
    """Load the network of a checkpoint or run folder, and make a card from its training configuration.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not a checkpoint of ``train.py``, or its network cannot be built here.
    ImportError
        A package of the extra ``train`` is not installed.
    """
    # Imported here, because a pretrained network does not need Hydra and Lightning, which take 180 MB of memory.
    with extra("train"):
        from cosmicgate.pretrained.checkpoint import (
            build_network,
            checkpoint_file,
            expect_keys,
            has_ring,
            read_checkpoint,
        )

    path = checkpoint_file(path)
    checkpoint = read_checkpoint(path)
    config = checkpoint["config"]
    expect_keys(config, path)
    network = build_network(checkpoint, path, trust)
    card = ModelCard(
        name=str(path),
        title=config["title"] + (f" ({config['variant']})" if config.get("variant") else ""),
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
