"""Test that each frame of the randomised cameras has another camera, within the documented ranges."""

import numpy as np
import pytest

from cosmicgate.data.sources import random_cameras
from cosmicgate.data.sources.random_cameras import (
    RandomDarks,
    RandomScience,
    draw_camera,
    draw_telescope,
    draw_trail_or_defocus,
)

COUNTS = {"train": 3, "validation": 1, "test": 1}
SHAPE = (64, 96)


def test_a_camera_lies_within_the_ranges():
    for seed in range(200):
        ccd = draw_camera(SHAPE, np.random.default_rng(seed))
        deepest = ccd.diffusion_min + random_cameras.DIFFUSION_DEEP
        for value, limits in (
            (ccd.thickness, random_cameras.THICKNESS),
            (ccd.pixel, random_cameras.PIXEL),
            (ccd.diffusion_min, random_cameras.DIFFUSION),
            (ccd.diffusion_max, (ccd.diffusion_min, deepest)),
            (ccd.gain, random_cameras.GAIN),
            (ccd.read_noise, random_cameras.READ_NOISE),
            (ccd.saturation, (random_cameras.FULL_WELL[0] / ccd.gain, random_cameras.CONVERTER)),
            (ccd.saturation * ccd.gain, (0, random_cameras.FULL_WELL[1])),
            (ccd.pixel_scale, random_cameras.PIXEL_SCALE),
            (ccd.substrate, (0, random_cameras.SUBSTRATE)),
        ):
            assert limits[0] * 0.999 <= value <= limits[1] * 1.001
        assert ccd.substrate == 0 or ccd.thickness < 30
        assert ccd.shape == SHAPE


def test_thin_and_thick_ccds_are_equally_frequent():
    drawn = [draw_camera(SHAPE, np.random.default_rng(seed)).thickness for seed in range(400)]
    assert 0.4 < np.mean(np.array(drawn) < np.sqrt(np.prod(random_cameras.THICKNESS))) < 0.6


def test_the_sky_of_a_telescope_lies_within_its_range_of_electrons():
    for seed in range(100):
        rng = np.random.default_rng(seed)
        ccd = draw_camera(SHAPE, rng)
        band = draw_telescope(ccd, 100.0, rng)
        low, high = random_cameras.SKY
        assert low * 0.999 <= band.sky[0] * 100 * ccd.gain <= high * 1.001
        assert random_cameras.SEEING[0] * 0.999 <= band.seeing / ccd.pixel_scale <= random_cameras.SEEING[1] * 1.001
        assert random_cameras.ZERO_POINT[0] <= band.zero_point <= random_cameras.ZERO_POINT[1]
        assert band.stars == random_cameras.STARS


def test_a_blurred_telescope_trails_or_is_out_of_focus_within_the_ranges():
    drawn = [draw_trail_or_defocus(0.5, np.random.default_rng(seed)) for seed in range(300)]
    some = [one for one in drawn if one is not None]
    assert 120 < len(some) < 180
    trails = [one for one in some if one.trail]
    assert 0.55 < len(trails) / len(some) < 0.78
    for one in some:
        if one.trail:
            assert random_cameras.TRAIL[0] * 0.999 <= one.trail <= random_cameras.TRAIL[1] * 1.001
            assert not one.defocus
        else:
            assert random_cameras.DEFOCUS[0] * 0.999 <= one.defocus <= random_cameras.DEFOCUS[1] * 1.001
            assert random_cameras.HOLE[0] <= one.hole <= random_cameras.HOLE[1]
    assert not any(draw_trail_or_defocus(0, np.random.default_rng(seed)) for seed in range(20))


@pytest.mark.parametrize("source", [RandomScience, RandomDarks])
def test_every_frame_is_of_another_camera_and_in_one_split(source):
    lazy_frames = [r for split in COUNTS for r in source(COUNTS, SHAPE).lazy_frames(split)]
    assert len({r.name for r in lazy_frames}) == len({r.key for r in lazy_frames}) == 5
    gains = {r.build().gain for r in lazy_frames}
    assert len(gains) == 5


@pytest.mark.parametrize("source", [RandomScience, RandomDarks])
def test_the_same_recipe_gives_the_same_pixels(source):
    first, again = (source(COUNTS, SHAPE).lazy_frames("train")[1].build() for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.shape == SHAPE


def test_a_dark_records_its_hits_and_a_scene_has_no_bad_pixels():
    dark = RandomDarks({"train": 1}, (256, 256)).lazy_frames("train")[0].build()
    assert (dark.hits > 0).any()
    scenes = [r.build() for r in RandomScience({"train": 4}, SHAPE).lazy_frames("train")]
    assert not any(scene.bad.any() for scene in scenes)
    assert not any(scene.read_out for scene in scenes)


def test_the_range_of_seeing_changes_no_other_random_value():
    wide, narrow = (
        RandomScience({"train": 1}, (256, 256), **settings).lazy_frames("train")[0]
        for settings in ({}, {"seeing": (1.2, 1.3)})
    )
    assert wide.key != narrow.key, "another range of seeing is another cache key"
    assert (
        wide.key
        == RandomScience({"train": 1}, (256, 256), seeing=list(random_cameras.SEEING)).lazy_frames("train")[0].key
    )
    for seed in range(50):
        ccd = draw_camera(SHAPE, np.random.default_rng(seed))
        usual = draw_telescope(ccd, 100.0, np.random.default_rng(seed))
        band = draw_telescope(ccd, 100.0, np.random.default_rng(seed), (1.2, 1.8))
        assert 1.2 * 0.999 <= band.seeing / ccd.pixel_scale <= 1.8 * 1.001
        assert (band.sky, band.zero_point) == (usual.sky, usual.zero_point)
    a, b = wide.build(), narrow.build()
    assert (a.gain, a.read_noise, a.exptime) == (b.gain, b.read_noise, b.exptime)


@pytest.mark.parametrize("seeing", [(0.5, 2.0), (3.0, 2.0), (2.0,)])
def test_an_invalid_range_of_seeing_is_refused(seeing):
    with pytest.raises(ValueError, match="from 1 pixel on"):
        RandomScience({"train": 1}, SHAPE, seeing=seeing).lazy_frames("train")


def test_an_invalid_shape_is_refused():
    with pytest.raises(ValueError, match="rows and columns"):
        draw_camera([64], np.random.default_rng(0))
