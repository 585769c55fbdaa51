"""Identify the detectors of result rows by fields, and make titles of them where rows are shown."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from cosmicgate.detectors import Detector
from cosmicgate.io.atomic import atomic_write

CASCADE_VARIANT = "cascade"  # variant of a network that is applied as a cascade
# Titles of results up to version 0.1.3: Att deepCR (released); deepCR, paper hits, seed 1; deepCR, mean of 2 seeds.
OLD_TITLE = re.compile(
    r"(?P<model>[^(,]+?)(?: \((?P<inner>[^()]*)\))?(?:, (?P<outer>.+?))??"
    r"(?:, seed (?P<seed>\d+)(?:, (?P<folder>.+))?|, mean of (?P<seeds>\d+) seeds)?"
)
OLD_VARIANTS = {"fast": CASCADE_VARIANT}


@dataclass(frozen=True)
class DetectorRecord:
    """Fields that identify the detector of a row.

    Attributes
    ----------
    model : str
        Network or algorithm: "Att deepCR", "Astro-SCRAPPY".
    variant : str
        Origin, settings or recipe, where one model has several: "released", "fair", "paper hits".
    seed : int or None
        Seed of its training; None if it is unknown, or nothing was trained.
    seeds : int or None
        Number of seeds of which the row is the mean; None for a single detector.
    trained_on : str or None
        Training data set and its data origin; None for a detector that is not trained.
    weights : str or None
        SHA-256 of the weights; None for a mean, and for a detector without weights.
    """

    model: str
    variant: str = ""
    seed: int | None = None
    seeds: int | None = None
    trained_on: str | None = None
    weights: str | None = None

    @classmethod
    def of(cls, detector: Detector) -> "DetectorRecord":
        """Make the record of a detector; ``variant``, ``seed`` and ``weights`` are optional attributes of it."""
        variant, seed, weights = (getattr(detector, key, None) for key in ("variant", "seed", "weights"))
        return cls(detector.model, variant or "", seed, None, detector.trained_on, weights)

    @classmethod
    def from_title(cls, title: str, trained_on: str | None = None, weights: str | None = None) -> "DetectorRecord":
        """Convert a title of results that were written before rows had records."""
        found = OLD_TITLE.fullmatch(title)
        if found is None:
            return cls(title, trained_on=trained_on, weights=weights)
        parts = [OLD_VARIANTS.get(found[key], found[key]) for key in ("inner", "outer", "folder") if found[key]]
        seed, seeds = (int(found[key]) if found[key] else None for key in ("seed", "seeds"))
        return cls(found["model"], ", ".join(parts), seed, seeds, trained_on, weights)

    def with_shared_cameras(self, cameras: Iterable[str]) -> "DetectorRecord":
        """Note in ``trained_on`` which of the scored cameras the training had frames of.

        The cameras of a training follow "real: ", in brackets: :attr:`cosmicgate.data.mixture.Mixture.data_origin`.
        """
        trained = set(re.findall(r"\(([^()]+)\)", (self.trained_on or "").partition("real: ")[2]))
        both = sorted(trained & set(cameras))
        note = f"not independent: includes the scored camera{'s' * (len(both) > 1)} {', '.join(both)}"
        return replace(self, trained_on=f"{self.trained_on}; {note}") if both else self

    @property
    def name(self) -> str:
        """Model and variant."""
        return f"{self.model} ({self.variant})" if self.variant else self.model

    @property
    def recipe(self) -> tuple[str, str, str | None]:
        """Fields that trainings with different seeds share."""
        return self.model, self.variant, self.trained_on


def titles(records: Iterable[DetectorRecord]) -> dict[DetectorRecord, str]:
    """Make the titles of rows that are shown together.

    A title is the name, with the seed and the start of the weights' hash where other rows differ in these alone.
    """
    records = list(dict.fromkeys(records))
    made = {}
    for record in records:
        seeds = {other.seed for other in records if other.recipe == record.recipe and other.seeds is None}
        title = record.name
        if record.seeds is not None:
            title += f", mean of {record.seeds} seeds"
        elif record.seed is not None and len(seeds) > 1:
            title += f", seed {record.seed}"
        made[record] = title
    shown = [(made[record], record.trained_on) for record in records]
    for record in records:
        if record.weights and shown.count((made[record], record.trained_on)) > 1:
            made[record] += f", weights {record.weights[:8]}"
    return made


def figure_titles(records: Iterable[DetectorRecord]) -> dict[DetectorRecord, str]:
    """Make the titles of figures, which have no column of training data: it is added where titles are equal."""
    made = titles(records)
    several = {title for title in made.values() if list(made.values()).count(title) > 1}
    return {r: f"{title} [{r.trained_on}]" if title in several else title for r, title in made.items()}


def write_results(path: Path, content: Mapping[str, Any]) -> None:
    """Write ``results.json`` without empty lists, records as objects; raise ValueError if a value is not finite."""
    filled = {name: entries for name, entries in content.items() if entries or name == "rows"}
    atomic_write(path, json.dumps(filled, indent=1, allow_nan=False, default=asdict) + "\n")


def with_records(content: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the content of a ``results.json`` of this or an earlier version: its detectors become records."""
    return dict(content) | {
        name: [_with_record(entry) if isinstance(entry, Mapping) else entry for entry in content[name]]
        for name in ("rows", "differences", "failed", "seconds")
        if isinstance(content.get(name), list)
    }


def _with_record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Convert a row, difference, failure or measured time; keys of earlier versions are renamed."""
    converted = {"data_origin" if key == "provenance" else key: value for key, value in entry.items()}
    several = converted.get("trained_on") if "a" in converted else None
    for number, key in enumerate(key for key in ("detector", "a", "b") if key in converted):
        found = converted[key]
        if isinstance(found, str):
            trained_on = several[number] if several else converted.get("trained_on")
            converted[key] = DetectorRecord.from_title(found, trained_on, converted.get("weights"))
        elif isinstance(found, Mapping):
            converted[key] = DetectorRecord(**found)
    converted.pop("trained_on", None)
    converted.pop("weights", None)
    return converted


def with_variant(record: DetectorRecord, variant: str) -> DetectorRecord:
    """Add to the variant of a record what distinguishes it from another that is otherwise the same."""
    return replace(record, variant=", ".join(filter(None, (record.variant, variant))))
