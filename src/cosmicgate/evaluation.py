"""Judge detectors on test sets, frame by frame; then the scores of every table, and what differs between detectors."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from tqdm.auto import tqdm

from cosmicgate.data.decam import TestSet
from cosmicgate.data.store import load_labelled
from cosmicgate.detectors import Detector
from cosmicgate.featuremaps import attention_figure, feature_maps, features_figure, has_features
from cosmicgate.judging import finished, frame_of, read_mask, read_result
from cosmicgate.panels import busiest, file_name, masks_figure, save_figure
from cosmicgate.scoring import Scored, difference, score
from cosmicgate.seeds import Mean, means
from cosmicgate.truth import CORE

SIDE = 256  # pixels of the image whose feature maps are shown

log = logging.getLogger(__name__)


def evaluate(detectors: Sequence[Detector], test_sets: Sequence[TestSet], kept: Path) -> list[dict[str, Any]]:
    """Return a row of ``results.json`` for each test set and detector; whatever one of them raises is raised.

    Parameters
    ----------
    detectors, test_sets
        Every one on every other. Of a frame, counts are kept and no pixels: memory does not grow with their number.
    kept : Path
        Folder of finished (detector, frame) results: an evaluation that was stopped goes on behind them.
    """
    return [row(judged(d, test_set, kept), d, test_set) for test_set in test_sets for d in detectors]


def compare(
    detectors: Sequence[Detector], test_sets: Sequence[TestSet], kept: Path, pairs: Sequence[Sequence[str]] = ()
) -> dict[str, Any]:
    """Return the content of ``results.json``; a detector that raises loses its own row and no other.

    Parameters
    ----------
    detectors, test_sets, kept
        As in :func:`evaluate`.
    pairs : sequence of (str, str)
        Titles of two detectors whose difference is wanted, the one that should be better first. One ending behind
        both, `` (released)`` say, is a pair too. Of several seeds, the mean of each network is a row and a pair.

    Returns
    -------
    dict
        ``rows``; and, where there are any, ``differences`` and ``failed`` (test_set, detector, reason).
    """
    rows, differences, failed = [], [], []
    for test_set in test_sets:
        scored: list[tuple[Detector, Scored]] = []
        for detector in detectors:
            try:
                scored.append((detector, judged(detector, test_set, kept)))
            except Exception as error:  # a foreign package may raise anything; the other rows must still come out
                reason = next(iter(str(error).splitlines()), "") or type(error).__name__
                log.error("%s on %s failed: %s", detector.title, test_set.name, reason)
                log.debug("traceback", exc_info=error)
                failed.append({"test_set": test_set.name, "detector": detector.title, "reason": reason})
        together: list[tuple[Detector | Mean, Scored]] = [*scored, *means(scored)]
        rows += [row(s, detector, test_set) for detector, s in together]
        differences += _differences(together, pairs, test_set)
    return {"rows": rows} | {key: found for key, found in (("differences", differences), ("failed", failed)) if found}


def judge_together(detector: Detector, test_sets: Sequence[TestSet], kept: Path, trainer: pl.Trainer) -> None:
    """Run a detector on this process's share of the frames and wait for the others; :func:`evaluate` finds all done."""
    if trainer.world_size > 1:
        frames = [folder for test_set in test_sets for folder in test_set.folders]
        for folder in frames[trainer.global_rank :: trainer.world_size]:
            finished(detector, folder, kept)
        trainer.strategy.barrier()


def judged(detector: Detector, test_set: TestSet, kept: Path) -> Scored:
    """Score a detector on a test set."""
    progress = tqdm(test_set.folders, desc=f"{detector.title} on {test_set.name}", unit="frame")
    return score([read_result(finished(detector, folder, kept)) for folder in progress])


def row(scored: Scored, detector: Detector | Mean, test_set: TestSet) -> dict[str, Any]:
    """Return a row of ``results.json``: what was scored, and its scores."""
    return {
        "test_set": test_set.name,
        "provenance": test_set.provenance,
        "detector": detector.title,
        "trained_on": detector.trained_on,
        "threshold": detector.threshold,
    } | scored.content


