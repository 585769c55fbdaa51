"""Model cards of weights: how they were trained, their measured scores, and what input they expect."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from scipy.special import expit, logit
from torch import Tensor

from cosmicgate.io.atomic import atomic_write

WEIGHTS_FOLDER = Path(__file__).parent / "weights"
WEIGHTS, CARD = ".safetensors", ".json"
COARSE = "coarse."  # prefix of the names of the coarse network's weights in the same file
COARSE_TUNING_FPR = 1e-4  # the coarse stage is tuned at the threshold for this false-positive rate
OLD_COARSE_PREFIX = "screen."  # the prefix up to version 0.1, also of networks in this package
OLD_KEYS = {"screen": "cascade", "looked": "searched"}  # keys of cards up to version 0.1, and the present ones


@dataclass(frozen=True)
class ModelCard:
    """Description of a pretrained network.

    Attributes
    ----------
    name, title : str
        Name by which the network is loaded, and name of its row in tables.
    version : str
        Version of the package that wrote the card.
    network : dict
        Arguments of :class:`~cosmicgate.models.UNet`.
    sha256 : str
        SHA-256 of the file of weights.
    trained_on : str
        Training data set and its data origin.
    command, data_hash, seed, machine : str, str, int, str
        Command that retrains the network, hash of the labelled frames, random seed, and machine of the training.
    ring : bool
        Whether the truth of the training has a ring around each hit. Without one, the masks are as thin as the hits.
    threshold : float
        Probability from which a pixel is classified as a hit.
    calibration : list of [float, float]
        False-positive rates on ``calibrated_on``, ascending, and the thresholds that give them.
    input : str
        Requirements on the image.
    ranges : dict
        Range that holds 98 % of the training frames, for each feature of :mod:`cosmicgate.pretrained.domain_check`.
    scores : list of dict
        Rows of tables: data, provenance (the data origin), metric, value, low, high.
    cascade : dict or None
        Coarse stage of the cascade (:mod:`cosmicgate.inference.cascade`): its ``network``, the ``command`` and the
        ``data`` that trained it, and its ``settings``; and what was measured on test frames: ``hits`` found by the
        network alone, ``missed`` by the cascade, ``bound``, the 95 % upper limit of the fraction of hits missed, and
        ``searched``, the fraction of the pixels that the fine stage searched.
    """

    name: str
    title: str
    version: str
    network: Mapping[str, Any]
    sha256: str
    trained_on: str
    command: str
    data_hash: str
    seed: int
    machine: str
    ring: bool
    threshold: float = 0.5
    licence: str = "BSD-3-Clause"
    input: str = "counts with or without sky, flat-fielded or not; not resampled, not sharpened"
    calibrated_on: str = ""
    calibration: list[list[float]] = field(default_factory=list)
    ranges: Mapping[str, list[float]] = field(default_factory=dict)
    scores: list[dict[str, Any]] = field(default_factory=list)
    cascade: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        """Validate thresholds and rates: with a threshold that no probability reaches, every mask would be empty.

        Raises
        ------
        ValueError
            A threshold is not between 0 and 1, the rates of the calibration are not between 0 and 1 or not ascending,
            or the threshold of the coarse stage is NaN or infinite.
        """
        rates, thresholds = [pair[0] for pair in self.calibration], [pair[1] for pair in self.calibration]
        for threshold in (self.threshold, *thresholds):
            if not (isinstance(threshold, int | float) and 0 < threshold < 1):
                raise ValueError(f"{self.name}: threshold {threshold!r}: expected a probability between 0 and 1")
        if not all(0 < rate < 1 for rate in rates) or any(b <= a for a, b in pairwise(rates)):
            raise ValueError(f"{self.name}: calibration: expected rates between 0 and 1, ascending, got {rates}")
        coarse = (self.cascade or {}).get("settings", {}).get("threshold", 0.0)
        if not (isinstance(coarse, int | float) and math.isfinite(coarse)):
            raise ValueError(f"{self.name}: its coarse stage has the threshold {coarse!r}, expected a number")

    def threshold_at(self, fpr: float) -> float:
        """Look up the probability threshold for a false-positive rate in the calibration.

        Between two calibrated rates, the logit of the threshold is interpolated linearly in the logarithm of the rate.

        Raises
        ------
        ValueError
            The card has no calibration, or the rate is outside its range.
        """
        if not self.calibration:
            raise ValueError(f"{self.name} has no calibration of false-positive rates: give threshold= instead of fpr=")
        rates, thresholds = np.array(self.calibration).T
        if not rates[0] <= fpr <= rates[-1]:
            raise ValueError(f"fpr={fpr}: {self.name} is calibrated from {rates[0]:.1g} to {rates[-1]:.1g}")
        return float(expit(np.interp(np.log(fpr), np.log(rates), logit(thresholds))))

    def note_below_cascade_tuning(self, threshold: float) -> str:
        """Describe a threshold for which it was not measured what the cascade misses; empty if it was.

        Measured is the card's own threshold, and that for the false-positive rate of the coarse stage's tuning.
        """
        rates = [rate for rate, _ in self.calibration]
        calibrated = rates and rates[0] <= COARSE_TUNING_FPR <= rates[-1]
        lowest = min(self.threshold, self.threshold_at(COARSE_TUNING_FPR)) if calibrated else self.threshold
        if threshold >= lowest:
            return ""
        return f"thresholds below {lowest:.3g}, such as {threshold:.3g}, were not measured with the coarse stage"


def read_card(weights: Path) -> ModelCard:
    """Read the card beside a file of weights; cards of earlier versions are translated."""
    path = weights.with_suffix(CARD)
    try:
        values = _with_current_keys(json.loads(path.read_text()))
        if isinstance(values.get("cascade"), dict):
            values["cascade"] = _with_current_keys(values["cascade"])
        return ModelCard(**values)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{weights} has no model card beside it: expected {path.name}") from error
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(f"{path} is not a model card ({error})") from error


def _with_current_keys(values: Mapping[str, Any]) -> dict[str, Any]:
    return {OLD_KEYS.get(key, key): value for key, value in values.items()}


def read_weights(weights: Path, sha256: str) -> dict[str, Tensor]:
    """Read weights and compare their SHA-256 with that of the card; safetensors files cannot run code.

    The names of the coarse network's weights begin with :data:`COARSE`, also if the file is of an earlier version.
    """
    content = weights.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{weights}: its checksum is {found[:12]}, its card says {sha256[:12]}: install it again")
    try:
        tensors = tensors_of(content)
    except SafetensorError as error:
        raise ValueError(f"{weights} is not a file of weights ({error})") from error
    return {_with_current_prefix(name): tensor for name, tensor in tensors.items()}


def _with_current_prefix(name: str) -> str:
    return COARSE + name.removeprefix(OLD_COARSE_PREFIX) if name.startswith(OLD_COARSE_PREFIX) else name


def serialize(weights: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Serialise weights to the content of a safetensors file and compute its SHA-256; names may share a tensor."""
    content = bytes_of({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in weights.items()})
    return content, hashlib.sha256(content).hexdigest()


def save_model(card: ModelCard, content: bytes, folder: Path = WEIGHTS_FOLDER) -> Path:
    """Write weights and their card to a folder and return the path of the weights."""
    path = folder / f"{card.name}{WEIGHTS}"
    atomic_write(path, content)
    atomic_write(path.with_suffix(CARD), json.dumps(asdict(card), indent=1) + "\n")
    return path
