"""Test colour mosaics: how they are recognised, and that differences between colours are not taken for hits."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData, StdDevUncertainty

import cosmicgate
from cosmicgate.io.fits.colour_mosaics import is_binned, mosaic_of
from cosmicgate.io.fits.hdus import FitsError
from cosmicgate.masking.colour_mosaic import equalize_colour_skies, has_mosaic_sky_levels, starlit_pixels
from cosmicgate.masking.inpainting import COLOUR_SLICES, clean
from helpers.mask_command import run
from helpers.tiny_model import hit, sky

SHAPE = (64, 80)
LEVELS = (300.0, 1000.0, 1000.0, 150.0)  # sky of red, the two greens and blue, counts


def mosaic_image(seed=0, shape=SHAPE):
    """Simulate an image (H, W), float32, of four skies with Poisson noise, with hits at the pixels of :func:`hit`."""
    rng, image = np.random.default_rng(seed), np.zeros(shape, np.float32)
    for plane, level in zip(COLOUR_SLICES, LEVELS, strict=True):
        image[plane] = rng.poisson(level, image[plane].shape)
        image[plane][hit(shape)[plane]] += 30 * np.sqrt(level)
    return image


# ------------------------------------------------------------------------------------------------------ recognition


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(("BAYERPAT", value) for value in ("RGGB", "GBRG", "grbg", "'BGGR'", " RGGB ", "RG/GB", "CMYG", "TRUE")),
        *(("COLORTYP", value) for value in ("RGGB", "'TRUE'", "Bayer RGGB", True)),
        *((word, "GRBG") for word in ("CFAPAT", "BAYRPAT", "HIERARCH BAYERPATTERN", "HIERARCH CFA-PATTERN")),
        *(("BAYERTYP", "bayer"), ("CFA", "RGBW"), ("BAYER", "RGGB"), ("COLORPAT", "GBRG")),
        *(("FILTER", "RGGB"), ("FILTER", "GBRG")),
    ],
)  # fmt: skip
def test_every_keyword_of_a_colour_pattern_is_read(word, value):
    header = fits.Header({word: value})
    assert mosaic_of((header, fits.Header())) == f"{word.removeprefix('HIERARCH ')} = {header[word]!r}"
    assert mosaic_of((fits.Header(), header)), "the primary header counts too"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        *(("BAYERPAT", value) for value in ("", "NONE", "MONO", "'MONO'", False, "N/A", 1, "QXYZ")),
        *(("COLORTYP", value) for value in ("MONO", "'FALSE'", "RGB", "Monochrome", "GREY", "YMCK")),
        *(("FILTER", value) for value in ("R", "GREY", "rgb", "GG495", "Bayer")),
        ("OBJECT", "RGGB"),
    ],
)
def test_other_keywords_and_values_are_no_mosaic(word, value):
    assert mosaic_of((fits.Header({word: value}),)) == ""


def test_a_keyword_without_a_pattern_does_not_hide_another_with_one():
    assert mosaic_of((fits.Header({"COLORTYP": "NONE", "CFAPAT": "RGGB"}),))


@pytest.mark.parametrize("value", ["GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG", "X-Trans", "XTRANS", "BGGRBGGRRGGBRGGB"])
def test_patterns_larger_than_2x2_are_refused(tmp_path, model, value):
    with pytest.raises(FitsError, match="BAYERPAT = "):
        mosaic_of((fits.Header({"BAYERPAT": value}),))
    fits.writeto(tmp_path / "a.fits", mosaic_image(), fits.Header({"BAYERPAT": value}))
    done = run("mask", tmp_path / "a.fits", "-m", model, "--clean")
    assert done.exit_code == 1
    assert f"not searched: BAYERPAT = '{value}': " in done.stderr
    assert len(list(tmp_path.iterdir())) == 1
    assert run("mask", tmp_path / "a.fits", "-m", model, "--no-mosaic").exit_code == 0
    assert "not searched: BAYERPAT" in run("info", tmp_path / "a.fits").output


def test_a_binned_image_with_one_sky_level_is_no_mosaic(tmp_path, model):
    header = fits.Header({"BAYERPAT": "RGGB", "XBINNING": 2, "YBINNING": 2})
    assert is_binned((header,))
    assert not is_binned((fits.Header({"XBINNING": 1}),))
    fits.writeto(tmp_path / "one.fits", sky(SHAPE), header)
    fits.writeto(tmp_path / "four.fits", mosaic_image(), header)  # some cameras bin pixels of one colour
    done = run("mask", tmp_path, "-m", model)
    assert "BAYERPAT = 'RGGB', but its pixels are binned and have one sky" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "CRMOSAIC" not in fits.getheader(tmp_path / "one_crmask.fits", "CRMASK")
    assert "CRMOSAIC" in fits.getheader(tmp_path / "four_crmask.fits", "CRMASK")


def test_an_image_that_looks_like_a_mosaic_gets_a_warning(tmp_path, model):
    assert not has_mosaic_sky_levels(sky(SHAPE), np.zeros(SHAPE, bool))
    assert not has_mosaic_sky_levels(np.random.default_rng(0).poisson(0.4, SHAPE), np.zeros(SHAPE, bool))
    fits.writeto(tmp_path / "a.fits", mosaic_image())
    done = run("mask", tmp_path / "a.fits", "-m", model)
    assert "if it is a colour mosaic, use --mosaic" in done.stderr
    forced = run("mask", tmp_path / "a.fits", "-m", model, "--mosaic")
    assert forced.stderr == ""
    np.testing.assert_array_equal(fits.getdata(tmp_path / "a_crmask.fits", "CRMASK").astype(bool), hit(SHAPE))


# ----------------------------------------------------------------------------------------------------------- masks


def test_the_hits_of_a_mosaic_are_found(masker):
    image = mosaic_image()
    np.testing.assert_array_equal(masker.mask(image, mosaic=True), hit(SHAPE))
    assert not np.array_equal(masker.mask(image), hit(SHAPE)), "without mosaic=True the mask is wrong"
    batch = masker.mask(np.stack([image, image]), mosaic=True)
    np.testing.assert_array_equal(batch, np.stack([hit(SHAPE)] * 2))


def test_the_pretrained_network_finds_hits_in_a_mosaic_as_in_one_colour():
    masker, rng = cosmicgate.load(check=False), np.random.default_rng(3)
    shape, hits = (192, 192), np.zeros((192, 192), bool)
    for row, column in rng.integers(8, 180, (25, 2)):
        hits[row, column] = hits[row + 1, column + 1] = hits[row + 2, column + 1] = True
    found = {}
    for name, levels in (("mono", (1000.0,) * 4), ("mosaic", LEVELS)):
        image = np.zeros(shape, np.float32)
        for plane, level in zip(COLOUR_SLICES, levels, strict=True):
            image[plane] = rng.poisson(level, image[plane].shape)
        image[hits] += 600
        found[name] = masker.mask(image, mosaic=name == "mosaic")
    assert found["mono"][hits].mean() > 0.9
    assert found["mosaic"][hits].mean() > found["mono"][hits].mean() - 0.03
    assert (found["mosaic"] & ~hits).sum() <= (found["mono"] & ~hits).sum() + 3


def test_bad_pixels_and_colours_without_a_good_pixel_are_tolerated(masker):
    image, bad = mosaic_image(), np.zeros(SHAPE, bool)
    image[:, 7] = np.nan
    bad[COLOUR_SLICES[3]] = True
    bad[20:22] = True
    image[bad] = 1e9
    found = masker.mask(image, bad=bad, mosaic=True)
    assert not found[bad].any()
    assert found[~bad & (image < 1e8)].sum() == (hit(SHAPE) & ~bad & np.isfinite(image)).sum()
    with pytest.raises(ValueError, match="pixels are bad or not finite: there is nothing to search"):
        masker.mask(image, bad=np.ones(SHAPE, bool), mosaic=True)


@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (65, 17)])
def test_small_and_odd_shapes_are_searched(masker, shape):
    assert masker.probability(mosaic_image(shape=shape), mosaic=True).shape == shape


def test_the_colours_of_a_mosaic_are_scaled_to_one_level_and_noise():
    flat = equalize_colour_skies(mosaic_image(), np.zeros(SHAPE, bool))
    levels = [np.median(flat[plane]) for plane in COLOUR_SLICES]
    noises = [1.4826 * np.median(np.abs(flat[plane] - np.median(flat[plane]))) for plane in COLOUR_SLICES]
    assert np.ptp(levels) < 0.2 * min(noises)
    assert max(noises) < 1.2 * min(noises)
    assert np.mean(levels) == pytest.approx(np.mean(LEVELS), rel=0.02)


def test_pixels_near_a_star_are_in_starlight_and_those_of_hits_are_not():
    image, rows, columns = equalize_colour_skies(mosaic_image(), np.zeros(SHAPE, bool)), *np.indices(SHAPE)
    assert starlit_pixels(image)[hit(SHAPE)].mean() < 0.2, "one in eight by noise"
    image += 5000 * np.exp(-((rows - 40) ** 2 + (columns - 50) ** 2) / 8).astype(np.float32)
    assert starlit_pixels(image)[37:44, 47:54].all()


# -------------------------------------------------------------------------------------------------------- cleaning


@pytest.mark.parametrize("method", ["median", "interpolate"])
def test_a_hit_is_replaced_from_pixels_of_its_colour(method):
    image, mask = mosaic_image(), np.zeros(SHAPE, bool)
    mask[20:23, 30:33] = mask[0, 0] = mask[-1, -1] = True
    image[mask] = 60000
    cleaned = clean(image, mask, method, mosaic=True)
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    for plane, level in zip(COLOUR_SLICES, LEVELS, strict=True):
        np.testing.assert_allclose(cleaned[plane][mask[plane]], level, atol=5 * np.sqrt(level))


def test_the_command_cleans_a_mosaic_and_records_it(tmp_path, model):
    image = np.rint(mosaic_image()).astype(np.uint16)
    fits.writeto(tmp_path / "a.fits", image, fits.Header({"BAYERPAT": "RGGB", "XBAYROFF": 0, "YBAYROFF": 0}))
    with fits.open(tmp_path / "a.fits", mode="append") as hdus:
        hdus.append(fits.ImageHDU(np.sqrt(image).astype(np.float32), name="ERR"))
    done = run("mask", tmp_path / "a.fits", "-m", model, "--clean")
    assert (done.exit_code, done.stderr) == (0, "")
    with fits.open(tmp_path / "a_crclean.fits") as hdus:
        np.testing.assert_array_equal(hdus["CRMASK"].data.astype(bool), hit(SHAPE))
        for plane, level in zip(COLOUR_SLICES, LEVELS, strict=True):
            here = hit(SHAPE)[plane]
            np.testing.assert_allclose(hdus[0].data[plane][here], level, atol=5 * np.sqrt(level))
            assert (hdus["ERR"].data[plane][here] < 60 * np.sqrt(level) ** 0.5 + 30).all()
        assert hdus["CRMASK"].header["CRMOSAIC"] == "BAYERPAT = 'RGGB'"
        assert "of the same colour" in str(hdus[0].header["HISTORY"]).replace("\n", "")
    assert "a colour mosaic (BAYERPAT = 'RGGB')" in run("info", tmp_path / "a.fits").output


def test_a_ccddata_with_a_pattern_in_its_header_is_a_mosaic(masker):
    image = mosaic_image()
    ccd = CCDData(
        image, unit="adu", uncertainty=StdDevUncertainty(np.sqrt(image)), header=fits.Header({"CFAPAT": "RGGB"})
    )
    np.testing.assert_array_equal(masker.mask(ccd), hit(SHAPE))
    cleaned = masker.clean(ccd)
    for plane, level in zip(COLOUR_SLICES, LEVELS, strict=True):
        here = hit(SHAPE)[plane]
        np.testing.assert_allclose(cleaned.data[plane][here], level, atol=5 * np.sqrt(level))
        assert (cleaned.uncertainty.array[plane][here] >= np.sqrt(image)[plane][here] - 1e-3).all()
    assert not np.array_equal(masker.mask(ccd, mosaic=False), hit(SHAPE))
    piped = cosmicgate.cosmicray_unet(ccd, model=masker, gain_apply=False)
    np.testing.assert_array_equal(piped.mask, hit(SHAPE))
    np.testing.assert_allclose(piped.data, cleaned.data, rtol=0.1)  # means, and medians
