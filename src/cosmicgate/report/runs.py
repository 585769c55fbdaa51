"""Finished run folders, read: results, provenance, configuration, training curves, pictures."""

import csv
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmicgate.report.results import LISTS, TEST_SET, Row, read_results

HISTORY = ("val/loss", "val/tpr_at_fpr_0.01pct")  # what is drawn of a training, by epoch
# Files of a run that a reader may want to open, in this order, where they exist.
FILES = (
    *("results.json", "report/tables.md", "report/tables.csv", "report/tables.tex", "report/differences.csv"),
    *("provenance.json", ".hydra/config.yaml", "train.log", "evaluate.log", "metrics.csv", "checkpoints/best.ckpt"),
)


@dataclass(frozen=True)
class Run:
    """A finished run of ``train.py`` or ``evaluate.py``, as its files tell it.

    Attributes
    ----------
    name : str
        Its folder, as far as it differs from those of the other runs.
    content : dict
        Of ``results.json``, checked.
    facts : dict
        Of ``provenance.json``; empty without one.
    config : str
        The configuration, YAML; empty without one.
    history : mapping of str to list of (int, float)
        Score of the validation -> epoch and value, from ``metrics.csv``; empty without one.
    """

    folder: Path
    name: str
    content: dict[str, list[dict[str, Any]]]
    facts: dict[str, Any]
    config: str
    history: Mapping[str, list[tuple[int, float]]]

    @property
    def files(self) -> list[Path]:
        """Files that a reader may want to open."""
        return [self.folder / name for name in FILES if (self.folder / name).is_file()]

    def pictures(self, kind: str) -> list[Path]:
        """Return the pictures of a kind (masks, attention, features) in its report."""
        return sorted((self.folder / "report").glob(f"{kind}_*.png"))


def find_runs(given: Sequence[Path]) -> list[Run]:
    """Read the runs that paths name: a results file, the folder of a run, or a folder with runs below it.

    Raises
    ------
    ValueError
        If a path leads to no results file, or to one that is none.
    """
    files = [file for path in given for file in _results_below(path)]
    if not files:
        raise ValueError(f"{', '.join(map(str, given))}: no run has a row")
    folders = [file.parent for file in dict.fromkeys(file.resolve() for file in files)]
    common = Path(os.path.commonpath([folder.parent for folder in folders]))
    return [_read(folder, folder.relative_to(common).as_posix()) for folder in folders]


def _results_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [path / "results.json"] if (path / "results.json").is_file() else sorted(path.rglob("results.json"))
    if not found:
        raise ValueError(f"{path}: expected a finished run or a folder with some, but there is no results.json")
    return [file for file in found if file.parent == path or not _all_failed(file)]


def _all_failed(results: Path) -> bool:
    """Say whether an evaluation has no row, because all its detectors failed; tell who did."""
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except ValueError:
        return False  # who reads it says what is wrong
    if not isinstance(content, dict) or content.get("rows") != [] or not content.get("failed"):
        return False
    logging.getLogger(__name__).warning("left out: %s: all of its %d row(s) failed", results, len(content["failed"]))
    return True


def _read(folder: Path, name: str) -> Run:
    facts, config, metrics = folder / "provenance.json", folder / ".hydra" / "config.yaml", folder / "metrics.csv"
    return Run(
        folder=folder,
        name=name,
        content=read_results([folder / "results.json"]),
        facts=json.loads(facts.read_text()) if facts.is_file() else {},
        config=config.read_text() if config.is_file() else "",
        history=_history(metrics) if metrics.is_file() else {},
    )


def _history(metrics: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, dict[int, float]] = {}
    with metrics.open(newline="") as file:
        for line in csv.DictReader(file):
            for key in HISTORY:
                if line.get(key) and line.get("epoch"):  # a run that went on wrote some epochs twice
                    found.setdefault(key, {})[int(line["epoch"])] = float(line[key])
    return {key: sorted(values.items()) for key, values in found.items()}


def together(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Put the results of runs together, as :func:`cosmicgate.report.results.read_results` does those of files.

    Rows of one name that differ (several seeds, say) get behind it what tells their runs apart: the seed, or the name.
    """
    merged: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    groups: dict[tuple[Any, ...], list[tuple[Run, Row]]] = {}
    for run in runs:
        for row in run.content["rows"]:
            known = groups.setdefault(tuple(row[key] for key in (*TEST_SET, "detector", "trained_on")), [])
            if all(row != other for _, other in known):
                known.append((run, row))
        for name in LISTS[1:]:
            merged[name] += [entry for entry in run.content[name] if entry not in merged[name]]
    for members in groups.values():
        seeds = [_seed_of(run) for run, _ in members]
        by_seed = None not in seeds and len(set(seeds)) == len(seeds)
        for (run, row), seed in zip(members, seeds, strict=True):
            behind = f", seed {seed}" if by_seed else f", {run.name}"
            named = row if len(members) == 1 else row | {"detector": f"{row['detector']}{behind}"}
            if named not in merged["rows"]:  # an evaluation of several seeds named them so itself
                merged["rows"].append(named)
    return merged


def _seed_of(run: Run) -> int | None:
    """Return the seed of a training; that of an evaluation is not its networks'."""
    seed: int | None = run.facts.get("seed") if "model" in run.facts.get("config", {}) else None
    return seed


def best_epoch(history: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """Return the epoch of the smallest value, and the value."""
    return min(history, key=lambda point: point[1] if math.isfinite(point[1]) else math.inf)
