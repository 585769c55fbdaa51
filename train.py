"""Train a network, test its best weights, write results.json:  python train.py model=att_cosmic_conn"""

from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
import wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cosmicgate.callbacks import SelfContained
from cosmicgate.config import ConfigError, Train, build, checked, one_sentence
from cosmicgate.detectors.network import load
from cosmicgate.evaluation import evaluate
from cosmicgate.masker import load as load_masker
from cosmicgate.report import write_report
from cosmicgate.sweeps import finished, validation_loss
from cosmicgate.tracking import log_results, provenance, quiet, write_json


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
@one_sentence()
def main(cfg: DictConfig) -> float:
    """Compose, check, seed, fit, test, write; return what a search makes small."""
    cfg = checked(cfg, Train)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    checkpoints = run / "checkpoints"
    quiet()
    if cfg.resume and finished(run, config):
        return validation_loss(checkpoints / "best.ckpt")
    pl.seed_everything(cfg.seed, verbose=False)

    data = build(cfg.data)
    if not isinstance(data, pl.LightningDataModule):
        raise ConfigError(f"data: {cfg.data.name} is a test set, nothing trains on it; train on data=decam, say")
    data.prepare_data()
    config["trained_on"] = f"{cfg.data.name}, {data.provenance}"
    module = build(cfg.module)
    if cfg.start:
        module.network.load_state_dict(load_masker(cfg.start).network.state_dict())
    callbacks = [*build(cfg.callbacks).values(), SelfContained(config)]
    trainer = build(cfg.trainer, callbacks=callbacks, logger=build(cfg.logger))
    trainer.logger.log_hyperparams(config)
    write_json(run / "provenance.json", provenance(cfg.seed, data.folders(), config))

    last = checkpoints / "last.ckpt"
    trainer.fit(module, datamodule=data, ckpt_path=last if cfg.resume and last.is_file() else None)

    rows = evaluate([load(checkpoints / "best.ckpt")], data.test_sets(), run / "frames")
    write_json(run / "results.json", {"rows": rows})
    write_report(run / "results.json", run / "report")
    log_results(trainer.loggers, rows)
    wandb.finish()
    return validation_loss(checkpoints / "best.ckpt")


if __name__ == "__main__":
    main()
