"""Initialise a network with the weights of another training."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from cosmicgate.models import UNet
from cosmicgate.pretrained.checkpoint import read_checkpoint
from cosmicgate.pretrained.load import load_network
from cosmicgate.pretrained.load_weights import load_weights

CONFIGS = {  # (norm, gate) -> file in conf/model
    ("batch", False): "deepcr",
    ("batch", True): "att_deepcr",
    ("group", False): "cosmic_conn",
    ("group", True): "att_cosmic_conn",
}


def load_initial_weights(
    network: nn.Module, model: str | Path | None, resume_from: Path | None = None, trust: Sequence[str] = ()
) -> str | None:
    """Load the weights of another network of the same architecture.

    Parameters
    ----------
    network : Module
        Network to initialise.
    model : str, Path or None
        Pretrained network, checkpoint or run folder. None keeps the weights of ``network``.
    resume_from : Path, optional
        Checkpoint from which the training resumes. Nothing is loaded then, since the checkpoint has the weights; the
        file that the training started from may no longer exist.
    trust : sequence of str
        Modules outside this package whose classes a checkpoint may name.

    Returns
    -------
    str or None
        SHA-256 of the weights file or checkpoint that the training started from; None if there is none.

    Raises
    ------
    ValueError
        If the architecture differs, or the scaling of the image; names the configuration overrides that match it.
    """
    if resume_from is not None:
        began: str | None = read_checkpoint(resume_from)["config"].get("started_from")
        return began
    if model is None:
        return None
    other, card, _ = load_network(model, trust)
    if type(other) is not type(network):
        kinds = (f"{type(one).__module__}.{type(one).__qualname__}" for one in (other, network))
        raise ValueError("start={} is a {}, model is a {}: give the model=NAME of that training".format(model, *kinds))
    if isinstance(network, UNet) and (needed := overrides(network, other)):
        raise ValueError(f"start={model} has another architecture than model: give {' '.join(needed)}")
    load_weights(network, other.state_dict(), f"start={model}")
    return card.sha256


def overrides(network: UNet, other: UNet) -> list[str]:
    """List the command-line overrides that give ``network`` the architecture of ``other``; empty if they agree."""
    differs = {key: value for key, value in other.architecture.items() if network.architecture.get(key) != value}
    if not differs:
        return []
    choice = CONFIGS[str(other.architecture["norm"]), bool(other.architecture["gate"])]
    values = {key: str(value).lower() for key, value in differs.items() if key not in ("norm", "gate")}
    return [f"model={choice}", *(f"model.{key}={value}" for key, value in values.items())]
