"""Read finished run folders: results, provenance, configuration, training curves, figures."""

import argparse
import csv
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from cosmicgate.evaluation.records import DetectorRecord, with_variant
from cosmicgate.io.run_files import BEST, METRICS, PROVENANCE, RESULTS
from cosmicgate.report.results import LISTS, TEST_SET, Row, key_of_row, read_results

# Scores of a training that are drawn by epoch, and what their axes are called.
HISTORY = {"val/loss": "Validation loss", "val/tpr_at_fpr_0.01pct": "TPR at FPR 0.01 %, validation"}
# Files of a run that are linked on the page, in this order, if they exist.
FILES = (
    *(RESULTS, "report/tables.md", "report/tables.csv", "report/differences.csv"),
    *(PROVENANCE, ".hydra/config.yaml", "train.log", "evaluate.log", METRICS, BEST),
)
OLD_KINDS = {"errors": "mistakes"}  # names of kinds of figures in the files of earlier versions


@dataclass(frozen=True)
class Run:
    """A finished run of ``train.py`` or ``evaluate.py``.

    Attributes
    ----------
    folder : Path
        Run folder.
    name : str
        Its results file relative to the common parent of all runs; the folder alone if that is ``results.json``.
    content : dict
        Validated content of the results file.
    """

    folder: Path
    name: str
    content: dict[str, list[dict[str, Any]]]

    @cached_property
    def facts(self) -> dict[str, Any]:
        """Content of ``provenance.json``; empty without this file."""
        found: dict[str, Any] = json.loads(self.text(PROVENANCE) or "{}")
        return found

    @cached_property
    def history(self) -> dict[str, dict[int, float]]:
        """Each validation score of HISTORY by epoch, from ``metrics.csv``; an epoch that was resumed counts once."""
        found: dict[str, dict[int, float]] = {}
        for line in csv.DictReader(self.text(METRICS).splitlines()):
            for key in HISTORY:
                if line.get(key) and line.get("epoch"):
                    found.setdefault(key, {})[int(line["epoch"])] = float(line[key])
        return found

    def text(self, name: str) -> str:
        """Read a file of the run; empty if it does not exist."""
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    @property
    def files(self) -> list[Path]:
        """The files of FILES that exist, and the figures of feature maps."""
        return [path for name in FILES if (path := self.folder / name).is_file()] + self.figures("features")

    def figures(self, kind: str) -> list[Path]:
        """List the figures of a kind (masks, errors, attention, features) in the run's report."""
        report, old = self.folder / "report", OLD_KINDS.get(kind, kind)
        return sorted(report.glob(f"{kind}_*.png")) or sorted(report.glob(f"{old}_*.png"))


def parser_of_runs(module: str, description: str) -> argparse.ArgumentParser:
    """Make the parser of a command whose positional arguments, ``runs``, are those of :func:`find_runs`."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    what = "folder of a run, its results.json, or a folder of runs"
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help=what)
    return parser


def find_runs(given: Sequence[Path]) -> list[Run]:
    """Read the runs given as paths: a results file, the folder of a run, or a folder with runs below it.

    Raise ValueError if a path leads to no results file, or to an invalid one, or if no file has a row.
    """
    files: list[Path] = []
    for path in given:
        found = [path] if path.is_file() else sorted(path.rglob(RESULTS))
        if not found:
            raise ValueError(f"{path}: expected a finished run or a folder with some, but there is no {RESULTS}")
        files += [file.resolve() for file in found]
    common = Path(os.path.commonpath([file.parent.parent for file in files]))
    names = {file: file.relative_to(common).as_posix().removesuffix(f"/{RESULTS}") for file in files}
    runs = [Run(file.parent, name, read_results(file)) for file, name in names.items()]
    if not any(run.content["rows"] for run in runs):
        raise ValueError(f"{', '.join(map(str, given))}: no run has a row")
    return runs


def merge_runs(runs: Sequence[Run]) -> dict[str, list[dict[str, Any]]]:
    """Merge the results of runs; different rows of one detector, and their differences, get their run as a variant."""
    merged: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    groups: dict[tuple[Any, ...], list[tuple[str, Row]]] = {}
    for run in runs:
        for row in run.content["rows"]:
            known = groups.setdefault(key_of_row(row), [])
            if all(row != other for _, other in known):
                known.append((run.name, row))
    for members in groups.values():
        for _, row in members:
            merged["rows"].append(row | {"detector": _with_run(row, members)})
    for run in runs:
        for name in LISTS[1:]:
            found = run.content[name]
            if name == "differences":
                found = [entry | {side: _side(entry, side, run, groups) for side in "ab"} for entry in found]
            merged[name] += [entry for entry in found if entry not in merged[name]]
    return merged


def _with_run(row: Row, members: Sequence[tuple[str, Row]]) -> DetectorRecord:
    """Make the record of a row of a group: with the name of its run if the rows of the group differ."""
    name = next(name for name, other in members if other == row)
    record: DetectorRecord = row["detector"]
    return with_variant(record, name) if len(members) > 1 else record


def _side(entry: Mapping[str, Any], side: str, run: Run, groups: Mapping[Any, Sequence[tuple[str, Row]]]) -> Any:
    """Make the record of one side of a difference: that of its row, if the run has one."""
    for row in run.content["rows"]:
        if row["detector"] == entry[side] and all(entry.get(key, row[key]) == row[key] for key in TEST_SET):
            return _with_run(row, groups[key_of_row(row)])
    return entry[side]
