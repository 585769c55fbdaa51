"""Test that a simulated exposure has the sky, the sources, the noise and the saturation of its CCD."""

from dataclasses import replace

import numpy as np
import pytest

from cosmicgate.data.simulation import sky
from cosmicgate.data.simulation.ccd import DECAM
from cosmicgate.data.simulation.readout import bleed, dark, read_out
from cosmicgate.io.fits.frames import Frame

SMALL = replace(DECAM, shape=(256, 256))
# Range of the sky in 90 s, ADU.
LEVELS = {"g": (99, 170), "r": (289, 434), "i": (680, 890), "z": (1477, 2875)}


def generator(seed=0):
    return np.random.default_rng(seed)


def scene_of(electrons, bad=None, **known):
    """Make a scene of ``electrons`` (H, W) with a gain of 4, a full well of 100 000 electrons and no read noise."""
    values = {"gain": 4.0, "read_noise": 0.0, "saturation": 25_000.0, "exptime": 90.0, "read_out": False} | known
    bad = np.zeros(electrons.shape, bool) if bad is None else bad
    return Frame(image=(electrons / values["gain"]).astype(np.float32), bad=bad, **values)


@pytest.fixture
def no_sources(monkeypatch):
    monkeypatch.setattr(sky, "STAR_COUNTS", (1e-12,) * len(sky.STAR_COUNTS))
    monkeypatch.setattr(sky, "GALAXY_DENSITY", 0.0)


@pytest.fixture
def one_star(no_sources, monkeypatch):
    """Return a function that puts one star of a given magnitude into the middle of an empty field."""

    def put(magnitude):
        dtype = [("x", float), ("y", float), ("magnitude", float)]
        star = np.array([(128.0, 128.0, magnitude)], dtype)
        monkeypatch.setattr(sky, "stars", lambda ccd, band, rng: star)

    return put


# ----------------------------------------------------------------------------------------------------------- sky


@pytest.mark.parametrize("band", LEVELS)
def test_the_sky_lies_in_the_range_of_its_band(band):
    low, high = LEVELS[band]
    frames = [sky.scene(SMALL, band, 90, generator(seed)) for seed in range(3)]
    medians = [np.median(frame.image[~frame.bad]) for frame in frames]
    assert all(0.98 * low < median < 1.05 * high for median in medians)  # faint sources raise it a little
    assert len(set(medians)) == 3


def test_a_longer_exposure_counts_more_sky():
    short, long = (np.median(sky.scene(SMALL, "r", exptime, generator()).image) for exptime in (90, 900))
    assert long / short == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize("band", ["g", "z"])
def test_the_noise_of_a_scene_is_that_of_its_photons(band, no_sources):
    frame = sky.scene(SMALL, band, 90, generator())
    electrons = (frame.image * frame.gain)[~frame.bad]
    electrons = electrons[electrons < 1.5 * np.median(electrons)]  # without hot pixels
    assert electrons.var() / electrons.mean() == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(electrons, np.rint(electrons), atol=1e-2)


def test_a_star_has_the_flux_of_its_magnitude_and_zero_point(one_star):
    one_star(17.0)
    frame = sky.scene(SMALL, "r", 90, generator())
    rows, columns = np.indices(frame.shape) - 128
    inside = np.hypot(rows, columns) < 40
    light = np.sum((frame.image - np.median(frame.image))[inside & ~frame.bad])
    assert light == pytest.approx(
        90 * 10 ** (0.4 * (25.209 - 17)), rel=0.06
    )  # part of the halo is outside the aperture


def test_there_are_ten_galaxies_per_square_arcminute():
    catalogues = [sky.galaxies(DECAM, sky.BANDS["i"], generator(seed)) for seed in range(3)]
    rows, columns = DECAM.shape
    inside = [(c["x"] >= 0) & (c["x"] < columns) & (c["y"] >= 0) & (c["y"] < rows) for c in catalogues]
    area = 3 * rows * columns * (DECAM.pixel_scale / 60) ** 2
    assert sum(map(np.sum, inside)) / area == pytest.approx(10, rel=0.1)


