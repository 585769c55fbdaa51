"""From the counts of frames to the scores of a table's row, and how far they would move with other frames."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.evaluation.bootstrap import above_zero, interval, resamples, sums
from cosmicgate.evaluation.hits import LENGTHS, SNRS
from cosmicgate.evaluation.judging import Counts, FrameResult
from cosmicgate.metrics import Curves
from cosmicgate.truth import CORE, RING, SKY, Convention

CONVENTIONS: tuple[Convention, ...] = ("dilated", "core")
Values = dict[str, dict[str, float]]  # "dilated", "core" or "per_hit" -> score -> value


@dataclass(frozen=True, eq=False)
class Scored:
    """A detector on a test set.

    Attributes
    ----------
    content : dict
        Scores, their intervals and curves as plain values: the part of a row of ``results.json`` that is counted.
    values : mapping
        The scores again, NaN for those that could not be computed.
    draws : mapping of the same form, to ndarray (draws,)
        Each score in each draw of the frames.
    """

    content: dict[str, Any]
    values: Values
    draws: dict[str, dict[str, NDArray[np.float64]]]


def score(results: Sequence[FrameResult]) -> Scored:
    """Add up the frames and score the sum; then the frames of each draw, likewise."""
    if len({r.settings.tobytes() for r in results}) != 1:
        raise ValueError(f"expected frames that were run at the same settings, got {len(results)} frames of several")
    swept = results[0].settings.size > 0
    counts = np.stack([r.counts for r in results])
    if not swept:  # bins that are empty in every frame make no step in a curve
        used = np.flatnonzero(counts.any(axis=(0, 1)))
        counts = counts[..., used if used.size else [0]]
    at_threshold = np.stack([r.at_threshold for r in results])
    by_length, by_snr = (np.stack([getattr(r, name) for r in results]) for name in ("by_length", "by_snr"))
    false_hits = np.stack([r.false_hits for r in results])
    parts = (counts, at_threshold, by_length, false_hits)

    values = _values(swept, *(part.sum(axis=0) for part in parts))
    weights = resamples(len(results))
    drawn = [_values(swept, *totals) for totals in zip(*(sums(weights, part) for part in parts), strict=True)]
    draws = {part: {key: np.array([d[part][key] for d in drawn]) for key in values[part]} for part in values}

    content: dict[str, Any] = {
        "frames": len(results),
        "pixels": int(at_threshold.sum()),
        "hits": int(by_length[..., 0].sum()),
        **{part: plain(scores) for part, scores in values.items()},
    }
    content["per_hit"] |= {
        "by_length": _classes(by_length, weights, [(a, b and b - 1) for a, b in _spans(LENGTHS)]),
        "by_snr": _classes(by_snr, weights, _spans(SNRS)),
    }
    content["intervals"] = {part: {key: interval(d) for key, d in draws[part].items()} for part in draws}
    content["intervals"]["draws"] = len(weights)
    content["curves"] = {name: _curves(swept, counts.sum(axis=0), name) for name in CONVENTIONS}
    return Scored(content, values, draws)


def difference(a: Scored, b: Scored) -> dict[str, Any]:
    """Return how much better ``a`` scores than ``b`` on the same frames, draw by draw of the same draws."""
    parts: dict[str, Any] = {}
    for part, scores in a.values.items():
        parts[part] = {}
        for key, value in scores.items():
            drawn = a.draws[part][key] - b.draws[part][key]
            parts[part][key] = plain({"difference": value - b.values[part][key]}) | {
                "interval": interval(drawn),
                "above_zero": above_zero(drawn),
            }
    return parts


def plain(values: Mapping[str, float]) -> dict[str, Any]:
    """Return the values as JSON has them: None for what could not be computed."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _values(swept: bool, counts: Counts, at_threshold: Counts, by_length: Counts, false_hits: Counts) -> Values:
    """Every score of a sum of frames."""
    scores: Values = {}
    for name in CONVENTIONS:
        scores[name] = (_swept if swept else _scored)(counts, name)
        mask = Curves.from_counts(at_threshold, name).at_threshold(0.5)
        scores[name] |= {"f1": mask.f1, "iou": mask.iou, "fdr": mask.fdr}
    (hits, found), pixels = by_length.sum(axis=0), at_threshold.sum()
    scores["per_hit"] = {
        "recall": float(found / hits) if hits else math.nan,
        "false_per_megapixel": float(1e6 * false_hits / pixels) if pixels else math.nan,
    }
    return scores


