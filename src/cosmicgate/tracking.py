"""The record of a run: where it came from, how it went."""

import hashlib
import json
import logging
import os
import platform
import secrets
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import wandb
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.files import write_whole

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy", "astropy", "astroscrappy", "GalSim")


def wandb_logger(
    project: str,
    folder: str,
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> WandbLogger:
    """Return the W&B logger of a run; one that is resumed goes on under its first id.

    Parameters
    ----------
    project, name, group, job_type, tags
        As the dashboard shows them.
    folder : str
        The run folder.
    offline : bool, optional
        None: offline unless logged in.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    note = Path(folder) / "wandb_id"
    run = note.read_text().strip() if note.is_file() else secrets.token_hex(4)
    if getattr(rank_zero_only, "rank", 0) == 0:  # of several processes one speaks to W&B
        write_whole(note, run)
    if offline is None:
        offline = not logged_in()
    return WandbLogger(
        project=project,
        save_dir=folder,
        name=name,
        id=run,
        offline=bool(offline),
        group=group,
        job_type=job_type,
        tags=list(tags),
        mode="offline" if offline else None,
        settings={"silent": True, "console": "off"},
    )


def logged_in() -> bool:
    """Say whether W&B can be reached as somebody."""
    # Lightning leaves "dryrun" behind in a sweep's process.
    return os.environ.get("WANDB_MODE") not in ("offline", "dryrun", "disabled") and bool(wandb.login(prompt=False))


def csv_logger(folder: str) -> CSVLogger:
    """Return the logger of ``metrics.csv`` in a run folder; one that is resumed keeps the lines it has."""
    logger, file = CSVLogger(folder, name="", version=""), Path(folder) / "metrics.csv"
    if file.is_file() and getattr(rank_zero_only, "rank", 0) == 0:
        aside = file.rename(file.with_name(".metrics.csv"))  # Lightning deletes what it finds
        try:
            with aside.open() as lines:
                logger.experiment.metrics_keys = lines.readline().strip().split(",")
        finally:
            aside.rename(file)
    return logger


def on_record(logger: Logger, run: Path) -> list[Logger]:
    """Return a logger and beside it that of ``metrics.csv``: the run folder is the record, whatever else shows it."""
    return [logger] if isinstance(logger, CSVLogger) else [logger, csv_logger(str(run))]


def tensorboard_logger(folder: str) -> TensorBoardLogger:
    """Return a logger of TensorBoard's event files in a run folder: scores and rates; curves and pictures are W&B's."""
    try:
        return TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise ImportError("logger=tensorboard needs a package that is missing: pip install tensorboard") from error


def provenance(seed: int, inputs: Sequence[Path], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what someone needs to make the same run again.

    Parameters
    ----------
    seed : int
        Of the run.
    inputs : sequence of Path
        Files and folders whose contents it read; each is hashed.
    config : mapping
        The resolved configuration.
    """
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted": _git("diff", "HEAD"),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {os.cpu_count()} cores",
        "inputs": {path.name: tree_hash(path) for path in inputs},
        "config": config,
    }


def tree_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder with their names."""
    total = hashlib.sha256()
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            total.update(part.relative_to(path).as_posix().encode())
            with part.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that is whole or not there; NaN has no place in it."""
    write_whole(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _git(*arguments: str) -> str | None:
    try:
        here = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None  # an installed package has no history
    return done.stdout.strip()


def facts_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a training is told apart by: model, norm, gate, data, contamination, seed; what it has of them."""
    model, data = config.get("model") or {}, config.get("data") or {}
    recipe = (data.get("contamination") or {}).get("_target_", "").rpartition(".")[2].lower()
    facts = {"model": config.get("name"), "norm": model.get("norm"), "gate": model.get("gate")}
    facts |= {"data": data.get("name"), "contamination": recipe or None, "seed": config.get("seed")}
    return {key: value for key, value in facts.items() if value is not None}


def tags_of(facts: Mapping[str, Any]) -> list[str]:
    """Return facts as tags: ``norm=batch``, ``gate=true``."""
    return [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in facts.items()]


@rank_zero_only
def describe(loggers: Sequence[Logger], config: Mapping[str, Any]) -> None:
    """Tell each logger the configuration of a training, and under ``about`` and as tags what it is told apart by."""
    facts = facts_of(config)
    about = facts | {"detector": config["title"], "trained_on": config["trained_on"]}
    for logger in loggers:
        logger.log_hyperparams({**config, "about": about})
        if isinstance(logger, WandbLogger):
            board = logger.experiment
            board.tags = tuple(dict.fromkeys((*(board.tags or ()), *tags_of(facts))))


def quiet() -> None:
    """Leave out what Lightning repeats in every run and no user can act on."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for repeated in ("does not have many workers", "exists and is not empty", "LeafSpec"):
        warnings.filterwarnings("ignore", message=f".*{repeated}.*")
