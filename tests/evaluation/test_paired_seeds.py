"""Test means over seeds and their intervals against random trials."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from cosmicgate.evaluation.paired_seeds import seed_mean


def test_the_interval_is_that_of_students_t():
    values = [0.1, 0.3, 0.2, 0.6]
    found = seed_mean(values)
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.mean, found.seeds) == (pytest.approx(0.3), 4)
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


@pytest.mark.slow
def test_the_detectable_mean_is_detected_in_four_of_five_trials():
    trials = np.random.default_rng(0).normal(size=(4000, 8))
    true = np.mean([seed_mean(trial).detectable for trial in trials])
    detected = np.mean([seed_mean(trial + true).low > 0 for trial in trials])
    assert detected == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("values", [[0.4], [0.4, 0.4]])
def test_seeds_without_scatter_have_no_interval(values):
    found = seed_mean(values)
    assert found.mean == 0.4
    assert math.isnan(found.low)
    assert math.isnan(found.detectable)