def _scored(counts: Counts, convention: Convention) -> dict[str, float]:
    """Scores of a detector that says something of every pixel."""
    curves = Curves.from_counts(counts, convention)
    return {
        "tpr_at_fpr_0.01pct": curves.tpr_at_fpr(1e-4),
        "tpr_at_fpr_0.1pct": curves.tpr_at_fpr(1e-3),
        "precision_at_tpr_95pct": curves.precision_at_tpr(0.95),
        "roc_auc": curves.roc_auc(),
        "average_precision": curves.average_precision(),
    }


def _swept(counts: Counts, convention: Convention) -> dict[str, float]:
    """Scores of a detector that was run at several settings: straight lines between them, nothing beyond."""
    fpr, tpr, precision = _points(counts, convention)
    by_tpr = np.lexsort((precision, tpr))
    return {
        "tpr_at_fpr_0.01pct": _between(1e-4, fpr, tpr),
        "tpr_at_fpr_0.1pct": _between(1e-3, fpr, tpr),
        "precision_at_tpr_95pct": _between(0.95, tpr[by_tpr], precision[by_tpr]),
        "roc_auc": math.nan,
        "average_precision": math.nan,
    }


def _points(counts: Counts, convention: Convention) -> tuple[NDArray[np.float64], ...]:
    """Operating points (P, 3, 2) -> their FPR, rising, TPR and precision (P,); none without positives or negatives."""
    positive = counts[:, CORE] + counts[:, RING] if convention == "dilated" else counts[:, CORE]
    sky, (tp, fp) = counts[:, SKY], (positive[:, 1], counts[:, SKY, 1])
    if not (positive.sum() and sky.sum()):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    fpr, tpr = fp / sky.sum(axis=1), tp / positive.sum(axis=1)
    precision = np.divide(tp, tp + fp, out=np.full(len(tp), np.nan), where=tp + fp > 0)
    order = np.lexsort((tpr, fpr))
    return fpr[order], tpr[order], precision[order]


def _between(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    return float(np.interp(x, xs, ys)) if xs.size and xs[0] <= x <= xs[-1] else math.nan


def _curves(swept: bool, counts: Counts, convention: Convention) -> dict[str, list[float | None]]:
    """At most 500 points of the ROC and of the precision-recall curve."""
    if swept:
        fpr, tpr, precision = _points(counts, convention)
        recall = tpr
    else:
        curves = Curves.from_counts(counts, convention)
        (fpr, tpr), (recall, precision) = curves.roc(500), curves.pr(500)
    columns = {"fpr": fpr, "tpr": tpr, "recall": recall, "precision": precision}
    return {name: [float(v) if math.isfinite(v) else None for v in column] for name, column in columns.items()}


def _spans(starts: Sequence[float]) -> list[tuple[float | None, float | None]]:
    """Where classes begin and end; None where nothing limits them."""
    ends = [*starts[1:], math.inf]
    return [
        (a if math.isfinite(a) else None, b if math.isfinite(b) else None) for a, b in zip(starts, ends, strict=True)
    ]


def _classes(
    counts: Counts, weights: NDArray[np.float64], spans: Sequence[tuple[float | None, float | None]]
) -> list[dict[str, Any]]:
    """Hits and hits found (frames, classes, 2) -> an entry for each class, with the interval of its recall."""
    total = counts.sum(axis=0)
    drawn = np.array([_recall(c) for c in sums(weights, counts)]).reshape(-1, len(total))
    return [
        {"from": start, "to": end, "hits": int(hits), "found": int(found), "interval": interval(drawn[:, k])}
        for k, ((start, end), (hits, found)) in enumerate(zip(spans, total, strict=True))
    ]


def _recall(counts: Counts) -> NDArray[np.float64]:
    hits, found = counts.T
    return np.asarray(np.divide(found, hits, out=np.full(len(hits), np.nan), where=hits > 0))
