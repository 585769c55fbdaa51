"""Our networks as detectors."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from textwrap import shorten
from typing import Any

import torch
from torch import nn

from cosmicgate.config import build, cause_of
from cosmicgate.data.fits.frames import Frame
from cosmicgate.detectors import NEVER, Detection
from cosmicgate.detectors.inputs import BRIDGED, bridged
from cosmicgate.detectors.packaged.cards import pack
from cosmicgate.detectors.packaged.unpacking import ready, screen_of, unpacked
from cosmicgate.models import UNet
from cosmicgate.models.inference import frame_logits
from cosmicgate.models.screening import Screen, screened_logits
from cosmicgate.tracking import facts_of, tree_hash

PREFIX = "network."  # of the network's weights in a checkpoint


@dataclass(frozen=True)
class Network:
    """A network and how it is applied.

    Attributes
    ----------
    network : Module
        Logits of images in ADU.
    threshold : float
        Probability from which a pixel is called hit.
    tile, halo : int, optional
        As in :func:`cosmicgate.models.inference.frame_logits`; 256 and 0 are the paper's patches, None the whole frame.
    grow : bool
        It learned from a truth without a ring: its masks are dilated where the truth is.
    identity : object
        Hash of its weights, say.
    screen : Screen, optional
        Look with it first, at the whole frame.
    facts : mapping
        What its training is told apart by (:func:`cosmicgate.tracking.facts_of`); empty for foreign weights.
    """

    network: nn.Module
    title: str
    trained_on: str | None
    identity: Any
    threshold: float = 0.5
    tile: int | None = None
    halo: int = 0
    grow: bool = False
    screen: Screen | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the threshold."""
        if not 0 < self.threshold < 1:
            raise ValueError(f"{self.title}: threshold = {self.threshold}: expected a probability between 0 and 1")

    @property
    def weights(self) -> str:
        """SHA-256 of its weights, whatever file they were in."""
        return hash_of(self.network)

    @torch.inference_mode()
    def detect(self, frame: Frame) -> Detection:
        """Return the logits of a frame, whose bad pixels are never called hit."""
        image, bad = bridged(frame.image, frame.bad)
        if self.screen is not None:
            assert isinstance(self.network, UNet)
            logits, _ = screened_logits(self.network, self.screen, torch.from_numpy(image))
        else:
            logits = frame_logits(self.network, torch.from_numpy(image), self.tile, self.halo)
        return Detection(logits=logits.masked_fill_(torch.from_numpy(bad), NEVER))


def hash_of(network: nn.Module) -> str:
    """Return the SHA-256 of a network's weights, as rows of results and cards tell them apart."""
    return pack({name: value.cpu() for name, value in network.state_dict().items()})[1]


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of ours: tensors and plain values only, so that no code in it can run."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"no such checkpoint: {str(path)!r}")
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds: zip, pickle, runtime
        raise ValueError(f"{path} is not a readable checkpoint ({error.__class__.__name__}: {error})") from error
    if not {"state_dict", "config"} <= set(checkpoint):
        raise ValueError(f"{path} has no 'state_dict' and 'config': it is not a checkpoint of train.py")
    return checkpoint


def load(
    path: str | Path | None,
    threshold: float | None = None,
    tile: int | None = None,
    halo: int = 0,
    title: str | None = None,
) -> Network:
    """Return the detector that a run of ``train.py`` made, from its checkpoint alone.

    Parameters
    ----------
    path : str or Path
        The checkpoint.
    threshold : float, optional
        Probability from which a pixel is called hit; None: that of its training.
    tile, halo : int, optional
        As in :class:`Network`.
    title : str, optional
        Its row in the tables; None: that of its training.
    """
    if path is None:
        raise ValueError("detector=checkpoint: give checkpoint=FILE")
    checkpoint = read_checkpoint(path)
    config = checkpoint["config"]
    return Network(
        network=rebuilt(checkpoint, Path(path)),
        title=title or config["title"],
        trained_on=config["trained_on"],
        identity=["checkpoint", tree_hash(Path(path)), tile, halo, BRIDGED, *_settled(config["model"], tile)],
        threshold=config["threshold"] if threshold is None else threshold,
        tile=tile,
        halo=halo,
        grow=not has_ring(config.get("data", {})),
        facts=facts_of(config),
    )


def rebuilt(checkpoint: Mapping[str, Any], path: Path) -> Any:
    """Return the network of a checkpoint, ready for use.

    Raises
    ------
    ValueError
        It cannot be made here; says why.
    """
    weights = {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}
    try:
        _expect_networks(checkpoint["config"]["model"])
        return ready(build(checkpoint["config"]["model"]), weights)
    except Exception as error:  # the class may be anybody's
        raise ValueError(f"{path}: its network cannot be made: {shorten(str(cause_of(error)), 300)}") from error


def _expect_networks(node: Any) -> None:
    """Refuse the configuration of a network that calls anything else: a checkpoint may come from anywhere.

    Raises
    ------
    ValueError, ImportError, AttributeError
        A ``_target_`` is no subclass of ``torch.nn.Module``, or is not found.
    """
    if isinstance(node, str) and "${" in node:  # could become a node with a target
        raise ValueError(f"expected a configuration without interpolations, found {node!r}")
    if isinstance(node, Mapping):
        if "_target_" in node:
            target = resolve_name(node["_target_"])
            if not (isinstance(target, type) and issubclass(target, nn.Module)):
                raise ValueError(f"expected a subclass of torch.nn.Module, found {node['_target_']!r}")
        node = node.values()
    if not isinstance(node, str) and isinstance(node, Iterable):
        for below in node:
            _expect_networks(below)


def packaged(
    name: str, threshold: float | None = None, tile: int | None = None, halo: int = 0, fast: bool = False
) -> Network:
    """Return a packaged network as a row of tables.

    Parameters
    ----------
    name : str
        One of :func:`cosmicgate.detectors.packaged.cards.names`, or a file of weights with its card beside it.
    threshold, tile, halo
        As in :func:`load`; None: those of its card.
    fast : bool
        Look with its screen first.
    """
    network, card, tensors = unpacked(name)
    identity = ["packaged", card.sha256, tile, halo, BRIDGED, *_settled(card.network, tile)]
    return Network(
        network=network,
        title=f"{card.title}, fast" if fast else card.title,
        trained_on=card.trained_on,
        identity=identity + [card.screen] * fast,
        screen=screen_of(card, tensors) if fast else None,
        threshold=card.threshold if threshold is None else threshold,
        tile=tile,
        halo=halo,
        grow=not card.ring,
    )


def has_ring(data: Mapping[str, Any]) -> bool:
    """Say whether the truth of a training, by its configuration, had a ring around each hit."""
    parts = data.get("parts", {"all": data}).values()
    recipes = [part.get("contamination", {}) for part in parts]
    return all(recipe.get("first", recipe).get("ring", True) for recipe in recipes)  # of two recipes, both have one


def _settled(model: Mapping[str, Any], tile: int | None) -> list[str]:
    """Return what tells whole frames under group norm from those of earlier versions, which went by tiles."""
    return ["settled"] if model.get("norm") == "group" and tile is None else []
