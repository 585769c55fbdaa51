"""Test that trailing makes lines of stars, that defocus makes rings, and that both keep the light."""

import numpy as np
import pytest

from cosmicgate.data.simulation.trail_defocus import TrailDefocus
from cosmicgate.data.sources.random_cameras import DEFOCUS, HOLE, TRAIL, RandomScience, draw_trail_or_defocus

SHAPE = (64, 96)


def moments(kernel):
    """Compute the second moments of a kernel: xx, yy and xy, px^2."""
    places = np.arange(len(kernel)) - len(kernel) // 2
    y, x = np.meshgrid(places, places, indexing="ij")
    return [(kernel * product).sum() for product in (x * x, y * y, x * y)]


def test_without_trailing_and_defocus_nothing_changes():
    light = np.random.default_rng(0).uniform(0, 100, SHAPE).astype(np.float32)
    np.testing.assert_allclose(TrailDefocus()(light), light, atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 0.6, 2.0])
def test_a_trail_has_the_given_length_and_direction(angle):
    x, y, both = moments(TrailDefocus(trail=20.0, angle=angle).kernel())
    assert x + y == pytest.approx(20.0**2 / 12, rel=0.05)  # the variance of a uniform line; pixels add a little
    assert 0.5 * np.arctan2(2 * both, x - y) % np.pi == pytest.approx(angle, abs=0.02)


def test_a_defocused_star_is_a_ring_around_the_central_obstruction():
    kernel = TrailDefocus(defocus=10.0, hole=0.5).kernel()
    middle = len(kernel) // 2
    assert kernel[middle, middle] == 0
    assert kernel[middle, middle + 7] > 0
    assert kernel[middle, middle + 12 :].sum() == 0
    assert kernel.sum() == pytest.approx(1)


def test_light_away_from_the_edge_is_conserved():
    light = np.zeros(SHAPE, np.float32)
    light[30, 40] = 1000
    blurred = TrailDefocus(trail=9.0, angle=1.0)(light)
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    assert blurred.max() < 200


def test_the_given_fraction_of_telescopes_trails_or_is_defocused_within_the_ranges():
    drawn = [draw_trail_or_defocus(0.4, np.random.default_rng(seed)) for seed in range(400)]
    assert 0.3 < np.mean([one is not None for one in drawn]) < 0.5
    for one in drawn:
        if one is not None and one.trail:
            assert TRAIL[0] <= one.trail <= TRAIL[1]
        elif one is not None:
            assert DEFOCUS[0] <= one.defocus <= DEFOCUS[1]
            assert HOLE[0] <= one.hole <= HOLE[1]


def test_a_blurred_scene_has_the_sky_of_the_sharp_one_and_lower_peaks():
    sharp, blurred = (
        next(
            r.build().image for r in RandomScience({"train": 1}, SHAPE, trailed_or_defocused=part).lazy_frames("train")
        )
        for part in (0.0, 1.0)
    )
    assert np.median(blurred) == pytest.approx(np.median(sharp), rel=0.1)
    assert blurred.max() < sharp.max()


def test_scenes_without_trails_and_defocus_keep_their_cache_keys():
    plain, other, blurred = (
        RandomScience({"train": 1}, SHAPE, **settings).lazy_frames("train")[0].key
        for settings in ({}, {"trailed_or_defocused": 0.0}, {"trailed_or_defocused": 0.3})
    )
    assert plain == other != blurred


def test_an_invalid_fraction_of_trailed_or_defocused_scenes_is_refused():
    with pytest.raises(ValueError, match=r"trailed_or_defocused = 1\.5"):
        RandomScience({"train": 1}, SHAPE, trailed_or_defocused=1.5).lazy_frames("train")
