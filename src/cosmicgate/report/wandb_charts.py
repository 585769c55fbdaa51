"""Log test results to W&B, TensorBoard or CSV, under the same keys for trainings and evaluations.

``test/<test set>/<score>`` follows the paper's convention (core and ring are positives), ``.../core_<score>`` counts
the core alone, ``.../hit_<score>`` counts hits. ``.../roc``, ``.../pr``, ``.../recall_by_length`` and
``.../recall_by_snr`` are charts, ``.../masks`` are images.
"""

import csv
import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, build
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.detectors import Detector
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.evaluation.frame_results import cached_result, read_mask
from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.io.atomic import atomic_write
from cosmicgate.provenance import run_tags
from cosmicgate.report.figures.frames import busiest_frames, pictures
from cosmicgate.report.figures.mask_figures import busiest, file_name
from cosmicgate.report.results import Row, set_name

if TYPE_CHECKING:
    import wandb

WINDOW = 256  # side of an image, pixels
PREFIX = {"dilated": "", "core": "core_", "per_hit": "hit_"}
KINDS = ("wandb", "tensorboard", "csv")  # loggers to which an evaluation can write
CLASSES = {"by_length": ("length", "Length (px)"), "by_snr": ("snr", "Peak SNR")}


def key_of(test_set: str, score: str, part: str = "dilated") -> str:
    """Make the key of a score; ``part`` is the part of a row: dilated, core or per_hit."""
    return f"test/{test_set}/{PREFIX[part]}{score}"


def scores(row: Row) -> dict[str, float]:
    """Collect every defined score of a row, by its key."""
    name = row["test_set"]
    found = {key_of(name, score, part): value for part in PREFIX for score, value in row[part].items()}
    for part, (what, _) in CLASSES.items():
        recalls = _recalls(row, part)
        found |= {key_of(name, f"recall_{what}_{label}", "per_hit"): value for label, value in recalls.items()}
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def all_scores(rows: Sequence[Row]) -> dict[str, float]:
    """Collect every defined score of several test sets, by its key."""
    return {key: value for row in rows for key, value in scores(row).items()}


def charts(row: Row) -> dict[str, Any]:
    """Make the charts of a row, by their keys; curves follow the paper's convention."""
    from cosmicgate.report.figures.wandb_media import bars, pr_chart, roc_chart  # imports W&B, which is optional

    where, title = f"test/{row['test_set']}", set_name(row)
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
    """Compute the fraction of hits found in each class; classes without hits are left out."""
    classes = [entry for entry in row["per_hit"].get(part) or () if entry["hits"]]
    return {_span(entry): entry["found"] / entry["hits"] for entry in classes}


def _span(entry: Mapping[str, Any]) -> str:
    """Format a class of hits with characters allowed in a key: under_5, 5-10, from_100."""
    start, end = entry["from"], entry["to"]
    if start is None:
        return f"under_{end:g}"
    return f"from_{start:g}" if end is None else f"{start:g}-{end:g}"


def overlays(detector: Detector, test_set: TestSet, kept: Path) -> "list[wandb.Image]":
    """Overlay truth and mask on a window of one frame for each band: the busiest window of the busiest frame.

    ``kept`` is the folder of cached results, as in :func:`cosmicgate.evaluation.run.evaluate`.
    """
    from cosmicgate.report.figures.wandb_media import overlay

    shown = []
    for band, folder in busiest_frames(test_set).items():
        labelled, mask = load_labelled(folder), read_mask(cached_result(detector, folder, kept))
        truth = np.array(labelled.truth)
        cut = busiest([truth == CORE, mask & (truth == SKY)], WINDOW)
        caption = f"{labelled.facts['name']}, {band or 'no'} band, {test_set.provenance}"
        shown.append(overlay(np.array(labelled.image[cut]), truth[cut], mask[cut], caption))
    return shown


