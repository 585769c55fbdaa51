"""Count pixels by truth and logit, or by truth and mask."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.extras import extra

with extra("train"):
    from torchmetrics import Metric

# Equal bins over logits -24 to 24 (probabilities down to 4e-11 from 0 and from 1), 0.003 wide; probability 0.5 is
# exactly an edge. If the logits of a class have a sigma of 0.75 or more and there are at least a million pixels, TPR
# at FPR 1e-4 agrees with that of the sorted pixels to better than 1e-3 (tests/metrics/test_metrics.py).
BINS = 16384
LOGIT_LIMIT = 24.0
# Pixels per chunk: intermediate arrays stay in the processor's cache, which is 5x faster than the whole image at once.
CHUNK = 1 << 17


class LogitHistogram(Metric):
    """Histogram of logits for sky, core and ring pixels; memory does not grow with the number of pixels.

    ``counts`` is a Tensor (3, BINS), int64, with rows sky, core and ring. Bin ``k`` holds logits from
    ``-LOGIT_LIMIT + k * width`` up to, but not including, its upper edge. Logits outside the range, infinite ones
    included, are counted in the end bins.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(3, BINS, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, truth: Tensor) -> None:
        """Add one batch to the counts; an invalid batch raises and leaves them unchanged.

        Parameters
        ----------
        logits : Tensor, floating point, any shape
            Output of a model, before the sigmoid.
        truth : Tensor, uint8, same shape
            Pixel labels of :mod:`cosmicgate.data.pixel_labels`. Pixels labelled ignored are not counted, whatever their
            logit.

        Raises
        ------
        ValueError
            A shape, a dtype or a truth value is not one of those expected, or the logit of a counted pixel is NaN.
        """
        if logits.shape != truth.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and truth {tuple(truth.shape)} differ in shape")
        if not logits.is_floating_point() or truth.dtype != torch.uint8:
            raise ValueError(f"expected floating-point logits and uint8 truth, got {logits.dtype} and {truth.dtype}")
        # Ignored pixels are counted in a fourth row that is dropped, which is faster than selecting the others.
        counts = torch.zeros(4 * BINS, dtype=torch.int64, device=self.counts.device)
        flat_logits, flat_truth = logits.detach().reshape(-1), truth.reshape(-1)
        for start in range(0, flat_truth.numel(), CHUNK):
            counts += _count(flat_logits[start : start + CHUNK], flat_truth[start : start + CHUNK])
        if counts[3 * BINS :].sum() != (truth == IGNORED).sum():
            raise _unknown_truth(truth.numpy(force=True))
        self.counts += counts.view(4, BINS)[:3]

    def compute(self) -> Tensor:
        """Add up the counts of all processes: Tensor (3, BINS), int64."""
        return self.counts.clone()  # because update adds in place


def _count(logits: Tensor, truth: Tensor) -> Tensor:
    """Count a chunk of pixels: histograms of sky, core, ring and ignored pixels, concatenated (4 * BINS,)."""
    logits = logits.float()  # half precision can represent neither the bins nor their index
    missing = logits.isnan()
    if missing.any():
        if (lost := int((missing & (truth != IGNORED)).sum())) > 0:
            raise ValueError(f"{lost} logits are NaN at pixels that count: has training diverged?")
        logits = logits.nan_to_num(0.0)
    index = bin_index(logits)
    index.add_(truth.clamp(max=3), alpha=BINS)
    return torch.bincount(index, minlength=4 * BINS)


def bin_index(logits: Tensor) -> Tensor:
    """Compute the bin of each logit, int32; logits are float32 and not NaN."""
    # Floor before adding the offset, or a logit just below 0 would be rounded up into the bin above.
    return logits.mul(BINS / (2 * LOGIT_LIMIT)).floor_().add_(BINS // 2).clamp_(0, BINS - 1).int()


def lower_edge(index: int) -> float:
    """Compute the lowest logit of a bin; -inf for the first, which has all logits below the range."""
    return -np.inf if index == 0 else -LOGIT_LIMIT + index * 2 * LOGIT_LIMIT / BINS


def counts_from_mask(prediction: NDArray[np.bool_], truth: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of a binary mask by truth; ``Curves.from_counts(...).at_threshold(0.5)`` gives its scores.

    Parameters
    ----------
    prediction : ndarray (H, W), bool
        True where the detector finds a cosmic ray.
    truth : ndarray (H, W), uint8
        Pixel labels of :mod:`cosmicgate.data.pixel_labels`.

    Returns
    -------
    ndarray (3, 2), int64
        Numbers of sky, core and ring pixels (rows) outside and inside the mask (columns). Curves made from them have
        one point, joined to the ends by straight lines.

    Raises
    ------
    ValueError
        A shape, a dtype or a truth value is not one of those expected.
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
