"""The mean of several seeds is their mean, its interval holds frames and seeds, and pairs of means are compared."""

import numpy as np
import pytest
from scipy.stats import t as student_t

from cosmicgate.data.datamodule import TestSet
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.evaluation.run import find_differences
from cosmicgate.evaluation.scores import TestSetScores, difference
from cosmicgate.evaluation.seed_means import Scored, mean, means

DRAWS = 1000


def scored(model, values, trained_on="decam, simulated"):
    """Make scores of a network by seed, from the F1 of each."""
    records = {seed: DetectorRecord(model, seed=seed, trained_on=trained_on, weights=f"{seed}") for seed in values}
    return [Scored(record, 0.5, a_score(values[seed])) for seed, record in records.items()]


def a_score(value, spread=0.0, seed=0):
    values = {part: {"f1": value} for part in ("dilated", "core", "per_hit")}
    drawn = value + spread * np.random.default_rng(seed).standard_normal(DRAWS)
    content = {"frames": 4, "pixels": 100, "hits": 7, "intervals": {"draws": DRAWS}}
    return TestSetScores(content, values, {part: {"f1": drawn} for part in values})


def test_the_mean_of_seeds_is_their_mean_and_tells_the_lowest_and_highest():
    both = mean([a_score(0.8), a_score(0.9)])
    assert both.values["core"]["f1"] == both.content["core"]["f1"] == pytest.approx(0.85)
    assert both.content["spread"]["dilated"]["f1"] == [0.8, 0.9]
    assert (both.content["seeds"], both.content["curves"]) == (2, None)


@pytest.mark.parametrize("number", [2, 3, 8])
def test_19_of_20_intervals_of_few_seeds_hold_the_true_mean(number):
    rng = np.random.default_rng(number)
    held = []
    for _ in range(400):
        low, high = mean([a_score(value) for value in rng.normal(0.5, 0.001, number)]).content["intervals"]["core"][
            "f1"
        ]
        held.append(low <= 0.5 <= high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("number", [2, 3, 8])
def test_the_interval_of_a_difference_is_student_s_t_of_the_pairs(number):
    rng = np.random.default_rng(number)
    gains = rng.normal(0.01, 0.002, number)
    plain = rng.uniform(0.8, 0.95, number)  # a spread that both networks share
    gated = plain + gains
    found = difference(mean([a_score(v) for v in gated]), mean([a_score(v) for v in plain]))["core"]["f1"]
    low, high = found["interval"]
    half = student_t.ppf(0.975, number - 1) * gains.std(ddof=1) / np.sqrt(number)
    assert found["difference"] == pytest.approx(gains.mean())
    assert (high - low) / 2 == pytest.approx(half, rel=0.3 if number == 2 else 0.15)


def test_the_interval_of_a_mean_holds_the_seeds_that_might_have_been_drawn():
    low, high = mean([a_score(0.8), a_score(0.9)]).content["intervals"]["dilated"]["f1"]
    assert low < 0.8
    assert high > 0.9


def test_the_interval_of_a_mean_stays_within_what_a_score_can_be():
    low, high = mean([a_score(0.455), a_score(0.957)]).content["intervals"]["dilated"]["f1"]
    assert 0 <= low < 0.455
    assert high == 1


def test_without_spread_between_seeds_the_interval_is_that_of_the_frames():
    one = a_score(0.8, spread=0.01)
    low, high = mean([one, one]).content["intervals"]["dilated"]["f1"]
    assert (low, high) == pytest.approx(tuple(np.quantile(one.draws["dilated"]["f1"], [0.025, 0.975])))


def test_a_score_that_one_seed_lacks_has_no_mean():
    both = mean([a_score(0.8), a_score(float("nan"))])
    assert both.content["dilated"]["f1"] is None
    assert both.content["spread"]["dilated"]["f1"] is None
    assert both.content["intervals"]["dilated"]["f1"] is None


def test_only_seeds_of_one_network_and_one_training_set_have_a_mean():
    some = scored("deepCR", {0: 0.8, 1: 0.9}) + scored("deepCR", {0: 0.1}, "other, real")
    some.append(Scored(DetectorRecord("LACosmic"), 0.5, a_score(0.2)))
    (one,) = means(some)
    assert one.record == DetectorRecord("deepCR", seeds=2, trained_on="decam, simulated")
    assert one.scores.values["core"]["f1"] == pytest.approx(0.85)


def test_the_difference_of_two_means_is_uncertain_by_the_seeds():
    gated, plain = mean([a_score(0.9), a_score(0.8)]), mean([a_score(0.85), a_score(0.83)])
    found = difference(gated, plain)["dilated"]["f1"]
    assert found["difference"] == pytest.approx(0.01)
    low, high = found["interval"]
    assert low < 0 < high


def compared(some):
    """Find the differences of Att deepCR and deepCR, and return their seeds, numbers of seeds and F1."""
    test_set = TestSet("decam", "simulated", ())
    found = find_differences([*some, *means(some)], [("Att deepCR", "deepCR")], test_set)
    assert all((d["a"].model, d["b"].model) == ("Att deepCR", "deepCR") for d in found)
    return [(d["a"].seed, d["b"].seed, d["a"].seeds, d["b"].seeds, d["core"]["f1"]["difference"]) for d in found]


def test_means_of_different_numbers_of_seeds_are_compared_all_the_same():
    found = compared(scored("Att deepCR", dict.fromkeys((0, 1), 0.9)) + scored("deepCR", dict.fromkeys((0, 1, 2), 0.8)))
    assert [one[:4] for one in found] == [(0, 0, None, None), (1, 1, None, None), (None, None, 2, 2)]
    assert found[-1][-1] == pytest.approx(0.1)


def test_means_are_compared_over_the_seeds_that_both_have():
    gated, plain = {0: 0.9, 1: 0.1, 3: 0.8}, {0: 0.85, 2: 0.2, 3: 0.85}
    assert compared(scored("Att deepCR", gated) + scored("deepCR", plain))[-1][-1] == pytest.approx(0.0)
    del gated[3], plain[3]
    assert [one[:2] for one in compared(scored("Att deepCR", gated) + scored("deepCR", plain))] == [(0, 0)]


def test_networks_with_one_seed_each_are_compared_whatever_it_is():
    assert [one[:2] for one in compared(scored("Att deepCR", {0: 0.9}) + scored("deepCR", {2: 0.8}))] == [(0, 2)]
    assert compared(scored("Att deepCR", {0: 0.9}) + scored("deepCR", {1: 0.8, 2: 0.8})) == []
