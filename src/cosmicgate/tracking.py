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
from pytorch_lightning.loggers import Logger, WandbLogger

from cosmicgate.files import write_whole

PACKAGES = ("torch", "pytorch-lightning", "hydra-core", "torchmetrics", "numpy", "astropy", "astroscrappy", "GalSim")


def wandb_logger(
    project: str,
    folder: str,
    name: str,
    group: str | None = None,
    tags: Sequence[str] = (),
    offline: bool | None = None,
) -> WandbLogger:
    """Return the W&B logger of a run; one that is resumed goes on under its first id.

    Parameters
    ----------
    project, name, group, tags
        As the dashboard shows them.
    folder : str
        The run folder.
    offline : bool, optional
        None: offline unless a key of W&B is at hand.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    note = Path(folder) / "wandb_id"
    run = note.read_text().strip() if note.is_file() else secrets.token_hex(4)
    write_whole(note, run)
    if offline is None:  # Lightning leaves "dryrun" behind in a sweep's process
        offline = os.environ.get("WANDB_MODE") in ("offline", "dryrun", "disabled") or not wandb.login(prompt=False)
    return WandbLogger(
        project=project,
        save_dir=folder,
        name=name,
        id=run,
        offline=bool(offline),
        group=group,
        tags=list(tags),
        mode="offline" if offline else None,
        settings={"silent": True, "console": "off"},
    )


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


def log_results(loggers: Sequence[Logger], rows: Sequence[Mapping[str, Any]]) -> None:
    """Show the scores of ``results.json`` in each logger: test/<test set>/<score>, the paper's convention."""
    for row in rows:
        scores = {f"test/{row['test_set']}/{key}": value for key, value in row["dilated"].items()}
        scores |= {f"test/{row['test_set']}/hit_{key}": value for key, value in row["per_hit"].items()}
        for logger in loggers:
            logger.log_metrics({key: value for key, value in scores.items() if isinstance(value, int | float)})


def quiet() -> None:
    """Leave out what Lightning repeats in every run and no user can act on."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    for repeated in ("does not have many workers", "exists and is not empty", "LeafSpec"):
        warnings.filterwarnings("ignore", message=f".*{repeated}.*")
