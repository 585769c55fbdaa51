"""What cannot be right is said: a saturation of another unit, more hits than particles, an image without noise."""

import json
import warnings

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter, shift
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.saturation import check_saturation
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from cosmicgate.pretrained.domain_check import (
    FarFromTraining,
    NothingToSearch,
    TooMuchMasked,
    domain_features,
    warn_if_far,
)
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (64, 80)
RANGES = {"sources": [0.0, 0.2], "sharpness": [0.11, 0.55]}


@pytest.fixture(scope="module")
def masker(tmp_path_factory):
    return cosmicgate.load(tiny_model(tmp_path_factory.mktemp("model")))


def made(folder, masker, image, **cards):
    fits.writeto(folder / "a.fits", image, fits.Header(cards), overwrite=True)
    outcome = mask_file(folder / "a.fits", folder / "m.fits", masker, MaskOptions(), overwrite=True)
    assert outcome.error == ""
    with fits.open(folder / "m.fits") as hdus:
        return hdus["CRMASK"].data.astype(bool), outcome.warnings


# ------------------------------------------------------------------------------------------------------- saturation


@pytest.mark.parametrize(
    ("level", "saturation", "note"),
    [
        *((0, value, "lies within the noise of the sky") for value in (1.0, 10.0, 40.0)),
        (0, 120.0, "are more than twice as bright, so it is ignored"),
        (100, 101.0, "lies within the noise of the sky"),
        (100, 30.0, "more than half of the image"),
    ],
)
def test_a_saturation_of_another_unit_hides_no_hit_and_is_told(tmp_path, masker, level, saturation, note):
    image = sky(SHAPE, level=level)
    image[5:11, 5:11] += 4000 if saturation == 120 else 0
    mask, told = made(tmp_path, masker, image, SATURATE=saturation)
    assert mask[hit(SHAPE)].all()
    assert any(note in text for text in told)


@pytest.mark.parametrize("saturation", [65_535.0, 450.0])
def test_a_saturation_above_all_pixels_is_nothing_to_talk_of(tmp_path, masker, saturation):
    image = sky(SHAPE, level=0.5, noise=0.02)
    mask, told = made(tmp_path, masker, image, SATURATE=saturation)
    assert mask[hit(SHAPE)].all()
    assert told == []


def test_a_nebula_above_a_wrong_saturation_is_searched_and_a_saturated_target_is_not():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:200, :200]
    light = np.exp(-np.hypot(rows - 100, columns - 100) / 8)
    nebula = rng.normal(100 + 3000 * light, 10).astype(np.float32)
    good = np.zeros(nebula.shape, bool)
    usable, note = check_saturation(nebula, good, 800.0)
    assert not usable
    assert "at no common level, so it is ignored" in note
    target = np.exp(-np.hypot(rows - 100, columns - 100) / 30)
    full = np.minimum(rng.normal(100 + 90_000 * target, 10), rng.normal(62_000, 600, nebula.shape)).astype(np.float32)
    usable, note = check_saturation(full, good, 55_000.0)
    assert usable
    assert "of the image is saturated (at about 6" in note
    few = np.where(hit((200, 200)), 70_000, rng.normal(100, 10, nebula.shape)).astype(np.float32)
    assert check_saturation(few, good, 55_000.0) == (True, "")


def test_a_frame_of_a_data_set_does_without_such_a_saturation_too(tmp_path, caplog):
    header = fits.Header({"SATURATE": 1.0, "GAIN": 2.0, "RDNOISE": 5.0, "EXPTIME": 60.0})
    fits.writeto(tmp_path / "a.fits", sky(SHAPE, level=0), header)
    assert read_frame(tmp_path / "a.fits").saturation > 400
    assert "is ignored" in caplog.text
    assert read_frame(tmp_path / "a.fits", saturation=300.0).saturation == 300


# ---------------------------------------------------------------------------------------------------- absurd results


def peppered(part=0.05):
    image = sky((200, 200))
    image[np.random.default_rng(0).random(image.shape) < part] += 500
    return image


@pytest.mark.parametrize("time", [None, 60.0, 300.0])
def test_more_hits_than_particles_are_told_everywhere(tmp_path, masker, time):
    image, cards = peppered(), {} if time is None else {"EXPTIME": time}
    _, told = made(tmp_path, masker, image, **cards)
    assert len(told) == 1
    assert "more than particles can hit" in told[0]
    assert ("in any usual exposure" if time is None else f"in {time:g} s") in told[0]
    with pytest.warns(TooMuchMasked, match="more than particles can hit"):
        masker.mask(CCDData(image, unit="adu", meta=cards))
    model = tiny_model(tmp_path / "model")
    summary = tmp_path / "s.json"
    run = CliRunner().invoke(
        app, ["mask", str(tmp_path / "a.fits"), "-m", str(model), "--json", str(summary), "--overwrite"]
    )
    assert run.exit_code == 0
    assert "more than particles can hit" in run.output
    assert "more than particles can hit" in json.loads(summary.read_text())["files"][0]["warnings"][0]


