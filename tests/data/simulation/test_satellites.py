"""Test the width, light and ends of satellite trails."""

import numpy as np
import pytest

from cosmicgate.data.simulation.satellites import SatelliteTrail, draw_trail

SHAPE = (80, 120)


@pytest.mark.parametrize("width", [0.8, 2.0, 5.0])
def test_a_trail_has_its_width_and_the_same_light_everywhere_along(width):
    light = SatelliteTrail(x=60.0, y=40.3, angle=0.0, brightness=100.0, width=width).light(SHAPE)
    np.testing.assert_allclose(light.sum(axis=0), 100, rtol=1e-4)
    rows = np.arange(80)
    variance = (light[:, 5] * (rows - 40.3) ** 2).sum() / 100
    assert variance == pytest.approx((width / 2.3548) ** 2 + 1 / 12, rel=0.1)  # a pixel adds its own width


def test_a_trail_follows_its_angle_through_its_point():
    light = SatelliteTrail(x=60.0, y=40.0, angle=np.arctan(0.5), brightness=100.0, width=2.0).light(SHAPE)
    assert light[40, 60] == pytest.approx(light.max(), rel=0.1)
    assert light[50, 80] == pytest.approx(light.max(), rel=0.1)
    assert light[60, 60] < 1e-3


def test_a_trail_ends_where_the_shutter_did_and_flashes_in_between():
    light = SatelliteTrail(20.0, 40.0, 0.0, 100.0, 2.0, start=0.0, end=50.0, period=10.0, depth=1.0).light(SHAPE)
    along = light.sum(axis=0)
    assert along[:15].max() < 1
    assert along[75:].max() < 1
    assert along[25] == pytest.approx(100, rel=0.01)
    assert along[30] < 1


def test_the_peak_of_a_drawn_trail_lies_within_the_range():
    for seed in range(50):
        trail = draw_trail(SHAPE, noise=10.0, seeing=2.0, peaks=(3.0, 30.0), rng=np.random.default_rng(seed))
        assert 2.0 <= trail.width <= 3.0
        middle = SatelliteTrail(60.0, 40.0, 0.0, trail.brightness, trail.width).light(SHAPE)[40, 60]
        assert 30 * 0.99 <= middle <= 300 * 1.01
