"""Turn the folder of a finished run into a pretrained network: weights, calibration, model card.

Package a run: ``python -m cosmicgate.release outputs/RUN --name NAME --command 'python ...' [--coarse outputs/COARSE]``
Replace the coarse stage of a pretrained network: ``python -m cosmicgate.release NAME --coarse outputs/COARSE``
Recompute its thresholds on a run's validation frames: ``python -m cosmicgate.release NAME --calibrate outputs/RUN``
Replace its scores: ``python -m cosmicgate.release NAME --results outputs/EVALUATION/results.json``

A coarse stage is tuned on the validation frames of the run that is packaged, else of the run given by ``--calibrate``,
else of its own run.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from scipy.special import expit, logit
from scipy.stats import beta
from torch import nn

from cosmicgate.extras import extra

with extra("train", __name__):
    from cosmicgate.config import build
    from cosmicgate.data.bad_pixels import interpolate_bad_pixels
    from cosmicgate.data.cache import digest, load_labelled
    from cosmicgate.data.labelled_exposures import LabelledExposures
    from cosmicgate.data.mixture import Mixture
    from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3, SKY
    from cosmicgate.detectors.network import weights_sha256_of
    from cosmicgate.evaluation.hits import FOUND_FRACTION
    from cosmicgate.evaluation.operating_points import best_threshold, objects_by_logit
    from cosmicgate.evaluation.records import CASCADE_VARIANT, with_records
    from cosmicgate.inference.background_grid import scale_of
    from cosmicgate.inference.cascade import NO_HIT_LOGIT, Cascade, coarse_logits, max_logit_per_cell
    from cosmicgate.inference.predictor import Predictor
    from cosmicgate.io.messages import with_progress
    from cosmicgate.io.run_files import PROVENANCE, RESULTS
    from cosmicgate.metrics import BINS
    from cosmicgate.models.unet import UNet
    from cosmicgate.pretrained.card import COARSE, COARSE_TUNING_FPR, WEIGHTS_FOLDER, ModelCard, save_model, serialize
    from cosmicgate.pretrained.checkpoint import checkpoint_file, data_config
    from cosmicgate.pretrained.domain_check import FEATURES, domain_features
    from cosmicgate.pretrained.load import load_network
    from cosmicgate.pretrained.registry import cascade_of, load_pretrained, pretrained_names

FALSE_POSITIVE_RATES = (1e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
MIN_FALSE_POSITIVES = 10  # fewer false positives are too few to measure a rate
MAX_LOST_FRACTION = 3e-4  # fraction of the found hit pixels that a cascade may lose on the frames it is tuned on
MAX_HALO = 16  # largest context in pixels around a cell that is passed to a network; more hardly changes a logit
MAX_FEATURE_FRAMES = 200  # training frames whose domain features are measured, sampled evenly (fewer than 2x this)


def calibrate(network: nn.Module, frames: Sequence[Path]) -> list[list[float]]:
    """Compute pairs of false-positive rate (among the sky pixels of labelled frames) and threshold (a probability).

    Where pixels share a logit, the threshold lies above it, so that the rate is not exceeded. A rate is left out if no
    threshold gives it or if the frames have too few pixels for it.
    """
    pixels = sum(load_labelled(folder).truth.size for folder in frames)
    keep = int(max(FALSE_POSITIVE_RATES) * pixels) + MIN_FALSE_POSITIVES  # logits to keep, over all frames
    highest, sky = np.empty(0, np.float32), 0
    for _, _, logits, truth in predict_frames(network, frames, "calibration"):
        found = logits[truth == SKY]
        sky += found.size
        highest = np.sort(np.concatenate([highest, found]))[-keep:]
    highest = highest[::-1].astype(np.float64)
    pairs = []
    for rate in FALSE_POSITIVE_RATES:
        if MIN_FALSE_POSITIVES <= rate * sky < len(highest):
            above = highest[highest > highest[int(rate * sky)]]  # highest first
            pairs += [(rate, above[-1])] if len(above) >= MIN_FALSE_POSITIVES else []
    return [[rate, float(expit(value))] for rate, value in pairs]


def default_threshold(network: nn.Module, data: Any, fallback: float = ModelCard.threshold) -> float:
    """Find the threshold with the highest F1 of hits on the labelled real frames held out for validation.

    If the data have no such frame, or these frames no hit, the threshold is ``fallback``. Hits that were added to real
    frames do not count.
    """
    parts = data.parts.values() if isinstance(data, Mixture) else [data]
    real = [part for part in parts if isinstance(part, LabelledExposures) and part.data_origin == "real"]
    frames = [folder for part in real for folder in part.split("validation", "natural")]
    objects = np.zeros((2, BINS), np.int64)
    for _, _, logits, truth in predict_frames(network, frames, "threshold"):
        objects += objects_by_logit(truth, torch.from_numpy(logits))
    return best_threshold(objects) if objects[0].any() else fallback


def domain_ranges(frames: Sequence[Path], scaling: str) -> dict[str, list[float]]:
    """Compute the central 98 % range of each domain feature over a sample of labelled frames.

    The sample is evenly spaced, see :data:`MAX_FEATURE_FRAMES`. Features that the network's scaling removes are left
    out. The range of ``sources`` begins at 0, as a field may be empty.
    """
    step = max(-(-len(frames) // MAX_FEATURE_FRAMES), 1)
    found = []
    for folder in with_progress(frames[::step], "domain features", "measured"):
        labelled = load_labelled(folder)
        found.append(domain_features(*interpolate_bad_pixels(np.asarray(labelled.image), np.asarray(labelled.bad))))
    table = {name: np.array([one[name] for one in found]) for name in FEATURES}
    limits = {
        name: [float(value) for value in np.nanpercentile(values, [1, 99])]
        for name, values in table.items()
        if np.isfinite(values).any() and not (scaling == "robust" and name in ("background", "noise"))
    }
    return limits | {"sources": [0.0, limits["sources"][1]]}


def tune_cascade(network: UNet, card: ModelCard, coarse: UNet, frames: Sequence[Path]) -> Cascade:
    """Tune the threshold of a cascade's coarse stage on labelled frames.

    It is the highest threshold that loses at most :data:`MAX_LOST_FRACTION` of the hit pixels that the network finds at
    the false-positive rate :data:`~cosmicgate.pretrained.card.COARSE_TUNING_FPR`. Cells are tuned without their margin,
    which adds safety for hits that reach into neighbouring cells.
    """
    halo = network.total_stride * math.ceil(min(network.receptive_field_radius, MAX_HALO) / network.total_stride)
    cascade = Cascade(coarse, 0.0, cell=max(Cascade.cell, network.total_stride), halo=halo)
    least = card.calibration[0][0]  # few frames do not determine lower rates
    threshold = logit(card.threshold_at(max(COARSE_TUNING_FPR, least)))
    found = []
    for image, bad, logits, truth in predict_frames(network, frames, "coarse stage"):
        values = torch.from_numpy(image)
        scale = scale_of(coarse.scaling, values, torch.from_numpy(bad))
        cells = max_logit_per_cell(replace(cascade, margin=0), coarse_logits(cascade, values, scale)).numpy()
        rows, columns = np.nonzero((truth == CORE) & (logits >= threshold))
        found.append(cells[rows // cascade.cell, columns // cascade.cell])
    if not any(values.size for values in found):
        raise ValueError(f"{card.name}: it finds no hit in {len(frames)} frame(s), so its cascade cannot be tuned")
    return replace(cascade, threshold=float(np.quantile(np.concatenate(found), MAX_LOST_FRACTION)))


def cascade_losses(network: UNet, card: ModelCard, cascade: Cascade, frames: Sequence[Path]) -> dict[str, Any]:
    """Count the hits in labelled frames that the network finds at its threshold but its cascade misses.

    Returns
    -------
    dict
        ``hits``: number of hits found by the network alone; ``missed``: those of them that the cascade misses;
        ``bound``: upper limit (95 % confidence) of the missed fraction; ``searched``: mean fraction of the good pixels
        that the fine stage searches.
    """
    hits = lost = 0
    predictor = Predictor(network, cascade=cascade)
    searched, threshold = [], logit(card.threshold)
    for image, bad, logits, truth in predict_frames(network, frames, "losses of the cascade"):
        found = predictor.logits_of_prepared(image, bad).numpy()
        searched.append(float((found > NO_HIT_LOGIT)[~bad].mean()))
        numbers, _ = label(truth == CORE, KERNEL_3X3)
        for number, box in enumerate(find_objects(numbers), start=1):
            core = numbers[box] == number
            if (logits[box][core] >= threshold).mean() >= FOUND_FRACTION:
                hits += 1
                lost += bool((found[box][core] >= threshold).mean() < FOUND_FRACTION)
    bound = float(beta.ppf(0.95, lost + 1, hits - lost)) if hits > lost else 1.0
    return {"hits": hits, "missed": lost, "bound": bound, "searched": float(np.mean(searched))}


def predict_frames(
    network: nn.Module, frames: Sequence[Path], purpose: str
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32], NDArray[np.uint8]]]:
    """Yield prepared image, bad pixels, logits and truth, each (H, W), of labelled frames."""
    predictor = Predictor(network)
    for folder in with_progress(frames, purpose, "searched"):
        labelled = load_labelled(folder)
        image, bad = predictor.prepare(np.asarray(labelled.image), np.asarray(labelled.bad))
        yield image, bad, predictor.logits_of_prepared(image.copy(), bad).numpy(), np.asarray(labelled.truth)


def card_scores(results: Sequence[Path], network: nn.Module, run_results: Path | None = None) -> list[dict[str, Any]]:
    """Extract the scores of a network from results files, for its model card.

    Rows are matched by the hash of the weights, because earlier networks had the same title. Rows in ``run_results``,
    those of its own run, may lack the hash, as in versions up to 0.1.2. The last row of each data set is used.

    Raises
    ------
    ValueError
        A file has no row of these weights.
    """
    latest: dict[str, dict[str, Any]] = {}
    mine = weights_sha256_of(network)
    for path in results:
        found = with_records(json.loads(path.read_text()))["rows"]
        unknown = mine if path == run_results and not any(row["detector"].weights for row in found) else None
        rows = [row for row in found if (row["detector"].weights or unknown) == mine]
        if not rows:
            raise ValueError(f"{path} has no row of these weights: expected results of train.py or evaluate.py of them")
        latest |= {row["test_set"]: row for row in rows if row["detector"].variant != CASCADE_VARIANT}
    return [
        {
            "data": row["test_set"],
            "provenance": row["data_origin"],
            "truth": convention,
            "metric": metric,
            "value": row[convention][metric],
            "interval": row["intervals"][convention].get(metric),
        }
        for row in latest.values()
        for convention in ("dilated", "core")
        for metric in ("tpr_at_fpr_0.01pct", "f1")
    ]


def replace_scores(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Replace the scores of some data sets by new ones."""
    replaced = {one["data"] for one in after}
    return [one for one in before if one["data"] not in replaced] + after


