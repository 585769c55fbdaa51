"""Count hits found and false objects at every threshold of a detector, and score it where false objects are rare."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import expit
from torch import Tensor

from cosmicgate.data.pixel_labels import CORE, KERNEL_3X3, SKY
from cosmicgate.evaluation.hits import FOUND_FRACTION, match_hits
from cosmicgate.metrics import BINS, bin_index, lower_edge

RATES = (10, 1)  # false objects per megapixel at which detectors are compared
MAX_FRACTION = 0.05  # largest fraction of the sky pixels that false objects are counted in
ALL, BUT_LAST, BUT_FIRST = slice(None), slice(None, -1), slice(1, None)
NEIGHBOURS = (  # rows and columns of an image, and of its neighbours to the right, below and on both diagonals
    ((ALL, BUT_LAST), (ALL, BUT_FIRST)),
    ((BUT_LAST, ALL), (BUT_FIRST, ALL)),
    ((BUT_LAST, BUT_LAST), (BUT_FIRST, BUT_FIRST)),
    ((BUT_LAST, BUT_FIRST), (BUT_FIRST, BUT_LAST)),
)
Counts = NDArray[np.int64]


def objects_by_logit(truth: NDArray[np.uint8], logits: Tensor) -> Counts:
    """Count hits found and false objects of one frame by logit bin.

    A threshold at the lower edge of bin k finds as many hits, and has as many false objects, as the columns from k on
    add up to. What is found and what is false is defined as in :func:`~cosmicgate.evaluation.hits.match_hits`.

    Parameters
    ----------
    truth : ndarray (H, W), uint8
        Codes of :mod:`cosmicgate.data.pixel_labels`.
    logits : Tensor (H, W), float32
        Logits of the detector.

    Returns
    -------
    ndarray (2, BINS), int64
        Hits found first in this bin; false objects that begin there, less those that merge with others. Below a
        threshold at which more than :data:`MAX_FRACTION` of the sky would be masked they are not counted: every sky
        pixel stands for one, which is more than any requested rate.
    """
    bins = bin_index(logits.float().nan_to_num(-math.inf)).numpy()
    return np.stack([_count_found_by_bin(truth, bins), _count_false_objects_by_bin(truth, bins)])


def objects_by_setting(truth: NDArray[np.uint8], masks: Mapping[float, NDArray[np.bool_]]) -> Counts:
    """Count hits found and false objects of one frame at each setting, in ascending order: (settings, 2), int64.

    For a mask of more than :data:`MAX_FRACTION` of the sky every sky pixel stands for a false object: its few large
    objects touch hits, and would not count as false.
    """
    sky = truth == SKY
    counts = []
    for setting in sorted(masks):
        table, masked = match_hits(truth, masks[setting]), int(masks[setting][sky].sum())
        counts.append([table.found.sum(), sky.sum() if masked > MAX_FRACTION * sky.sum() else table.false_hits])
    return np.array(counts, np.int64).reshape(-1, 2)


def _count_found_by_bin(truth: NDArray[np.uint8], bins: NDArray[np.int32]) -> Counts:
    """Count the hits by the highest bin (BINS,) at which enough of their core is predicted."""
    labels, hits = ndimage.label(truth == CORE, KERNEL_3X3)
    y, x = np.nonzero(labels)
    order = np.lexsort((-bins[y, x], labels[y, x]))
    hit, value = labels[y, x][order], bins[y, x][order]
    start = np.searchsorted(hit, np.arange(1, hits + 1))
    needed = np.ceil(FOUND_FRACTION * np.diff(start, append=hit.size)).astype(np.int64)
    return np.bincount(value[start + needed - 1], minlength=BINS).astype(np.int64)


def _count_false_objects_by_bin(truth: NDArray[np.uint8], bins: NDArray[np.int32]) -> Counts:
    """Count the false objects that each bin adds (BINS,).

    The pixels predicted at a threshold form as many components as there are pixels, less the edges of a spanning
    forest. In a forest of the highest edges, where an edge has the lower bin of its two pixels, this holds for every
    threshold at once. Pixels at hits and at ignored pixels are one node: components that contain it are not false.
    """
    free = ~ndimage.binary_dilation(truth != SKY, KERNEL_3X3)
    by_bin = np.bincount(bins[free], minlength=BINS)
    counted = int(np.searchsorted(np.cumsum(by_bin[::-1]), MAX_FRACTION * free.sum(), side="right"))
    lowest = BINS - counted
    new = np.zeros(BINS, np.int64)
    if lowest > 0:
        new[lowest - 1] = by_bin.sum()
    places = np.flatnonzero(free & (bins >= lowest))
    if places.size == 0:
        return new
    node = np.full(bins.shape, -1)
    node.flat[places] = np.arange(places.size)
    # highest bin among the neighbours at hits and at ignored pixels; -1 without such neighbours
    near_truth = ndimage.maximum_filter(np.where(free, -1, bins), footprint=KERNEL_3X3, mode="constant", cval=-1)
    edges = [(np.arange(places.size), np.full(places.size, places.size), np.minimum(near_truth, bins).flat[places])]
    for one, other in NEIGHBOURS:
        joined = (node[one] >= 0) & (node[other] >= 0)
        edges.append((node[one][joined], node[other][joined], np.minimum(bins[one], bins[other])[joined]))
    first, second, weight = (np.concatenate(column) for column in zip(*edges, strict=True))
    used = weight >= lowest
    length = BINS - weight[used].astype(np.float64)  # at least 1, because zero means no edge; shortest is highest
    nodes = places.size + 1
    forest = minimum_spanning_tree(coo_matrix((length, (first[used], second[used])), shape=(nodes, nodes)).tocsr())
    merged = np.bincount((BINS - forest.data).astype(np.int64), minlength=BINS)
    new += np.bincount(bins.flat[places], minlength=BINS) - merged
    return new


def recall_at_false_rates(objects: Counts, hits: int, pixels: int, bins: NDArray[np.intp]) -> dict[str, float]:
    """Compute recall per hit, and the threshold, where the frames have few false objects.

    The threshold is the lowest one down to which the frames, taken together, never have more than the rate.

    Parameters
    ----------
    objects : ndarray (2, N), int64
        Sum of :func:`objects_by_logit` over frames, for the bins ``bins``; the others are empty.
    hits, pixels : int
        Number of hits and of scored pixels of the frames.
    bins : ndarray (N,), int
        Numbers of the bins of logits that ``objects`` counts, ascending.
    """
    found, false = np.concatenate([[[0], [0]], np.cumsum(objects[:, ::-1], axis=1)], axis=1)
    scores = {}
    for rate in RATES:
        over = np.flatnonzero(false > rate * pixels / 1e6)
        place = int(over[0]) - 1 if over.size else len(false) - 1
        known = bool(hits and pixels)
        scores[f"recall_at_{rate}_false"] = float(found[place] / hits) if known else math.nan
        threshold = lower_edge(int(bins[len(bins) - place])) if place else math.inf
        scores[f"threshold_at_{rate}_false"] = float(expit(threshold)) if known else math.nan
    return scores


def f1_of_hits(objects: Counts) -> NDArray[np.float64]:
    """Compute F1, of hits and not of pixels, at the lower edge of each bin of counts (2, BINS)."""
    found, false = np.cumsum(objects[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(2 * found / np.maximum(found + false + found[0], 1), np.float64)


def best_threshold(objects: Counts) -> float:
    """Find the probability threshold with the highest F1 of hits.

    A hit more or less changes F1 by about one over the number of hits. Thresholds that lie closer than this to the
    highest F1 are not told apart; of these it is the one nearest to 0.5.

    Parameters
    ----------
    objects : ndarray (2, BINS), int64
        Sum of :func:`objects_by_logit` over frames.
    """
    if not (hits := objects[0].sum()):
        raise ValueError("a threshold cannot be chosen on frames without a hit")
    f1 = f1_of_hits(objects)[1:]  # the first bin has no lower edge
    edges = np.array([lower_edge(index) for index in range(1, BINS)])
    good = edges[f1 >= f1.max() - 1 / hits]
    return float(expit(good[np.argmin(np.abs(good))]))


def recall_between_settings(objects: Counts, hits: int, pixels: int) -> dict[str, float]:
    """Compute the same recall by linear interpolation between settings (P, 2), without extrapolation."""
    scores = {}
    order = np.lexsort((objects[:, 0], objects[:, 1]))
    found, false = objects[order].T
    for rate in RATES:
        wanted = rate * pixels / 1e6
        inside = bool(hits and pixels) and false[0] <= wanted <= false[-1]
        scores[f"recall_at_{rate}_false"] = float(np.interp(wanted, false, found) / hits) if inside else math.nan
        scores[f"threshold_at_{rate}_false"] = math.nan
    return scores
