"""Train a network, test its best weights, write results.json:  python train.py model=att_cosmic_conn"""

from pathlib import Path
from typing import Any

from cosmicgate.extras import extra

with extra("train", __name__):
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf

    from cosmicgate.config import Train, modules_named, validate
    from cosmicgate.detectors.network import load_checkpoint_detector
    from cosmicgate.evaluation.build_detectors import build_baselines
    from cosmicgate.evaluation.run import score_frames_distributed, score_training
    from cosmicgate.io.run_files import BEST
    from cosmicgate.report.finish_training import finish_training
    from cosmicgate.training.arguments import explain_arguments
    from cosmicgate.training.fit import fit
    from cosmicgate.training.kept_results import results_are_kept, store_results
    from cosmicgate.training.run_folder import is_finished, keep_precision, objective
    from cosmicgate.training.stopping import in_run_folder


@explain_arguments
@hydra.main(config_path="conf", config_name="train", version_base="1.3")
@in_run_folder()
def main(cfg: DictConfig) -> float:
    """Validate the configuration, train, test and write results; return the value that a search minimises."""
    cfg = validate(cfg, Train)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    best, trust = run / BEST, modules_named(config["model"])
    kept = Path(cfg.keep_results) if cfg.keep_results else None
    if cfg.resume:
        keep_precision(cfg, config, run)
    if cfg.resume and results_are_kept(kept, config):
        return float("nan")
    if cfg.resume and is_finished(run, config):
        store_results(kept, config, run)
        return objective(best)
    baselines, unavailable = build_baselines(cfg.baselines, cfg.title, cfg.variant)
    trainer, data = fit(cfg, config, run)
    network, test_sets = load_checkpoint_detector(best, trust=trust), data.test_sets()
    score_frames_distributed(network, test_sets, run / "frames", trainer)
    if trainer.is_global_zero:
        content = score_training(network, baselines, unavailable, test_sets, run / "frames")
        finish_training(content, [network, *baselines], test_sets, run, trainer, trust)
        store_results(kept, config, run)
    return objective(best)


if __name__ == "__main__":
    main()