def test_star_magnitudes_reach_from_saturation_to_the_noise():
    frame = sky.scene(SMALL, "r", 90, generator())
    magnitudes = np.concatenate([sky.stars(DECAM, sky.BANDS["r"], generator(s))["magnitude"] for s in range(5)])
    zero_point = 25.209 + 2.5 * np.log10(90)
    assert 10 ** (0.4 * (zero_point - magnitudes.min())) > 100 * frame.saturation
    assert 10 ** (0.4 * (zero_point - magnitudes.max())) < 10 * np.sqrt(np.median(frame.image) / frame.gain)


def test_the_number_of_stars_varies_between_fields():
    numbers = [len(sky.stars(DECAM, sky.BANDS["g"], generator(seed))) for seed in range(20)]
    assert max(numbers) > 4 * min(numbers) > 0


def test_the_same_seed_gives_the_same_pixels():
    one, two = (sky.scene(SMALL, "i", 90, generator(7), "a") for _ in range(2))
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.bad, two.bad)
    np.testing.assert_array_equal(read_out(one, generator(8)).image, read_out(two, generator(8)).image)
    assert not np.array_equal(one.image, sky.scene(SMALL, "i", 90, generator(9)).image)


def test_gain_and_bad_columns_differ_between_frames():
    frames = [sky.scene(SMALL, "g", 90, generator(seed)) for seed in range(8)]
    assert len({frame.gain for frame in frames}) == 8
    assert all(0.9 <= frame.gain / SMALL.gain <= 1.1 for frame in frames)
    assert len({int(frame.bad.any(axis=0).sum()) for frame in frames}) > 2


def test_an_unknown_band_is_refused_by_name():
    with pytest.raises(ValueError, match=r"unknown band 'Y'; known: g, r, i, z"):
        sky.scene(SMALL, "Y", 90, generator())


@pytest.mark.parametrize("exptime", [0, -1, float("nan")])
def test_an_invalid_exposure_time_is_refused(exptime):
    with pytest.raises(ValueError, match="exptime"):
        sky.scene(SMALL, "g", exptime, generator())


# ------------------------------------------------------------------------------------------------------- read-out


def longest_run(flags):
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return int(max(edges[1::2] - edges[::2], default=0))


def test_a_bright_star_saturates_and_bleeds_along_its_column(one_star):
    one_star(13.0)
    scene = sky.scene(SMALL, "g", 90, generator())
    assert scene.image.max() > 2 * scene.saturation
    saturated = read_out(scene, generator()).image > 0.99 * scene.saturation
    saturated &= ~scene.bad
    down = max(longest_run(column) for column in saturated[:, 110:146].T)
    across = max(longest_run(row) for row in saturated)
    assert down > 2 * across > 0


