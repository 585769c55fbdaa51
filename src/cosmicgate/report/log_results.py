"""Log test results to W&B, TensorBoard or CSV, under the same keys for trainings and evaluations.

``test/<test set>/<score>`` follows the paper's convention (core and ring are positives), ``.../core_<score>`` counts
the core alone, ``.../hit_<score>`` counts hits. W&B gets charts and images as well.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.config import ConfigError, build
from cosmicgate.data.datamodule import TestSet
from cosmicgate.detectors import Detector
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.extras import extra
from cosmicgate.io.run_files import METRICS
from cosmicgate.provenance import run_tags
from cosmicgate.report.figures.mask_figures import file_name
from cosmicgate.report.results import Row
from cosmicgate.report.tables.cells import recalls

with extra("train"):
    from pytorch_lightning.loggers import Logger, WandbLogger

PREFIX = {"dilated": "", "core": "core_", "per_hit": "hit_"}
KINDS = ("wandb", "tensorboard", "csv")  # loggers to which an evaluation can write


def key_of(test_set: str, score: str, part: str = "dilated") -> str:
    """Make the key of a score; ``part`` is the part of a row: dilated, core or per_hit."""
    return f"test/{test_set}/{PREFIX[part]}{score}"


def scores(rows: Sequence[Row]) -> dict[str, float]:
    """Collect every defined score of a detector on its test sets, by its key."""
    found: dict[str, Any] = {}
    for row in rows:
        name = row["test_set"]
        found |= {key_of(name, score, part): value for part in PREFIX for score, value in row[part].items()}
        for what in ("length", "snr"):
            for span, recall in recalls(row, f"by_{what}").items():
                label = span.replace("<", "under_").replace("≥", "from_")  # a key may hold no such sign
                found[key_of(name, f"recall_{what}_{label}", "per_hit")] = recall
    return {key: value for key, value in found.items() if isinstance(value, int | float)}


def log_training(
    loggers: Sequence[Logger],
    rows: Sequence[Row],
    detector: Detector,
    test_sets: Sequence[TestSet],
    run: Path,
    step: int | None = None,
) -> None:
    """Log the test of a trained network, and finish its W&B run; else all jobs of a sweep would log to one run.

    Each logger gets the scores of the rows of the network, and W&B charts, masks and, if it is online, the weights of
    ``checkpoints/best.ckpt`` too. ``step`` is the number of optimizer steps of the training.
    """
    own = [row for row in rows if row["detector"] in _records([detector], test_sets)]
    for logger in loggers:
        logger.log_metrics(scores(own), step)
        logger.save()
        if isinstance(logger, WandbLogger):
            from cosmicgate.report.wandb_charts import media, weights_artifact  # imports W&B, which is optional

            wandb_run = logger.experiment
            wandb_run.log(media(own, detector, test_sets, run / "frames"))
            if not wandb_run.offline:
                wandb_run.log_artifact(weights_artifact(wandb_run.id, run, scores(own)), aliases=["best"])
            wandb_run.finish()


def log_evaluation(
    node: Mapping[str, Any] | None,
    rows: Sequence[Row],
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
) -> None:
    """Log each detector of an evaluation, and each mean of seeds, under the keys of the test of a training.

    ``node`` is one of ``conf/logger``; None logs nothing. Repeating an evaluation continues its W&B runs and replaces
    its other files.
    """
    kind = check_logger(node)
    if node is None:
        return
    shown = titles(row["detector"] for row in rows)
    groups = {record: [row for row in rows if row["detector"] == record] for record in shown}
    if kind == "csv":
        (run / METRICS).unlink(missing_ok=True)
        logger = build(node, folder=str(run))
        for place, (record, members) in enumerate(groups.items()):
            logger.log_metrics({"detector": shown[record]} | scores(members), place)
        logger.save()
        return
    by_record = _records(detectors, test_sets)
    for record, members in groups.items():
        folder = run / f"{kind}_rows" / file_name(shown[record], record.trained_on or "nothing")
        if kind == "tensorboard":
            shutil.rmtree(folder, ignore_errors=True)
            logger = build(node, folder=str(folder))
            logger.log_metrics(scores(members), 0)
            logger.finalize("success")
            continue
        from cosmicgate.report.wandb_charts import media  # imports W&B, which is optional

        detector = by_record.get(record)  # a mean of seeds has none
        facts = dict(detector.facts) if isinstance(detector, NetworkDetector) else {}
        tags = [*node.get("tags", ()), *run_tags(facts)]
        logger = build(node, name=shown[record], folder=str(folder), job_type="evaluate", tags=tags)
        about = {"detector": record.name, "trained_on": record.trained_on, "weights": record.weights}
        logger.log_hyperparams({"about": facts | about | {"threshold": members[0]["threshold"]}})
        logger.log_metrics(scores(members))
        logger.experiment.log(media(members, detector, test_sets, run / "frames"))
        logger.experiment.finish()


def _records(detectors: Sequence[Detector], test_sets: Sequence[TestSet]) -> dict[DetectorRecord, Detector]:
    """Map the records that detectors have in the rows of test sets to the detectors."""
    return {DetectorRecord.of(d).with_shared_cameras(t.cameras): d for d in detectors for t in test_sets}


def check_logger(node: Mapping[str, Any] | None) -> str | None:
    """Find the kind of a logger (one of KINDS, or None); raise ConfigError if an evaluation cannot write to it."""
    if node is None:
        return None
    target = str(node.get("_target_"))
    kind = next((kind for kind in KINDS if target == f"cosmicgate.training.loggers.{kind}_logger"), None)
    if kind is None:
        raise ConfigError(f"logger: got {target}, expected logger={', logger='.join(KINDS)} or none")
    return kind