@rank_zero_only
def show_training(
    loggers: Sequence[Logger],
    content: Mapping[str, Any],
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
    step: int | None = None,
) -> list[Path]:
    """Show the test of a training in its run folder and its loggers, and finish its W&B run.

    The run folder gets figures of all detectors. Every logger gets the scores of the trained network, and W&B its
    curves, masks and weights too. Without finishing the W&B run, all jobs of a sweep would log to one run.

    Parameters
    ----------
    loggers : sequence of Logger
        Loggers of the training.
    content : mapping
        Content of ``results.json``.
    detectors : sequence of Detector
        The trained network, then the detectors beside it.
    test_sets : sequence of TestSet
        Test sets on which they were scored.
    run : Path
        Run folder; its ``checkpoints/best.ckpt`` is uploaded if W&B is online.
    step : int, optional
        Number of optimizer steps of the training.

    Returns
    -------
    list of Path
        Figures of the masks.
    """
    failed, detector = content.get("failed", ()), detectors[0]
    made = [path for s in test_sets for path in pictures(detectors, s, run / "frames", run / "report", failed)]
    own = DetectorRecord.of(detector)
    rows = [row for row in content["rows"] if row["detector"] == own]
    for logger in loggers:
        for row in rows:
            logger.log_metrics(scores(row), step)
        logger.save()
        if isinstance(logger, WandbLogger):
            _log_media(logger.experiment, rows, detector, test_sets, run / "frames")
            if not logger.experiment.offline:
                logger.experiment.log_artifact(_weights(logger.experiment.id, run, rows), aliases=["best"])
            logger.experiment.finish()
    return made


def show_evaluation(
    node: Mapping[str, Any] | None,
    rows: Sequence[Row],
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
) -> None:
    """Log each detector of an evaluation separately, under the same keys as the test of a training.

    Parameters
    ----------
    node : mapping, optional
        Node of ``conf/logger``; None logs nothing.
    rows : sequence of mapping
        Rows of ``results.json``. A mean over seeds is logged like a detector.
    detectors, test_sets, run
        As in :func:`show_training`. Repeating an evaluation continues its W&B runs and replaces its other files.
    """
    kind = check_logger(node)
    if node is None:
        return
    groups: dict[DetectorRecord, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["detector"], []).append(row)
    shown = titles(groups)
    if kind == "csv":
        lines = [{"detector": shown[record], **all_scores(members)} for record, members in groups.items()]
        _write_csv(run / "metrics.csv", lines)
        return
    by_record = {DetectorRecord.of(detector): detector for detector in detectors}
    for record, members in groups.items():
        detector = by_record.get(record)  # a mean of seeds has none
        facts = dict(detector.facts) if isinstance(detector, NetworkDetector) else {}
        folder = run / f"{kind}_rows" / file_name(shown[record], record.trained_on or "nothing")
        if kind == "tensorboard":
            _write_events(node, folder, members)
            continue
        tags = [*node.get("tags", ()), *run_tags(facts)]
        logger = build(node, name=shown[record], folder=str(folder), job_type="evaluate", tags=tags)
        about = {"detector": record.name, "trained_on": record.trained_on, "threshold": members[0]["threshold"]}
        logger.log_hyperparams({"about": facts | about | {"weights": record.weights}})
        for row in members:
            logger.log_metrics(scores(row))
        _log_media(logger.experiment, members, detector, test_sets, run / "frames")
        logger.experiment.finish()


def check_logger(node: Mapping[str, Any] | None) -> str | None:
    """Find the kind of a logger (one of KINDS, or None); raise ConfigError if an evaluation cannot write to it."""
    if node is None:
        return None
    target = str(node.get("_target_"))
    kind = next((kind for kind in KINDS if target == f"cosmicgate.training.loggers.{kind}_logger"), None)
    if kind is None:
        raise ConfigError(f"logger: got {target}, expected logger={', logger='.join(KINDS)} or none")
    return kind


def _write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Write a line for each detector; undefined scores are empty."""
    content = io.StringIO()
    table = csv.DictWriter(content, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    atomic_write(path, content.getvalue())


def _write_events(node: Mapping[str, Any], folder: Path, rows: Sequence[Row]) -> None:
    """Write the scores of a detector as a TensorBoard event file."""
    shutil.rmtree(folder, ignore_errors=True)
    logger = build(node, folder=str(folder))
    logger.log_metrics(all_scores(rows), 0)
    logger.finalize("success")


def _log_media(
    board: Any, rows: Sequence[Row], detector: Detector | None, test_sets: Sequence[TestSet], kept: Path
) -> None:
    """Log charts and images in one step."""
    shown: dict[str, Any] = {}
    for row in rows:
        shown |= charts(row)
    if detector is not None:
        scored = {row["test_set"] for row in rows}
        shown |= {f"test/{s.name}/masks": overlays(detector, s, kept) for s in test_sets if s.name in scored}
    board.log(shown)


def _weights(name: str, run: Path, rows: Sequence[Row]) -> "wandb.Artifact":
    """Make a W&B artifact of the best weights, with their test scores as metadata."""
    import wandb

    artifact = wandb.Artifact(f"weights-{name}", type="model", metadata=all_scores(rows))
    artifact.add_file(str(run / "checkpoints" / "best.ckpt"), name="best.ckpt")
    return artifact
