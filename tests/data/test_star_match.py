"""The stars of two exposures show whether these are aligned, however few they are."""

import numpy as np

from cosmicgate.data.star_match import match

SHAPE = (200, 240)
STARS = np.array([[20.0, 30], [200, 50], [60, 170], [150, 90], [100, 20]])


def test_few_stars_that_coincide_after_half_a_turn_are_a_mismatch():
    flipped = np.array(SHAPE[::-1]) - 1 - STARS + 3
    result = match(STARS, flipped, SHAPE)
    assert result.problem == "5 of 5 bright stars lie where they should be after half a turn (0 without)"


def test_few_stars_that_do_not_coincide_prove_nothing():
    other = np.random.default_rng(0).uniform(0, 200, (5, 2))
    assert match(STARS, other, SHAPE).problem == ""
    assert match(STARS, STARS + 0.2, SHAPE).problem == ""
