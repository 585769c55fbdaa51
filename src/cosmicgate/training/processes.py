"""A training in several processes: who does what only one may do, and where they all write."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from cosmicgate.config import ConfigError
from cosmicgate.tracking import provenance, write_json
from cosmicgate.training.memory import keep_memory
from cosmicgate.training.sweeps import LAST

FOLDER = "hydra.run.dir="
RECORD = "provenance.json"
# What of the record may change when a training is resumed.
OF_AN_ATTEMPT = ("command", "started", "commit", "uncommitted", "python", "packages", "device")


def begin(trainer: pl.Trainer, run: Path, seed: int, data: Any, config: Mapping[str, Any]) -> None:
    """Make the data and write where the run comes from: in the first process, for which the others wait to train.

    Each process keeps the memory of a step for the next one.

    Raises
    ------
    ConfigError
        Several processes in a sweep, whose jobs they would each run; or started by torchrun without the name of a
        folder, for then each takes one by the time of day.
    """
    _check(trainer)
    keep_memory()
    if trainer.is_global_zero:
        data.prepare_data()
        tested = [folder for test_set in data.test_sets() for folder in test_set.folders]
        record = provenance(seed, list(dict.fromkeys(data.folders() + tested)), config)
        write_json(run / RECORD, record | _attempts(run))


def _attempts(run: Path) -> dict[str, Any]:
    """Return under what the training that is resumed ran before, attempt by attempt."""
    if not ((run / LAST).is_file() and (run / RECORD).is_file()):
        return {}
    before = json.loads((run / RECORD).read_text())
    return {"attempts": [*before.pop("attempts", []), {key: before.get(key) for key in OF_AN_ATTEMPT}]}


def _check(trainer: pl.Trainer) -> None:
    if trainer.world_size == 1:
        return
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise ConfigError(
            f"trainer: {trainer.world_size} processes in a sweep would each run all its jobs: give each job a command "
            "of its own, or one process (docs/scale.md)"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ and not any(o.startswith(FOLDER) for o in hydra.overrides.hydra):
        raise ConfigError("hydra.run.dir: torchrun's processes need one folder, name it: hydra.run.dir=outputs/mine")
