"""List, find and load pretrained networks, without Lightning and Hydra, which would take 180 MB of memory."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from cosmicgate import __version__
from cosmicgate.inference.cascade import Cascade
from cosmicgate.inference.streaming import CHANNELS_LAST
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import COARSE, WEIGHTS, WEIGHTS_FOLDER, ModelCard, read_card, read_weights
from cosmicgate.pretrained.load_weights import load_weights


def pretrained_names() -> list[str]:
    """List the names of the pretrained networks."""
    return sorted(path.stem for path in WEIGHTS_FOLDER.glob(f"*{WEIGHTS}"))


def find_weights(name: str | Path) -> Path:
    """Find the file of weights of a pretrained network, by its name or by the path of the file itself."""
    path = Path(name)
    pretrained = WEIGHTS_FOLDER / f"{name}{WEIGHTS}"
    if path.suffix == WEIGHTS and path.is_file():
        return path
    if pretrained.is_file():
        return pretrained
    raise FileNotFoundError(f"no network {str(name)!r}: expected one of {', '.join(pretrained_names())}, or a path")


def prepare_for_inference(
    network: nn.Module, weights: Mapping[str, Tensor], source: str, layout: torch.memory_format = CHANNELS_LAST
) -> nn.Module:
    """Load and check the weights, and move the network to the GPU, if there is one, in evaluation mode."""
    load_weights(network, weights, source)
    network.to("cuda" if torch.cuda.is_available() else "cpu", memory_format=layout)  # type: ignore[call-overload]
    return network.eval()


def load_pretrained(model: str | Path) -> tuple[UNet, ModelCard, dict[str, Tensor]]:
    """Load a pretrained network, its card and all its tensors, those of the coarse stage included."""
    weights = find_weights(model)
    card = read_card(weights)
    tensors = read_weights(weights, card.sha256)
    with _explain_other_version(card):
        network = UNet(**card.network)
    own = {name: value for name, value in tensors.items() if not name.startswith(COARSE)}
    prepare_for_inference(network, own, str(weights))
    return network, card, tensors


def cascade_of(card: ModelCard, tensors: Mapping[str, Tensor]) -> Cascade:
    """Build the coarse stage of the cascade that comes with a pretrained network."""
    if card.cascade is None:
        raise ValueError(f"{card.name} has no coarse stage, which a cascade needs")
    with _explain_other_version(card):
        cascade = Cascade(UNet(**card.cascade["network"]), **card.cascade["settings"])
    weights = {name.removeprefix(COARSE): value for name, value in tensors.items() if name.startswith(COARSE)}
    prepare_for_inference(cascade.network, weights, f"the coarse stage of {card.name}")
    return cascade


@contextmanager
def _explain_other_version(card: ModelCard) -> Iterator[None]:
    """Raise one ValueError for all that can be wrong with the arguments of a network in a card."""
    try:
        yield
    except (TypeError, ValueError, LookupError) as error:
        raise ValueError(
            f"{card.name}: its card, of version {card.version}, describes a network that cosmicgate {__version__} "
            f"cannot build ({error})"
        ) from error
