"""Test the warnings for implausible saturation levels, implausibly many hits, and images unlike the training."""

import json
import warnings
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from scipy.ndimage import gaussian_filter, shift

from cosmicgate import cosmicray_unet
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.saturation import check_saturation
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from cosmicgate.pretrained.domain_check import (
    HighHitFractionWarning,
    NoNoiseWarning,
    OutOfDomainWarning,
    domain_features,
    warn_if_out_of_domain,
)
from helpers.mask_command import run
from helpers.tiny_model import hit, sky

SHAPE = (64, 80)
RANGES = {"sources": [0.0, 0.2], "sharpness": [0.11, 0.55]}


def mask_and_warnings(folder, masker, image, **cards):
    """Mask an image (H, W) in a file with the given header cards; return the mask and the warnings."""
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
def test_a_saturation_in_another_unit_is_ignored_with_a_warning(tmp_path, masker, level, saturation, note):
    image = sky(SHAPE, level=level)
    image[5:11, 5:11] += 4000 if saturation == 120 else 0
    mask, found = mask_and_warnings(tmp_path, masker, image, SATURATE=saturation)
    assert mask[hit(SHAPE)].all()
    assert any(note in text for text in found)


@pytest.mark.parametrize("saturation", [65_535.0, 450.0])
def test_a_saturation_above_all_pixels_gives_no_warning(tmp_path, masker, saturation):
    image = sky(SHAPE, level=0.5, noise=0.02)
    mask, found = mask_and_warnings(tmp_path, masker, image, SATURATE=saturation)
    assert mask[hit(SHAPE)].all()
    assert found == []


def test_a_saturation_is_ignored_for_a_nebula_and_applied_for_a_saturated_target():
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


def test_reading_a_frame_ignores_an_implausible_saturation_too(tmp_path, caplog):
    header = fits.Header({"SATURATE": 1.0, "GAIN": 2.0, "RDNOISE": 5.0, "EXPTIME": 60.0})
    fits.writeto(tmp_path / "a.fits", sky(SHAPE, level=0), header)
    assert read_frame(tmp_path / "a.fits").saturation > 400
    assert "is ignored" in caplog.text
    assert read_frame(tmp_path / "a.fits", saturation=300.0).saturation == 300


# ----------------------------------------------------------------------------------------------- implausible results


def image_with_many_hits(fraction=0.05):
    """Simulate a sky (H, W) of which a fraction of pixels is hit."""
    image = sky((200, 200))
    image[np.random.default_rng(0).random(image.shape) < fraction] += 500
    return image


@pytest.mark.parametrize("time", [None, 60.0, 300.0])
def test_more_hits_than_particles_are_a_warning_in_python_command_and_json(tmp_path, masker, model, time):
    image, cards = image_with_many_hits(), {} if time is None else {"EXPTIME": time}
    _, found = mask_and_warnings(tmp_path, masker, image, **cards)
    assert len(found) == 1
    assert "more than particles can hit" in found[0]
    assert ("in any usual exposure" if time is None else f"in {time:g} s") in found[0]
    with pytest.warns(HighHitFractionWarning, match="more than particles can hit"):
        masker.mask(CCDData(image, unit="adu", meta=cards))
    summary = tmp_path / "s.json"
    done = run("mask", tmp_path / "a.fits", "-m", model, "--json", summary, "--overwrite")
    assert done.exit_code == 0
    assert "more than particles can hit" in done.output
    assert "more than particles can hit" in json.loads(summary.read_text())["files"][0]["warnings"][0]


@pytest.mark.parametrize("entry", ["HISTORY", "COMMENT", "", "nested", "lower"])
def test_the_exposure_time_of_a_ccddata_counts_whatever_else_is_in_its_header(masker, entry):
    cards = fits.Header({"EXPTIME": 30.0})
    if entry in ("nested", "lower"):
        cards = {"exptime" if entry == "lower" else "EXPTIME": 30.0, "steps": {"bias": [1, 2]}}
    else:
        cards[entry] = "bias subtracted"
    ccd = CCDData(image_with_many_hits(0.01), unit="adu", meta=cards)
    calls = [masker.mask, masker.clean, partial(cosmicray_unet, model=masker)]
    for call in calls:
        with pytest.warns(HighHitFractionWarning, match=r"in 30 s \(at most 0.24%\)"):
            call(ccd)


