"""Train a network as its configuration says, or resume its training."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from cosmicgate.config import ConfigError, build, modules_named
from cosmicgate.data.datamodule import data_name, training_data
from cosmicgate.io.run_files import BEST, LAST
from cosmicgate.training.callbacks import ExactResume, SaveConfigInCheckpoint
from cosmicgate.training.distillation import Distillation
from cosmicgate.training.loggers import log_run_metadata, new_wandb_run, with_csv_logger
from cosmicgate.training.prepare_run import prepare_run
from cosmicgate.training.progress import EpochLogger
from cosmicgate.training.run_folder import clear_run
from cosmicgate.training.validation import ExpectValidation, check_validation
from cosmicgate.training.warm_start import load_initial_weights


def fit(cfg: Any, config: dict[str, Any], run: Path) -> tuple[pl.Trainer, pl.LightningDataModule]:
    """Prepare the data and train, from ``checkpoints/last.ckpt`` on if the run folder has one.

    Parameters
    ----------
    cfg : DictConfig
        Validated configuration, with the keys of :class:`~cosmicgate.config.Train`.
    config : dict
        The same as plain values. The training data and the initial weights are added to it.
    run : Path
        Run folder, whose ``checkpoints/best.ckpt`` has the best weights afterwards.

    Raises
    ------
    ConfigError
        If no epoch would be or was validated, so that there are no best weights; or if a new training would delete the
        weights that it starts from.
    ValueError
        If only one of a teacher and the data has a ring around each hit.
    """
    trust, last = modules_named(config["model"]), run / LAST
    if not cfg.resume and cfg.start and Path(cfg.start).expanduser().resolve().is_relative_to(run.resolve()):
        raise ConfigError(
            f"start={cfg.start}: is in the run folder, whose weights resume=false deletes: give another hydra.run.dir"
        )
    pl.seed_everything(cfg.seed, verbose=False)
    data, module = training_data(cfg.data, cfg.model.get("scaling", "none")), build(cfg.module)
    if isinstance(module, Distillation):
        module.check_truth(config["data"])
    resume_from = last if cfg.resume and last.is_file() else None
    config["trained_on"] = f"{data_name(data, cfg.data)}, {data.data_origin}"  # type: ignore[attr-defined]
    config["started_from"] = load_initial_weights(module.network, cfg.start, resume_from, trust)
    callbacks = [*build(cfg.callbacks).values(), SaveConfigInCheckpoint(config), ExactResume(), EpochLogger()]
    trainer: pl.Trainer = build(cfg.trainer, callbacks=[*callbacks, ExpectValidation()], logger=False)
    check_validation(trainer)
    with nullcontext() if cfg.resume else new_wandb_run(run):
        logger = build(cfg.logger)
        prepare_run(trainer, run, cfg.seed, data, config, resume=resume_from is not None)
    if not cfg.resume:
        clear_run(run)
    trainer.loggers = with_csv_logger(logger, run)
    log_run_metadata(trainer.loggers, config)
    trainer.fit(module, datamodule=data, ckpt_path=resume_from, weights_only=True)
    if not (run / BEST).is_file():
        raise ConfigError(
            f"callbacks.best: no {run / BEST}: no validation came before the end, or callbacks.best saves elsewhere"
            + (f"; the last weights are {last}" if last.is_file() else "")
        )
    return trainer, data
