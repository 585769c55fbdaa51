"""Train a network, test its best weights, write results.json:  python train.py model=att_cosmic_conn"""

from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cosmicgate.config import Train, build, modules_named, validate
from cosmicgate.data.datamodule import training_data
from cosmicgate.detectors.network import load
from cosmicgate.evaluation.build_detectors import beside_training
from cosmicgate.evaluation.run import score_frames_distributed, score_training
from cosmicgate.report.ending import finish_training
from cosmicgate.training.callbacks import ExactResume, SaveConfigInCheckpoint
from cosmicgate.training.distributed import prepare_run
from cosmicgate.training.loggers import log_run_metadata, with_csv_logger
from cosmicgate.training.progress import EpochLines
from cosmicgate.training.stopping import explain_arguments, in_run_folder
from cosmicgate.training.sweeps import clear_run, is_finished, objective
from cosmicgate.training.warm_start import load_initial_weights


@explain_arguments
@hydra.main(config_path="conf", config_name="train", version_base="1.3")
@in_run_folder()
def main(cfg: DictConfig) -> float:
    """Validate the configuration, train, test and write results; return the value that a search minimises."""
    cfg = validate(cfg, Train)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    best, last = (run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    if not cfg.resume:
        clear_run(run)
    elif is_finished(run, config):
        return objective(best)
    beside, unavailable = beside_training(cfg.beside, cfg.title, cfg.variant)
    trust = modules_named(config["model"])
    pl.seed_everything(cfg.seed, verbose=False)
    data, module = training_data(cfg.data, cfg.model.get("scaling", "none")), build(cfg.module)
    going_on = last if cfg.resume and last.is_file() else None
    config["trained_on"] = f"{getattr(data, 'name', cfg.data.name)}, {data.provenance}"
    config["started_from"] = load_initial_weights(module.network, cfg.start, going_on, trust)
    callbacks = [*build(cfg.callbacks).values(), SaveConfigInCheckpoint(config), ExactResume(), EpochLines()]
    trainer = build(cfg.trainer, callbacks=callbacks, logger=with_csv_logger(build(cfg.logger), run))
    prepare_run(trainer, run, cfg.seed, data, config)
    log_run_metadata(trainer.loggers, config)
    trainer.fit(module, datamodule=data, ckpt_path=going_on, weights_only=True)
    network, test_sets = load(best, trust=trust), data.test_sets()
    score_frames_distributed(network, test_sets, run / "frames", trainer)
    if trainer.is_global_zero:
        content = score_training(network, beside, unavailable, test_sets, run / "frames")
        finish_training(content, [network, *beside], test_sets, run, trainer, trust)
    return objective(best)


if __name__ == "__main__":
    main()
