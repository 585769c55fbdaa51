"""Results in a dashboard: each detector's scores, curves and pictures under the same keys, whoever scored it.

``test/<test set>/<score>`` is the paper's convention, ``.../core_<score>`` the core alone, ``.../hit_<score>`` counts
hits; ``.../roc``, ``.../pr``, ``.../recall_by_length`` and ``.../recall_by_snr`` are charts, ``.../masks`` pictures.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, build
from cosmicgate.data.decam import TestSet
from cosmicgate.data.store import load_labelled
from cosmicgate.detectors import Detector
from cosmicgate.detectors.network import Network
from cosmicgate.evaluation.judging import finished, read_mask
from cosmicgate.report.pictures.frames import busiest_frames, pictures
from cosmicgate.report.pictures.media import bars, overlay, pr_chart, roc_chart
from cosmicgate.report.pictures.panels import busiest, file_name
from cosmicgate.report.results import Row
from cosmicgate.tracking import tags_of
from cosmicgate.truth import CORE, SKY

WINDOW = 256  # pixels a side of a picture
PREFIX = {"dilated": "", "core": "core_", "per_hit": "hit_"}
CLASSES = {"by_length": ("length", "Length (px)"), "by_snr": ("snr", "Peak SNR")}


def key_of(test_set: str, score: str, part: str = "dilated") -> str:
    """Return the key of a score; ``part`` is that of a row: a convention, or per_hit."""
    return f"test/{test_set}/{PREFIX[part]}{score}"


def scores(row: Row) -> dict[str, float]:
    """Return every score of a row that is known, by its key."""
    name = row["test_set"]
    found = {key_of(name, score, part): value for part in PREFIX for score, value in row[part].items()}
    for part, (what, _) in CLASSES.items():
        recalls = _recalls(row, part)
        found |= {key_of(name, f"recall_{what}_{label}", "per_hit"): value for label, value in recalls.items()}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def charts(row: Row) -> dict[str, Any]:
    """Return the charts of a row, by their keys; the curves are the paper's convention."""
    where, title = f"test/{row['test_set']}", f"{row['test_set']} ({row['provenance']})"
    found = {}
    if curves := (row.get("curves") or {}).get("dilated"):
        found[f"{where}/roc"] = roc_chart(curves["fpr"], curves["tpr"], f"ROC, {title}")
        found[f"{where}/pr"] = pr_chart(curves["recall"], curves["precision"], f"Precision-recall, {title}")
    for part, (name, label) in CLASSES.items():
        if recalls := _recalls(row, part):
            chart = bars(recalls, label, "Hits found", f"Hits found by {label.lower()}, {title}")
            found[f"{where}/recall_by_{name}"] = chart
    return found


def _recalls(row: Row, part: str) -> dict[str, float]:
    """Class of hits -> the part of them that is found; classes without a hit are left out."""
    classes = [entry for entry in row["per_hit"].get(part) or () if entry["hits"]]
    return {_span(entry): entry["found"] / entry["hits"] for entry in classes}


def _span(entry: Mapping[str, Any]) -> str:
    """Return a class of hits in letters that a key may have: under_5, 5-10, from_100."""
    start, end = entry["from"], entry["to"]
    if start is None:
        return f"under_{end:g}"
    return f"from_{start:g}" if end is None else f"{start:g}-{end:g}"


def overlays(detector: Detector, test_set: TestSet, kept: Path) -> list[wandb.Image]:
    """Return a picture of each band: the window of its busiest frame with most to see, under truth and mask.

    ``kept`` is the folder of finished frames, as in :func:`cosmicgate.evaluation.rows.evaluate`.
    """
    shown = []
    for band, folder in busiest_frames(test_set).items():
        labelled, mask = load_labelled(folder), read_mask(finished(detector, folder, kept))
        truth = np.array(labelled.truth)
        cut = busiest([truth == CORE, mask & (truth == SKY)], WINDOW)
        caption = f"{labelled.facts['name']}, {band or 'no'} band, {test_set.provenance}"
        shown.append(overlay(np.array(labelled.image[cut]), truth[cut], mask[cut], caption))
    return shown


