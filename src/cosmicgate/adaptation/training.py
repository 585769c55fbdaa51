"""Train on labelled exposures from the weights of another network, and compare both on exposures held out."""

import json
import logging
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cosmicgate.adaptation.labels import LabelledSplits
from cosmicgate.adaptation.plan import Request, input_files
from cosmicgate.config import build, load_training_config
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.labelled_exposures import LabelledExposures
from cosmicgate.data.splits import Split
from cosmicgate.detectors.network import NetworkDetector, load_checkpoint_detector, load_pretrained_detector
from cosmicgate.evaluation.records import DetectorRecord, with_records, write_results
from cosmicgate.evaluation.run import compare
from cosmicgate.io.atomic import atomic_write, remove_stale_temp_files
from cosmicgate.io.run_files import BEST, RESULTS
from cosmicgate.pretrained.load import load_network, model_file
from cosmicgate.release import default_threshold
from cosmicgate.report.figures.frames import draw
from cosmicgate.training.fit import fit
from cosmicgate.training.run_folder import is_finished, keep_precision
from cosmicgate.training.validation import check_validation

CONFIG = Path(__file__).parent / "training.yaml"
TRAINING = "training"  # run folder, in the output folder
TRAINED_WEIGHT = 0.5  # weight of the trained parameters in their mean with those before the training
SELECTION_SCORE = "average_precision"  # score by which the network that is kept is chosen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes
    ----------
    run : Path
        Run folder.
    data : LabelledExposures
        Labelled exposures.
    before, after : NetworkDetector
        The network that the training started from, and the adapted one.
    rows : list of dict
        Rows of ``results.json``.
    """

    run: Path
    data: LabelledExposures
    before: NetworkDetector
    after: NetworkDetector
    rows: list[dict[str, Any]]

    def score(self, detector: NetworkDetector, test_set: str, part: str, score: str) -> float | None:
        """Look up a score of a detector on a test set; None if it is not defined there."""
        record = DetectorRecord.of(detector)
        rows = [row for row in self.rows if row["test_set"] == test_set and row["detector"] == record]
        value: float | None = rows[0][part][score]
        return value

    @property
    def average_precisions(self) -> tuple[float, float]:
        """Average precision before and after, on the exposures held out for validation, with hits added."""
        name = validation_set(self.data).name
        before, after = (self.score(one, name, "core", SELECTION_SCORE) for one in (self.before, self.after))
        if before is None or after is None:
            raise ValueError(f"{name}: no average precision, so the networks cannot be compared: are there hits in it?")
        return before, after

    @property
    def is_better(self) -> bool:
        """Check whether the adapted network is better than the network before, on the validation frames."""
        before, after = self.average_precisions
        return after > before

    @property
    def kept(self) -> NetworkDetector:
        """The better network."""
        return self.after if self.is_better else self.before


def train(request: Request, folder: Path, labels: LabelledSplits) -> Training:
    """Train, or resume, and score both networks; a finished training is only read.

    Parameters
    ----------
    request : Request
        Request of the user: exposures, darks, start and settings.
    folder : Path
        Output folder, with the labels; the run folder is ``training`` in it.
    labels : LabelledSplits
        Labelled exposures and their splits.
    """
    run, path = folder / TRAINING, model_file(request.start)
    before = load_checkpoint_detector(path) if path.suffix == ".ckpt" else load_pretrained_detector(str(path))
    before = replace(before, variant="before")
    cfg, config = compose_config(request, folder, labels.exposures, labels.skies)
    remove_stale_temp_files(run, (run / BEST).parent, run / "frames", run / "report")
    keep_precision(cfg, config, run)
    if is_finished(run, config):
        data = build(cfg.data)
    else:
        _, data = fit(cfg, config, run)
    after = averaged(before, load_checkpoint_detector(run / BEST))
    network, usual = after.predictor.network, after.threshold
    chosen = computed_once(run / "threshold.json", lambda: default_threshold(network, data, usual))
    after = replace(after, threshold=chosen)
    if not (run / RESULTS).is_file():
        _compare(run, data, before, after)
    rows = with_records(json.loads((run / RESULTS).read_text()))["rows"]
    return Training(run, data, before, after, rows)


def averaged(before: NetworkDetector, trained: NetworkDetector) -> NetworkDetector:
    """Average the weights of a network before and after its training.

    A few exposures do not show every star of the camera: the trained network may forget what they lack. The mean keeps
    more of it, and loses little of what was learned (Wortsman et al. 2022, Robust fine-tuning of zero-shot models).
    """
    network, old = deepcopy(trained.predictor.network), before.predictor.network.state_dict()
    mean = {
        key: old[key].lerp(value, TRAINED_WEIGHT) if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    network.load_state_dict(mean)
    cache_key = [*trained.cache_key, "averaged", TRAINED_WEIGHT, before.cache_key]
    return replace(trained, predictor=replace(trained.predictor, network=network), cache_key=cache_key)


def computed_once(file: Path, compute: Callable[[], Any]) -> Any:
    """Read what an earlier attempt has computed, plain values, or compute and write it."""
    if not file.is_file():
        atomic_write(file, json.dumps(compute(), indent=1) + "\n")
    return json.loads(file.read_text())


def check_settings(request: Request, folder: Path) -> None:
    """Build what the settings determine, as far as it needs no exposures, so that a wrong one is refused before them.

    Raises
    ------
    ValueError, OSError
        If a setting is wrong, or the network to start from is unknown.
    """
    cfg, _ = compose_config(request, folder, {}, {})
    build(cfg.data)
    build(cfg.callbacks)
    check_validation(build(cfg.trainer, logger=False))
    build(cfg.module).configure_optimizers()


def compose_config(
    request: Request, folder: Path, exposures: Mapping[Split, Mapping[str, list[int]]], skies: Mapping[str, str]
) -> tuple[Any, Any]:
    """Compose and validate the configuration of the training: as a node, and as plain values.

    Parameters
    ----------
    request, folder
        As in :func:`train`.
    exposures : mapping of split to mapping
        For each split: name of a field -> numbers of its exposures.
    skies : mapping of str to str
        Name of the sky of each field.

    Raises
    ------
    ValueError, OSError
        If a setting is wrong, or the network to start from is unknown.
    """
    run, name = folder / TRAINING, folder.resolve().name
    network, card, _ = load_network(request.start)
    values = {
        "seed": request.seed,
        "name": name,
        "title": name,
        "start": request.start,
        "threshold": card.threshold,
        "model": {"_target_": f"{type(network).__module__}.{type(network).__name__}"} | dict(card.network),
        "data": {
            "root": str(folder.resolve()),
            "name": name,
            "exposures": exposures,
            "skies": skies,
            "ring": card.ring,
            "darks": [str(path) for path in input_files(request.darks, "darks")],
            "header_overrides": dict(request.header_overrides),
            "ext": request.ext,
            "thickness": request.thickness,
            "pixel_size": request.pixel_size,
        },
        "callbacks": {key: {"dirpath": str((run / BEST).parent)} for key in ("best", "last")},
        "logger": {"folder": str(run)},
        "trainer": {"default_root_dir": str(run)},
    }
    return load_training_config(CONFIG, values, request.settings)


def validation_set(data: LabelledExposures) -> TestSet:
    """Group the exposures held out for validation, as they are and with added hits, as a set that is scored."""
    return TestSet(f"{data.name}_validation", data.test_sets()[-1].data_origin, tuple(data.split("validation")))


def _compare(run: Path, data: LabelledExposures, before: NetworkDetector, after: NetworkDetector) -> None:
    """Score both networks, draw their masks, and write ``results.json``."""
    sets, detectors = data.test_sets(), [after, before]
    pair = [DetectorRecord.of(one).name for one in detectors]
    content: Mapping[str, Any] = compare(detectors, [*sets, validation_set(data)], run / "frames", [pair])
    if content["failed"]:
        raise ValueError(f"{content['failed'][0]['detector'].name}: {content['failed'][0]['reason']}")
    draw(detectors, sets, run)
    write_results(run / RESULTS, content)  # last, because this file marks a training as finished
