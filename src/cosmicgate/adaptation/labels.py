"""Label the exposures of a plan by comparison, and split them into training, validation and test."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.adaptation.corrections import correct, read_manual_labels
from cosmicgate.adaptation.plan import Plan
from cosmicgate.data.labelled_exposures import PEDESTAL
from cosmicgate.data.labelling.fields import Field, has_pedestal, skies_of
from cosmicgate.data.labelling.multi_exposure import Comparison, read_exposure
from cosmicgate.data.labelling.same_camera import make_names_unique
from cosmicgate.data.lco.io import ENDING, IGNORE_HOT, IGNORE_STATIC, Exposure, MaskedSequence, write_sequence
from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.sources.frames_with_truth import mark_negative_pixels, median_dark, subtract_dark
from cosmicgate.data.splits import SPLITS, Split, split_exposures
from cosmicgate.io.atomic import remove_stale_temp_files, write_json
from cosmicgate.io.fits.instruments import detector_of
from cosmicgate.io.messages import with_progress
from cosmicgate.masking.compare_frames import find_static_pixels, measure_exposure
from cosmicgate.masking.static_pixels import MIN_FRAMES, StaticPixels

FRACTIONS = {"train": 0.6, "validation": 0.15, "test": 0.25}  # of the fields, or of the exposures of few fields
STATIC_FOLDER = "static"  # in the folder of the labels: what was measured of each exposure to find static pixels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledSplits:
    """Labelled exposures and their splits.

    Attributes
    ----------
    records : mapping of str to mapping
        For each field: ``exposures`` (name, hits, pixels, ignored), ``notes`` of the comparison, or ``failed``, the
        reason why it could not be compared. ``static``: number of static pixels, if all exposures were compared.
    exposures : mapping of split to mapping
        For each split: name of a field -> numbers of its exposures.
    skies : mapping of str to str
        Name of the sky of each field, which several may share.
    """

    records: Mapping[str, Any]
    exposures: Mapping[Split, Mapping[str, list[int]]]
    skies: Mapping[str, str]

    @property
    def held_out(self) -> dict[str, list[str]]:
        """Names of the exposures of validation and test, which are not trained on."""
        return {
            which: [
                self.records[field]["exposures"][number]["name"]
                for field, numbers in self.exposures[which].items()
                for number in numbers
            ]
            for which in SPLITS[1:]
        }

    @property
    def lines(self) -> list[str]:
        """Describe the hits found, what is left out, and the exposures of each split, a line each."""
        lines = []
        for name, record in self.records.items():
            if "failed" in record:
                continue
            hits = ", ".join(str(exposure["hits"]) for exposure in record["exposures"])
            ignored = float(np.mean([exposure["ignored"] for exposure in record["exposures"]]))
            static = f"{record['static']} static pixels, " if "static" in record else ""
            lines += [
                f"labelled {name}: {hits} hits, {static}{ignored:.1%} of the pixels are sources, edges or not known",
                *(f"  {note}" for note in record["notes"]),
            ]
        failed = {name: record["failed"] for name, record in self.records.items() if "failed" in record}
        lines += [f"left out: {name}: {reason}" for name, reason in failed.items()]
        trained, tested = ({self.skies[field] for field in self.exposures[which]} for which in ("train", "test"))
        for which, names in self.held_out.items():
            lines.append(f"held out for {which}: {len(names)} exposure(s): {', '.join(names)}")
        if trained & tested:
            lines.append("note: few fields: other exposures of the held-out sky are trained on, with the same stars")
        return lines


def label(plan: Plan, folder: Path) -> LabelledSplits:
    """Label the exposures of each field that is not labelled yet, and split them.

    Raises
    ------
    ValueError
        If no field can be compared; the message says why.
    """
    remove_stale_temp_files(folder, folder / STATIC_FOLDER)
    records = {}
    static = _static_pixels(plan, folder)
    for field in with_progress(plan.usable, "labels", "labelled", "field"):
        file = folder / f"{field.name}.json"  # written last: marks a labelled field
        if not file.is_file():
            write_json(file, _label_field(plan, field, folder / f"{field.name}{ENDING}", static))
        records[field.name] = json.loads(file.read_text())
    labelled = {name: len(record["exposures"]) for name, record in records.items() if "failed" not in record}
    if not labelled:
        reasons = "; ".join(f"{name}: {record['failed']}" for name, record in records.items())
        raise ValueError(f"no field could be compared: {reasons}")
    skies, rng = skies_of(plan.usable), random_stream("splits of exposures", plan.request.seed)
    return LabelledSplits(records, split_exposures(labelled, FRACTIONS, rng, skies), skies)


def _static_pixels(plan: Plan, folder: Path) -> StaticPixels:
    """Compare all exposures of the plan, unless every field is labelled; what was measured of an exposure is kept."""
    exposures = [exposure for field in plan.fields for exposure in field.exposures]
    labelled = all((folder / f"{field.name}.json").is_file() for field in plan.usable)
    if labelled or not plan.request.static or len(exposures) < MIN_FRAMES:
        return StaticPixels()
    header_overrides: dict[str, Any] = dict(plan.request.header_overrides)
    measured = {}
    for number, summary in enumerate(with_progress(exposures, "static pixels", "measured", "exposure")):
        path, kept = Path(summary.path), folder / STATIC_FOLDER / f"{number}.npz"
        if not kept.is_file():
            exposure = read_exposure(path, plan.request.ext, **header_overrides)
            # The name of the file alone: a camera that no header names is not another one in the folder of each night.
            detector = detector_of([exposure.header], Path(path.name), exposure.frame.shape)
            measure_exposure(exposure.frame, detector, kept)
        measured[path] = kept
    found = find_static_pixels(measured)
    log.info(found.line)
    return found


def _label_field(plan: Plan, field: Field, file: Path, static: StaticPixels) -> dict[str, Any]:
    """Compare the exposures of a field, write their labels, and describe them."""
    header_overrides: dict[str, Any] = dict(plan.request.header_overrides)
    exposures = make_names_unique(
        [read_exposure(Path(each.path), plan.request.ext, **header_overrides) for each in field.exposures]
    )
    subtracted, level = _subtract_darks(plan, field, exposures)
    comparison = Comparison(align=plan.request.align)
    try:
        found = comparison(subtracted)
    except ValueError as error:
        return {"failed": str(error)}
    none = np.zeros(exposures[0].frame.shape, bool)  # for a detector with too few exposures to be compared
    maps = [next((m.mask for m in static.maps_for_file(Path(each.path)).values()), none) for each in field.exposures]
    if compared := any(mask is not none for mask in maps):
        found = without_static(found, maps, comparison.min_size)
    paths = {correction["frame"]: Path(correction["path"]) for correction in plan.corrections}
    ext = plan.request.ext
    manual = [
        read_manual_labels(Path(e.path), paths[e.path], ext) if e.path in paths else None for e in field.exposures
    ]
    found = correct(found, manual)  # last: manual labels also replace those of static pixels
    labelled = replace(found, exposures=tuple(_mark_bad_pixels(exposure, level) for exposure in exposures))
    write_sequence(labelled, file, {"ORIGIN": ("CosmicGate", "labels by comparison")})
    counts = {"static": max(int(mask.sum()) for mask in maps)} if compared else {}
    return {"exposures": _counts(labelled), "notes": list(found.notes)} | counts


def _subtract_darks(plan: Plan, field: Field, exposures: list[Exposure]) -> tuple[list[Exposure], float | None]:
    """Subtract the darks from raw exposures, or only the level of the darks if none has the exposure time.

    Returns the exposures and the dark level (counts) that was subtracted, which is not light of the sky; None if
    nothing was subtracted: the exposures are reduced, or there are no darks.
    """
    first = exposures[0].frame
    level = plan.dark_level(first.exptime)
    raw = all(has_pedestal(one.sky, one.noise, level) for one in field.exposures)
    if not plan.darks or not raw:
        return exposures, None
    if darks := plan.matching_darks(first.exptime):
        dark = median_dark(darks, first, plan.request.ext, **plan.request.header_overrides)
        subtracted = [replace(e, frame=mark_negative_pixels(subtract_dark(e.frame, dark))) for e in exposures]
        return subtracted, float(np.nanmedian(dark))
    constant = np.full(first.shape, level, np.float32)
    return [replace(e, frame=subtract_dark(e.frame, constant)) for e in exposures], level


def without_static(labelled: MaskedSequence, maps: Sequence[NDArray[np.bool_]], min_size: int) -> MaskedSequence:
    """Mark static pixels (H, W) of each exposure as static, not as hits.

    Objects of which fewer than ``min_size`` pixels lie outside static pixels and their neighbours are removed too:
    their charge is that of the static pixels.
    """
    hits, ignore = [], []
    for found, ignored, static in zip(labelled.hits, labelled.ignore, maps, strict=True):
        objects, count = ndimage.label(found, KERNEL_3X3)
        beyond = ~ndimage.binary_dilation(static, KERNEL_3X3)
        sizes = np.bincount(objects[beyond], minlength=count + 1)
        with_static = np.bincount(objects[static], minlength=count + 1) > 0
        hot = found & (with_static & (sizes < min_size))[objects]
        hits.append(found & ~static & ~hot)
        ignore.append(ignored | np.uint8(IGNORE_HOT) * (static | hot) | np.uint8(IGNORE_STATIC) * static)
    return replace(labelled, hits=tuple(hits), ignore=tuple(ignore))


def _mark_bad_pixels(exposure: Exposure, pedestal: float | None) -> Exposure:
    """Mark the bad pixels of an exposure by NaN, and write the level of its darks into its header."""
    header, frame = exposure.header.copy(), exposure.frame
    header.remove(PEDESTAL, ignore_missing=True, remove_all=True)
    if pedestal is not None:
        header[PEDESTAL] = (pedestal, "level of the darks, ADU")
    return Exposure(replace(frame, image=np.where(frame.bad, np.float32(np.nan), frame.image)), header)


def _counts(labelled: MaskedSequence) -> list[dict[str, Any]]:
    return [
        {
            "name": exposure.frame.name,
            "hits": int(ndimage.label(hits, KERNEL_3X3)[1]),
            "pixels": int(hits.sum()),
            "ignored": float(np.mean(ignore > 0)),
        }
        for exposure, hits, ignore in zip(labelled.exposures, labelled.hits, labelled.ignore, strict=True)
    ]
