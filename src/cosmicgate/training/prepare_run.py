"""Prepare the run folder of a training, in one process or several."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from cosmicgate.config import ConfigError
from cosmicgate.data.cache import CACHE_KEY, sky_sha256
from cosmicgate.data.splits import SPLITS, Split, frames_by_split, without_hash
from cosmicgate.io.atomic import short, write_json
from cosmicgate.io.run_files import PROVENANCE
from cosmicgate.provenance import provenance
from cosmicgate.training.malloc import keep_memory
from cosmicgate.training.stopping import RUN_FOLDER_KEY

log = logging.getLogger(__name__)
# Keys of provenance.json that may change when a training is resumed; kept for each attempt.
ATTEMPT_KEYS = ("command", "started", "commit", "uncommitted", "untracked", "python", "packages", "device")


def prepare_run(
    trainer: pl.Trainer, run: Path, seed: int, data: Any, config: Mapping[str, Any], resume: bool = False
) -> None:
    """Prepare the data and write ``provenance.json``, both in the first process only.

    Each process also keeps freed memory for the next training step (:func:`keep_memory`).

    Raises
    ------
    ConfigError
        If there are several processes in a sweep, because each would run all jobs; or if torchrun started them
        without ``hydra.run.dir``, because each would use a folder named by its own start time; or if the training
        resumes (``resume``) and began with other frames, pixels or labels.
    """
    _check(trainer)
    keep_memory()
    if trainer.is_global_zero:
        epochs = f"{trainer.max_epochs} epochs" if (trainer.max_epochs or 0) > 0 else "a training"
        what = f"{config['title']} on {config['trained_on']}: {epochs}, then a test, in {short(run)}"
        log.info("training %s; each epoch says how much time is left", what)
        data.prepare_data()
        tested = [folder for test_set in data.test_sets() for folder in test_set.folders]
        record = provenance(seed, list(dict.fromkeys(data.folders() + tested)), config)
        record["splits"] = frames_by_split(data)
        record["skies"] = {folder.name: sky for folder in data.folders() if (sky := sky_sha256(folder))}
        write_json(run / PROVENANCE, record | (_attempts(run, record) if resume else {}))


def _attempts(run: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """Collect the records of the earlier attempts of a training that is being resumed, which had the same frames."""
    if not (run / PROVENANCE).is_file():
        return {}
    before = json.loads((run / PROVENANCE).read_text())
    for which in SPLITS if "splits" in before else ():
        was, now = without_hash(before["splits"][which]), without_hash(record["splits"][which])
        if was != now:
            changes = ", ".join([*(f"{name} is new" for name in now - was), *(f"{name} is gone" for name in was - now)])
            raise ConfigError(
                f"data: the {which} frames are not those with which {short(run)} began ({changes:.200}): "
                "give the same files, or train again with another hydra.run.dir"
            )
        if which != "test" and "inputs" in before and (changed := _changed(which, before, record)):
            raise ConfigError(
                f"data: pixels or labels of {which} frames were changed after {short(run)} began "
                f"({', '.join(changed):.200}): give the files as they were, or train again with another hydra.run.dir"
            )
    return {"attempts": [*before.pop("attempts", []), {key: before.get(key) for key in ATTEMPT_KEYS}]}


def _changed(which: Split, before: Mapping[str, Any], record: Mapping[str, Any]) -> list[str]:
    """List the frames of a split, by their names without a hash, whose files have another content than before."""
    was, now = set(before["splits"][which]), set(record["splits"][which])
    same = {name for name in was & now if CACHE_KEY.search(name)}  # equal keys, equal pixels
    contents = [
        {(name.rpartition("-")[0], one["inputs"].get(name)) for name in names - same}
        for one, names in ((before, was), (record, now))
    ]
    return sorted({name for name, _ in contents[0] ^ contents[1]})


def _check(trainer: pl.Trainer) -> None:
    if trainer.world_size == 1:
        return
    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:
        raise ConfigError(
            f"trainer: {trainer.world_size} processes in a sweep would each run all its jobs: give each job a command "
            "of its own, or one process (docs/scale.md)"
        )
    named = any(override.startswith(f"{RUN_FOLDER_KEY}=") for override in hydra.overrides.hydra)
    if "TORCHELASTIC_RUN_ID" in os.environ and not named:
        raise ConfigError("hydra.run.dir: torchrun's processes need one folder, name it: hydra.run.dir=outputs/mine")
