"""The result of an adaptation, for Python: what was found, which exposures were held out, whether it is better."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cosmicgate.io.atomic import write_json
from cosmicgate.masking.load import load
from cosmicgate.masking.masker import CosmicRayMasker

FILE = "summary.json"  # in the output folder


@dataclass(frozen=True)
class Adaptation:
    """Result of :func:`cosmicgate.adapt`, or of the stages that it has finished.

    Attributes
    ----------
    folder : Path
        Output folder.
    lines : sequence of str
        What was found, what is missing and what was labelled, a line each, as the command prints them.
    held_out : mapping of str to sequence of str
        Names of the exposures of "validation" and "test", which were not trained on; empty before the labels.
    is_better : bool, optional
        Whether the adapted network is better on the exposures of "validation", and so is kept; otherwise the network
        before it is. None before the training.
    average_precision : (float, float), optional
        Scores of the network before and of the adapted one, by which this was decided.
    """

    folder: Path
    lines: Sequence[str] = ()
    held_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_better: bool | None = None
    average_precision: tuple[float, float] | None = None

    @property
    def masker(self) -> CosmicRayMasker:
        """Detector with the network that is kept; raises ValueError or OSError before the training."""
        return load(self.folder)

    def save(self) -> None:
        """Write it into the output folder."""
        write_json(self.folder / FILE, {key: value for key, value in asdict(self).items() if key != "folder"})

    @classmethod
    def read(cls, folder: Path) -> "Adaptation":
        """Read that of a finished adaptation; empty if its file was removed."""
        file = folder / FILE
        known = json.loads(file.read_text()) if file.is_file() else {}
        if scores := known.get("average_precision"):
            known["average_precision"] = tuple(scores)
        return cls(folder, **known)
