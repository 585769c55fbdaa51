"""Test that scores from histograms of logits equal those of scikit-learn from all pixels."""

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.metrics import BINS, Curves, LogitHistogram, counts_from_mask
from helpers.counting_process import count_share, simulated_pixels

ALL_LABELS = (SKY, CORE, RING, IGNORED)
# Number of pixels and fraction of hits; one hit pixel must change the TPR by less than the tolerance of 1e-3.
POPULATIONS = [(4_000_000, 0.0003), (1_000_000, 0.003), (1_000_000, 0.3)]


def count(logits, truth):
    """Histogram logits by label."""
    histogram = LogitHistogram()
    histogram.update(torch.as_tensor(logits), torch.as_tensor(truth))
    return histogram.compute()


# ------------------------------------------------------------------------------------ comparison with scikit-learn


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.3, 2.0])
@pytest.mark.parametrize(("n", "positive"), POPULATIONS)
def test_the_roc_equals_that_of_scikit_learn(n, positive, spread):
    logits, truth = simulated_pixels(n, positive, spread)
    curves = Curves.from_counts(count(logits, truth))
    fpr, tpr, _ = sk.roc_curve(truth != SKY, logits)
    for at in (1e-4, 1e-3):  # the rates of the paper's tables
        assert curves.tpr_at_fpr(at) == pytest.approx(np.interp(at, fpr, tpr), abs=1e-3)
    assert curves.roc_auc() == pytest.approx(sk.auc(fpr, tpr), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "positive"), POPULATIONS)
def test_precision_and_average_precision_equal_those_of_scikit_learn(n, positive):
    logits, truth = simulated_pixels(n, positive)
    curves = Curves.from_counts(count(logits, truth))
    precision, recall, _ = sk.precision_recall_curve(truth != SKY, logits)
    exact = precision[np.searchsorted(-recall, -0.95, side="right") - 1]  # the highest threshold that reaches it
    assert curves.precision_at_tpr(0.95) == pytest.approx(exact, abs=1e-3)
    steps = -np.sum(np.diff(recall) * precision[:-1])  # sk.average_precision_score, without sorting again
    assert curves.average_precision() == pytest.approx(steps, abs=1e-3)


@pytest.mark.parametrize(("probability", "within"), [(0.5, 1e-12), (0.43, 1e-3), (0.99, 1e-3)])
def test_scores_at_a_threshold_equal_those_of_the_mask(probability, within):
    logits, truth = simulated_pixels()
    mask = logits >= math.log(probability / (1 - probability))
    scores = Curves.from_counts(count(logits, truth)).at_threshold(probability)
    hit = truth != SKY
    assert scores.precision == pytest.approx(sk.precision_score(hit, mask), abs=within)
    assert scores.recall == pytest.approx(sk.recall_score(hit, mask), abs=within)
    assert scores.f1 == pytest.approx(sk.f1_score(hit, mask), abs=within)
    assert scores.iou == pytest.approx(sk.jaccard_score(hit, mask), abs=within)
    assert scores.fdr == pytest.approx(1 - sk.precision_score(hit, mask), abs=within)
    assert scores.fpr == pytest.approx(mask[~hit].mean(), abs=within)


def test_probability_one_half_is_exactly_logit_zero():
    logits = torch.tensor([-1e-30, -1e-8, -0.0, 0.0, 1e-30])
    scores = Curves.from_counts(count(logits, torch.ones(5, dtype=torch.uint8))).at_threshold(0.5)
    assert scores.recall == pytest.approx(3 / 5)


def test_scores_of_a_mask_equal_those_of_its_logits():
    logits, truth = simulated_pixels()
    truth[::7] = IGNORED
    mask_counts = counts_from_mask(logits >= 0, truth)
    for convention in ("dilated", "core"):
        expected = Curves.from_counts(count(logits, truth), convention).at_threshold(0.5)
        assert Curves.from_counts(mask_counts, convention).at_threshold(0.5) == expected


def test_of_thresholds_with_equal_rates_the_better_counts():
    # From the highest logit down: hit, hit, sky, sky, hit.
    truth = torch.tensor([1, 1, 0, 0, 1], dtype=torch.uint8)
    curves = Curves.from_counts(count(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]), truth))
    assert curves.tpr_at_fpr(0.0) == pytest.approx(2 / 3)
    assert curves.precision_at_tpr(2 / 3) == 1.0


