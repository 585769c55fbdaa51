"""Test the masker and ``cosmicgate.clean`` in Python: arrays, masked arrays, quantities, CCDData, checkpoints."""

import warnings
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from astropy import units
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, NDData, StdDevUncertainty, VarianceUncertainty
from astropy.utils.masked import Masked

import cosmicgate
from cosmicgate.masking.ccddata import clean_uncertainty
from cosmicgate.masking.inpainting import Method
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from cosmicgate.masking.provenance_cards import short_cards
from cosmicgate.pretrained.domain_check import OutOfDomainWarning
from helpers.checkpoints import FAULTY_CHECKPOINTS, write_checkpoint
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (40, 56)
UNCERTAINTIES = {"std": StdDevUncertainty, "var": VarianceUncertainty, "ivar": InverseVariance}


def make_ccd(kind="std", **more):
    """Make a CCDData with an uncertainty of the given kind, equivalent to a sigma of 5."""
    sigma = np.full(SHAPE, 5.0) ** {"std": 1, "var": 2, "ivar": -2}[kind]
    return CCDData(sky(SHAPE), unit="adu", uncertainty=UNCERTAINTIES[kind](sigma), **more)


# ------------------------------------------------------------------------------------------------------- images


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<u2", ">u2", ">i4", "<u4", ">i8", "<f2", ">f4", "<f8", ">f8"])
def test_images_of_any_type_and_byte_order_give_the_same_mask(masker, dtype):
    image = np.clip(np.rint(sky(SHAPE)), 0, 250).astype(dtype)
    before = image.copy()
    image.setflags(write=False)
    np.testing.assert_array_equal(masker.mask(image), hit(SHAPE))
    probability = masker.probability(image)
    assert (probability.dtype, probability.shape) == (np.float32, SHAPE)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("view", [np.asfortranarray, lambda x: x[::-1, ::-1], lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_the_memory_layout_does_not_change_probabilities(masker, view):
    image = view(sky(SHAPE))
    np.testing.assert_array_equal(masker.probability(image), masker.probability(np.ascontiguousarray(image)))


def test_a_batch_gives_the_masks_of_its_images(masker):
    images = np.stack([sky(SHAPE, seed) for seed in range(3)])
    expected = np.stack([masker.probability(image) for image in images])
    np.testing.assert_array_equal(masker.probability(images), expected)
    wide = masker.mask(images, grow=1)
    assert wide.shape == images.shape
    np.testing.assert_array_equal(wide[1], masker.mask(images[1], grow=1))


@pytest.mark.parametrize("shape", [(8, 8), (8, 3000), (3000, 9), (129, 257), (1, 16, 16)], ids=str)
def test_images_of_any_size_get_a_mask_of_their_shape(masker, shape):
    image = np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)
    image[..., 4, 4] += 1000
    mask = masker.mask(image)
    assert mask.shape == shape
    assert mask[..., 4, 4].all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::cosmicgate.pretrained.domain_check.NoNoiseWarning")
def test_random_small_images_get_valid_probabilities_and_are_cleaned(masker):
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(rng.integers(8, 33, 2))
        image = (rng.normal(100, 5, shape) * rng.choice([1e-3, 1.0, 1e4])).astype(rng.choice(["f4", ">f8", "<i4"]))
        if image.dtype.kind == "f" and rng.random() < 0.3:
            image[rng.random(shape) < 0.1] = rng.choice([np.nan, np.inf, -np.inf])
        probability = masker.probability(image)
        assert probability.shape == shape
        assert ((probability >= 0) & (probability <= 1)).all()
        assert not probability[~np.isfinite(image)].any()
        mask = masker.mask(image, grow=1)
        assert not mask[~np.isfinite(image)].any()
        cleaned = cosmicgate.clean(image, mask)
        assert cleaned.dtype == image.dtype
        np.testing.assert_array_equal(cleaned[~mask], image[~mask])


@pytest.mark.parametrize(
    "image",
    [
        *(np.zeros(SHAPE), np.full(SHAPE, -1e4), np.full(SHAPE, 65_535, np.uint16), np.full(SHAPE, 1e37), np.eye(40)),
        np.where(np.eye(*SHAPE) > 0, 3e38, np.random.default_rng(0).normal(0, 0.01, SHAPE)).astype(np.float32),
    ],
    ids=["zeros", "negative", "saturated", "huge", "diagonal", "huge pixels"],
)
@pytest.mark.filterwarnings("ignore::cosmicgate.pretrained.domain_check.NoNoiseWarning")
def test_unusual_images_get_finite_probabilities(masker, image):
    probability = masker.probability(image)
    assert np.isfinite(probability).all()


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.parametrize("dtype", ["i1", "u2", "<i4", ">i4", "u4", "<i8", ">i8", "u8"])
@pytest.mark.parametrize("end", ["max", "min"])
def test_cleaned_integers_at_the_end_of_their_range_do_not_overflow(dtype, end, method):
    value = getattr(np.iinfo(dtype), end)
    mask = np.zeros(SHAPE, bool)
    mask[5, 5] = True
    cleaned = cosmicgate.clean(np.full(SHAPE, value, dtype), mask, method)
    assert cleaned.dtype == np.dtype(dtype)
    off = abs(int(cleaned[5, 5]) - value)
    assert off == 0 if np.dtype(dtype).itemsize <= 4 else off <= 2048  # float64 has 53 bits


def test_a_row_or_column_without_a_good_pixel_is_tolerated(masker):
    image = sky(SHAPE)
    image[5], image[:, 7] = np.nan, np.inf
    mask = masker.mask(image)
    np.testing.assert_array_equal(mask, hit(SHAPE) & np.isfinite(image))


# ------------------------------------------------------------------------------------------------- invalid arguments


@pytest.mark.parametrize(
    ("image", "kind", "sentence"),
    [
        (np.zeros(50), ValueError, r"expected an image \(H, W\) or images \(N, H, W\), got \(50,\)"),
        (np.zeros((2, 2, 9, 9)), ValueError, r"got \(2, 2, 9, 9\)"),
        (np.zeros((7, 40)), ValueError, r"expected at least 8x8 pixels, got \(7, 40\)"),
        (np.zeros((0, 20, 20)), ValueError, r"got \(0, 20, 20\)"),
        (np.zeros(SHAPE, complex), TypeError, "expected an image of numbers, got complex128"),
        (np.full(SHAPE, "a"), TypeError, "expected an image of numbers, got <U1"),
        (np.zeros(SHAPE, bool), TypeError, "expected an image of numbers, got bool"),
        (np.full(SHAPE, np.nan), ValueError, "all 2240 pixels are bad or not finite: there is nothing to search"),
    ],
)
def test_invalid_images_are_refused(masker, image, kind, sentence):
    with pytest.raises(kind, match=sentence):
        masker.mask(image)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (dict(threshold=0), "threshold=0: expected a probability between 0 and 1"),
        (dict(threshold=0.5, fpr=1e-3), "give one of them"),
        (dict(fpr=1e-9), "fpr=1e-09: tiny is calibrated from 1e-05 to 0.01"),
        (dict(grow=-1), "grow=-1: expected a whole number of pixels"),
        (dict(grow=1.5), r"grow=1\.5"),
        (dict(bad=np.zeros((3, 3), bool)), r"the bad pixels are \(3, 3\), the image \(40, 56\)"),
    ],
)
def test_invalid_options_are_refused(masker, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        masker.mask(sky(SHAPE), **options)


def test_weights_or_cards_that_do_not_match_are_refused(tmp_path):
    path = tiny_model(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="its checksum is"):
        cosmicgate.load(path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match="is not a model card"):
        cosmicgate.load(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no model card beside it: expected tiny\.json"):
        cosmicgate.load(path)


# ------------------------------------------------------------------------------------------- thresholds and growth


def test_a_false_positive_rate_gives_the_calibrated_threshold(masker):
    assert masker.threshold(fpr=1e-3) == pytest.approx(0.5)
    assert 0.5 < masker.threshold(fpr=1e-4) < 0.99
    image = sky(SHAPE)
    image[5, 5] = 145
    few, many = masker.mask(image, fpr=1e-5), masker.mask(image, fpr=1e-2)
    np.testing.assert_array_equal(few, hit(SHAPE))
    assert np.argwhere(few != many).tolist() == [[5, 5]]


def test_a_mask_grows_on_all_sides_but_not_into_bad_pixels(masker):
    bad = np.zeros(SHAPE, bool)
    bad[:, 0:20] = True
    image = sky(SHAPE)
    image[30, 20] += 1000
    mask = masker.mask(image, grow=2, bad=bad)
    assert mask[28:33, 20:23].all()
    assert not mask[bad].any()
    assert masker.mask(image, 0.5).sum() == 5


# -------------------------------------------------------------------------------------------------------- CCDData


@pytest.mark.parametrize("kind", UNCERTAINTIES)
def test_a_ccddata_is_cleaned_with_its_mask_uncertainty_and_header(masker, kind):
    one = make_ccd(kind, mask=np.zeros(SHAPE, bool), meta=fits.Header({"OBJECT": "x"}))
    one.mask[3, 3] = True
    one.data[3, 3] = 5000
    before = one.copy()
    done = masker.clean(one)
    np.testing.assert_array_equal(one.data, before.data)
    np.testing.assert_array_equal(one.uncertainty.array, before.uncertainty.array)
    assert "CRMODEL" not in one.header
    expected = hit(SHAPE).copy()
    expected[3, 3] = True
    np.testing.assert_array_equal(done.mask, expected)
    assert done.data[3, 3] == 5000
    np.testing.assert_array_equal(done.data[~hit(SHAPE)], one.data[~hit(SHAPE)])
    assert (abs(done.data[hit(SHAPE)] - 100) < 15).all()
    np.testing.assert_array_equal(done.uncertainty.array[~hit(SHAPE)], one.uncertainty.array[~hit(SHAPE)])
    sigma = {"std": 1, "var": 0.5, "ivar": -0.5}[kind]
    assert (done.uncertainty.array[hit(SHAPE)] ** sigma > 1.2 * 5).all()
    assert (done.uncertainty.array[hit(SHAPE)] ** sigma < 5 * 5).all()
    assert isinstance(done.uncertainty, UNCERTAINTIES[kind])
    assert done.unit == one.unit
    assert (done.header["CRMODEL"], done.header["CRHITPIX"], done.header["OBJECT"]) == ("tiny", 4, "x")


@pytest.mark.parametrize("method", get_args(Method))
@pytest.mark.filterwarnings("ignore::cosmicgate.pretrained.domain_check.NoNoiseWarning")
def test_a_ccddata_without_mask_and_uncertainty_is_cleaned(masker, method):
    done = masker.clean(CCDData(sky(SHAPE), unit="electron"), method=method)
    assert done.uncertainty is None
    np.testing.assert_array_equal(done.mask, hit(SHAPE))
    assert (abs(done.data[hit(SHAPE)] - 100) < 15).all()
    assert masker.clean(CCDData(np.full(SHAPE, 7.0), unit="adu")).mask is None


def test_masks_of_other_containers_mark_bad_pixels(masker):
    bad = np.zeros(SHAPE, bool)
    bad[tuple(np.argwhere(hit(SHAPE))[0])] = True
    for image in (np.ma.MaskedArray(sky(SHAPE), bad), NDData(sky(SHAPE), mask=bad), make_ccd(mask=bad)):
        np.testing.assert_array_equal(masker.mask(image), hit(SHAPE) & ~bad)


def test_only_a_ccddata_of_one_image_can_be_cleaned(masker):
    with pytest.raises(TypeError, match=r"expected CCDData, got ndarray; for arrays: cosmicgate\.clean"):
        masker.clean(sky(SHAPE))
    with pytest.raises(ValueError, match=r"expected one image \(H, W\) to clean, got \(2, 40, 56\)"):
        masker.clean(CCDData(np.stack([sky(SHAPE)] * 2), unit="adu"))


def test_the_uncertainty_of_a_replaced_pixel_is_larger_beside_a_star():
    rows, columns = np.mgrid[:40, :56]
    image = 100 + 5000 * np.exp(-((rows - 20) ** 2 + (columns - 28) ** 2) / 18)
    hits = np.zeros(SHAPE, bool)
    hits[20, 25] = hits[5, 5] = True
    flat = np.full(SHAPE, 4.0)
    for kind, power in (("std", 0.5), ("var", 1), ("ivar", -1)):
        sure = clean_uncertainty(flat**power, kind, image, hits, np.zeros(SHAPE, bool))
        variance = sure ** (1 / power)
        assert variance[20, 25] > 1000 > 100 > variance[5, 5] >= 4
    other = clean_uncertainty(flat, "unknown", image, hits, np.zeros(SHAPE, bool))
    np.testing.assert_array_equal(other, flat)
    bright = np.where(hits, 1e4, flat)  # a pipeline's variance includes the charge of the hit
    assert (clean_uncertainty(bright, "var", image, hits, np.zeros(SHAPE, bool))[hits] >= 1e4).all()
    nothing = clean_uncertainty(np.zeros(SHAPE), "ivar", np.ones(SHAPE), hits, np.zeros(SHAPE, bool))
    assert not np.isnan(nothing).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_integer_uncertainties_grow_as_floating_point_ones(masker, dtype):
    for kind, number in (("std", 5), ("var", 25), ("ivar", 1)):
        one, other = make_ccd(kind), make_ccd(kind)
        one.uncertainty.array = np.full(SHAPE, number, dtype)
        other.uncertainty.array = np.full(SHAPE, number, np.float64)
        whole, real = (masker.clean(each).uncertainty.array for each in (one, other))
        np.testing.assert_allclose(whole, real, rtol=1e-5)
        assert (whole[hit(SHAPE)] != number).all()


def test_one_uncertainty_value_can_apply_to_all_pixels(masker):
    one = CCDData(sky(SHAPE), unit="adu", uncertainty=StdDevUncertainty(5.0))
    alone, each = (masker.clean(image).uncertainty.array for image in (one, make_ccd("std")))
    np.testing.assert_allclose(alone, each, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("outputs/general-3/checkpoints/best.ckpt", "general-3/checkpoints/best.ckpt"),
        ("/a.ckpt", "/a.ckpt"),
        ("/Weiß/Läufe/1/last.ckpt", "L?ufe/1/last.ckpt"),
        (f"{60 * 'x'}7/checkpoints/best.ckpt", f"{17 * 'x'}7/checkpoints/best.ckpt"),
    ],
)
def test_headers_name_the_run_by_the_end_of_its_path(masker, name, written):
    named = replace(masker, card=replace(masker.card, name=name))
    done = named.clean(make_ccd(meta=fits.Header()))
    assert done.header["CRMODEL"] == written
    assert short_cards(named, MaskOptions(), 4)[0].value == written


def test_clean_is_a_step_of_a_ccddata_pipeline(masker):
    """Call it as ccdproc's functions, which take and return a CCDData; the gain is applied afterwards."""

    def trim(one):
        return one[4:-4, 4:-4]

    def gain_corrected(one, gain):
        return one.multiply(gain, handle_mask=lambda mask, _: mask)

    steps = [trim, masker.clean, lambda one: gain_corrected(one, 2.0)]
    one = make_ccd()
    for step in steps:
        one = step(one)
    hits = hit(SHAPE)[4:-4, 4:-4]
    np.testing.assert_array_equal(one.mask, hits)
    assert abs(np.median(one.data) - 200) < 3
    np.testing.assert_allclose(one.uncertainty.array[~hits], 10)
    assert (one.uncertainty.array[hits] > 12).all()


# ---------------------------------------------------------------------------------- training domain and checkpoints


def test_an_image_unlike_the_training_gets_a_warning_with_the_reason(tmp_path):
    path = tiny_model(tmp_path, ranges={"background": [1000.0, 2000.0], "noise": [1.0, 10.0]})
    with pytest.warns(OutOfDomainWarning, match=r"background \(counts\): 99.8, training range 1e\+03"):
        mask = cosmicgate.load(path).mask(sky(SHAPE))
    np.testing.assert_array_equal(mask, hit(SHAPE))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cosmicgate.load(path, check=False).mask(sky(SHAPE))
        cosmicgate.load(path).mask(sky(SHAPE) + 1400)


def test_a_checkpoint_or_run_folder_can_be_loaded(tmp_path):
    path = write_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    for model in (path, tmp_path / "run"):
        loaded = cosmicgate.load(model)
        np.testing.assert_array_equal(loaded.mask(sky(SHAPE)), hit(SHAPE))
        assert loaded.card.threshold == 0.4
        assert len(loaded.card.sha256) == 64


CALLS = []
RECORD = f"{__name__}.record"


def record(**_):
    CALLS.append(1)
    return 2


@pytest.mark.parametrize(
    "model",
    [
        {"_target_": RECORD},
        {"depth": {"_target_": RECORD}},
        {"depth": [{"deeper": {"_target_": RECORD}}]},
        {"depth": f"${{oc.create:{{_target_: {RECORD}}}}}"},
    ],
    ids=str,
)
def test_a_checkpoint_can_only_name_network_classes(tmp_path, model):
    path = write_checkpoint(tmp_path / "a.ckpt", **model)
    with pytest.raises(ValueError, match=r"a\.ckpt: its network cannot be made: expected .*\.record"):
        cosmicgate.load(path)
    assert not CALLS


@pytest.mark.parametrize("wrong", FAULTY_CHECKPOINTS)
def test_faulty_checkpoints_get_an_error_of_one_line(tmp_path, wrong):
    changes, sentence = FAULTY_CHECKPOINTS[wrong]
    with pytest.raises(ValueError, match=r"a\.ckpt: its ") as caught:
        cosmicgate.load(write_checkpoint(tmp_path / "a.ckpt", **changes))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("native", [True, False])
def test_slow_bfloat16_is_a_warning(native, model, monkeypatch):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "avx512_bf16": native})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cosmicgate.load(model, precision="bfloat16")
        cosmicgate.load(model)
    assert ["bfloat16 is slower than float32" in str(one.message) for one in caught] == [True] * (not native)


