"""Pixels counted by truth and by logit, or by truth and a mask."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from cosmicgate.truth import CORE, IGNORED, RING, SKY

# Equal bins over logits -24 to 24 (probability 4e-11 from 0 and from 1), 0.003 wide: probability 0.5 is exactly
# an edge. Where the logits of a class have a standard deviation of 0.75 or more, TPR at FPR 1e-4 of a million
# pixels and more is that of the sorted pixels to better than 1e-3 (tests/test_metrics.py).
BINS = 16384
LOGIT_LIMIT = 24.0
# Pixels handled at a time, so that what is made of them stays in the processor's cache (5x faster than whole).
CHUNK = 1 << 17


class LogitHistogram(Metric):
    """Counts of pixels by truth and by logit; memory does not grow with the number of pixels.

    ``counts`` is a Tensor (3, BINS), int64: rows sky, core, ring; bin ``k`` holds logits from
    ``-LOGIT_LIMIT + k * width`` on, its upper edge left out. Logits outside the range, infinite ones too, go to
    the end bins.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(3, BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Count one batch, or nothing of it if it is refused.

        Parameters
        ----------
        logits : Tensor, floating point, any shape
            What a model returns, before the sigmoid.
        truth : Tensor, uint8, same shape
            See :mod:`cosmicgate.truth`. Whatever the logit of an ignored pixel is, it changes nothing.

        Raises
        ------
        ValueError
            Shapes or dtypes are wrong, a truth value is none of the four, or a pixel that counts has no number.
        """
        if logits.shape != truth.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and truth {tuple(truth.shape)} differ in shape")
        if not logits.is_floating_point() or truth.dtype != torch.uint8:
            raise ValueError(f"expected floating-point logits and uint8 truth, got {logits.dtype} and {truth.dtype}")
        # The fourth row takes the ignored pixels and is dropped: as good as indexing, and faster.
        counts = torch.zeros(4 * BINS, dtype=torch.int64, device=self.counts.device)
        flat_logits, flat_truth = logits.detach().reshape(-1), truth.reshape(-1)
        for start in range(0, flat_truth.numel(), CHUNK):
            counts += _count(flat_logits[start : start + CHUNK], flat_truth[start : start + CHUNK])
        if counts[3 * BINS :].sum() != (truth == IGNORED).sum():
            raise _unknown_truth(truth.numpy(force=True))
        self.counts += counts.view(4, BINS)[:3]

    def compute(self) -> Tensor:
        """Give the counts, summed over processes: Tensor (3, BINS), int64."""
        return self.counts.clone()  # the next update adds in place


def _count(logits: Tensor, truth: Tensor) -> Tensor:
    """Counts (4 * BINS,) of a chunk of pixels: sky, core, ring, ignored, one after the other."""
    logits = logits.float()  # half precision resolves neither the bins nor their index
    missing = logits.isnan()
    if missing.any():
        if (lost := int((missing & (truth != IGNORED)).sum())) > 0:
            raise ValueError(f"{lost} logits are NaN at pixels that count: has training diverged?")
        logits = logits.nan_to_num(0.0)
    # Floor before the shift: just below 0 must not be rounded up to it.
    index = logits.mul(BINS / (2 * LOGIT_LIMIT)).floor_().add_(BINS // 2).clamp_(0, BINS - 1).int()
    index.add_(truth.clamp(max=3), alpha=BINS)
    return torch.bincount(index, minlength=4 * BINS)


def counts_from_mask(prediction: NDArray[np.bool_], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count a binary mask; ``Curves.from_counts(...).at_threshold(0.5)`` then gives its scores.

    Parameters
    ----------
    prediction : ndarray (H, W), bool
        True where the detector says cosmic ray.
    truth : ndarray (H, W), uint8
        See :mod:`cosmicgate.truth`.

    Returns
    -------
    ndarray (3, 2), int64
        Sky, core and ring pixels, rejected and predicted. Its curves have this one point and straight lines.

    Raises
    ------
    ValueError
        Shapes or dtypes are wrong, or a truth value is none of the four.
    """
    if prediction.shape != truth.shape or prediction.dtype != np.bool_ or truth.dtype != np.uint8:
        raise ValueError(
            "expected a bool prediction and a uint8 truth of one shape, got "
            f"{prediction.dtype} {prediction.shape} and {truth.dtype} {truth.shape}"
        )
    classes = [truth == value for value in (SKY, CORE, RING)]
    counts = np.array([[np.sum(c & ~prediction), np.sum(c & prediction)] for c in classes], np.int64)
    if counts.sum() + np.sum(truth == IGNORED) != truth.size:
        raise _unknown_truth(truth)
    return counts


def _unknown_truth(truth: NDArray[np.uint8]) -> ValueError:
    found = sorted(set(np.unique(truth).tolist()) - {SKY, CORE, RING, IGNORED})
    return ValueError(f"truth holds {found}; expected only 0 sky, 1 core, 2 ring, 255 ignored")
