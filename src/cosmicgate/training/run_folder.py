"""Decide whether a run folder is finished, resumed or refused, and read or clear its results."""

import json
import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, as_written
from cosmicgate.evaluation.training_configs import first_difference
from cosmicgate.io.run_files import BEST, LAST, METRICS, PROVENANCE, RESULTS
from cosmicgate.pretrained.checkpoint import read_checkpoint
from cosmicgate.pretrained.renamed_targets import with_current_targets

ANOTHER_FOLDER = "choose another hydra.run.dir, or give resume=false to train there again"

log = logging.getLogger(__name__)


def is_finished(run: Path, config: Mapping[str, Any]) -> bool:
    """Check whether a run folder already has the results of this configuration.

    Raises
    ------
    ConfigError
        If the folder has a finished or resumable training of another configuration; names the first key that differs.
    """
    record, last = run / PROVENANCE, run / LAST
    if (run / RESULTS).is_file():
        before = with_current_targets(json.loads(record.read_text())["config"]) if record.is_file() else {}
        refuse_another(before, config, f"{run} is a finished run", ANOTHER_FOLDER)
        log.info("%s is finished, nothing to do", run)
        return True
    if last.is_file():
        refuse_another(read_checkpoint(last)["config"], config, f"{run} is an unfinished run", ANOTHER_FOLDER)
    return False


def keep_precision(cfg: Any, config: dict[str, Any], run: Path) -> None:
    """Set a precision that was chosen for this machine to that with which the training in a run folder began.

    Another machine may then resume the training, or find that it is finished. A precision that the user names stays.

    Parameters
    ----------
    cfg : DictConfig
        Configuration, with unresolved interpolations.
    config : dict
        The same as plain values.
    run : Path
        Run folder.
    """
    record, here = run / PROVENANCE, config["trainer"].get("precision")
    began = record.is_file() and ((run / RESULTS).is_file() or (run / LAST).is_file())
    if not began or here is None or "auto_precision" not in as_written(cfg.trainer, "precision"):
        return
    before = json.loads(record.read_text())["config"].get("trainer", {}).get("precision")
    if before and before != here:
        log.info("%s began with trainer.precision=%s, which it keeps", run, before)
        cfg.trainer.precision = config["trainer"]["precision"] = before


def refuse_another(before: Mapping[str, Any], config: Mapping[str, Any], found: str, advice: str) -> None:
    """Raise ConfigError if two configurations differ in a key that determines the results; names the key."""
    if differs := first_difference(before, config):
        raise ConfigError(f"{differs}, but {found} of another configuration: {advice}")


@rank_zero_only
def clear_run(run: Path) -> None:
    """Remove results, metrics and checkpoints of an earlier training, so that a new one starts from nothing."""
    for name in (RESULTS, METRICS, LAST, BEST):
        (run / name).unlink(missing_ok=True)
    for requeued in run.glob("hpc_ckpt_*.ckpt"):  # written by Lightning when SLURM requeues a job
        requeued.unlink(missing_ok=True)
    shutil.rmtree(run / "report", ignore_errors=True)


def objective(best: Path) -> float:
    """Read the value that a hyperparameter search minimises: the validation score by which ``best.ckpt`` was chosen.

    A score that ``callbacks.best`` maximises is negated. Scores of the test set are never used. NaN if the checkpoint
    was deleted.
    """
    if not best.is_file():
        return math.nan
    checkpoint = read_checkpoint(best)
    chosen = checkpoint["config"]["callbacks"]["best"]
    states = checkpoint["callbacks"].values()
    score = next(float(state["best_model_score"]) for state in states if state.get("monitor") == chosen["monitor"])
    return -score if chosen.get("mode") == "max" else score
