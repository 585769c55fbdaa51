"""Train a network, test its best weights, write results.json:  python train.py model=att_cosmic_conn"""

from pathlib import Path
from typing import Any

import hydra
import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cosmicgate.callbacks import SelfContained
from cosmicgate.config import Train, build, checked, one_sentence
from cosmicgate.data.decam import training_data
from cosmicgate.detectors.network import load
from cosmicgate.evaluation.rows import evaluate, judge_together
from cosmicgate.masking.loading import begin_with
from cosmicgate.report.boards import show_training
from cosmicgate.report.writing import write_report
from cosmicgate.tracking import describe, on_record, quiet, write_json
from cosmicgate.training.processes import begin
from cosmicgate.training.sweeps import finished, forget, made_small


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
@one_sentence()
def main(cfg: DictConfig) -> float:
    """Compose, check, seed, fit, test, write; return what a search makes small."""
    cfg = checked(cfg, Train)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    best, last = (run / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    quiet()
    if not cfg.resume:
        forget(run)
    elif finished(run, config):
        return made_small(best)
    pl.seed_everything(cfg.seed, verbose=False)
    data, module = training_data(cfg.data), build(cfg.module)
    going_on = last if cfg.resume and last.is_file() else None
    config["trained_on"] = f"{cfg.data.name}, {data.provenance}"
    config["started_from"] = begin_with(module.network, cfg.start, going_on)
    callbacks = [*build(cfg.callbacks).values(), SelfContained(config)]
    trainer = build(cfg.trainer, callbacks=callbacks, logger=on_record(build(cfg.logger), run))
    begin(trainer, run, cfg.seed, data, config)
    describe(trainer.loggers, config)
    trainer.fit(module, datamodule=data, ckpt_path=going_on)

    detector, test_sets = load(best), data.test_sets()
    judge_together(detector, test_sets, run / "frames", trainer)
    if trainer.is_global_zero:
        rows = evaluate([detector], test_sets, run / "frames")
        write_json(scored := run / "scored.json", {"rows": rows})
        write_report(scored, run / "report")
        show_training(trainer.loggers, rows, detector, test_sets, run)
        scored.replace(run / "results.json")  # last: who has it is finished
    return made_small(best)


if __name__ == "__main__":
    main()
