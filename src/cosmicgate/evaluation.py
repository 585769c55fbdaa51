"""Judge detectors on test sets: counts frame by frame, kept on disk, then the scores of every table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm.auto import tqdm

from cosmicgate.data.decam import TestSet
from cosmicgate.data.frames import Frame
from cosmicgate.data.store import Labelled, digest, load_labelled
from cosmicgate.detectors import Detection, Detector
from cosmicgate.files import whole
from cosmicgate.hits import match_hits
from cosmicgate.metrics import Curves, LogitHistogram, Scores, counts_from_mask
from cosmicgate.panels import masks_figure, save_figure
from cosmicgate.truth import CORE, Convention

CONVENTIONS: tuple[Convention, ...] = ("dilated", "core")
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameResult:
    """One detector on one frame.

    Attributes
    ----------
    settings : ndarray (P,), float64
        Operating points of a detector without scores; empty for a network.
    counts : ndarray (P, 3, 2) or (3, bins), int64
        Sky, core and ring pixels: of each operating point, or by logit.
    at_threshold : ndarray (3, 2), int64
        The same at the detector's own threshold.
    found, hits, false_hits : int
        Hits found, hits in the truth, predictions that are none; at the threshold.
    """

    settings: NDArray[np.float64]
    counts: Counts
    at_threshold: Counts
    found: int
    hits: int
    false_hits: int


def evaluate(detectors: Sequence[Detector], test_sets: Sequence[TestSet], kept: Path) -> list[dict[str, Any]]:
    """Return a row of ``results.json`` for each test set and detector.

    Parameters
    ----------
    detectors, test_sets
        Every one on every other; memory does not grow with the number of frames.
    kept : Path
        Folder of finished (detector, frame) results: an evaluation that was stopped goes on behind them.
    """
    rows = []
    for test_set in test_sets:
        for detector in detectors:
            progress = tqdm(test_set.folders, desc=f"{detector.title} on {test_set.name}", unit="frame")
            rows.append(row(detector, test_set, [_kept_result(detector, folder, kept) for folder in progress]))
    return rows


def frame_of(labelled: Labelled) -> Frame:
    """Return the frame that a detector is shown: the image and what its header says, without the truth."""
    facts = labelled.facts
    return Frame(
        image=np.array(labelled.image),
        gain=facts["gain"],
        read_noise=facts["read_noise"],
        saturation=facts["saturation"],
        exptime=facts["exptime"],
        band=facts["band"],
        name=facts["name"],
    )


def judge(detector: Detector, labelled: Labelled) -> FrameResult:
    """Score a detector on one frame."""
    truth = np.array(labelled.truth)
    detection = detector.detect(frame_of(labelled))
    mask = mask_at(detection, detector.threshold)
    hits = match_hits(truth, mask)
    settings = np.array(sorted(detection.masks))
    if detection.logits is not None:
        histogram = LogitHistogram()
        histogram.update(detection.logits, torch.from_numpy(truth))
        counts = histogram.compute().numpy()
    else:
        counts = np.stack([counts_from_mask(detection.masks[setting], truth) for setting in settings])
    found, false = int(hits.found.sum()), hits.false_hits
    return FrameResult(settings, counts, counts_from_mask(mask, truth), found, hits.found.size, false)


def mask_at(detection: Detection, threshold: float) -> NDArray[np.bool_]:
    """Return the mask (H, W) of a detection at a probability or at one of its settings."""
    if detection.logits is not None:
        return np.asarray((detection.logits.sigmoid() >= threshold).numpy())
    return detection.masks[threshold]


def row(detector: Detector, test_set: TestSet, results: Sequence[FrameResult]) -> dict[str, Any]:
    """Add up the frames and return their scores, as plain values."""
    counts = np.sum([r.counts for r in results], axis=0)
    at_threshold = np.sum([r.at_threshold for r in results], axis=0)
    hits, found = sum(r.hits for r in results), sum(r.found for r in results)
    pixels = int(at_threshold.sum())
    content: dict[str, Any] = {
        "test_set": test_set.name,
        "provenance": test_set.provenance,
        "detector": detector.title,
        "trained_on": detector.trained_on,
        "threshold": detector.threshold,
        "frames": len(results),
        "pixels": pixels,
        "hits": hits,
    }
    curves = {}
    for convention in CONVENTIONS:
        scores = Curves.from_counts(at_threshold, convention).at_threshold(0.5)
        if results[0].settings.size:
            content[convention], curves[convention] = _swept(counts, convention, scores)
        else:
            content[convention], curves[convention] = _scored(counts, convention, scores)
    content["per_hit"] = _plain(
        {"recall": found / hits if hits else math.nan, "false_per_megapixel": _false_rate(results, pixels)}
    )
    return content | {"curves": curves}


def _false_rate(results: Sequence[FrameResult], pixels: int) -> float:
    return 1e6 * sum(r.false_hits for r in results) / pixels if pixels else math.nan


def _scored(counts: Counts, convention: Convention, scores: Scores) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and curves of a detector with a score for every pixel."""
    curves = Curves.from_counts(counts, convention)
    values = {
        "tpr_at_fpr_0.01pct": curves.tpr_at_fpr(1e-4),
        "tpr_at_fpr_0.1pct": curves.tpr_at_fpr(1e-3),
        "precision_at_tpr_95pct": curves.precision_at_tpr(0.95),
        "roc_auc": curves.roc_auc(),
        "average_precision": curves.average_precision(),
    }
    (fpr, tpr), (recall, precision) = curves.roc(500), curves.pr(500)
    return _plain(values | _of_mask(scores)), _plain_curve(fpr, tpr, recall, precision)


