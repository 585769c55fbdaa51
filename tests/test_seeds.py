"""The mean of several seeds is their mean, its interval holds frames and seeds, and pairs of means are compared."""

from dataclasses import dataclass

import numpy as np
import pytest

from cosmicgate.data.decam import TestSet
from cosmicgate.evaluation.rows import _differences
from cosmicgate.evaluation.scoring import Scored, difference
from cosmicgate.evaluation.seeds import mean, means

DRAWS = 1000


@dataclass
class Named:
    title: str
    trained_on: str | None = "decam, simulated"
    threshold: float = 0.5


def a_score(value, spread=0.0, seed=0):
    values = {part: {"f1": value} for part in ("dilated", "core", "per_hit")}
    drawn = value + spread * np.random.default_rng(seed).standard_normal(DRAWS)
    content = {"frames": 4, "pixels": 100, "hits": 7, "intervals": {"draws": DRAWS}}
    return Scored(content, values, {part: {"f1": drawn} for part in values})


def test_the_mean_of_seeds_is_their_mean_and_tells_the_lowest_and_highest():
    both = mean([a_score(0.8), a_score(0.9)])
    assert both.values["core"]["f1"] == both.content["core"]["f1"] == pytest.approx(0.85)
    assert both.content["spread"]["dilated"]["f1"] == [0.8, 0.9]
    assert (both.content["seeds"], both.content["curves"]) == (2, None)


@pytest.mark.parametrize("number", [2, 3, 5])
def test_a_mean_of_seeds_is_as_uncertain_as_their_scatter_says(number):
    rng = np.random.default_rng(number)
    told, true = [], []
    for _ in range(300):
        values = rng.normal(0.5, 0.05, number)
        told.append(mean([a_score(value) for value in values]).draws["core"]["f1"].var())
        true.append(values.var(ddof=1) / number)
    assert np.mean(told) == pytest.approx(np.mean(true), rel=0.05)


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
    scored = [(Named(f"deepCR, seed {n}"), a_score(0.8 + n / 10)) for n in (0, 1)]
    scored += [(Named("deepCR, seed 0", "other, real"), a_score(0.1)), (Named("LACosmic"), a_score(0.2))]
    ((row, one),) = means(scored)
    assert row.title == "deepCR, mean of 2 seeds"
    assert one.values["core"]["f1"] == pytest.approx(0.85)


def test_the_difference_of_two_means_is_uncertain_by_the_seeds():
    gated, plain = mean([a_score(0.9), a_score(0.8)]), mean([a_score(0.85), a_score(0.83)])
    found = difference(gated, plain)["dilated"]["f1"]
    assert found["difference"] == pytest.approx(0.01)
    low, high = found["interval"]
    assert low < 0 < high


def test_means_of_different_numbers_of_seeds_are_compared_all_the_same():
    scored = [(Named(f"Att deepCR, seed {n}"), a_score(0.9)) for n in (0, 1)]
    scored += [(Named(f"deepCR, seed {n}"), a_score(0.8)) for n in (0, 1, 2)]
    found = _differences([*scored, *means(scored)], [("Att deepCR", "deepCR")], TestSet("decam", "simulated", ()))
    assert [(d["a"], d["b"]) for d in found] == [
        ("Att deepCR, seed 0", "deepCR, seed 0"),
        ("Att deepCR, seed 1", "deepCR, seed 1"),
        ("Att deepCR, mean of 2 seeds", "deepCR, mean of 2 seeds"),
    ]
    assert found[-1]["core"]["f1"]["difference"] == pytest.approx(0.1)


def test_means_are_compared_over_the_seeds_that_both_have():
    gated, plain = {0: 0.9, 1: 0.1, 3: 0.8}, {0: 0.85, 2: 0.2, 3: 0.85}
    scored = [(Named(f"Att deepCR, seed {n}"), a_score(value)) for n, value in gated.items()]
    scored += [(Named(f"deepCR, seed {n}"), a_score(value)) for n, value in plain.items()]
    found = _differences([*scored, *means(scored)], [("Att deepCR", "deepCR")], TestSet("decam", "simulated", ()))
    assert found[-1]["core"]["f1"]["difference"] == pytest.approx(0.0)
    one = [pair for pair in scored if not pair[0].title.endswith("seed 3")]
    found = _differences([*one, *means(one)], [("Att deepCR", "deepCR")], TestSet("decam", "simulated", ()))
    assert [(d["a"], d["b"]) for d in found] == [("Att deepCR, seed 0", "deepCR, seed 0")]
