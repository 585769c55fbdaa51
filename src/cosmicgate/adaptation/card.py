"""Package an adapted network: weights, card and report page in the output folder."""

import json
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from cosmicgate import __version__
from cosmicgate.adaptation.training import Training, computed_once, validation_set
from cosmicgate.data.cache import digest
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.io.atomic import short
from cosmicgate.io.run_files import PROVENANCE, RESULTS
from cosmicgate.models.unet import UNet
from cosmicgate.pretrained.card import COARSE, ModelCard, save_model, serialize
from cosmicgate.pretrained.load import load_network
from cosmicgate.pretrained.registry import cascade_of
from cosmicgate.release import calibrate, card_scores, domain_ranges, measure_cascade
from cosmicgate.report.finish_training import log_scores
from cosmicgate.report.pages import write_page
from cosmicgate.report.runs import find_runs

MARGIN = 0.5  # by which each side of a domain range is widened, as a fraction of its width: few frames were measured
REPORT = "report.html"

log = logging.getLogger(__name__)


def package_network(folder: Path, training: Training, lines: Sequence[str], start: str, command: str) -> None:
    """Write the better network, its card and the report page; log the average precisions.

    Parameters
    ----------
    folder : Path
        Output folder.
    training : Training
        Finished training.
    lines : sequence of str
        What was found and how it was split, for the report page.
    start : str
        Network that the training started from.
    command : str
        Command that repeats the adaptation.
    """
    before, after = training.average_precisions
    kept = "the adapted network is kept" if training.is_better else f"no better, so {training.before.model} is kept"
    verdict = f"average precision on the validation frames: {before:.4f} before, {after:.4f} after: {kept}"
    _, old_card, tensors = load_network(start)
    network, card, _ = load_network(training.run if training.is_better else start)
    network.load_state_dict(training.kept.predictor.network.state_dict())
    card = _completed(replace(card, name=folder.resolve().name, command=command), training, network, old_card)
    weights, coarse = dict(network.state_dict()), tensors or {}
    found, reason = _cascade(training, card, network, old_card, coarse)
    if found:
        weights |= {key: value for key, value in coarse.items() if key.startswith(COARSE)}
        card = replace(card, cascade=found)
    content, sha256 = serialize({key: value.cpu() for key, value in weights.items()})
    lines = [*lines, verdict, f"--fast: {reason}"]
    write_page(find_runs([training.run / RESULTS]), folder / REPORT, lines)
    save_model(replace(card, sha256=sha256), content, folder)  # last, because the card marks an adaptation as finished
    log_scores(training.rows, training.data.test_sets(), [])
    log.info(verdict)
    log.info("--fast: %s", reason)
    log.info("report   %s", short(folder / REPORT))
    log.info("next     %s", shlex.join(["cosmicgate", "mask", "-m", str(short(folder)), "image.fits"]))


def _completed(card: ModelCard, training: Training, network: UNet, old: ModelCard) -> ModelCard:
    """Complete the card of the network that is kept: thresholds, ranges and scores on the user's exposures."""
    data, run = training.data, training.run
    own = f"{data.name}, {data.data_origin}"
    card = replace(
        card,
        version=__version__,
        threshold=training.kept.threshold,
        calibrated_on=f"{own}: exposures held out for validation, sky pixels",
        calibration=computed_once(
            run / "calibration.json", lambda: calibrate(network, data.split("validation", "natural"))
        ),
        scores=[*_scores(training, training.before, "before"), *_scores(training, training.after, "after")],
        cascade=None,
    )
    if not training.is_better:
        return card
    record = json.loads((run / PROVENANCE).read_text())
    frames = data.split("train", "natural") + data.split("validation", "natural")
    return replace(
        card,
        licence=old.licence,
        input=old.input,
        trained_on=f"{own}, from {old.title} ({old.trained_on})",
        data_hash=digest(sorted(record["inputs"].values())),  # names of frames depend on times of files
        machine=record["device"],
        ranges=_widened(domain_ranges(frames, network.scaling)),
    )


def _scores(training: Training, detector: NetworkDetector, when: str) -> list[dict[str, Any]]:
    """List the scores of a network on the test sets, for the card."""
    rows = card_scores([training.run / RESULTS], detector.predictor.network)
    return [row | {"network": when} for row in rows if row["data"] != validation_set(training.data).name]


def _widened(limits: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Widen domain ranges on both sides; those of fractions do not leave 0 to 1."""
    wide = {}
    for key, (low, high) in limits.items():
        margin = MARGIN * (high - low)
        wide[key] = [low - margin, high + margin]
        if key in ("sources", "sharpness"):
            wide[key] = [max(wide[key][0], 0.0), min(wide[key][1], 1.0)]
    return wide


def _cascade(
    training: Training, card: ModelCard, network: UNet, old: ModelCard, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any] | None, str]:
    """Tune the coarse stage of the old network for the one that is kept; None if it cannot be, with the reason."""
    if old.cascade is None:
        return None, f"not available, as {old.name} has no coarse stage"
    if not card.calibration:
        return None, "not available, as the exposures held out for validation are too few for its threshold"
    try:
        coarse = cascade_of(old, tensors).network
        found = computed_once(
            training.run / "cascade.json", lambda: measure_cascade(network, card, coarse, training.data)
        )
    except ValueError as error:
        return None, f"not available: {error}"
    about = {key: old.cascade[key] for key in ("network", "command", "data")}
    text = f"available; of {found['hits']} hits in the test frames it misses {found['missed']}, and the network itself"
    return about | found, f"{text} searches {found['searched']:.0%} of the pixels"
