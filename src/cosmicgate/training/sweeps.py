"""The jobs of a sweep: one that is finished is left alone, one that fails leaves its traceback and stops no other."""

import json
import logging
import shutil
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, as_written, cause_of
from cosmicgate.detectors.network import read_checkpoint
from cosmicgate.files import write_whole

# Keys of a configuration that decide on its results.
DECIDE = ("seed", "start", "data", "model", "module", "trainer", "callbacks", "threshold")
# Keys below them that say where and how fast it is done; another machine may finish a sweep.
HOW = (
    *("default_root_dir", "root", "workers", "accelerator", "devices", "num_nodes", "strategy", "enable_progress_bar"),
    *("use_distributed_sampler", "sync_batchnorm", "plugins", "dirpath"),
)
SHOW = ("callbacks.curves", "callbacks.rate")  # whole paths of what only draws and logs
FAILED = "failed.txt"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"

log = logging.getLogger(__name__)


def finished(run: Path, config: Mapping[str, Any]) -> bool:
    """Say whether a run folder has the results of this configuration already.

    Raises
    ------
    ConfigError
        If it has those of another one, or a training of another one that could go on; names the first key that differs.
    """
    record, last = run / "provenance.json", run / LAST
    if (run / "results.json").is_file():
        _refuse_another(json.loads(record.read_text())["config"] if record.is_file() else {}, config, run, "a finished")
        log.info("%s is finished, nothing to do", run)
        return True
    if last.is_file():
        _refuse_another(read_checkpoint(last)["config"], config, run, "an unfinished")
    return False


def _refuse_another(before: Mapping[str, Any], config: Mapping[str, Any], run: Path, kind: str) -> None:
    before, now = (json.loads(json.dumps(one)) for one in (before, config))  # lists and keys as JSON keeps them
    for key in DECIDE:
        if differs := _first_difference(before.get(key), now.get(key), key):
            raise ConfigError(
                f"{differs}, but {run} is {kind} run of another configuration: choose another hydra.run.dir, or "
                "give resume=false to train there again"
            )


@rank_zero_only
def forget(run: Path) -> None:
    """Remove what would let a new training in a run folder seem to be the one before, or go on from it."""
    for name in ("results.json", "scored.json", "metrics.csv", "wandb_id", LAST, BEST):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / "report", ignore_errors=True)


def _first_difference(before: Any, now: Any, path: str) -> str:
    """Return where two configurations differ and what is there, or nothing."""
    if not (isinstance(before, dict) and isinstance(now, dict)):
        return "" if before == now else f"{path} is {now!r} and was {before!r}"
    keys = [key for key in {**now, **before} if key not in HOW and f"{path}.{key}" not in SHOW]
    return next((d for key in keys if (d := _first_difference(before.get(key), now.get(key), f"{path}.{key}"))), "")


def made_small(best: Path) -> float:
    """Return what a search makes small: the validation score by which ``best.ckpt`` was chosen, never one of the test.

    A score that ``callbacks.best`` makes as large as it can comes with a minus.
    """
    checkpoint = read_checkpoint(best)
    chosen = checkpoint["config"]["callbacks"]["best"]
    states = checkpoint["callbacks"].values()
    score = next(float(state["best_model_score"]) for state in states if state.get("monitor") == chosen["monitor"])
    return -score if chosen.get("mode") == "max" else score


class KeepGoing(Callback):
    """Let a sweep go on behind a job that fails; when all are done it ends with an error that names each of them.

    The job's folder gets ``failed.txt`` and its log the traceback; both are gone, or new, when the job runs again::

        hydra:
          callbacks:
            keep_going: {_target_: cosmicgate.training.sweeps.KeepGoing}
    """

    def __init__(self) -> None:
        self.before: dict[Path, int] = {}

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Refuse jobs that would share a folder; remember the failures of earlier attempts."""
        if unnamed := _unnamed(config):
            sys.exit(
                f"error: {unnamed} differs between the jobs, but not their folders: name it in hydra.sweep.subdir, "
                f"as in 'hydra.sweep.subdir=\"{unnamed.split('.')[-1]}=${{{unnamed}}}\"'"
            )
        self.before = _failures(config)

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        """Forget that this job failed before."""
        (Path(config.hydra.runtime.output_dir) / FAILED).unlink(missing_ok=True)

    def on_job_end(self, config: Any, job_return: JobReturn, **kwargs: Any) -> None:
        """Record a failure in the job's own folder, and hide it from the launcher."""
        if config.hydra.mode != RunMode.MULTIRUN or job_return.status != JobStatus.FAILED:
            return
        error: BaseException = job_return._return_value  # the property raises it
        run, cause = Path(config.hydra.runtime.output_dir), cause_of(error)
        reason = f"{type(cause).__name__}: {cause}"
        log.error("%s failed: %s", run, reason)
        log.debug("traceback", exc_info=error)
        write_whole(run / FAILED, f"{reason}\n\n{''.join(traceback.format_exception(error))}")
        if wandb.run is not None:  # or the next job would go on in it
            wandb.finish(exit_code=1)
        job_return.status, job_return.return_value = JobStatus.COMPLETED, None

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """End with an error if a job failed."""
        failed = [path for path, when in _failures(config).items() if self.before.get(path) != when]
        if failed:
            reasons = "; ".join(f"{path.parent.name}: {path.read_text().splitlines()[0]}" for path in failed)
            sys.exit(f"error: {len(failed)} job(s) failed, the others are finished: {reasons}")


def _unnamed(config: Any) -> str:
    """Return the first key that the command line sweeps over and the jobs' folders are not named by, or nothing."""
    folder = as_written(config.hydra.sweep, "subdir")
    if "job.num" in folder or "override_dirname" in folder:
        return ""
    given = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    swept = (one.get_key_element() for one in given if one.is_sweep_override())
    return next((key for key in swept if key.lstrip("+") not in folder), "").lstrip("+")


def _failures(config: Any) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in sorted(Path(config.hydra.sweep.dir).rglob(FAILED))}