@rank_zero_only
def show_training(
    loggers: Sequence[Logger], rows: Sequence[Row], detector: Detector, test_sets: Sequence[TestSet], run: Path
) -> None:
    """Show the test of a training in its run folder and its loggers, and end its W&B run, or a sweep becomes one run.

    The folder gets pictures, every logger the scores, W&B curves, pictures and weights as well.

    Parameters
    ----------
    loggers : sequence of Logger
        Of the training.
    rows, detector, test_sets
        What was tested, how, and on what.
    run : Path
        The run folder, whose ``checkpoints/best.ckpt`` W&B keeps if it is online.
    """
    for test_set in test_sets:
        pictures([detector], test_set, run / "frames", run / "report")
    for logger in loggers:
        for row in rows:
            logger.log_metrics(scores(row))
        logger.save()
        if isinstance(logger, WandbLogger):
            _log_media(logger.experiment, rows, detector, test_sets, run / "frames")
            if not logger.experiment.offline:
                logger.experiment.log_artifact(_weights(logger.experiment.id, run, rows), aliases=["best"])
    wandb.finish()


def show_evaluation(
    node: Mapping[str, Any] | None,
    rows: Sequence[Row],
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
) -> None:
    """Show each detector of an evaluation as a W&B run of its own, under the keys of a training's test.

    Parameters
    ----------
    node : mapping, optional
        Of ``conf/logger/wandb.yaml``; None shows nothing.
    rows, detectors, test_sets
        What was scored, by which, on what. A mean over seeds is a run as well.
    run : Path
        Folder of the evaluation. The same evaluation again continues the same W&B runs.
    """
    if node is None:
        return
    groups: dict[tuple[str, str | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["detector"], row["trained_on"]), []).append(row)
    for (title, trained_on), members in groups.items():
        of_row = [d for d in detectors if (d.title, d.trained_on) == (title, trained_on)]
        facts = dict(next((d.facts for d in of_row if isinstance(d, Network)), {}))
        folder = run / "wandb_rows" / file_name(title, trained_on or "nothing")
        tags = [*node.get("tags", ()), *tags_of(facts)]
        logger = build(node, name=title, folder=str(folder), job_type="evaluate", tags=tags)
        about = facts | {"detector": title, "trained_on": trained_on, "threshold": members[0]["threshold"]}
        logger.log_hyperparams({"about": about})
        for row in members:
            logger.log_metrics(scores(row))
        _log_media(logger.experiment, members, of_row[0] if of_row else None, test_sets, run / "frames")
        wandb.finish()


def only_wandb(node: Mapping[str, Any] | None) -> None:
    """Refuse a logger that an evaluation has nothing to tell.

    Raises
    ------
    ConfigError
        If it is not W&B's.
    """
    if node is not None and not str(node.get("_target_")).endswith("wandb_logger"):
        raise ConfigError(f"logger: got {node.get('_target_')}, expected logger=wandb; results.json has every score")


def _log_media(
    board: Any, rows: Sequence[Row], detector: Detector | None, test_sets: Sequence[TestSet], kept: Path
) -> None:
    """Log charts and pictures in one step."""
    shown: dict[str, Any] = {}
    for row in rows:
        shown |= charts(row)
    if detector is not None:
        judged = {row["test_set"] for row in rows}
        shown |= {f"test/{s.name}/masks": overlays(detector, s, kept) for s in test_sets if s.name in judged}
    board.log(shown)


def _weights(name: str, run: Path, rows: Sequence[Row]) -> wandb.Artifact:
    """Return the best weights with their test scores."""
    known: Iterator[tuple[str, float]] = (pair for row in rows for pair in scores(row).items())
    artifact = wandb.Artifact(f"weights-{name}", type="model", metadata=dict(known))
    artifact.add_file(str(run / "checkpoints" / "best.ckpt"), name="best.ckpt")
    return artifact
