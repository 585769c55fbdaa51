"""Test means over seeds: their values, their intervals from frames and seeds, and differences between means."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from cosmicgate.data.datamodule import TestSet
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.evaluation.run import find_differences
from cosmicgate.evaluation.scores import TestSetScores, difference
from cosmicgate.evaluation.seed_means import DetectorScores, mean, means

SAMPLES = 1000


def seed_scores(model, values, trained_on="decam, simulated"):
    """Make the scores of a network for several seeds from their F1."""
    records = {seed: DetectorRecord(model, seed=seed, trained_on=trained_on, weights=f"{seed}") for seed in values}
    return [DetectorScores(record, 0.5, scores_of(values[seed])) for seed, record in records.items()]


def scores_of(value, spread=0.0, seed=0):
    """Make scores whose F1 is ``value``, with bootstrap samples of a Gaussian ``spread``."""
    values = {part: {"f1": value} for part in ("dilated", "core", "per_hit")}
    drawn = value + spread * np.random.default_rng(seed).standard_normal(SAMPLES)
    content = {"frames": 4, "pixels": 100, "hits": 7, "intervals": {"draws": SAMPLES}}
    return TestSetScores(content, values, {part: {"f1": drawn} for part in values})


def test_a_mean_over_seeds_records_the_lowest_and_the_highest():
    both = mean([scores_of(0.8), scores_of(0.9)])
    assert both.values["core"]["f1"] == both.content["core"]["f1"] == pytest.approx(0.85)
    assert both.content["spread"]["dilated"]["f1"] == [0.8, 0.9]
    assert (both.content["seeds"], both.content["curves"]) == (2, None)


@pytest.mark.parametrize("number", [2, 3, 8])
def test_intervals_of_few_seeds_contain_the_true_mean_in_95_percent_of_cases(number):
    rng = np.random.default_rng(number)
    contained = []
    for _ in range(400):
        low, high = mean([scores_of(value) for value in rng.normal(0.5, 0.001, number)]).content["intervals"]["core"][
            "f1"
        ]
        contained.append(low <= 0.5 <= high)
    assert np.mean(contained) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("number", [2, 3, 8])
def test_the_interval_of_a_difference_is_student_t_of_the_pairs(number):
    rng = np.random.default_rng(number)
    gains = rng.normal(0.01, 0.002, number)
    plain = rng.uniform(0.8, 0.95, number)  # a spread common to both networks
    gated = plain + gains
    found = difference(mean([scores_of(v) for v in gated]), mean([scores_of(v) for v in plain]))["core"]["f1"]
    low, high = found["interval"]
    half = student_t.ppf(0.975, number - 1) * gains.std(ddof=1) / np.sqrt(number)
    assert found["difference"] == pytest.approx(gains.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.3 if number == 2 else 0.15)


def test_the_interval_of_a_mean_is_wider_than_the_range_of_two_seeds():
    low, high = mean([scores_of(0.8), scores_of(0.9)]).content["intervals"]["dilated"]["f1"]
    assert low < 0.8
    assert high > 0.9


def test_the_interval_of_a_mean_stays_between_zero_and_one():
    low, high = mean([scores_of(0.455), scores_of(0.957)]).content["intervals"]["dilated"]["f1"]
    assert 0 <= low < 0.455
    assert high == 1


def test_without_spread_between_seeds_the_interval_is_from_frames_only():
    one = scores_of(0.8, spread=0.01)
    low, high = mean([one, one]).content["intervals"]["dilated"]["f1"]
    assert (low, high) == pytest.approx(tuple(np.quantile(one.samples["dilated"]["f1"], [0.025, 0.975])))


def test_a_score_undefined_for_one_seed_has_no_mean():
    both = mean([scores_of(0.8), scores_of(float("nan"))])
    assert both.content["dilated"]["f1"] is None
    assert both.content["spread"]["dilated"]["f1"] is None
    assert both.content["intervals"]["dilated"]["f1"] is None


def test_a_mean_is_over_seeds_of_one_network_and_one_training_set():
    some = seed_scores("deepCR", {0: 0.8, 1: 0.9}) + seed_scores("deepCR", {0: 0.1}, "other, real")
    some.append(DetectorScores(DetectorRecord("LACosmic"), 0.5, scores_of(0.2)))
    (one,) = means(some)
    assert one.record == DetectorRecord("deepCR", seeds=2, trained_on="decam, simulated")
    assert one.scores.values["core"]["f1"] == pytest.approx(0.85)


def test_the_interval_of_a_difference_of_means_includes_the_seeds():
    gated, plain = mean([scores_of(0.9), scores_of(0.8)]), mean([scores_of(0.85), scores_of(0.83)])
    found = difference(gated, plain)["dilated"]["f1"]
    assert found["difference"] == pytest.approx(0.01)
    low, high = found["interval"]
    assert low < 0 < high


def differences(some):
    """Find the differences of Att deepCR and deepCR: seeds, numbers of seeds and difference of F1 of each."""
    test_set = TestSet("decam", "simulated", ())
    found = find_differences([*some, *means(some)], [("Att deepCR", "deepCR")], test_set)
    assert all((d["a"].model, d["b"].model) == ("Att deepCR", "deepCR") for d in found)
    return [(d["a"].seed, d["b"].seed, d["a"].seeds, d["b"].seeds, d["core"]["f1"]["difference"]) for d in found]


def test_means_of_different_numbers_of_seeds_are_compared():
    found = differences(
        seed_scores("Att deepCR", dict.fromkeys((0, 1), 0.9)) + seed_scores("deepCR", dict.fromkeys((0, 1, 2), 0.8))
    )
    assert [one[:4] for one in found] == [(0, 0, None, None), (1, 1, None, None), (None, None, 2, 2)]
    assert found[-1][-1] == pytest.approx(0.1)


def test_means_are_compared_over_common_seeds():
    gated, plain = {0: 0.9, 1: 0.1, 3: 0.8}, {0: 0.85, 2: 0.2, 3: 0.85}
    assert differences(seed_scores("Att deepCR", gated) + seed_scores("deepCR", plain))[-1][-1] == pytest.approx(0.0)
    del gated[3], plain[3]
    assert [one[:2] for one in differences(seed_scores("Att deepCR", gated) + seed_scores("deepCR", plain))] == [(0, 0)]


def test_networks_with_one_seed_each_are_compared_even_if_it_differs():
    assert [one[:2] for one in differences(seed_scores("Att deepCR", {0: 0.9}) + seed_scores("deepCR", {2: 0.8}))] == [
        (0, 2)
    ]
    assert differences(seed_scores("Att deepCR", {0: 0.9}) + seed_scores("deepCR", {1: 0.8, 2: 0.8})) == []
