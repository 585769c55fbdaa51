"""ROC and precision-recall curves, and scores at their points, from counts of pixels."""

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from cosmicgate.data.pixel_labels import CORE, RING, SKY, Convention
from cosmicgate.metrics.counts import LOGIT_LIMIT


@dataclass(frozen=True)
class Scores:
    """Scores of one mask, each in [0, 1], or NaN if its denominator is zero."""

    precision: float
    recall: float
    f1: float
    iou: float
    fdr: float
    fpr: float


@dataclass(frozen=True, eq=False)
class Curves:
    """ROC and precision-recall curves from counts; a pixel is predicted positive if its logit >= the threshold.

    Between thresholds, true positives are interpolated linearly in false positives and vice versa, as with
    ``np.interp`` on ``sklearn.metrics.roc_curve``; on a vertical or horizontal stretch of the curve, the better end is
    taken. Within the highest bin, which holds all logits beyond the histogram, nothing is interpolated. Without
    positives every TPR is NaN, without negatives every FPR, and so are the scores that depend on them.

    Attributes
    ----------
    thresholds : ndarray (bins + 1,), float64
        Logits, descending from inf (no pixel is predicted) to -inf (every pixel is).
    tp, fp : ndarray (bins + 1,), int64
        Numbers of true and false positives at each threshold.
    positives, negatives : int
        Numbers of pixels that are positive and negative by the truth.
    """

    thresholds: NDArray[np.float64]
    tp: NDArray[np.int64]
    fp: NDArray[np.int64]
    positives: int
    negatives: int

    @classmethod
    def from_counts(cls, counts: Tensor | NDArray[np.int64], convention: Convention = "dilated") -> "Curves":
        """Make the curves from counts (3, bins), those of a :class:`~cosmicgate.metrics.LogitHistogram` or a sum.

        Parameters
        ----------
        counts : Tensor or ndarray (3, bins), integer
            Numbers of sky, core and ring pixels by logit.
        convention : {"dilated", "core"}
            Pixels that are positives: core and ring, or the core alone, where the ring is not counted at all.

        Raises
        ------
        ValueError
            The counts have another shape or type, or the convention is unknown.
        """
        table = counts.numpy(force=True) if isinstance(counts, Tensor) else counts
        if table.ndim != 2 or table.shape[0] != 3 or not np.issubdtype(table.dtype, np.integer):
            raise ValueError(f"expected integer counts (3, bins), got {table.dtype} {table.shape}")
        if convention not in get_args(Convention):
            raise ValueError(f"convention {convention!r} is none of {get_args(Convention)}")
        positive = table[CORE] + table[RING] if convention == "dilated" else table[CORE]
        tp, fp = (np.concatenate([[0], np.cumsum(row[::-1])]) for row in (positive, table[SKY]))
        thresholds = np.linspace(LOGIT_LIMIT, -LOGIT_LIMIT, table.shape[1] + 1)
        thresholds[[0, -1]] = np.inf, -np.inf  # the end bins hold all logits beyond the range
        return cls(thresholds, tp, fp, int(tp[-1]), int(fp[-1]))

    @property
    def tpr(self) -> NDArray[np.float64]:
        """True-positive rate (recall) at each threshold (bins + 1,)."""
        return _divide(self.tp, np.full_like(self.tp, self.positives))

    @property
    def fpr(self) -> NDArray[np.float64]:
        """False-positive rate at each threshold (bins + 1,)."""
        return _divide(self.fp, np.full_like(self.fp, self.negatives))

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision at each threshold (bins + 1,); 1 where no pixel is predicted, as in scikit-learn's curve."""
        predicted = self.tp + self.fp
        return np.where(predicted > 0, _divide(self.tp, predicted), 1.0)

    def tpr_at_fpr(self, fpr: float) -> float:
        """Interpolate the TPR at a false-positive rate of ``fpr``; NaN if it lies within the highest bin."""
        if self.fp[1] > fpr * self.negatives:
            return float("nan")
        tp = np.interp(_rate(fpr), self.fpr, self.tp)
        return _ratio(float(tp), self.positives) if self.negatives > 0 else float("nan")

    def precision_at_tpr(self, tpr: float) -> float:
        """Interpolate the precision at a true-positive rate of ``tpr``.

        NaN at 0, where no pixel is predicted, and if it lies within the highest bin, unless no sky pixel is there.
        """
        if self.fp[1] and self.tp[1] > tpr * self.positives:
            return float("nan")
        # Mirrored: of equal abscissae np.interp takes the last, and here the fewest false positives are wanted.
        fp = np.interp(-_rate(tpr), -self.tpr[::-1], self.fp[::-1])
        tp = tpr * self.positives
        return _ratio(tp, tp + float(fp)) if self.positives > 0 else float("nan")

    def at_threshold(self, probability: float) -> Scores:
        """Compute the scores of the mask ``sigmoid(logit) >= probability``, at the nearest bin edge (0.5 is one)."""
        bins = len(self.thresholds) - 1
        edge = np.rint((LOGIT_LIMIT - logit(_rate(probability))) / (2 * LOGIT_LIMIT) * bins)
        k = int(np.clip(edge, 0, bins))
        tp, fp = int(self.tp[k]), int(self.fp[k])
        return Scores(
            precision=_ratio(tp, tp + fp),
            recall=_ratio(tp, self.positives),
            f1=_ratio(2 * tp, tp + fp + self.positives),
            iou=_ratio(tp, fp + self.positives),
            fdr=_ratio(fp, tp + fp),
            fpr=_ratio(fp, self.negatives),
        )

    def roc(self, points: int = 2000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sample FPR and TPR, both ascending, at no more than ``points`` thresholds, for a plot."""
        kept = self._thin(points)
        return self.fpr[kept], self.tpr[kept]

    def pr(self, points: int = 2000) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Sample recall, ascending, and precision at no more than ``points`` thresholds, for a plot."""
        kept = self._thin(points)
        return self.tpr[kept], self.precision[kept]

    def roc_auc(self) -> float:
        """Compute the area under the ROC curve by the trapezoidal rule."""
        return float(np.trapezoid(self.tpr, self.fpr))

    def average_precision(self) -> float:
        """Compute the area under the PR curve by steps, ``sum((R_n - R_(n-1)) * P_n)``, as scikit-learn does."""
        return float(np.sum(np.diff(self.tpr) * self.precision[1:]))

    def _thin(self, points: int) -> NDArray[np.int64]:
        """Choose indices: both ends, evenly spaced TPR and, for low FPR, both sides of evenly spaced log FPR."""
        if points < 5:
            raise ValueError(f"a curve of {points} points; expected at least 5")
        third = (points - 2) // 3
        by_tp = np.searchsorted(self.tp, np.linspace(0, self.positives, third))
        fp = np.geomspace(1, max(self.negatives, 1), third)
        before, after = np.searchsorted(self.fp, fp, side="right") - 1, np.searchsorted(self.fp, fp)
        last = len(self.tp) - 1
        kept = np.unique(np.concatenate([[0, last], by_tp, before, after]))
        return kept[kept <= last].astype(np.int64)


def _divide(numerator: NDArray[np.int64], denominator: NDArray[np.int64]) -> NDArray[np.float64]:
    """Divide element by element; NaN, without a warning, where the denominator is zero."""
    quotient = np.full(numerator.shape, np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator > 0 else float("nan")


def _rate(value: float) -> float:
    if not 0 <= value <= 1:
        raise ValueError(f"{value} is no rate or probability: expected a number from 0 to 1")
    return value
