"""Test that the effects of real frames are where they are asked for, change nothing else, and are no hits."""

import numpy as np
import pytest

from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.pixel_labels import CORE
from cosmicgate.data.simulation.ccd import SINISTRO
from cosmicgate.data.simulation.readout import read_out
from cosmicgate.data.simulation.sky import BANDS
from cosmicgate.data.sources import effects as module
from cosmicgate.data.sources.effects import Effects
from cosmicgate.data.sources.random_cameras import DEPLETED, RandomDarks, RandomScience, draw_camera, draw_telescope
from cosmicgate.io.fits.frames import Frame, read_frame, write_frame

SHAPE = (96, 128)
NAMES = ("defects", "aberrations", "guiding_jumps", "spikes", "satellites", "row_bleeding", "small_camera")


def scene(**effects) -> Frame:
    """Make the first scene of a source, with effects."""
    chosen = Effects(**effects) if effects else None
    return RandomScience({"train": 1}, SHAPE, 7, effects=chosen).lazy_frames("train")[0].build()


def test_effects_that_are_off_leave_the_pixels_as_they_are():
    plain, without = scene(), scene(defects=0.0)
    np.testing.assert_array_equal(plain.image, without.image)
    assert plain.bleeds_along == without.bleeds_along == "columns"


@pytest.mark.parametrize("name", NAMES)
def test_each_effect_changes_the_frame_and_its_cache_key(name):
    on, off = (RandomScience({"train": 1}, SHAPE, 7, effects=Effects(**{name: part})) for part in (1.0, 0.0))
    assert on.lazy_frames("train")[0].key != off.lazy_frames("train")[0].key
    with_effect, without = on.lazy_frames("train")[0].build(), off.lazy_frames("train")[0].build()
    if name == "row_bleeding":
        assert (with_effect.bleeds_along, without.bleeds_along) == ("rows", "columns")
    else:
        assert not np.array_equal(with_effect.image, without.image)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-0.1, 1.5])
def test_a_fraction_that_is_none_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} = {value}: expected a fraction between 0 and 1"):
        Effects(**{name: value})


def test_effects_come_in_the_given_fraction_of_the_frames():
    chosen = Effects(defects=0.3, satellites=0.6)
    numbers = range(300)
    drawn = [
        chosen.defect_charge(SINISTRO.__class__(**{**vars(SINISTRO), "shape": (8, 8)}), 1.0, [0, n]) for n in numbers
    ]
    assert np.mean([charge is not None for charge in drawn]) == pytest.approx(0.3, abs=0.07)
    trails = [chosen.trails(SINISTRO, BANDS["r"], 60.0, [0, n]) for n in numbers]
    assert np.mean([bool(each) for each in trails]) == pytest.approx(0.6, abs=0.07)
    assert max(map(len, trails)) == module.MAX_TRAILS


def test_pixels_of_a_satellite_trail_are_not_in_the_truth():
    sky = scene(satellites=1.0)
    bright = sky.image * sky.gain > np.median(sky.image * sky.gain) + 30 * np.sqrt(np.median(sky.image * sky.gain))
    assert bright.sum() > 100, "a trail crosses the frame"
    hits = np.zeros(SHAPE, np.float32)
    hits[50, 20:24] = 20 * sky.saturation / 100 * sky.gain
    dark = Frame(np.zeros(SHAPE, np.float32), 1.0, 1.0, 60_000.0, 60.0, hits=hits)
    _, truth = PhysicalRecipe(clean=None, ring=False)(sky, dark, np.random.default_rng(0))
    assert not (truth[hits == 0] != 0).any()
    assert (truth[50, 20:24] == CORE).any()


def test_a_small_camera_has_12_bits_and_a_sky_sigma_of_few_counts():
    for number in range(50):
        rng = np.random.default_rng(number)
        usual, exptime = draw_camera(SHAPE, rng), 50.0
        ccd, band = Effects(small_camera=1.0).camera(usual, draw_telescope(usual, exptime, rng), exptime, [number])
        noise = np.hypot(np.sqrt(band.sky[0] * exptime * ccd.gain), ccd.read_noise) / ccd.gain
        assert module.SKY_SIGMA_SMALL[0] * 0.999 <= noise <= module.SKY_SIGMA_SMALL[1] * 1.001
        assert module.SEEING_SMALL[0] * 0.999 <= band.seeing / ccd.pixel_scale <= module.SEEING_SMALL[1] * 1.001
        low, high = (full_well / module.CONVERTER_SMALL for full_well in module.FULL_WELL_SMALL)
        assert low * 0.999 <= ccd.gain <= high * 1.001


def test_the_noise_of_a_small_camera_has_whole_steps_of_one_count():
    frame = scene(small_camera=1.0)
    image = read_out(frame, np.random.default_rng(0)).image
    values = np.unique(image[image < np.median(image) + 4])
    assert np.array_equal(np.diff(values), np.ones(values.size - 1)), "every count up to the sky, and nothing between"
    assert image.max() <= module.CONVERTER_SMALL + 10 * frame.read_noise / frame.gain


def test_bleeding_along_rows_survives_the_cache_and_moves_charge_along_the_row(tmp_path):
    image = np.zeros((20, 30), np.float32)
    image[10, 15] = 1000.0
    frame = Frame(image, gain=1.0, read_noise=0.0, saturation=100.0, exptime=1.0, read_out=False, bleeds_along="rows")
    write_frame(frame, tmp_path / "scene.fits")
    again = read_frame(tmp_path / "scene.fits")
    assert again.bleeds_along == "rows"
    bled = read_out(again, np.random.default_rng(0)).image
    assert bled.sum() == 1000
    assert (bled[10] > 0).sum() == 11  # 9 full pixels and two halves
    assert not np.delete(bled, 10, axis=0).any()


def test_some_darks_have_field_free_silicon_and_some_alpha_particles():
    darks = RandomDarks({"train": 200}, (16, 16), field_free=0.5, alphas=0.3)
    ccd = draw_camera((16, 16), np.random.default_rng(0))
    drawn = [darks._silicon(ccd, [0, 4, 0, number]) for number in range(200)]
    assert np.mean([depth > 0 for _, depth, _ in drawn]) == pytest.approx(0.5, abs=0.1)
    assert np.mean([rates.alphas > 0 for _, _, rates in drawn]) == pytest.approx(0.3, abs=0.1)
    for silicon, depth, _ in drawn:
        assert silicon == ccd if not depth else DEPLETED[0] * 0.999 <= silicon.thickness <= DEPLETED[1] * 1.001
    plain, with_layers = (
        RandomDarks({"train": 1}, (64, 64), field_free=part).lazy_frames("train")[0] for part in (0.0, 1.0)
    )
    assert plain.key == RandomDarks({"train": 1}, (64, 64)).lazy_frames("train")[0].key != with_layers.key
    with pytest.raises(ValueError, match=r"alphas = 2\.0: expected a fraction between 0 and 1"):
        RandomDarks({"train": 1}, (64, 64), alphas=2.0).lazy_frames("train")
