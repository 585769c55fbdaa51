"""Networks as detectors: those of a training run, and the pretrained ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from cosmicgate.detectors.base import Detection
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.atomic import tree_hash
from cosmicgate.io.fits.frames import Frame
from cosmicgate.pretrained.card import serialize
from cosmicgate.pretrained.checkpoint import build_network, checkpoint_file, expect_keys, has_ring, read_checkpoint
from cosmicgate.pretrained.registry import cascade_of, load_pretrained
from cosmicgate.provenance import run_metadata

# Versions of the preparation of images, which are part of a detector's cache key because they change its results: sky
# measured without bad pixels and corrected for quantisation; bad pixels interpolated. Results are cached under these
# words, so they stay as they are.
GOOD_SKY = "good sky"
INTERPOLATED = "bridged"


@dataclass(frozen=True)
class NetworkDetector:
    """Detector that applies a network to a frame.

    Attributes
    ----------
    predictor : Predictor
        Network, and how it is applied to a frame.
    model : str
        Name of the network.
    trained_on : str or None
        Training data set and its data origin.
    cache_key : object
        Plain values that determine its results, such as the hash of its weights.
    threshold : float
        Probability from which a pixel is classified as a hit.
    dilate_masks : bool
        Whether the truth of its training had no ring, so that its masks are dilated where the truth is.
    facts : mapping
        Metadata of its training (:func:`cosmicgate.provenance.run_metadata`); empty for weights of other origin.
    variant : str
        Origin or recipe that distinguishes it from other networks of the same name in the tables.
    seed : int, optional
        Seed of its training, where it is known.
    """

    predictor: Predictor
    model: str
    trained_on: str | None
    cache_key: Any
    threshold: float = 0.5
    dilate_masks: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    variant: str = ""
    seed: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError if the threshold is not a probability."""
        if not 0 < self.threshold < 1:
            raise ValueError(f"{self.model}: threshold = {self.threshold}: expected a probability between 0 and 1")

    @property
    def weights(self) -> str:
        """SHA-256 of its weights, independent of the file that they come from."""
        return weights_sha256_of(self.predictor.network)

    def detect(self, frame: Frame) -> Detection:
        """Compute the logits of a frame; bad pixels are never hits."""
        return Detection(logits=self.predictor.logits(frame.image, frame.bad))


def weights_sha256_of(network: nn.Module) -> str:
    """Compute the SHA-256 of a network's weights, by which result rows and model cards identify them."""
    return serialize({name: value.cpu() for name, value in network.state_dict().items()})[1]


def load_checkpoint_detector(
    path: str | Path | None,
    threshold: float | None = None,
    tile: int | None = None,
    halo: int = 0,
    variant: str | None = None,
    trust: Sequence[str] = (),
) -> NetworkDetector:
    """Load the detector of a training run of ``train.py`` from its checkpoint alone.

    Parameters
    ----------
    path : str or Path
        Checkpoint, or run folder (its best weights).
    threshold : float, optional
        Probability from which a pixel is classified as a hit; None for that of the training.
    tile, halo : int, optional
        Tile size and overlap, px, as in :class:`~cosmicgate.inference.predictor.Predictor`; None: whole frames.
    variant : str, optional
        Variant of the network in the tables; None for that of the training.
    trust : sequence of str
        Modules whose networks may be instantiated, in addition to this package.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        No path is given, the file is not a checkpoint of ``train.py``, or its network cannot be built.
    """
    if path is None:
        raise ValueError("detector=checkpoint: give checkpoint=RUN, a run folder or a checkpoint")
    file = checkpoint_file(path)
    checkpoint = read_checkpoint(file)
    config = checkpoint["config"]
    expect_keys(config, file)
    version = [INTERPOLATED, GOOD_SKY, *_frozen_group_norm(config["model"], tile)]
    return NetworkDetector(
        predictor=Predictor(build_network(checkpoint, file, trust), tile, halo),
        model=config["title"],
        trained_on=config["trained_on"],
        cache_key=["checkpoint", tree_hash(file), tile, halo, *version],
        threshold=config["threshold"] if threshold is None else threshold,
        dilate_masks=not has_ring(config.get("data", {})),
        facts=run_metadata(config),
        variant=config.get("variant", "") if variant is None else variant,
        seed=config["seed"],
    )


def load_pretrained_detector(
    name: str, threshold: float | None = None, tile: int | None = None, halo: int = 0, cascade: bool = False
) -> NetworkDetector:
    """Load a pretrained network as a detector.

    Parameters
    ----------
    name : str
        One of :func:`cosmicgate.pretrained.registry.pretrained_names`, or a file of weights with its card beside it.
    threshold : float, optional
        Probability from which a pixel is classified as a hit; None for that of its card.
    tile, halo : int, optional
        Tile size and overlap, px, as in :class:`~cosmicgate.inference.predictor.Predictor`; None: whole frames.
    cascade : bool
        Whether the coarse stage that comes with it selects the cells that the network searches.
    """
    network, card, tensors = load_pretrained(name)
    cache_key = ["packaged", card.sha256, tile, halo, INTERPOLATED, GOOD_SKY, *_frozen_group_norm(card.network, tile)]
    return NetworkDetector(
        predictor=Predictor(network, tile, halo, cascade=cascade_of(card, tensors) if cascade else None),
        model=card.title,
        trained_on=card.trained_on,
        cache_key=cache_key + [_as_cached(card.cascade or {})] * cascade,
        threshold=card.threshold if threshold is None else threshold,
        dilate_masks=not card.ring,
        variant="cascade" if cascade else "pretrained",
        seed=card.seed,
    )


def _frozen_group_norm(model: Mapping[str, Any], tile: int | None) -> list[str]:
    """Distinguish, in the cache key, group norm on whole frames from that of earlier versions, which used tiles."""
    return ["settled"] if model.get("norm") == "group" and tile is None else []


def _as_cached(cascade: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a cascade for the cache key with the key that its card had when the first results were cached."""
    return {"looked" if key == "searched" else key: value for key, value in cascade.items()}