def _differences(
    scored: Sequence[tuple[Detector | Mean, Scored]], pairs: Sequence[Sequence[str]], test_set: TestSet
) -> list[dict[str, Any]]:
    """Return an entry for each pair; of several with one title, those that were trained on the same data."""
    found = []
    for better, other in pairs:
        for a, a_scored in scored:
            partners = [
                (b, b_scored)
                for b, b_scored in scored
                if b is not a and a.title.startswith(better) and b.title == other + a.title.removeprefix(better)
            ]
            alike = [(b, b_scored) for b, b_scored in partners if b.trained_on == a.trained_on]
            for b, b_scored in alike or partners:
                about = {"test_set": test_set.name, "provenance": test_set.provenance, "frames": len(test_set.folders)}
                about |= {"a": a.title, "b": b.title, "trained_on": [a.trained_on, b.trained_on]}
                found.append(about | difference(a_scored, b_scored))
    return found


def pictures(
    detectors: Sequence[Detector], test_set: TestSet, kept: Path, folder: Path, failed: Sequence[Mapping[str, str]] = ()
) -> list[Path]:
    """Draw a frame of each band, the one with the most core pixels: image, truth, each detector's mask.

    Parameters
    ----------
    detectors, test_set, kept
        Of the evaluation before; its masks are drawn.
    folder : Path
        Where the pictures go: ``masks_<test set>[_<band>].png``.
    failed : sequence of mapping
        As in ``results.json``: these detectors have no mask.
    """
    without = {entry["detector"] for entry in failed if entry["test_set"] == test_set.name}
    shown = {_label(d, detectors): d for d in detectors if d.title not in without}
    chosen = busiest_frames(test_set)
    made = []
    for band, frame in chosen.items():
        labelled = load_labelled(frame)
        masks = {label: read_mask(finished(d, frame, kept)) for label, d in shown.items()}
        title = f"{labelled.facts['name']}, {band or 'no'} band, {test_set.name} ({test_set.provenance})"
        figure = masks_figure(np.array(labelled.image), np.array(labelled.truth), masks, title)
        name = ["masks", test_set.name] + [band] * (len(chosen) > 1)
        made.append(save_figure(figure, folder / f"{file_name(*name)}.png"))
    return made


def features(detectors: Sequence[Detector], test_set: TestSet, folder: Path) -> list[Path]:
    """Draw what each U-Net sees in one tile: ``features_...png``, its layers; ``attention_...png``, its gates.

    The tile is that with the most hits of the frame with the most core pixels.
    """
    labelled = load_labelled(next(iter(busiest_frames(test_set).values())))
    made = []
    for detector in filter(has_features, detectors):
        cut = busiest([np.array(labelled.truth) == CORE], min(SIDE, getattr(detector, "tile", None) or SIDE))
        frame, truth = frame_of(labelled).cut(*cut, labelled.facts["name"]), np.array(labelled.truth[cut])
        maps = feature_maps(detector, frame)
        label = _label(detector, detectors)
        title = f"{label}: {frame.name}, {test_set.name} ({test_set.provenance})"
        figures = {"features": features_figure(frame.image, truth, maps, title)}
        if maps.attention:
            figures["attention"] = attention_figure(frame.image, truth, maps, title)
        made += [save_figure(f, folder / f"{file_name(kind, test_set.name, label)}.png") for kind, f in figures.items()]
    return made


def _label(detector: Detector, detectors: Sequence[Detector]) -> str:
    """Its title, and what it was trained on where another has the same title."""
    twins = [other for other in detectors if other.title == detector.title]
    return f"{detector.title} [{detector.trained_on}]" if len(twins) > 1 else detector.title


def busiest_frames(test_set: TestSet) -> dict[str, Path]:
    """Return band -> the folder of its frame with the most core pixels."""
    most: dict[str, tuple[int, Path]] = {}
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        band, core = labelled.facts["band"], int((labelled.truth == CORE).sum())
        if band not in most or core > most[band][0]:
            most[band] = core, folder
    return {band: folder for band, (_, folder) in most.items()}