# ------------------------------------------------------------------------------------ thinned curves


def test_thinned_curves_keep_the_low_false_positive_rates():
    curves = Curves.from_counts(count(*simulated_pixels(2_000_000, 0.01)))
    fpr, tpr = curves.roc(points=500)
    recall, precision = curves.pr(points=500)
    assert len(fpr) <= 500
    assert len(recall) <= 500
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(recall) >= 0).all()
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert precision[0] == 1
    for at in (1e-5, 1e-4, 1e-3, 1e-2):
        assert np.interp(at, fpr, tpr) == pytest.approx(curves.tpr_at_fpr(at), abs=2e-3)
    for at in (0.5, 0.9, 0.95):
        thinned = np.interp(-at, -recall[::-1], precision[::-1])
        assert thinned == pytest.approx(curves.precision_at_tpr(at), abs=5e-3)


def test_a_mask_keeps_its_point_when_thinned():
    curves = Curves.from_counts(np.array([[90, 10], [1, 4], [1, 4]]))
    fpr, tpr = curves.roc()
    assert list(zip(fpr, tpr, strict=True)) == [(0, 0), (0.1, 0.8), (1, 1)]


# ------------------------------------------------------------------------------------ counted and ignored pixels


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.floats(width=32), st.sampled_from(ALL_LABELS)).filter(lambda p: p[1] == IGNORED or p[0] == p[0]),
        max_size=40,
    )
)
@example([(math.nan, IGNORED), (1.0, CORE), (-1.0, SKY)])
def test_ignored_pixels_change_nothing_even_if_nan(listed):
    logits = torch.tensor([p[0] for p in listed], dtype=torch.float32)
    truth = torch.tensor([p[1] for p in listed], dtype=torch.uint8)
    kept = truth != IGNORED
    counts = count(logits, truth)
    assert torch.equal(counts, count(logits[kept], truth[kept]))
    assert counts.sum() == kept.sum()
    positive = logits >= 0
    assert np.array_equal(
        counts_from_mask(positive.numpy(), truth.numpy()),
        counts_from_mask(positive[kept].numpy(), truth[kept].numpy()),
    )


def test_ring_pixels_are_positives_or_are_left_out():
    counts = np.array([[80, 20], [1, 9], [6, 4]])  # sky, core, ring: rejected, predicted
    dilated = Curves.from_counts(counts, "dilated")
    core = Curves.from_counts(counts, "core")
    assert (dilated.positives, core.positives) == (20, 10)
    assert dilated.negatives == core.negatives == 100
    assert dilated.at_threshold(0.5).recall == pytest.approx(13 / 20)
    assert core.at_threshold(0.5).recall == pytest.approx(9 / 10)
    assert core.at_threshold(0.5).precision == pytest.approx(9 / 29)