def test_uncertainties_in_another_unit_grow_as_those_of_the_image(masker):
    array = make_ccd("std").uncertainty.array
    given = StdDevUncertainty(1000 * array, unit="mJy"), StdDevUncertainty(array, unit="Jy")
    small, large = (masker.clean(CCDData(sky(SHAPE), unit="Jy", uncertainty=one)).uncertainty for one in given)
    np.testing.assert_allclose(small.array, 1000 * large.array, rtol=1e-5)
    assert (str(small.unit), str(large.unit)) == ("mJy", "Jy")


@pytest.mark.parametrize("apart", [2, SHAPE[1]])
def test_an_image_of_which_no_two_adjacent_pixels_are_good_is_cleaned_with_its_uncertainty(masker, apart):
    hits, bad = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    bad[:, ::apart] = False
    hits[20, 0] = True
    image = np.where(bad, np.nan, 100.0 + np.arange(SHAPE[1]))
    found = clean_uncertainty(np.full(SHAPE, 5.0), "std", image, hits, bad)
    expected = np.hypot(5, apart) if apart < SHAPE[1] else 5
    np.testing.assert_allclose(found[hits], expected)


def test_masked_pixels_are_not_used_to_replace_hits():
    image, mask = sky(SHAPE), hit(SHAPE)
    extreme, half = image.copy(), np.zeros(SHAPE, bool)
    half[:, ::2] = True
    extreme[half] = 1e6
    masked = cosmicgate.clean(np.ma.array(extreme, mask=half), mask)
    np.testing.assert_array_equal(masked, cosmicgate.clean(extreme, mask, bad=half))
    assert masked[mask & ~half].max() < 1e5