def card_of(
    run: Path, name: str, command: str, results: Sequence[Path], trust: Sequence[str] = ()
) -> tuple[UNet, ModelCard, Any]:
    """Load the network of a run, complete its card with calibration, ranges and scores, and load its data."""
    provenance = json.loads((run / PROVENANCE).read_text())
    data = load_data_of(run, trust)
    network, card, _ = load_network(run, trust)
    if not isinstance(network, UNet):
        found = type(network).__name__
        raise ValueError(f"{run}: expected a UNet, found {found}: other networks are loaded from their run folder")
    card = replace(
        card,
        name=name,
        command=command,
        data_hash=digest(sorted(provenance["inputs"].values())),
        machine=provenance["device"],
        threshold=default_threshold(network, data),
        calibrated_on=f"{card.trained_on}: validation frames, sky pixels",
        calibration=calibrate(network, data.split("validation")),
        ranges=domain_ranges(data.split("train"), network.scaling),
        scores=card_scores([run / RESULTS, *results], network, run_results=run / RESULTS),
    )
    return network, card, data


def load_data_of(run: Path, trust: Sequence[str] = ()) -> Any:
    """Load the data of a run; regenerate them if they are missing."""
    data = build(data_config(checkpoint_file(run), trust))
    data.prepare_data()
    return data


