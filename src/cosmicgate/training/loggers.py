"""Make the loggers of a training: W&B, TensorBoard, and ``metrics.csv`` in the run folder."""

import csv
import io
import logging
import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.extras import extra
from cosmicgate.io.atomic import atomic_write, file_named_in_errors
from cosmicgate.io.messages import first_line
from cosmicgate.provenance import run_metadata, run_tags

log = logging.getLogger(__name__)
WANDB_ID = "wandb_id"  # file of a run folder: id of its W&B run
TIMEOUT_S = 30.0  # seconds to wait for an answer of W&B's server


def wandb_logger(
    project: str,
    folder: str,
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> WandbLogger:
    """Make the W&B logger of a run; a resumed run keeps its W&B id.

    Parameters
    ----------
    project, name, group, job_type, tags
        Fields of the W&B run, as the dashboard shows them.
    folder : str
        Run folder, where W&B's files and the run's id (``wandb_id``) are kept.
    offline : bool, optional
        Log to files only. None: offline if not logged in, or if the server cannot be reached.

    Raises
    ------
    ValueError
        If ``offline`` is False and the server cannot be reached.
    ImportError
        If W&B is not installed.
    """
    try:
        with extra("wandb"):
            import wandb

            from cosmicgate.report.wandb_login import logged_in, set_writable_folders
    except ImportError as error:
        raise ImportError(f"logger=wandb: {error}; or give logger=csv") from error

    Path(folder).mkdir(parents=True, exist_ok=True)
    note = Path(folder) / WANDB_ID
    run = note.read_text().strip() if note.is_file() else secrets.token_hex(4)
    if getattr(rank_zero_only, "rank", 0) == 0:  # only the first process logs to W&B
        atomic_write(note, run)
    set_writable_folders(Path(folder))
    settings: dict[str, Any] = {"project": project, "save_dir": folder, "name": name, "id": run, "group": group}
    settings |= {
        "job_type": job_type,
        "tags": list(tags),
        "settings": {"silent": True, "console": "off", "init_timeout": TIMEOUT_S},
    }
    if offline if offline is not None else not logged_in():
        return _offline(settings)
    logger = _without_old_settings(WandbLogger(**settings))
    try:
        _ = logger.experiment  # starts the run, in the first process
    except (wandb.Error, OSError, TimeoutError) as error:
        reason = f"W&B cannot be reached ({first_line(error)})"
        if offline is not None:
            raise ValueError(f"logger.offline=false: {reason}: give logger.offline=true, or logger=csv") from error
        log.warning("%s: this run is logged offline, `make sync` sends it later", reason)
        wandb.teardown()
        return _offline(settings)
    return logger


@contextmanager
def new_wandb_run(run: Path) -> Iterator[None]:
    """Let the W&B logger of a run folder begin a new W&B run; after an error the folder keeps the id of the old one."""
    note = run / WANDB_ID
    if getattr(rank_zero_only, "rank", 0) != 0 or not note.is_file():
        yield
        return
    before = note.read_text()
    note.unlink()
    try:
        yield
    except BaseException:
        atomic_write(note, before)
        raise


def _offline(settings: Mapping[str, Any]) -> WandbLogger:
    return _without_old_settings(WandbLogger(**settings, offline=True, mode="offline"))


def _without_old_settings(logger: WandbLogger) -> WandbLogger:
    """Remove the setting ``anonymous``, which Lightning passes although W&B has deprecated it and warns of it."""
    logger._wandb_init.pop("anonymous", None)
    return logger


class MetricsWriter(ExperimentWriter):
    """Append to an existing ``metrics.csv``, which Lightning's own writer would delete."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as lines:
                self.metrics_keys = list(csv.DictReader(lines).fieldnames or [])

    def save(self) -> None:
        """Write the hyperparameters and the new rows."""
        with file_named_in_errors(Path(self.metrics_file_path)):
            super().save()

    def rows(self) -> list[dict[str, Any]]:
        """Read the rows in the file, leaving out a truncated last row."""
        path = Path(self.metrics_file_path)
        if not path.is_file():
            return []
        with path.open(newline="") as lines:
            return [row for row in csv.DictReader(lines) if None not in row.values()]

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the file atomically by these rows."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.metrics_keys)
        writer.writeheader()
        writer.writerows(rows)
        atomic_write(Path(self.metrics_file_path), text.getvalue())

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:  # noqa: ARG002 (they are the writer's own)
        self.write(self.rows())

    def rewind(self, step: int, pending: Mapping[str, float]) -> None:
        """Remove the rows from optimizer step ``step`` on, and add the values not yet written at that step.

        Parameters
        ----------
        step : int
            Number of optimizer steps done at the checkpoint; rows number the steps from 0.
        pending : mapping
            Values that belong to the last of these steps, with their ``epoch``.
        """
        rows = [row for row in self.rows() if row["step"].isdigit() and int(row["step"]) < step]
        missing = {key for key in pending if key != "epoch"}
        if missing and not any(row["step"] == str(step - 1) and row.get(key) for row in rows for key in missing):
            rows.append({**pending, "step": step - 1})
            self.metrics_keys = sorted({*self.metrics_keys, *rows[-1]})
        if rows:
            self.write(rows)
        else:
            self.metrics_keys = []
            Path(self.metrics_file_path).unlink(missing_ok=True)


def csv_logger(folder: str) -> CSVLogger:
    """Make the logger that appends to ``metrics.csv`` in a run folder."""
    logger = CSVLogger(folder, name="", version="")
    if getattr(rank_zero_only, "rank", 0) == 0:  # only the first process writes
        logger._experiment = MetricsWriter(folder)
    return logger


def with_csv_logger(logger: Logger, run: Path) -> list[Logger]:
    """Add the logger of ``metrics.csv`` to any other logger, so that the run folder always has the metrics."""
    return [logger] if isinstance(logger, CSVLogger) else [logger, csv_logger(str(run))]


def tensorboard_logger(folder: str) -> TensorBoardLogger:
    """Make a TensorBoard logger in a run folder, for losses, scores and learning rates.

    Curves and masks are logged to W&B only.
    """
    try:
        return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise ImportError("logger=tensorboard needs a package that is missing: pip install tensorboard") from error


@rank_zero_only
def log_run_metadata(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Log the configuration of a training, its distinguishing metadata under ``about``, and as tags in W&B."""
    facts = run_metadata(config)
    record = DetectorRecord(config["title"], config.get("variant", ""), trained_on=config["trained_on"])
    about = facts | {"detector": record.name, "trained_on": record.trained_on}
    for logger in loggers:
        logger.log_hyperparams({**config, "about": about})
        if isinstance(logger, WandbLogger):
            wandb_run = logger.experiment
            wandb_run.tags = tuple(dict.fromkeys((*(wandb_run.tags or ()), *run_tags(facts))))


def silence_lightning() -> None:
    """Silence messages that Lightning repeats in every run and that no user can act on."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for repeated in (
        "does not have many workers",  # more workers than cores gain nothing
        "exists and is not empty",  # the checkpoint folder of a resumed run
        "LeafSpec",  # a deprecation inside torch
        "dataloader is not resumable",  # it is, by cosmicgate.data.patches.EpochSampler
        "smaller than the logging interval",  # the mean loss of each epoch is logged in any case
    ):
        warnings.filterwarnings("ignore", message=f".*{repeated}.*")