def test_a_ccddata_is_refused_by_the_function_for_arrays():
    with pytest.raises(TypeError, match=r"expected an array, got CCDData: masker.clean\(ccd\)"):
        cosmicgate.clean(CCDData(sky(SHAPE), unit="adu"), hit(SHAPE))


# ---------------------------------------------------------------------------------------- masks and images of any type


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", ">i2", "i8", "f4", ">f8"])
def test_a_mask_of_zeros_and_ones_may_have_any_type(dtype):
    image, mask = sky(SHAPE), hit(SHAPE)
    expected = cosmicgate.clean(image, mask)
    np.testing.assert_array_equal(cosmicgate.clean(image, mask.astype(dtype)), expected)
    np.testing.assert_array_equal(cosmicgate.clean(image, np.ma.array(mask.astype(dtype), mask=False)), expected)


def test_masks_written_by_the_command_can_be_used_to_clean(masker, tmp_path):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE))
    mask_file(tmp_path / "a.fits", tmp_path / "m.fits", masker, MaskOptions())
    cleaned = cosmicgate.clean(fits.getdata(tmp_path / "a.fits"), fits.getdata(tmp_path / "m.fits", "CRMASK"))
    np.testing.assert_array_equal(cleaned, cosmicgate.clean(sky(SHAPE), hit(SHAPE)))


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (hit(SHAPE) * np.uint16(4096), r"got 4096: for a bit mask, pass \(mask & BIT\) != 0"),
        (hit(SHAPE) * 255, "expected a mask of bool, or of 0 and 1, got 255"),
        (np.where(hit(SHAPE), np.nan, 0), "expected a mask of bool, or of 0 and 1, got nan"),
        (np.full(SHAPE, 0.3), r"expected a mask of bool, or of 0 and 1, got 0\.3"),
        (hit(SHAPE).astype(str), "expected a mask of bool, or of 0 and 1, got <U5"),
        (hit(SHAPE)[:-1], r"expected a two-dimensional mask of the image's shape \(40, 56\), got bool \(39, 56\)"),
        (
            hit(SHAPE).T.astype("u1"),
            r"expected a two-dimensional mask of the image's shape \(40, 56\), got uint8 \(56, 40\)",
        ),
        (hit(SHAPE)[None], "expected a two-dimensional mask of the image's shape"),
    ],
)
def test_invalid_masks_are_refused(mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        cosmicgate.clean(sky(SHAPE), mask)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, float])
def test_bad_pixels_of_any_type_are_not_replaced_or_used(dtype):
    image, bad = sky(SHAPE), np.zeros(SHAPE, bool)
    bad[:, ::2] = True
    expected = cosmicgate.clean(image, hit(SHAPE), bad=bad)
    np.testing.assert_array_equal(cosmicgate.clean(image, hit(SHAPE), bad=bad.astype(dtype) * dtype(1)), expected)
    with pytest.raises(ValueError, match="the bad pixels are"):
        cosmicgate.clean(image, hit(SHAPE), bad=bad[:-1])


