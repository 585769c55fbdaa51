"""Test that random numbers for different purposes are independent."""

import numpy as np
import pytest

from cosmicgate.data.random_streams import random_stream


def test_the_same_purpose_and_numbers_give_the_same_stream():
    assert random_stream("crop", 0, 1, 2).random() == random_stream("crop", 0, 1, 2).random()


def test_numpy_alone_gives_two_seeds_one_stream():
    assert np.random.default_rng([1, 2]).random() == np.random.default_rng([1, 2, 0]).random()


@pytest.mark.parametrize("other", [("order", 1, 2), ("crop", 1, 2, 0), ("crop", 1), ("crop", 2, 1), ("crop",)], ids=str)
def test_another_purpose_or_number_gives_another_stream(other):
    assert random_stream("crop", 1, 2).random() != random_stream(*other).random()