def load_coarse_network(of: Path, command: str) -> tuple[UNet, dict[str, Any]]:
    """Load a coarse network from a run or from a pretrained network's cascade, with its description for a card."""
    if not of.is_dir():
        _, card, tensors = load_pretrained(str(of))
        about: dict[str, Any] = card.cascade or {}
        return cascade_of(card, tensors).network, {key: about[key] for key in ("network", "command", "data")}
    network, card, _ = load_network(of)
    return network, {"network": card.network, "command": command, "data": card.trained_on}


def measure_cascade(network: UNet, card: ModelCard, coarse: UNet, data: Any) -> dict[str, Any]:
    """Tune a cascade on the validation frames and measure its losses on the test frames, for the network's card."""
    cascade = tune_cascade(network, card, coarse, data.split("validation"))
    settings = {key: getattr(cascade, key) for key in ("threshold", "cell", "margin", "halo")}
    return {"settings": settings} | cascade_losses(network, card, cascade, data.split("test"))


def main(arguments: Sequence[str]) -> int:
    """Package a run, or update the cascade, calibration or scores of a pretrained network."""
    parser = argparse.ArgumentParser(prog="python -m cosmicgate.release", description="Package a trained network.")
    parser.add_argument("run", type=Path, help="folder of a finished run of train.py, or a pretrained network")
    parser.add_argument("--name", help="name by which cosmicgate.load finds the network")
    parser.add_argument("--command", help="command that trains it again")
    parser.add_argument(
        "--coarse", type=Path, help="run folder of a small network, or a pretrained network: the cascade's coarse stage"
    )
    parser.add_argument("--coarse-command", default="", help="command that trains the coarse stage again")
    parser.add_argument("--calibrate", type=Path, help="run folder on whose validation frames thresholds are computed")
    parser.add_argument("--results", type=Path, nargs="*", default=[], help="further results.json with scores of it")
    parser.add_argument("--trust", nargs="*", default=[], help="modules whose classes a run's data may name")
    parser.add_argument("--folder", type=Path, default=WEIGHTS_FOLDER, help="where to write; the package by default")
    options = parser.parse_args(arguments)
    if options.run.is_dir() and str(options.run) not in pretrained_names():
        if not (options.name and options.command) or options.calibrate:
            parser.error(f"{options.run} is a run: give the network's --name and --command, no --calibrate")
        of_run = (options.run, options.name, options.command, options.results, options.trust)
        network, card, data = card_of(*of_run)
        weights = network.state_dict()
    else:
        if not (options.coarse or options.calibrate or options.results) or options.name or options.command:
            parser.error(
                f"{options.run} is no folder of a run: a pretrained network takes --coarse, --calibrate or --results"
            )
        if str(options.coarse) in pretrained_names() and not options.calibrate:
            parser.error(
                f"--coarse {options.coarse}: the coarse stage is tuned on the frames of a run: give --calibrate RUN"
            )
        network, card, weights = load_pretrained(str(options.run))
        if of := options.calibrate or options.coarse:
            data = load_data_of(of, options.trust)
        card = replace(card, scores=replace_scores(card.scores, card_scores(options.results, network)))
        if options.calibrate and card.cascade:  # what the cascade misses depends on the thresholds
            options.coarse = options.coarse or options.run
        if options.calibrate:
            pairs = calibrate(network, data.split("validation"))
            card = replace(card, calibration=pairs, threshold=default_threshold(network, data, card.threshold))
    if options.coarse:
        coarse, about = load_coarse_network(options.coarse, options.coarse_command)
        weights = {key: value for key, value in weights.items() if not key.startswith(COARSE)}
        weights |= {COARSE + key: value for key, value in coarse.state_dict().items()}
        card = replace(card, cascade=about | measure_cascade(network, card, coarse, data))
    content, sha256 = serialize({key: value.cpu() for key, value in weights.items()})
    save_model(replace(card, sha256=sha256), content, options.folder)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
