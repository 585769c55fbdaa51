"""Score detectors on test data:  python evaluate.py checkpoint=outputs/demo"""

import shutil
import sys
from pathlib import Path
from typing import Any

from cosmicgate.extras import extra

with extra("train", __name__):
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import DictConfig, OmegaConf

    from cosmicgate.config import Evaluate, build, validate
    from cosmicgate.evaluation.build_detectors import (
        build_detectors,
        check_request,
        check_untrained,
        data_node_of,
        hashes,
    )
    from cosmicgate.evaluation.costs import costs_of
    from cosmicgate.evaluation.records import write_results
    from cosmicgate.evaluation.run import compare, log_seconds
    from cosmicgate.io.atomic import write_json
    from cosmicgate.io.run_files import PROVENANCE, RESULTS
    from cosmicgate.provenance import provenance
    from cosmicgate.report.figures.frames import draw
    from cosmicgate.report.finish_training import log_scores
    from cosmicgate.report.log_results import check_logger, log_evaluation
    from cosmicgate.report.write_report import write_report
    from cosmicgate.training.arguments import explain_arguments
    from cosmicgate.training.stopping import in_run_folder


@explain_arguments
@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
@in_run_folder()
def main(cfg: DictConfig) -> None:
    """Validate the configuration, score and time the detectors, write results and report."""
    cfg = validate(cfg, Evaluate)
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    run = Path(HydraConfig.get().runtime.output_dir)
    check_request(config, run)
    check_logger(config["logger"])
    data = build(config["data"] or data_node_of(config["checkpoint"], config["trust"]))
    detectors, unavailable = build_detectors(config["detector"], config["checkpoint"])
    for entry in unavailable:
        print(f"left out: {entry['detector']}: {entry['reason']}", file=sys.stderr)
    data.prepare_test()
    test_sets = data.test_sets()
    inputs = [folder for test_set in test_sets for folder in test_set.folders]
    check_untrained(config["checkpoint"], inputs, own_data=config["data"] is None)
    record = provenance(cfg.seed, inputs, config) | {"checkpoints": hashes(config["checkpoint"])}

    results = compare(detectors, test_sets, run / "frames", config["compare"])
    costs, not_timed = costs_of(config["networks"], detectors, config["timing"], inputs[0], run / "seconds")
    failed = results["failed"] + not_timed
    results = results | {"failed": failed, "unavailable": unavailable} | costs
    shutil.rmtree(run / "report", ignore_errors=True)  # of other detectors or data, if this folder was used before
    write_json(run / PROVENANCE, record)
    write_results(run / RESULTS, results)
    made = write_report(results, run / "report") if results["rows"] else []
    made += draw(detectors, test_sets, run, failed, cfg.draw_masks, cfg.draw_errors, cfg.draw_feature_maps)
    log_evaluation(config["logger"], results["rows"], detectors, test_sets, run)
    log_seconds(detectors, test_sets, run)
    log_scores(results["rows"], test_sets, made)
    if failed:
        reasons = "; ".join(f"{e['detector'].name} on {e['test_set']}: {e['reason']}" for e in failed)
        sys.exit(f"error: {len(failed)} row(s) failed, the others are written: {reasons}")


if __name__ == "__main__":
    main()
