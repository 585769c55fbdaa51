"""Hot, warm and flickering pixels are found by comparing frames; stars and hits are not among them."""

from functools import partial

import numpy as np
import pytest
from astropy.nddata import CCDData, NDData

from cosmicgate import static_pixels
from cosmicgate.masking.static_pixels import Measurement, find_static, measure
from helpers.night_frames import COLUMN, SHAPE, TOP, simulate_night

STAYS, MOVES = 0.0, 15.0  # px: offsets of the telescope


def missed_and_false(night, found):
    """Count the static pixels that were not found, and the pixels that are wrongly called static."""
    return int((night.static & ~found).sum()), int((found & ~night.static).sum())


@pytest.mark.parametrize("dither", [STAYS, MOVES])
@pytest.mark.parametrize("fwhm", [1.2, 2.5])
def test_static_pixels_are_found_and_stars_are_not_whether_the_telescope_moves_or_not(dither, fwhm):
    night = simulate_night(dither=dither, fwhm=fwhm)
    missed, false = missed_and_false(night, static_pixels(night.frames))
    assert false == 0
    assert missed <= 12, f"{missed} of {night.static.sum()}"


@pytest.mark.slow
def test_bright_stars_that_stay_on_their_pixels_are_not_static_however_many_frames_there_are():
    night = simulate_night(frames=20, fwhm=1.0, stars=300)
    found = static_pixels(night.frames)
    assert not (found & night.stars & ~night.static).any()
    assert (found & night.static).sum() > 100


def test_a_column_is_found_as_a_whole():
    night = simulate_night()
    assert static_pixels(night.frames)[TOP:, COLUMN].all()
    assert not static_pixels(night.frames)[: TOP - 20, COLUMN].any()


def test_hits_that_fall_on_one_pixel_in_two_of_five_frames_are_not_static():
    night = simulate_night(frames=5, seed=3)
    for frame in night.frames[:2]:
        frame[20, 20:30] += 2000
    assert not static_pixels(night.frames)[20, 20:30].any()
    night.frames[2][20, 20:30] += 2000
    night.frames[3][20, 20:30] += 2000
    assert static_pixels(night.frames)[20, 20:30].all(), "in four of five frames they are"


def test_more_coincidences_are_needed_where_hits_are_many():
    rng = np.random.default_rng(0)
    frames = [rng.normal(100, 5, SHAPE).astype(np.float32) for _ in range(5)]
    for frame in frames:
        frame[rng.random(SHAPE) < 0.03] += 500  # three of five coincide in about ten pixels
    three = sum(frame > 400 for frame in frames) >= 3
    assert three.sum() > 3
    assert not (static_pixels(frames) & three).any()


def test_a_pixel_is_judged_by_the_frames_in_which_it_is_good():
    night = simulate_night(frames=11)
    bad = [np.zeros(SHAPE, bool) for _ in night.frames]
    for number, one in enumerate(bad):
        one[: 64 * (number > 4)] = True  # the first rows are good in five frames only
        one[-64:] |= number < 7  # the last rows in four: too few to judge
    found = static_pixels(night.frames, bad)
    assert (found[:64] & night.static[:64]).sum() >= night.static[:64].sum() // 2
    assert not found[-64:, :COLUMN].any()
    pairs = list(zip(night.frames, bad, strict=True))
    nan = [np.where(one, np.nan, frame) for frame, one in pairs]
    assert np.array_equal(static_pixels(nan), found)
    assert np.array_equal(static_pixels(np.array(night.frames), np.array(bad)), found)


@pytest.mark.parametrize("masked", [np.ma.masked_array, NDData, partial(CCDData, unit="adu")], ids=["ma", "nd", "ccd"])
def test_masked_pixels_of_masked_arrays_and_nddata_are_bad(masked):
    night = simulate_night(frames=5)
    bad = [night.static & (np.arange(SHAPE[0]) < 64)[:, None]] * 5
    found = static_pixels([masked(frame, mask=one) for frame, one in zip(night.frames, bad, strict=True)])
    assert np.array_equal(found, static_pixels(night.frames, bad))
    assert not (found & bad[0])[:, :COLUMN].any()
    assert (found & night.static).any()


@pytest.mark.slow
def test_warm_pixels_that_only_long_exposures_show_are_found():
    night = simulate_night(frames=12, exptimes=(1.0, 1.0, 60.0), dither=MOVES, fwhm=2.5)
    missed, false = missed_and_false(night, static_pixels(night.frames))
    assert false == 0
    assert missed <= 20


def test_copies_of_an_exposure_count_once():
    night = simulate_night(frames=3)
    copies = [frame * factor for frame in night.frames for factor in (1, 1.5, 2)]
    assert find_static([measure(one, np.zeros(SHAPE, bool)) for one in copies]) is None
    with pytest.raises(ValueError, match="5 different frames or more: some are copies"):
        static_pixels(copies)


def test_pixels_of_a_colour_mosaic_are_compared_with_those_of_their_colour():
    night = simulate_night(fwhm=3.0)
    for frame in night.frames:
        frame[::2, ::2] += 2000
    found = static_pixels(night.frames, mosaic=True)
    missed, false = missed_and_false(night, found)
    assert missed <= 12
    assert false <= 2


def test_the_unit_of_the_frames_does_not_matter():
    night = simulate_night()
    scaled = [frame * np.float32(1e-12) for frame in night.frames]
    assert np.array_equal(static_pixels(scaled), static_pixels(night.frames))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[:4], "expected 5 frames of one detector or more, got 4"),
        (lambda frames: [*frames, frames[0][1:]], r"of one shape, got \(191, 224\), \(192, 224\)"),
        (lambda frames: [np.zeros(SHAPE, np.float32)] * 6, "5 different frames or more"),
    ],
)
def test_frames_that_cannot_be_compared_get_a_message(change, message):
    with pytest.raises(ValueError, match=message):
        static_pixels(change(simulate_night().frames))


def test_measurements_are_read_with_the_names_under_which_they_were_saved():
    measured = measure(simulate_night().frames[0], np.zeros(SHAPE, bool))
    saved = measured.arrays("0 ")
    names = ("shape", "index", "excess", "light", "stars", "bad", "noise")
    assert set(saved) == {f"0 {name}" for name in names}, "files of measurements by earlier versions are read as well"
    assert Measurement.of(saved, "0 ").arrays("0 ") == saved