@pytest.mark.parametrize("dtype", ["f4", "f8", ">f4", "i4", "u2"])
@pytest.mark.parametrize("mosaic", [False, True])
def test_a_quantity_keeps_its_unit_and_type(masker, dtype, mosaic):
    image = np.rint(sky(SHAPE)).astype(dtype)
    quantity = units.Quantity(image, "electron", dtype=dtype)
    np.testing.assert_array_equal(masker.mask(quantity), masker.mask(image))
    cleaned = cosmicgate.clean(quantity, hit(SHAPE), mosaic=mosaic)
    assert (cleaned.unit, cleaned.dtype) == (units.electron, image.dtype)
    np.testing.assert_array_equal(cleaned.value, cosmicgate.clean(image, hit(SHAPE), mosaic=mosaic))
    np.testing.assert_array_equal(quantity.value, image)


@pytest.mark.parametrize("kind", [np.ma.MaskedArray, Masked])
def test_the_masks_of_a_list_of_masked_images_count(masker, kind):
    images = [sky(SHAPE, 1), sky(SHAPE, 2), sky(SHAPE, 3)]
    bad = [hit(SHAPE), np.zeros(SHAPE, bool), hit(SHAPE)]
    given = [kind(images[0], mask=bad[0]), images[1], kind(images[2], mask=bad[2])]
    found = masker.mask(given)
    np.testing.assert_array_equal(found, masker.mask(np.stack(images), bad=np.stack(bad)))
    assert found.any(axis=(1, 2)).tolist() == [False, True, False]
    assert not masker.probability(tuple(given))[0][bad[0]].any()
    with pytest.raises(ValueError, match="shape"):
        masker.mask([given[0], given[0][8:]])


