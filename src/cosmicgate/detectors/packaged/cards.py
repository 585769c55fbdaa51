"""What travels with weights: how they were made, what they were measured to do, and what they expect."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor

from cosmicgate.files import write_whole

FOLDER = Path(__file__).parent / "weights"
WEIGHTS, CARD = ".safetensors", ".json"
SCREEN = "screen."  # before the names of its screen's weights in the same file
TUNED = 1e-4  # rate of false alarms for whose threshold a screen is tuned


@dataclass(frozen=True)
class Card:
    """A packaged network in words and numbers.

    Attributes
    ----------
    name, title : str
        As it is asked for, and its row in tables.
    version : str
        Of the package that made it.
    network : dict
        Arguments of :class:`~cosmicgate.models.UNet`.
    sha256 : str
        Of the file of weights.
    trained_on, command, data_hash, seed, machine : object
        Data set and provenance; what retrains it; the hash of the labelled frames; where.
    ring : bool
        Whether the truth it learned from has a ring around each hit: without one its masks are as thin as the hits.
    threshold : float
        Probability from which a pixel is called hit.
    calibration : list of [float, float]
        Rates of false alarms on ``calibrated_on``, ascending, and the thresholds that give them.
    input : str
        What its image has to be.
    ranges : dict
        Of each trait (:mod:`cosmicgate.masking.traits`), where 98 % of the frames lie that it learned from.
    scores : list of dict
        Rows of tables: data, provenance, metric, value, low, high.
    screen : dict or None
        Of the quick first look (:mod:`cosmicgate.models.screening`): ``network``, ``settings``, what it was measured
        to miss (``hits``, ``missed``, ``bound``: 95 % upper limit of the part of hits missed) and on which ``data``.
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
    screen: dict[str, Any] | None = None

    def threshold_at(self, fpr: float) -> float:
        """Return the threshold that gives a rate of false alarms, by the calibration.

        Between two calibrated rates the logit of the threshold goes linearly with the logarithm of the rate.
        """
        if not self.calibration:
            raise ValueError(f"{self.name} has no calibration of false alarms: give threshold= instead of fpr=")
        rates, thresholds = np.array(self.calibration).T
        if not rates[0] <= fpr <= rates[-1]:
            raise ValueError(f"fpr={fpr}: {self.name} is calibrated from {rates[0]:.1g} to {rates[-1]:.1g}")
        logits = np.log(thresholds) - np.log1p(-thresholds)
        return float(1 / (1 + np.exp(-np.interp(np.log(fpr), np.log(rates), logits))))


def names() -> list[str]:
    """Return the names of the packaged networks."""
    return sorted(path.stem for path in FOLDER.glob(f"*{WEIGHTS}"))


def find(name: str | Path) -> Path:
    """Return the file of weights of a packaged network, or the file itself."""
    path = Path(name)
    packaged = FOLDER / f"{name}{WEIGHTS}"
    if path.suffix == WEIGHTS and path.is_file():
        return path
    if packaged.is_file():
        return packaged
    raise FileNotFoundError(f"no network {str(name)!r}: expected one of {', '.join(names())}, or a path")


def read_card(weights: Path) -> Card:
    """Read the card beside a file of weights."""
    path = weights.with_suffix(CARD)
    try:
        values = json.loads(path.read_text())
        return Card(**values)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{weights} has no model card beside it: expected {path.name}") from error
    except (json.JSONDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not a model card ({error})") from error


def read_weights(weights: Path, sha256: str) -> dict[str, Tensor]:
    """Read weights whose card says that they have this checksum. No code in them can run."""
    content = weights.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(f"{weights}: its checksum is {found[:12]}, its card says {sha256[:12]}: install it again")
    try:
        return tensors_of(content)
    except SafetensorError as error:
        raise ValueError(f"{weights} is not a file of weights ({error})") from error


def pack(weights: Mapping[str, Tensor]) -> tuple[bytes, str]:
    """Return the content of a file of weights, and its checksum for the card."""
    content = bytes_of({name: tensor.contiguous() for name, tensor in weights.items()})
    return content, hashlib.sha256(content).hexdigest()


def ship(card: Card, content: bytes, folder: Path = FOLDER) -> Path:
    """Write weights and their card into a folder; return the file of weights."""
    path = folder / f"{card.name}{WEIGHTS}"
    write_whole(path, content)
    write_whole(path.with_suffix(CARD), json.dumps(asdict(card), indent=1) + "\n")
    return path