def test_every_logit_is_counted_once_including_infinite_ones():
    logits = torch.tensor([-math.inf, -1e30, -24.0, 0.0, 24.0, 1e30, math.inf])
    counts = count(logits, torch.full((7,), RING, dtype=torch.uint8))
    assert counts.sum() == 7
    assert counts[RING, [0, BINS // 2, BINS - 1]].tolist() == [3, 1, 3]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_half_and_double_precision_are_counted_by_value(dtype):
    logits, truth = (torch.as_tensor(a) for a in simulated_pixels(10_000))
    assert torch.equal(count(logits.to(dtype), truth), count(logits.to(dtype).float(), truth))


def test_nan_is_refused_and_nothing_of_its_batch_is_counted():
    histogram = LogitHistogram()
    logits = torch.zeros(300_000)
    truth = torch.zeros(300_000, dtype=torch.uint8)
    logits[-1] = math.nan
    with pytest.raises(ValueError, match="1 logits are NaN"):
        histogram.update(logits, truth)
    assert histogram.counts.sum() == 0


@pytest.mark.parametrize(
    ("logits", "truth", "message"),
    [
        (torch.zeros(4), torch.zeros(5, dtype=torch.uint8), "differ in shape"),
        (torch.zeros(4), torch.zeros(4, dtype=torch.int64), "torch.int64"),
        (torch.zeros(4, dtype=torch.int32), torch.zeros(4, dtype=torch.uint8), "torch.int32"),
        (torch.zeros(4), torch.tensor([0, 1, 2, 7], dtype=torch.uint8), r"truth holds \[7\]"),
    ],
)
def test_invalid_batches_are_refused_with_the_reason(logits, truth, message):
    with pytest.raises(ValueError, match=message):
        count(logits, truth)


def test_invalid_masks_counts_and_rates_are_refused():
    sky = np.zeros((2, 2), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        counts_from_mask(sky, sky)
    with pytest.raises(ValueError, match=r"truth holds \[3\]"):
        counts_from_mask(sky == 0, sky + np.uint8(3))
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        Curves.from_counts(np.zeros((2, 5), np.int64))
    with pytest.raises(ValueError, match="'ring'"):
        Curves.from_counts(np.zeros((3, 5), np.int64), "ring")
    with pytest.raises(ValueError, match=r"1\.5"):
        Curves.from_counts(np.zeros((3, 5), np.int64)).tpr_at_fpr(1.5)


# ------------------------------------------------------------------------------------ empty classes


def test_without_positives_or_negatives_scores_are_nan_without_a_warning():
    n = 1000
    for value in (SKY, CORE, IGNORED):
        curves = Curves.from_counts(count(np.zeros(n, np.float32), np.full(n, value, np.uint8)))
        for score in (curves.tpr_at_fpr(1e-4), curves.roc_auc()):
            assert math.isnan(score)
        curves.roc(), curves.pr()
    no_hits = Curves.from_counts(count(np.zeros(n, np.float32), np.zeros(n, np.uint8)))
    assert math.isnan(no_hits.precision_at_tpr(0.95))
    assert math.isnan(no_hits.average_precision())
    assert math.isnan(no_hits.at_threshold(0.5).recall)
    nothing_predicted = no_hits.at_threshold(0.9)
    assert math.isnan(nothing_predicted.precision)
    assert math.isnan(nothing_predicted.f1)
    assert nothing_predicted.fpr == 0


# ------------------------------------------------------------------------------------ memory, sums, processes


def test_memory_does_not_grow_with_the_number_of_pixels():
    histogram = LogitHistogram()
    sizes = []
    for n in (10, 1_000_000, 3_000_000):
        histogram.update(torch.zeros(n), torch.zeros(n, dtype=torch.uint8))
        sizes.append(sum(state.nbytes for state in histogram.metric_state.values()))
    assert sizes == [sizes[0]] * 3
    assert sizes[0] < 64e6


def test_counts_of_batches_add_up():
    logits, truth = simulated_pixels(5000)
    assert torch.equal(count(logits, truth), count(logits[:700], truth[:700]) + count(logits[700:], truth[700:]))


def test_computed_counts_are_not_changed_by_later_updates():
    histogram = LogitHistogram()
    histogram.update(torch.zeros(3), torch.zeros(3, dtype=torch.uint8))
    computed = histogram.compute()
    histogram.update(torch.zeros(3), torch.zeros(3, dtype=torch.uint8))
    assert (computed.sum(), histogram.compute().sum()) == (3, 6)
    histogram.reset()
    assert histogram.counts.sum() == 0


@pytest.mark.slow  # each process imports torch
def test_two_processes_count_what_one_counts(tmp_path):
    mp.spawn(count_share, (str(tmp_path),), nprocs=2)
    expected = count(*simulated_pixels(5000))
    for rank in range(2):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt", weights_only=True), expected)


def test_a_rate_among_logits_beyond_the_histogram_is_not_known():
    truth = torch.cat([torch.full((1000,), 1), torch.full((100_000,), 0)]).to(torch.uint8)
    logits = torch.cat([torch.full((1000,), 70.0), torch.full((500,), 30.0), torch.full((99_500,), -10.0)])
    histogram = LogitHistogram()
    histogram.update(logits, truth)
    curves = Curves.from_counts(histogram.compute())
    assert np.isnan(curves.tpr_at_fpr(1e-4))  # interpolated, it would be 0.02: all hits are above all sky pixels
    assert curves.tpr_at_fpr(0.01) == 1
    assert np.isnan(curves.precision_at_tpr(0.95))
    assert curves.precision_at_tpr(1) == 1000 / 1500