def test_masked_images_stay_masked_and_masked_pixels_are_not_used(masker):
    image, half = sky(SHAPE), np.zeros(SHAPE, bool)
    half[:, ::2] = True
    expected = cosmicgate.clean(image, hit(SHAPE), bad=half)
    for masked in (np.ma.array(image, mask=half), Masked(image, half), Masked(image * units.adu, half)):
        cleaned = cosmicgate.clean(masked, hit(SHAPE))
        assert type(cleaned) is type(masked)
        np.testing.assert_array_equal(np.asarray(cleaned.mask), half)
        np.testing.assert_array_equal(np.asarray(getattr(cleaned, "unmasked", cleaned)), expected)
        np.testing.assert_array_equal(masker.mask(masked), masker.mask(image, bad=half))
    assert Masked(image * units.adu, half).unit == cleaned.unit


@pytest.mark.parametrize("image", [sky(SHAPE).astype(complex), sky(SHAPE).astype(str), np.zeros(SHAPE, "M8[s]")])
def test_an_image_that_is_not_numeric_is_not_cleaned(image):
    with pytest.raises(TypeError, match="expected an image of numbers, got"):
        cosmicgate.clean(image, hit(SHAPE))


def test_lists_and_memory_maps_are_accepted(tmp_path):
    image = np.memmap(tmp_path / "a.bin", np.float32, "w+", shape=SHAPE)
    image[:] = sky(SHAPE)
    expected = cosmicgate.clean(sky(SHAPE), hit(SHAPE))
    np.testing.assert_array_equal(cosmicgate.clean(image, hit(SHAPE)), expected)
    np.testing.assert_array_equal(cosmicgate.clean(sky(SHAPE).tolist(), hit(SHAPE).tolist()), expected)
