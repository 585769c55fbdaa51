"""Finish a training: write and show its results, and log a short table of them."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.data.cache import load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.frame_results import truth_is_dilated
from cosmicgate.evaluation.records import titles, write_results
from cosmicgate.extras import extra
from cosmicgate.io.atomic import short
from cosmicgate.io.run_files import RESULTS
from cosmicgate.report.figures.frames import draw
from cosmicgate.report.log_results import log_training
from cosmicgate.report.results import CONVENTIONS, PER_CENT, Row, heading
from cosmicgate.report.tables.cells import UNITS, Table, cell, number, plain_text
from cosmicgate.report.write_report import write_report

with extra("train"):
    import pytorch_lightning as pl

SCORE = "tpr_at_fpr_0.01pct"

log = logging.getLogger(__name__)


def finish_training(
    content: Mapping[str, Any],
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
    trainer: pl.Trainer,
    trust: Sequence[str] = (),
) -> None:
    """Write the report of a test, send it to the loggers, write ``results.json``, and log a short table.

    Parameters are those of :func:`~cosmicgate.report.log_results.log_training`, with the baselines after the network,
    the trainer of this training, and the modules, among them the user's own, that define the network.
    """
    made = write_report(content, run / "report")
    made += draw(detectors, test_sets, run, content.get("failed", ()))
    log_training(trainer.loggers, content["rows"], detectors[0], test_sets, run, trainer.global_step)
    write_results(run / RESULTS, content)  # last, because this file marks a run as finished
    foreign = [f"--trust={name}" for name in dict.fromkeys(trust) if name.split(".")[0] != "cosmicgate"]
    log_scores(content["rows"], test_sets, made)
    for entry in content.get("failed", ()):
        log.info("failed   %s on %s: %s", entry["detector"].name, entry["test_set"], entry["reason"])
    for entry in content.get("unavailable", ()):
        log.info("left out %s: %s", entry["detector"], entry["reason"])
    log.info("next     %s", shlex.join(["cosmicgate", "mask", "-m", str(short(run)), *foreign, "image.fits"]))


def log_scores(rows: Sequence[Row], test_sets: Sequence[TestSet], made: Sequence[Path]) -> None:
    """Log a short table of each test set that has rows, and which of the files ``made`` to open first."""
    for test_set in test_sets:
        members = [row for row in rows if row["test_set"] == test_set.name]
        for line in _table(members, test_set) if members else ():
            log.info(line)
    for name, pattern in (("report", "tables.md"), ("figure", "masks_*")):
        if paths := [path for path in made if path.match(pattern)]:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            log.info("%-8s %s%s", name, short(paths[0]), more)


def _table(rows: Sequence[Row], test_set: TestSet) -> list[str]:
    """Format the lines of a table; its caption says whether the truth of the test set has rings."""
    ring = truth_is_dilated(load_labelled(test_set.folders[0]))
    truth = CONVENTIONS["dilated"] if ring else "core pixels are positives, the truth has no ring"
    shown = titles(row["detector"] for row in rows)
    lines = []
    for row in rows:
        f1, found = number(row["dilated"]["f1"], *UNITS["f1"]), number(row["per_hit"]["recall"], *UNITS["recall"])
        lines.append([shown[row["detector"]], cell(row, "dilated", SCORE), f1, found])
    heads = ["", PER_CENT[SCORE], "F1", "Hits found (%)"]
    return plain_text(Table(heading(rows[0]), truth, heads, lines, texts=1))