def test_a_requested_false_positive_rate_counts_in_every_function_for_a_ccddata(masker):
    ccd = CCDData(image_with_many_hits(0.01), unit="adu", meta={"EXPTIME": 30.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for call in (masker.mask, masker.clean, partial(cosmicray_unet, model=masker)):
            call(ccd, fpr=1e-2)


def test_a_plausible_number_of_hits_gives_no_warning(tmp_path, masker):
    assert mask_and_warnings(tmp_path, masker, image_with_many_hits(0.02), EXPTIME=1800.0)[1] == []
    assert mask_and_warnings(tmp_path, masker, sky(SHAPE))[1] == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masker.mask(image_with_many_hits(0.01))


@pytest.mark.parametrize("scale", [1e34, 1e-34, 1e45, 1e-300])
def test_pixel_values_of_any_magnitude_are_searched(masker, scale):
    image = sky(SHAPE).astype(np.float64)
    np.testing.assert_array_equal(masker.mask(image * scale), hit(SHAPE))
    np.testing.assert_array_equal(masker.mask((image - 100) * scale), hit(SHAPE))


def test_a_file_of_very_large_values_is_searched_or_refused(tmp_path, masker):
    image = sky(SHAPE)
    np.testing.assert_array_equal(mask_and_warnings(tmp_path, masker, image * np.float32(1e34))[0], hit(SHAPE))
    fits.writeto(tmp_path / "b.fits", image.astype(np.float64) * 1e45)
    error = mask_file(tmp_path / "b.fits", tmp_path / "n.fits", masker, MaskOptions()).error
    assert "too large to be searched" in error


def test_a_constant_image_gives_a_warning(tmp_path, masker):
    with pytest.warns(NoNoiseWarning, match="there is nothing to search: all 5120 good pixels are 7"):
        assert not masker.mask(np.full(SHAPE, 7)).any()
    hdu = fits.PrimaryHDU(np.arange(5120, dtype=np.int16).reshape(SHAPE))
    hdu.header["BSCALE"], hdu.header["BZERO"] = 0.0, 3.0
    hdu.writeto(tmp_path / "z.fits")
    outcome = mask_file(tmp_path / "z.fits", tmp_path / "n.fits", masker, MaskOptions())
    assert any("nothing to search" in text for text in outcome.warnings)


# ------------------------------------------------------------------------------------- images unlike the training


def domain_warnings(image, bad=None):
    """Join the warnings that an image (H, W) is unlike the training."""
    features = domain_features(image.astype(np.float32), np.zeros(image.shape, bool) if bad is None else bad)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_if_out_of_domain(features, RANGES)
    assert all(issubclass(one.category, OutOfDomainWarning) for one in caught)
    return " ".join(str(one.message) for one in caught)


def star_field(fwhm, seed=0, side=512):
    """Simulate a field (H, W) of 120 Gaussian stars with photon noise, counts."""
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


def test_undersampled_stars_get_a_warning_with_advice():
    assert "stars are undersampled" in (found := domain_warnings(star_field(0.7)))
    assert "raise the threshold" in found
    assert domain_warnings(star_field(2.5)) == ""


@pytest.mark.parametrize("fwhm", [0.7, 2.5])
def test_hot_pixels_do_not_change_the_sharpness_of_stars(fwhm):
    image, rng = star_field(fwhm), np.random.default_rng(1)
    hot = image.copy()
    hot[tuple(rng.integers(0, 512, (2, 400)))] += 10 ** rng.uniform(2.7, 4.5, 400)
    clean, spoilt = (domain_features(one.astype(np.float32), np.zeros(one.shape, bool)) for one in (image, hot))
    assert spoilt["sharpness"] == pytest.approx(clean["sharpness"], abs=0.03)


def test_hot_pixels_of_a_frame_without_stars_give_no_warning():
    rng = np.random.default_rng(1)
    dark = rng.poisson(200.0, (512, 512)).astype(float)
    dark[tuple(rng.integers(0, 512, (2, 400)))] += 10 ** rng.uniform(2.7, 4.5, 400)
    assert domain_warnings(dark) == ""


@pytest.mark.parametrize("move", [(0.5, 0.5), (0.3, 0.3), (0.4, 0.5)])
def test_a_linearly_resampled_image_gets_a_warning_with_advice(move):
    image = star_field(3.0)
    assert "search the frames before resampling" in domain_warnings(shift(image, move, order=1, mode="nearest"))
    assert domain_warnings(image) == ""
    assert domain_warnings(np.rint((image - 200) / 8 + 200)) == "", "rounding does not correlate pixels"


@pytest.mark.parametrize("axis", [0, 1])
def test_an_arc_lamp_gets_a_warning_with_advice(axis):
    rng = np.random.default_rng(0)
    profile = np.zeros(512)
    profile[rng.choice(np.arange(10, 500, 8), 40, replace=False)] = 10 ** rng.uniform(3, 4.5, 40)
    lamp = np.repeat(gaussian_filter(profile, 1.1)[None], 512, axis=0)
    lamp = rng.poisson(lamp + 100).astype(float)
    assert "a spectrum or an arc lamp" in domain_warnings(lamp if axis else lamp.T)
    defects = rng.normal(100, 10, (512, 512))
    defects[:, rng.choice(512, 10, replace=False)] += 5000
    assert "arc lamp" not in domain_warnings(defects)


def test_bad_regions_do_not_count_as_correlated_sky():
    image, bad = star_field(3.0), np.zeros((512, 512), bool)
    bad[100:300] = True
    image[bad] = 200
    assert domain_warnings(image, bad) == ""


@pytest.mark.parametrize("level", [6.0, 0.0, -10.0])
def test_values_cut_off_within_the_noise_give_a_warning(masker, level):
    image = np.random.default_rng(0).normal(level, 18, SHAPE).clip(0).astype(np.float32)
    with pytest.warns(
        NoNoiseWarning, match="of the good pixels have the lowest value, 0: values below it were cut off"
    ):
        masker.mask(image)


def test_noise_finer_than_the_steps_of_the_values_gives_a_warning(masker):
    image = np.rint(np.random.default_rng(0).normal(100, 0.25, SHAPE)).astype(np.int16)
    with pytest.warns(
        NoNoiseWarning, match=r"9\d% of the good pixels have the value 100: the noise is finer than the steps"
    ):
        masker.mask(image)


def test_an_empty_margin_gives_no_warning(masker):
    image = sky(SHAPE)
    image[:, :30] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoNoiseWarning)
        masker.mask(image)
