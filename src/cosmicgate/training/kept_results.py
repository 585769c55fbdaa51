"""Keep the scores of finished trainings in small files to be committed, so that no machine trains them again."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError
from cosmicgate.evaluation.training_configs import result_config
from cosmicgate.io.atomic import write_json
from cosmicgate.io.run_files import RESULTS
from cosmicgate.pretrained.renamed_targets import with_current_targets
from cosmicgate.training.run_folder import refuse_another

TRAINING_VERSION = 2  # increment when a training of the same configuration gives other weights, and so other results

log = logging.getLogger(__name__)


def results_are_kept(path: Path | None, config: Mapping[str, Any]) -> bool:
    """Check whether a file has the results of a training with this configuration.

    Raises
    ------
    ConfigError
        If it has those of another configuration, or of a version that trained differently; names what differs.
    ValueError
        If it is no file of :func:`store_results`.
    """
    if path is None or not path.is_file():
        return False
    try:
        before = with_current_targets(json.loads(path.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: expected the results of a training as keep_results writes them") from error
    advice = "choose another keep_results, or remove it"
    if before.get("training", 1) != TRAINING_VERSION:
        raise ConfigError(f"{path} has the results of a training by an earlier version, which gave others: {advice}")
    refuse_another(before, result_config(config), f"{path} has the results", advice)
    log.info("%s has the results of this training, nothing to do", path)
    return True


@rank_zero_only
def store_results(path: Path | None, config: Mapping[str, Any], run: Path) -> None:
    """Write the rows of a finished run without their curves, the configuration that determines them, and the precision.

    The precision is not compared: machines that share a sweep may differ in it.
    """
    if path is None:
        return
    content = json.loads((run / RESULTS).read_text(encoding="utf-8"))
    rows = [{key: value for key, value in row.items() if key != "curves"} for row in content["rows"]]
    compared = {"config": result_config(config) | {"training": TRAINING_VERSION}}
    write_json(path, compared | {"precision": (config.get("trainer") or {}).get("precision"), "rows": rows})
