"""Read finished run folders: results, provenance, configuration, training curves, figures."""

import csv
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmicgate.evaluation.records import with_variant
from cosmicgate.report.results import LISTS, Row, key_of_row, read_results

HISTORY = ("val/loss", "val/tpr_at_fpr_0.01pct")  # scores of a training that are drawn by epoch
# Files of a run that are linked on the page, in this order, if they exist.
FILES = (
    *("results.json", "report/tables.md", "report/tables.csv", "report/differences.csv"),
    *("provenance.json", ".hydra/config.yaml", "train.log", "evaluate.log", "metrics.csv", "checkpoints/best.ckpt"),
)


@dataclass(frozen=True)
class Run:
    """A finished run of ``train.py`` or ``evaluate.py``.

    Attributes
    ----------
    folder : Path
        Run folder.
    name : str
        The folder relative to the common parent of all runs.
    content : dict
        Validated content of ``results.json``.
    facts : dict
        Content of ``provenance.json``; empty without this file.
    config : str
        Configuration, YAML; empty without one.
    history : mapping of str to list of (int, float)
        Validation score -> (epoch, value), from ``metrics.csv``; empty without this file.
    """

    folder: Path
    name: str
    content: dict[str, list[dict[str, Any]]]
    facts: dict[str, Any]
    config: str
    history: Mapping[str, list[tuple[int, float]]]

    @property
    def files(self) -> list[Path]:
        """The files of FILES that exist."""
        return [self.folder / name for name in FILES if (self.folder / name).is_file()]

    def pictures(self, kind: str) -> list[Path]:
        """List the figures of a kind (masks, attention, features) in the run's report."""
        return sorted((self.folder / "report").glob(f"{kind}_*.png"))


def find_runs(given: Sequence[Path]) -> list[Run]:
    """Read the runs given as paths: a results file, the folder of a run, or a folder with runs below it.

    Raises
    ------
    ValueError
        If a path leads to no results file, or to an invalid one.
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
    """Check whether an evaluation has no row because all its detectors failed, and warn of it."""
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
    except ValueError:
        return False  # read_results reports the error
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
                if line.get(key) and line.get("epoch"):  # a resumed run may have an epoch twice: keep the last
                    found.setdefault(key, {})[int(line["epoch"])] = float(line[key])
    return {key: sorted(values.items()) for key, values in found.items()}


def together(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Merge the results of runs, as :func:`cosmicgate.report.results.read_results` does those of files.

    Different rows of one detector get the seed of their training (results up to version 0.1.3 have none), or else the
    name of their run as a variant.
    """
    merged: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    groups: dict[tuple[Any, ...], list[tuple[Run, Row]]] = {}
    for run in runs:
        for row in run.content["rows"]:
            known = groups.setdefault(key_of_row(row), [])
            if all(row != other for _, other in known):
                known.append((run, row))
        for name in LISTS[1:]:
            merged[name] += [entry for entry in run.content[name] if entry not in merged[name]]
    for members in groups.values():
        seeds = [run.facts.get("seed") if "model" in run.facts.get("config", {}) else None for run, _ in members]
        by_seed = None not in seeds and len(set(seeds)) == len(seeds)
        for (run, row), seed in zip(members, seeds, strict=True):
            record = row["detector"]
            if len(members) > 1:
                record = replace(record, seed=seed) if by_seed else with_variant(record, run.name)
            named = row | {"detector": record}
            if named not in merged["rows"]:  # an evaluation may have scored the trainings as well
                merged["rows"].append(named)
    return merged


def best_epoch(history: Sequence[tuple[int, float]]) -> tuple[int, float]:
    """Find the epoch of the smallest value; return epoch and value."""
    return min(history, key=lambda point: point[1] if math.isfinite(point[1]) else math.inf)
