"""Test that a detector's warm pixels and columns keep their places, and that some flicker from frame to frame."""

import numpy as np
import pytest

from cosmicgate.data.simulation import defects as module
from cosmicgate.data.simulation.defects import Defects, draw_defects

SHAPE = (400, 300)


def detector(columns=(), **pixels) -> Defects:
    """Make a detector with given pixels and columns."""
    empty = {"pixels": np.zeros(0, int), "rates": np.zeros(0), "lower": np.zeros(0)}
    return Defects(SHAPE, columns=np.array(columns, float).reshape(-1, 5), **(empty | pixels))


def test_a_flickering_column_repeats_over_the_frames_of_a_detector_with_other_bright_pixels():
    camera = detector(columns=[(120, 100, 400, 50.0, 0.3)])
    rng = np.random.default_rng(0)
    frames = [camera.charge(60.0, rng) for _ in range(8)]
    bright = np.array([frame > 0 for frame in frames])
    for frame in bright:
        assert set(np.nonzero(frame)[1]) == {120}, "always the same column"
        assert not frame[:100].any(), "and the same rows"
        assert frame[100:, 120].mean() == pytest.approx(0.3, abs=0.1)
    agreement = (bright[0] & bright[1]).sum() / bright[0].sum()
    assert agreement < 0.6, "other pixels of it are bright in each frame"
    assert np.mean(frames, axis=0)[100:, 120].mean() == pytest.approx(0.3 * 50, rel=0.2)


def test_a_hot_pixel_keeps_its_rate_and_a_flickering_one_switches_between_two():
    pixels = np.array([10, 5000])
    camera = detector(pixels=pixels, rates=np.array([20.0, 20.0]), lower=np.array([1.0, 0.25]))
    rng = np.random.default_rng(0)
    charge = np.array([camera.charge(30.0, rng).flat[pixels] for _ in range(200)])
    np.testing.assert_allclose(charge[:, 0], 600)
    assert charge[:, 1].min() >= 150 * 0.999
    assert charge[:, 1].max() <= 600 * 1.001
    near_a_level = (charge[:, 1] < 200) | (charge[:, 1] > 550)
    assert near_a_level.mean() > 0.4, "mostly one level or the other"
    assert 0.2 < (charge[:, 1] > 375).mean() < 0.8
    np.testing.assert_allclose(camera.charge(60.0, rng).flat[10], 1200)  # twice the time, twice the charge


def test_hot_pixels_have_every_level_as_in_real_darks():
    drawn = [draw_defects(SHAPE, np.random.default_rng(seed)) for seed in range(300)]
    rates = np.concatenate([camera.rates[camera.pixels.size // 10 :] for camera in drawn])
    low, high = module.HOT_RATES
    assert (rates[rates > low] <= high * 1.001).all()
    above = [np.mean(rates > limit) for limit in (1, 10, 100)]
    assert above[0] / above[1] == pytest.approx(10**module.HOT_SLOPE, rel=0.2)
    assert above[2] > 0.01
    shares = np.array([camera.pixels.size / np.prod(SHAPE) for camera in drawn])
    assert shares.max() < 1.5 * module.HOT_SHARE[1]
    assert 0.1 < np.concatenate([camera.lower < 1 for camera in drawn]).mean() < 0.6


def test_defects_lie_on_the_detector():
    for seed in range(100):
        camera = draw_defects((30, 20), np.random.default_rng(seed))
        assert camera.charge(100.0, np.random.default_rng(1)).shape == (30, 20)
        assert (camera.pixels < 600).all()
        assert (camera.columns[:, 0] < 20).all()
        assert camera.rates.shape == camera.lower.shape == camera.pixels.shape
