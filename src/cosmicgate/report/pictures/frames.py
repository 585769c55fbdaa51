"""Frames of a test set drawn: under the mask of each detector, and with what each network sees inside."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cosmicgate.data.decam import TestSet
from cosmicgate.data.store import load_labelled
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.judging import finished, frame_of, read_mask
from cosmicgate.report.pictures.featuremaps import attention_figure, feature_maps, features_figure, has_features
from cosmicgate.report.pictures.panels import busiest, file_name, masks_figure, save_figure
from cosmicgate.truth import CORE

SIDE = 256  # pixels of the image whose feature maps are shown


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