def test_bleeding_conserves_charge():
    charge = generator().uniform(0, 500, (200, 5)).astype(np.float32)
    charge[100, 2] += 1e6
    charge[103, 2] += 2.5e5
    charge[60, 4] += 3e5
    before = charge.copy()
    bleed(charge, 1e5)
    assert charge.max() <= 1e5
    np.testing.assert_allclose(charge.sum(axis=0, dtype=float), before.sum(axis=0, dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(charge[:, [0, 1, 3]], before[:, [0, 1, 3]])
    trail = np.flatnonzero(charge[:, 2] > 1000)
    assert trail[0] + trail[-1] == pytest.approx(2 * 101, abs=4)  # equally far up and down


def test_charge_is_lost_at_the_ends_of_a_column():
    charge = np.zeros((20, 3), np.float32)
    charge[10, 1] = 1e8
    bleed(charge, 1e5)
    np.testing.assert_array_equal(charge, np.float32([[0, 1e5, 0]] * 20))


def test_hits_saturate_and_bleed_as_light_does():
    scene = scene_of(np.full((64, 64), 80_000.0))
    hits = np.zeros((64, 64), np.float32)
    hits[30, 20], hits[10, 50] = 40_000, 4_000
    image = read_out(scene, generator(), hits).image
    assert image[10, 50] == 21_000
    assert image[30, 20] == 25_000
    assert image[29, 20] == image[31, 20] == 22_500  # half of the excess in each direction
    assert image[30, 19] == image[30, 21] == 20_000


def test_read_out_gives_whole_numbers_and_adds_the_read_noise_once():
    scene = scene_of(np.full((256, 256), 4_000.0), read_noise=40.0)
    image = read_out(scene, generator()).image
    np.testing.assert_array_equal(image, np.rint(image))
    assert image.dtype == np.float32
    assert image.std() == pytest.approx(10, rel=0.02)
    hits = np.full((256, 256), 400, np.float32)
    assert read_out(scene, generator(), hits).image.std() == pytest.approx(10, rel=0.02)


def test_a_frame_that_is_read_out_already_gets_charge_but_no_more_noise():
    image = generator().normal(1000, 10, (64, 64))
    image[5, 5] = 30_000  # above the header's saturation
    frame = scene_of(4 * image, read_noise=40.0, read_out=True)
    hits = np.zeros((64, 64), np.float32)
    hits[20, 20], hits[40, 40] = 4_000, 1e6
    result = read_out(frame, generator(), hits)
    changed = np.argwhere(result.image != frame.image)
    assert changed.tolist() == [[20, 20], [40, 40]]
    assert result.image[20, 20] == pytest.approx(frame.image[20, 20] + 1000)
    assert result.image[40, 40] == 25_000
    np.testing.assert_array_equal(read_out(frame, generator()).image, frame.image)


def test_bad_pixels_keep_their_values():
    bad = np.zeros((64, 64), bool)
    bad[10:, 7] = True
    electrons = np.where(bad, 12.0, 4_000.0)
    hits = np.full((64, 64), 500, np.float32)
    for read in (False, True):
        image = read_out(scene_of(electrons, bad, read_noise=9.0, read_out=read), generator(), hits).image
        assert (image[bad] == 3).all()
        assert (image[~bad] > 1_000).all()


def test_reading_out_does_not_change_the_scene():
    scene = scene_of(np.full((32, 32), 90_000.0), read_noise=9.0)
    hits = np.full((32, 32), 90_000, np.float32)
    result = read_out(scene, generator(), hits)
    assert result.read_out
    assert not scene.read_out
    assert (scene.image == 22_500).all()
    assert (hits == 90_000).all()


def test_hits_of_another_shape_are_refused_with_both_shapes():
    scene = scene_of(np.zeros((32, 32)), name="field 3")
    with pytest.raises(ValueError, match=r"\(16, 32\).*field 3.*\(32, 32\)"):
        read_out(scene, generator(), np.zeros((16, 32), np.float32))


def test_a_dark_has_its_dark_current_and_no_hits():
    ccd = replace(SMALL, dark_current=0.01)
    frame = dark(ccd, 1000, generator(), "d1")
    good = (frame.image * frame.gain)[~frame.bad]
    assert np.mean(good[good < 100]) == pytest.approx(10, rel=0.02)
    assert (frame.name, frame.band, frame.read_out, frame.exptime) == ("d1", "", False, 1000)
    hits = np.zeros(ccd.shape, np.float32)
    row, column = np.argwhere(~frame.bad)[1000]
    hits[row, column] = 40_000
    assert read_out(frame, generator(), hits).image[row, column] == pytest.approx(40_000 / frame.gain, rel=0.01)


def test_hot_pixels_of_a_dark_are_marked_as_bad():
    """Mark hot pixels as a pipeline's mask does; otherwise a recipe that searches a dark for hits finds them."""
    frames = [dark(replace(SMALL, shape=(1024, 512)), 1000, generator(seed)) for seed in range(5)]
    columns = [(frame.bad.sum(axis=0) > 100) for frame in frames]  # bad ones
    single = [frame.bad & ~column for frame, column in zip(frames, columns, strict=True)]
    assert sum(int(one.sum()) for one in single) > 2
    assert all((f.image[one] * f.gain > 400).all() for f, one in zip(frames, single, strict=True))
    assert all((f.image[~f.bad] * f.gain < 400).all() for f in frames)
