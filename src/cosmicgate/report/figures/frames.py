"""Draw frames of a test set with the masks of detectors, and with the feature maps of networks."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cosmicgate.data.cache import LabelledFrame, load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, IGNORED
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.frame_results import cached_result, frame_of, read_mask, truth_is_dilated
from cosmicgate.evaluation.records import DetectorRecord, labels
from cosmicgate.report.figures.feature_maps import attention_figure, feature_maps, features_figure, has_features
from cosmicgate.report.figures.mask_figures import busiest, file_name, masks_figure, save_figure
from cosmicgate.report.figures.mistakes import mistakes_figure

log = logging.getLogger(__name__)

SIDE = 256  # side in pixels of the image whose feature maps are shown


def draw(
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
    failed: Sequence[Mapping[str, Any]],
    masks: bool = True,
    mistakes: bool = False,
    maps: bool | Sequence[str] = False,
) -> list[Path]:
    """Draw masks and feature maps into the report of a run, and return the paths of the figures.

    Parameters
    ----------
    detectors : sequence of Detector
        Detectors of the run.
    test_sets : sequence of TestSet
        Test sets, of which each gets figures.
    run : Path
        Folder of the run.
    failed : sequence of mapping
        Failures, as in ``results.json``.
    masks : bool
        Draw masks (:func:`pictures`).
    mistakes : bool
        Draw what each detector misses and falsely marks (:func:`mistakes_of`).
    maps : bool or sequence of str
        Draw feature maps (:func:`features`) of all networks, of none, or of those with these names.
    """
    networks = {DetectorRecord.of(detector).name: detector for detector in detectors if has_features(detector)}
    names = list(networks) if maps is True else maps or ()
    if wrong := [name for name in names if name not in networks]:
        log.warning("features: no network here is called %r; there are %s", wrong[0], ", ".join(networks) or "none")
    inside = [d for d in detectors if DetectorRecord.of(d).name in names]
    made = []
    for test_set in test_sets:
        made += pictures(detectors, test_set, run / "frames", run / "report", failed) if masks else []
        made += mistakes_of(detectors, test_set, run / "frames", run / "report", failed) if mistakes else []
        made += features(inside, test_set, run / "report")
    return made


def pictures(
    detectors: Sequence[Detector], test_set: TestSet, kept: Path, folder: Path, failed: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Draw one frame of each band, that with the most core pixels: image, truth, each detector's mask.

    The title says whether the truth is dilated, and the label of each mask whether the mask is.

    Parameters
    ----------
    detectors, test_set, kept
        Detectors, test set and cache of the evaluation, whose masks are drawn.
    folder : Path
        Output folder of the figures ``masks_<test set>[_<band>].png``.
    failed : sequence of mapping
        Failures, as in ``results.json``: detectors without a mask.
    """
    shown = _with_mask(detectors, test_set, failed)
    chosen = busiest_frames(test_set)
    made = []
    for band, frame in chosen.items():
        labelled = load_labelled(frame)
        if (labelled.truth == IGNORED).all():
            continue
        dilated = truth_is_dilated(labelled)
        masks = {
            f"{label}{', dilated 3x3' if dilated and d.grow else ''}": read_mask(cached_result(d, frame, kept))
            for label, d in shown.items()
        }
        title = f"{labelled.facts['name']}, {band or 'no'} band, {_about(test_set, labelled)}"
        figure = masks_figure(np.array(labelled.image), np.array(labelled.truth), masks, title)
        name = file_name("masks", test_set.name, *[band] * (len(chosen) > 1))
        made.append(save_figure(figure, folder / f"{name}.png"))
    return made


def mistakes_of(
    detectors: Sequence[Detector], test_set: TestSet, kept: Path, folder: Path, failed: Sequence[Mapping[str, Any]] = ()
) -> list[Path]:
    """Draw ``mistakes_<test set>_<detector>.png`` for each detector; parameters are those of :func:`pictures`."""
    made = []
    for label, detector in _with_mask(detectors, test_set, failed).items():
        frames = ((load_labelled(frame), read_mask(cached_result(detector, frame, kept))) for frame in test_set.folders)
        figure = mistakes_figure(frames, f"{label} on {test_set.name} ({test_set.provenance})")
        made.append(save_figure(figure, folder / f"{file_name('mistakes', test_set.name, label)}.png"))
    return made


def _with_mask(
    detectors: Sequence[Detector], test_set: TestSet, failed: Sequence[Mapping[str, Any]]
) -> dict[str, Detector]:
    """Label the detectors that did not fail on a test set."""
    without = {entry["detector"] for entry in failed if entry["test_set"] == test_set.name}
    names = labels(DetectorRecord.of(detector) for detector in detectors)
    return {names[r]: d for d in detectors if (r := DetectorRecord.of(d)) not in without}


def features(detectors: Sequence[Detector], test_set: TestSet, folder: Path) -> list[Path]:
    """Draw the maps of each U-Net in one tile: layers in ``features_...png``, gates in ``attention_...png``.

    The tile is the one with the most hits, in the frame with the most core pixels of the first band.
    """
    labelled = load_labelled(next(iter(busiest_frames(test_set).values())))
    made = []
    names = labels(DetectorRecord.of(detector) for detector in detectors)
    for detector in filter(has_features, detectors):
        cut = busiest([np.array(labelled.truth) == CORE], min(SIDE, detector.predictor.tile or SIDE))
        frame, truth = frame_of(labelled).cut(*cut, labelled.facts["name"]), np.array(labelled.truth[cut])
        maps = feature_maps(detector, frame)
        label = names[DetectorRecord.of(detector)]
        title = f"{label}: {frame.name}, {_about(test_set, labelled)}"
        figures = {"features": features_figure(frame.image, truth, maps, title)}
        if maps.attention:
            figures["attention"] = attention_figure(frame.image, truth, maps, title)
        made += [save_figure(f, folder / f"{file_name(kind, test_set.name, label)}.png") for kind, f in figures.items()]
    return made


def _about(test_set: TestSet, labelled: LabelledFrame) -> str:
    """Describe a test set, its data origin and whether its truth is dilated, for the title of a figure."""
    truth = "truth dilated 3x3" if truth_is_dilated(labelled) else "truth not dilated"
    return f"{test_set.name} ({test_set.provenance}); {truth}"


def busiest_frames(test_set: TestSet) -> dict[str, Path]:
    """Find the frame with the most core pixels of each band: band -> folder of the frame."""
    most: dict[str, tuple[int, Path]] = {}
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        band, core = labelled.facts["band"], int((labelled.truth == CORE).sum())
        if band not in most or core > most[band][0]:
            most[band] = core, folder
    return {band: folder for band, (_, folder) in most.items()}