def test_what_particles_can_do_is_not_told(tmp_path, masker):
    assert made(tmp_path, masker, peppered(0.02), EXPTIME=1800.0)[1] == []
    assert made(tmp_path, masker, sky(SHAPE))[1] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masker.mask(peppered(0.01))


@pytest.mark.parametrize("scale", [1e34, 1e-34, 1e45, 1e-300])
def test_numbers_of_any_size_are_searched(masker, scale):
    image = sky(SHAPE).astype(np.float64)
    np.testing.assert_array_equal(masker.mask(image * scale), hit(SHAPE))
    np.testing.assert_array_equal(masker.mask((image - 100) * scale), hit(SHAPE))


def test_a_file_of_large_numbers_is_searched_or_named(tmp_path, masker):
    image = sky(SHAPE)
    np.testing.assert_array_equal(made(tmp_path, masker, image * np.float32(1e34))[0], hit(SHAPE))
    fits.writeto(tmp_path / "b.fits", image.astype(np.float64) * 1e45)
    error = mask_file(tmp_path / "b.fits", tmp_path / "n.fits", masker, MaskOptions()).error
    assert "too large to be searched" in error


def test_an_image_with_nothing_to_search_is_named(tmp_path, masker):
    with pytest.warns(NothingToSearch, match="there is nothing to search: all 5120 good pixels are 7"):
        assert not masker.mask(np.full(SHAPE, 7)).any()
    hdu = fits.PrimaryHDU(np.arange(5120, dtype=np.int16).reshape(SHAPE))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.0, 3.0
    hdu.writeto(tmp_path / "z.fits")
    outcome = mask_file(tmp_path / "z.fits", tmp_path / "n.fits", masker, MaskOptions())
    assert any("nothing to search" in text for text in outcome.warnings)


# ------------------------------------------------------------------------------------------------ unlike the training


def told_of(image, bad=None):
    found = domain_features(image.astype(np.float32), np.zeros(image.shape, bool) if bad is None else bad)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_far(found, RANGES, "net")
    assert all(issubclass(one.category, FarFromTraining) for one in caught)
    return " ".join(str(one.message) for one in caught)


def field(fwhm, seed=0, side=512):
    rng = np.random.default_rng(seed)
    image = np.zeros((side, side))
    for row, column, flux in zip(*rng.uniform(8, side - 8, (2, 120)), 10 ** rng.uniform(3, 5, 120), strict=True):
        rows, columns = np.mgrid[int(row) - 6 : int(row) + 7, int(column) - 6 : int(column) + 7]
        fine = np.add.outer(np.arange(7) / 7 - 3 / 7, np.zeros(7))
        spot = sum(
            np.exp(-4 * np.log(2) * ((rows - row + y) ** 2 + (columns - column + x) ** 2) / fwhm**2)
            for y, x in zip(fine.ravel(), fine.T.ravel(), strict=True)
        )
        image[rows, columns] += flux * spot / spot.sum()
    return rng.poisson(image + 200).astype(float)


def test_undersampled_stars_are_told_with_what_to_do():
    assert "stars are undersampled" in (told := told_of(field(0.7)))
    assert "raise the threshold" in told
    assert told_of(field(2.5)) == ""


@pytest.mark.parametrize("move", [(0.5, 0.5), (0.3, 0.3), (0.4, 0.5)])
def test_a_linearly_resampled_image_is_told_with_what_to_do(move):
    image = field(3.0)
    assert "search the frames before resampling" in told_of(shift(image, move, order=1, mode="nearest"))
    assert told_of(image) == ""
    assert told_of(np.rint((image - 200) / 8 + 200)) == "", "whole numbers of a small noise are not correlated"


@pytest.mark.parametrize("axis", [0, 1])
def test_an_arc_lamp_is_told_with_what_to_do(axis):
    rng = np.random.default_rng(0)
    profile = np.zeros(512)
    profile[rng.choice(np.arange(10, 500, 8), 40, replace=False)] = 10 ** rng.uniform(3, 4.5, 40)
    lamp = np.repeat(gaussian_filter(profile, 1.1)[None], 512, axis=0)
    lamp = rng.poisson(lamp + 100).astype(float)
    assert "a spectrum or an arc lamp" in told_of(lamp if axis else lamp.T)
    defects = rng.normal(100, 10, (512, 512))
    defects[:, rng.choice(512, 10, replace=False)] += 5000
    assert "arc lamp" not in told_of(defects)


def test_bad_regions_make_no_sky_correlated():
    image, bad = field(3.0), np.zeros((512, 512), bool)
    bad[100:300] = True
    image[bad] = 200
    assert told_of(image, bad) == ""
