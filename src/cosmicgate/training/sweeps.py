"""Run the jobs of a sweep: skip finished ones, and continue after one that fails."""

import json
import logging
import math
import re
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, as_written, cause_of
from cosmicgate.evaluation.training_configs import first_difference
from cosmicgate.io.atomic import atomic_write
from cosmicgate.pretrained.checkpoint import read_checkpoint
from cosmicgate.pretrained.renamed_targets import with_current_targets
from cosmicgate.training.run_lock import refuse_if_held

ANOTHER_FOLDER = "choose another hydra.run.dir, or give resume=false to train there again"
FAILED = "failed.txt"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"

log = logging.getLogger(__name__)


def is_finished(run: Path, config: Mapping[str, Any]) -> bool:
    """Check whether a run folder already has the results of this configuration.

    Raises
    ------
    ConfigError
        If the folder has a finished or resumable training of another configuration; names the first key that differs.
    """
    record, last = run / "provenance.json", run / LAST
    if (run / "results.json").is_file():
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
    record, here = run / "provenance.json", config["trainer"].get("precision")
    began = record.is_file() and ((run / "results.json").is_file() or (run / LAST).is_file())
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
    for name in ("results.json", "metrics.csv", LAST, BEST):
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


class ContinueOnJobFailure(Callback):
    """Continue a sweep after a job fails, and end it with an error that names the failed jobs.

    The folder of a failed job gets ``failed.txt`` with the traceback, which is removed when the job runs again::

        hydra:
          callbacks:
            keep_going: {_target_: cosmicgate.training.sweeps.ContinueOnJobFailure}
    """

    def __init__(self) -> None:
        self.before: dict[Path, int] = {}

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Refuse jobs that would share a folder, and remember the failures of earlier attempts."""
        if unnamed := _unnamed(config):
            subdir = "_".join(_named(key, config.hydra.runtime.choices) for key in _swept(config))
            sys.exit(
                f"error: {unnamed} differs between the jobs, but not their folders: name it in hydra.sweep.subdir, "
                f"as in 'hydra.sweep.subdir={subdir}'"
            )
        self.before = _failures(config)

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Remove the record of an earlier failure of this job."""
        (Path(config.hydra.runtime.output_dir) / FAILED).unlink(missing_ok=True)

    def on_job_end(self, config: Any, job_return: JobReturn, **kwargs: Any) -> None:
        """Record a failure in the job's own folder, and report the job as completed to the launcher."""
        if job_return.status == JobStatus.COMPLETED:  # a second copy of the command may have failed on the held folder
            (Path(config.hydra.runtime.output_dir) / FAILED).unlink(missing_ok=True)
        if config.hydra.mode != RunMode.MULTIRUN or job_return.status != JobStatus.FAILED:
            return
        error: BaseException = job_return._return_value  # the property raises it
        run, cause = Path(config.hydra.runtime.output_dir), cause_of(error)
        reason = f"{type(cause).__name__}: {cause}"
        log.error("%s failed: %s", run, reason)
        log.debug("traceback", exc_info=error)
        atomic_write(run / FAILED, f"{reason}\n\n{''.join(traceback.format_exception(error))}")
        wandb = sys.modules.get("wandb")  # W&B is optional
        if wandb is not None and wandb.run is not None:  # otherwise the next job would log to the same W&B run
            wandb.finish(exit_code=1)
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Exit with an error if a job failed in this attempt."""
        failed = [path for path, when in _failures(config).items() if self.before.get(path) != when]
        if failed:
            reasons = "; ".join(f"{path.parent.name}: {path.read_text().splitlines()[0]}" for path in failed)
            sys.exit(f"error: {len(failed)} job(s) failed, the others are finished: {reasons}")


class RefuseHeldFolder(Callback):
    """Refuse a run folder that another command holds, before Hydra writes ``.hydra`` into it::

    hydra:
      callbacks:
        held: {_target_: cosmicgate.training.sweeps.RefuseHeldFolder}
    """

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Exit with an error if another command holds the folder."""
        HydraConfig.instance().set_config(config)
        try:
            refuse_if_held(Path(config.hydra.run.dir))
        except ConfigError as error:
            sys.exit(f"error: {error}")


def _unnamed(config: Any) -> str:
    """Find the first swept key that the names of the jobs' folders do not contain; empty if there is none."""
    folder = as_written(config.hydra.sweep, "subdir")
    if "job.num" in folder or "override_dirname" in folder:
        return ""
    return next((key for key in _swept(config) if key not in folder), "")


def _swept(config: Any) -> list[str]:
    """List the keys, and the groups of files, of which each job has another value."""
    given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    return [one.get_key_element().lstrip("+") for one in given if one.is_sweep_override()]


def _named(key: str, groups: Mapping[str, Any]) -> str:
    """Format the part of a folder's name that tells the values of a key, or the files of a group, apart."""
    if key in groups:
        return f"{re.sub(r'[^a-z]+', '-', key)}-${{hydra:runtime.choices.{key}}}"
    return f"{key.rpartition('.')[2]}-${{{key}}}"


def _failures(config: Any) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(Path(config.hydra.sweep.dir).rglob(FAILED))}
