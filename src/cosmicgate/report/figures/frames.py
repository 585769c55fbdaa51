"""Draw frames of a test set with the masks of detectors, and with the feature maps of networks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cosmicgate.data.cache import LabelledFrame, load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, IGNORED
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.frame_results import cached_result, frame_of, read_mask, truth_is_dilated
from cosmicgate.evaluation.records import DetectorRecord, figure_titles
from cosmicgate.report.figures.errors import errors_figure
from cosmicgate.report.figures.feature_maps import attention_figure, feature_maps, features_figure, has_features
from cosmicgate.report.figures.mask_figures import busiest, file_name, masks_figure, save_figure

log = logging.getLogger(__name__)

SIDE = 256  # side in pixels of the image whose feature maps are shown
Drawn = Iterator[tuple[str, Figure]]  # name of the file without its suffix, figure


def draw(
    detectors: Sequence[Detector],
    test_sets: Sequence[TestSet],
    run: Path,
    failed: Sequence[Mapping[str, Any]] = (),
    masks: bool = True,
    errors: bool = False,
    maps: bool | Sequence[str] = False,
) -> list[Path]:
    """Draw the figures of each test set into the report of a run, and return their paths.

    A detector that ``failed`` on a test set (as in ``results.json``) has no mask there. ``maps`` says of which networks
    feature maps are drawn: of all, of none, or of those with these names.
    """
    records = {DetectorRecord.of(detector): detector for detector in detectors}
    networks = [record.name for record, detector in records.items() if has_features(detector)]
    names = networks if maps is True else maps or ()
    if wrong := [name for name in names if name not in networks]:
        log.warning(
            "draw_feature_maps: no network here is called %r; there are %s", wrong[0], ", ".join(networks) or "none"
        )
    shown = figure_titles(records)
    made = []
    for test_set in test_sets:
        without = [entry["detector"] for entry in failed if entry["test_set"] == test_set.name]
        with_mask = {shown[record]: detector for record, detector in records.items() if record not in without}
        drawn = [masks_of(with_mask, test_set, run / "frames")] if masks else []
        drawn += [errors_of(with_mask, test_set, run / "frames")] if errors else []
        drawn += [feature_map_figures(d, shown[r], test_set) for r, d in records.items() if r.name in names]
        made += [save_figure(figure, run / "report" / f"{name}.png") for figures in drawn for name, figure in figures]
    return made


def masks_of(detectors: Mapping[str, Detector], test_set: TestSet, cache: Path) -> Drawn:
    """Draw the busiest frame of each band: image, truth, and mask of each detector under its label.

    The title says whether the truth is dilated, and the label of each mask whether the mask is. ``cache`` is the folder
    of cached results.
    """
    chosen = busiest_frames(test_set)
    for band, frame in chosen.items():
        labelled = load_labelled(frame)
        if (labelled.truth == IGNORED).all():
            continue
        masks = {
            label + ", dilated 3x3" * (detector.dilate_masks and truth_is_dilated(labelled)): _mask(
                detector, frame, cache
            )
            for label, detector in detectors.items()
        }
        title = f"{labelled.facts['name']}, {band or 'no'} band, {_about(test_set, labelled)}"
        figure = masks_figure(np.array(labelled.image), np.array(labelled.truth), masks, title)
        yield file_name("masks", test_set.name, *[band] * (len(chosen) > 1)), figure


def errors_of(detectors: Mapping[str, Detector], test_set: TestSet, cache: Path) -> Drawn:
    """Draw what each detector misses and falsely marks; parameters are those of :func:`masks_of`."""
    for label, detector in detectors.items():
        frames = ((load_labelled(frame), _mask(detector, frame, cache)) for frame in test_set.folders)
        figure = errors_figure(frames, f"{label} on {test_set.name} ({test_set.data_origin})")
        yield file_name("errors", test_set.name, label), figure


def feature_map_figures(detector: Detector, label: str, test_set: TestSet) -> Drawn:
    """Draw the layers and the gates of a U-Net in one tile; no figure for a detector of another kind.

    The tile is the one with the most hits, in the frame with the most core pixels of the first band.
    """
    if not has_features(detector):
        return
    labelled = load_labelled(next(iter(busiest_frames(test_set).values())))
    cut = busiest([np.array(labelled.truth) == CORE], min(SIDE, detector.predictor.tile or SIDE))
    frame, truth = frame_of(labelled).cut(*cut, labelled.facts["name"]), np.array(labelled.truth[cut])
    maps = feature_maps(detector, frame)
    shown = frame.image, truth, maps, f"{label}: {frame.name}, {_about(test_set, labelled)}"
    yield file_name("features", test_set.name, label), features_figure(*shown)
    if maps.attention:
        yield file_name("attention", test_set.name, label), attention_figure(*shown)


def _mask(detector: Detector, frame: Path, cache: Path) -> NDArray[np.bool_]:
    return read_mask(cached_result(detector, frame, cache))


def _about(test_set: TestSet, labelled: LabelledFrame) -> str:
    """Describe a test set, its data origin and whether its truth is dilated, for the title of a figure."""
    truth = "truth dilated 3x3" if truth_is_dilated(labelled) else "truth not dilated"
    return f"{test_set.name} ({test_set.data_origin}); {truth}"


def busiest_frames(test_set: TestSet) -> dict[str, Path]:
    """Find the frame with the most core pixels of each band: band -> folder of the frame."""
    most: dict[str, tuple[int, Path]] = {}
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        band, core = labelled.facts["band"], int((labelled.truth == CORE).sum())
        if band not in most or core > most[band][0]:
            most[band] = core, folder
    return {band: folder for band, (_, folder) in most.items()}
