"""Continue a sweep after a job fails, and refuse folders that another command holds."""

import logging
import re
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

from cosmicgate.config import ConfigError, as_written, cause_of
from cosmicgate.io.atomic import atomic_write
from cosmicgate.training.run_lock import refuse_if_held

FAILED = "failed.txt"

log = logging.getLogger(__name__)


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
