"""Compute scores of a test set from the counts of its frames, with bootstrap intervals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.pixel_labels import CORE, RING, SKY, Convention
from cosmicgate.evaluation.bootstrap import above_zero, interval, resamples, sums
from cosmicgate.evaluation.frame_results import Counts, FrameResult
from cosmicgate.evaluation.hits import LENGTHS, SNRS
from cosmicgate.evaluation.operating_points import recall_at_false_rates, recall_between_settings
from cosmicgate.metrics import Curves

CONVENTIONS: tuple[Convention, ...] = ("dilated", "core")
TPR_AT_FPR = {"tpr_at_fpr_0.001pct": 1e-5, "tpr_at_fpr_0.01pct": 1e-4, "tpr_at_fpr_0.1pct": 1e-3}
Values = dict[str, dict[str, float]]  # "dilated", "core" or "per_hit" -> score -> value


class Totals(NamedTuple):
    """Counts that scores are computed from: those of each field, or their sum (:class:`FrameResult` describes them)."""

    counts: Counts
    at_threshold: Counts
    by_length: Counts
    false_hits: Counts
    objects: Counts
    stars: Counts
    hot_pixels: Counts


@dataclass(frozen=True, eq=False)
class TestSetScores:
    """Scores of one detector on one test set.

    Attributes
    ----------
    content : dict
        Scores, intervals and curves as plain values, for a row of ``results.json``.
    values : mapping
        The same scores, NaN where undefined.
    samples : mapping of the same keys to ndarray (samples,)
        Each score in each bootstrap sample of the frames, or of their fields.
    """

    __test__ = False  # keeps pytest from collecting this class

    content: dict[str, Any]
    values: Values
    samples: dict[str, dict[str, NDArray[np.float64]]]


def score(results: Sequence[FrameResult], fields: Sequence[str] | None = None) -> TestSetScores:
    """Compute the scores of the summed counts of all frames, and of those of each bootstrap sample.

    Parameters
    ----------
    results : sequence of FrameResult
        Counts of each frame.
    fields : sequence of str, optional
        Name of the field of each frame: frames of one field share their sky and are resampled together. None makes each
        frame its own field.
    """
    if len({r.settings.tobytes() for r in results}) != 1:
        raise ValueError(f"expected frames that were run at the same settings, got {len(results)} frames of several")
    swept = results[0].settings.size > 0
    number = {name: n for n, name in enumerate(dict.fromkeys(fields or range(len(results))))}
    place = np.array([number[name] for name in fields or range(len(results))])
    fields_of = Totals(*(_by_field([getattr(r, name) for r in results], place) for name in Totals._fields))
    bins = np.arange(0)
    if not swept:  # bins that are empty in every frame do not change the curves
        used = np.asarray(fields_of.counts.any(axis=(0, 1)))
        used[-1] = True  # the curves have no points within the highest bin
        bins = np.flatnonzero(fields_of.objects.any(axis=(0, 1)))
        fields_of = fields_of._replace(counts=fields_of.counts[..., used], objects=fields_of.objects[..., bins])
    totals = Totals(*(part.sum(axis=0) for part in fields_of))

    values = _values(swept, bins, totals)
    weights = resamples(len(number))
    resampled = [
        _values(swept, bins, Totals(*parts)) for parts in zip(*(sums(weights, part) for part in fields_of), strict=True)
    ]
    samples = {part: {key: np.array([d[part][key] for d in resampled]) for key in values[part]} for part in values}

    content: dict[str, Any] = {
        "frames": len(results),
        **({"fields": len(number)} if len(number) < len(results) else {}),
        "pixels": int(totals.at_threshold.sum()),
        "hits": int(totals.by_length[:, 0].sum()),
        **{part: to_json(scores) for part, scores in values.items()},
    }
    by_snr = _by_field([r.by_snr for r in results], place)
    content["per_hit"] |= {
        "by_length": _classes(fields_of.by_length, weights, [(a, b and b - 1) for a, b in _spans(LENGTHS)]),
        "by_snr": _classes(by_snr, weights, _spans(SNRS)),
    }
    if totals.stars.any():
        content["per_hit"]["stars_by_snr"] = _classes(fields_of.stars, weights, _spans(SNRS), ("stars", "masked"))
    content["intervals"] = {part: {key: interval(d) for key, d in samples[part].items()} for part in samples}
    content["intervals"]["draws"] = len(weights)
    content["curves"] = {name: _curves(swept, totals.counts, name) for name in CONVENTIONS}
    return TestSetScores(content, values, samples)


def _by_field(parts: Sequence[Counts], place: NDArray[np.intp]) -> Counts:
    """Sum the counts of the frames of each field: (fields, ...)."""
    totals = np.zeros((int(place.max()) + 1, *parts[0].shape), np.int64)
    np.add.at(totals, place, np.stack(parts))
    return totals


def difference(a: TestSetScores, b: TestSetScores) -> dict[str, Any]:
    """Compute the differences of scores, ``a`` minus ``b``, with intervals by paired bootstrap on the same frames."""
    parts: dict[str, Any] = {}
    for part, scores in a.values.items():
        parts[part] = {}
        for key, value in scores.items():
            differences = a.samples[part][key] - b.samples[part][key]
            parts[part][key] = to_json({"difference": value - b.values[part][key]}) | {
                "interval": interval(differences),
                "above_zero": above_zero(differences),
            }
    return parts


def to_json(values: Mapping[str, float]) -> dict[str, Any]:
    """Replace NaN and infinity by None, which JSON can represent."""
    return {key: value if math.isfinite(value) else None for key, value in values.items()}


def _values(swept: bool, bins: NDArray[np.intp], totals: Totals) -> Values:
    """Compute every score from summed counts; ``bins`` are the logit bins of the objects of a network."""
    scores: Values = {}
    for name in CONVENTIONS:
        scores[name] = (_scores_of_settings if swept else _scores_of_logits)(totals.counts, name)
        mask = Curves.from_counts(totals.at_threshold, name).at_threshold(0.5)
        scores[name] |= {"f1": mask.f1, "iou": mask.iou, "fdr": mask.fdr}
    (hits, found), pixels = (int(n) for n in totals.by_length.sum(axis=0)), int(totals.at_threshold.sum())
    (stars, masked), (area, _, hot) = totals.stars.sum(axis=0), totals.hot_pixels
    rare = recall_between_settings if swept else partial(recall_at_false_rates, bins=bins)
    scores["per_hit"] = {
        "recall": _ratio(found, hits),
        "false_per_megapixel": _ratio(1e6 * totals.false_hits, pixels),
        **rare(totals.objects, hits, pixels),
        "stars_masked_per_1000": _ratio(1e3 * masked, stars),
        "hot_pixels_masked_per_megapixel": _ratio(1e6 * hot, area),
    }
    return scores


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole else math.nan


def _scores_of_logits(counts: Counts, convention: Convention) -> dict[str, float]:
    """Compute the scores of a detector that gives a logit for every pixel."""
    curves = Curves.from_counts(counts, convention)
    return {
        **{name: curves.tpr_at_fpr(fpr) for name, fpr in TPR_AT_FPR.items()},
        "precision_at_tpr_95pct": curves.precision_at_tpr(0.95),
        "roc_auc": curves.roc_auc(),
        "average_precision": curves.average_precision(),
    }


def _scores_of_settings(counts: Counts, convention: Convention) -> dict[str, float]:
    """Compute the scores of a detector run at several settings, by linear interpolation without extrapolation."""
    fpr, tpr, precision = _points(counts, convention)
    by_tpr = np.lexsort((precision, tpr))
    return {
        **{name: _interpolate(at, fpr, tpr) for name, at in TPR_AT_FPR.items()},
        "precision_at_tpr_95pct": _interpolate(0.95, tpr[by_tpr], precision[by_tpr]),
        "roc_auc": math.nan,
        "average_precision": math.nan,
    }


def _points(counts: Counts, convention: Convention) -> tuple[NDArray[np.float64], ...]:
    """Compute FPR (ascending), TPR and precision (P,) of operating points (P, 3, 2); empty if a class is missing."""
    positive = counts[:, CORE] + counts[:, RING] if convention == "dilated" else counts[:, CORE]
    sky, (tp, fp) = counts[:, SKY], (positive[:, 1], counts[:, SKY, 1])
    if not (positive.sum() and sky.sum()):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    fpr, tpr = fp / sky.sum(axis=1), tp / positive.sum(axis=1)
    precision = np.divide(tp, tp + fp, out=np.full(len(tp), np.nan), where=tp + fp > 0)
    order = np.lexsort((tpr, fpr))
    return fpr[order], tpr[order], precision[order]


def _interpolate(x: float, xs: NDArray[np.float64], ys: NDArray[np.float64]) -> float:
    return float(np.interp(x, xs, ys)) if xs.size and xs[0] <= x <= xs[-1] else math.nan


def _curves(swept: bool, counts: Counts, convention: Convention) -> dict[str, list[float | None]]:
    """Compute ROC and precision-recall curves: at most 500 points each, or one for each setting."""
    if swept:
        fpr, tpr, precision = _points(counts, convention)
        recall = tpr
    else:
        curves = Curves.from_counts(counts, convention)
        (fpr, tpr), (recall, precision) = curves.roc(500), curves.pr(500)
    columns = {"fpr": fpr, "tpr": tpr, "recall": recall, "precision": precision}
    return {name: [float(v) if math.isfinite(v) else None for v in column] for name, column in columns.items()}


def _spans(starts: Sequence[float]) -> list[tuple[float | None, float | None]]:
    """List lower and upper limits of the classes; None for an open end."""
    ends = [*starts[1:], math.inf]
    return [
        (a if math.isfinite(a) else None, b if math.isfinite(b) else None) for a, b in zip(starts, ends, strict=True)
    ]


def _classes(
    counts: Counts,
    weights: NDArray[np.float64],
    spans: Sequence[tuple[float | None, float | None]],
    names: tuple[str, str] = ("hits", "found"),
) -> list[dict[str, Any]]:
    """Sum hits and hits found (frames, classes, 2) to an entry for each class, with the interval of their ratio."""
    total = counts.sum(axis=0)
    rates = np.array([_recall(c) for c in sums(weights, counts)]).reshape(-1, len(total))
    return [
        {"from": start, "to": end} | dict(zip(names, map(int, pair), strict=True)) | {"interval": interval(rates[:, k])}
        for k, ((start, end), pair) in enumerate(zip(spans, total, strict=True))
    ]


def _recall(counts: Counts) -> NDArray[np.float64]:
    hits, found = counts.T
    return np.asarray(np.divide(found, hits, out=np.full(len(hits), np.nan), where=hits > 0))