def _swept(counts: Counts, convention: Convention, scores: Scores) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores and curves of a detector that was run at several settings: straight lines between them, none beyond."""
    points = [Curves.from_counts(c, convention).at_threshold(0.5) for c in counts]
    points = sorted((p for p in points if math.isfinite(p.fpr) and math.isfinite(p.recall)), key=lambda p: p.fpr)
    fpr, tpr = np.array([p.fpr for p in points]), np.array([p.recall for p in points])
    precision = np.array([p.precision for p in points])
    by_tpr = np.argsort(tpr, kind="stable")

    def between(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
        return float(np.interp(x, xs, ys)) if xs.size and xs[0] <= x <= xs[-1] else math.nan

    values = {
        "tpr_at_fpr_0.01pct": between(1e-4, fpr, tpr),
        "tpr_at_fpr_0.1pct": between(1e-3, fpr, tpr),
        "precision_at_tpr_95pct": between(0.95, tpr[by_tpr], precision[by_tpr]),
        "roc_auc": math.nan,
        "average_precision": math.nan,
    }
    return _plain(values | _of_mask(scores)), _plain_curve(fpr, tpr, tpr, precision)


def _of_mask(scores: Scores) -> dict[str, float]:
    return {"f1": scores.f1, "iou": scores.iou, "fdr": scores.fdr}


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _plain_curve(*columns: NDArray[np.float64]) -> dict[str, list[float | None]]:
    names = ("fpr", "tpr", "recall", "precision")
    return {
        name: [float(v) if math.isfinite(v) else None for v in column]
        for name, column in zip(names, columns, strict=True)
    }


def _kept_result(detector: Detector, folder: Path, kept: Path) -> FrameResult:
    path = kept / f"{folder.name}-{digest([detector.identity, detector.threshold])}.npz"
    if path.is_file():
        with np.load(path) as stored:
            numbers = [int(n) for n in stored["numbers"]]
            return FrameResult(stored["settings"], stored["counts"], stored["at_threshold"], *numbers)
    result = judge(detector, load_labelled(folder))
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            settings=result.settings,
            counts=result.counts,
            at_threshold=result.at_threshold,
            numbers=[result.found, result.hits, result.false_hits],
        )
    return result


def picture(detectors: Sequence[Detector], test_set: TestSet, folder: Path) -> Path:
    """Draw the frame with the most core pixels, its truth and each detector's mask."""
    chosen = max(test_set.folders, key=lambda path: int((load_labelled(path).truth == CORE).sum()))
    labelled = load_labelled(chosen)
    frame = frame_of(labelled)
    masks = {d.title: mask_at(d.detect(frame), d.threshold) for d in detectors}
    title = f"{frame.name} ({test_set.provenance})"
    figure = masks_figure(frame.image, np.array(labelled.truth), masks, title)
    return save_figure(figure, folder / f"masks_{test_set.name}.png")
