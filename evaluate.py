"""Score detectors on test data:  python evaluate.py checkpoint=outputs/.../checkpoints/best.ckpt"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from cosmicgate.config import ConfigError, Evaluate, build, checked, one_sentence
from cosmicgate.detectors.network import read_checkpoint
from cosmicgate.evaluation import evaluate, picture
from cosmicgate.report import write_report
from cosmicgate.tracking import quiet, write_json


@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
@one_sentence()
def main(cfg: DictConfig) -> None:
    """Compose, check, score, report."""
    cfg = checked(cfg, Evaluate)
    run = Path(HydraConfig.get().runtime.output_dir)
    quiet()
    if cfg.data is None and cfg.checkpoint is None:
        raise ConfigError("data: nothing to score; give checkpoint=FILE (its test data) or data=NAME")
    data = build(cfg.data if cfg.data is not None else read_checkpoint(cfg.checkpoint)["config"]["data"])
    detectors = [build(node) for node in cfg.detector.values()]
    data.prepare_data()

    rows = evaluate(detectors, data.test_sets(), run / "frames")
    write_json(run / "results.json", {"rows": rows})
    for path in write_report(run / "results.json", run / "report"):
        print(path)
    if cfg.picture:
        for test_set in data.test_sets():
            print(picture(detectors, test_set, run / "report"))


if __name__ == "__main__":
    main()
