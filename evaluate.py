"""Score detectors on test data:  python evaluate.py checkpoint=outputs/.../checkpoints/best.ckpt"""

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from cosmicgate.config import ConfigError, Evaluate, build, checked, one_sentence
from cosmicgate.evaluation.lineup import data_of, hashes, line_up
from cosmicgate.evaluation.rows import compare
from cosmicgate.report.boards import only_wandb, show_evaluation
from cosmicgate.report.pictures.frames import features, pictures
from cosmicgate.report.writing import write_report
from cosmicgate.tracking import provenance, quiet, write_json


@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
@one_sentence()
def main(cfg: DictConfig) -> None:
    """Compose, check, score, report."""
    cfg = checked(cfg, Evaluate)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    quiet()
    if cfg.data is None and not cfg.checkpoint:
        raise ConfigError("data: nothing to score; give checkpoint=FILE (its test data) or data=NAME")
    if (run / "checkpoints").is_dir():
        raise ConfigError(f"hydra.run.dir: {run} is a training's folder, whose results these would replace")
    only_wandb(config["logger"])
    data = build(config["data"] or data_of(config["checkpoint"]))
    detectors, unavailable = line_up(config["detector"], config["checkpoint"])
    for entry in unavailable:
        print(f"left out: {entry['detector']}: {entry['reason']}", file=sys.stderr)
    data.prepare_test()
    inputs = [folder for test_set in data.test_sets() for folder in test_set.folders]
    record = provenance(cfg.seed, inputs, config) | {"checkpoints": hashes(config["checkpoint"])}
    write_json(run / "provenance.json", record)

    results = compare(detectors, data.test_sets(), run / "frames", config["compare"])
    failed = results.get("failed", [])
    write_json(run / "results.json", results | ({"unavailable": unavailable} if unavailable else {}))
    made = write_report(run / "results.json", run / "report") if results["rows"] else []
    for test_set in data.test_sets():
        made += pictures(detectors, test_set, run / "frames", run / "report", failed) if cfg.picture else []
        made += features(detectors, test_set, run / "report") if cfg.features else []
    for path in made:
        print(path)
    show_evaluation(config["logger"], results["rows"], detectors, data.test_sets(), run)
    if failed:
        reasons = "; ".join(f"{e['detector']} on {e['test_set']}: {e['reason']}" for e in failed)
        sys.exit(f"error: {len(failed)} row(s) failed, the others are written: {reasons}")


if __name__ == "__main__":
    main()
