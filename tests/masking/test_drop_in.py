"""Test the drop-in replacements of Astro-SCRAPPY's ``detect_cosmics`` and ccdproc's ``cosmicray_lacosmic``."""

import inspect
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import astroscrappy
import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData, InverseVariance, StdDevUncertainty, VarianceUncertainty
from astropy.wcs import WCS

import cosmicgate
from cosmicgate.masking.drop_in import IGNORED, IgnoredArgumentWarning, astroscrappy_saturated_stars
from cosmicgate.masking.load import load_cached
from cosmicgate.pretrained.domain_check import OutOfDomainWarning
from helpers.doc_pages import blocks
from helpers.repository import ROOT
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (64, 80)
UNCERTAINTIES = {"std": StdDevUncertainty, "var": VarianceUncertainty, "ivar": InverseVariance}
POWERS = {"std": 1, "var": 2, "ivar": -2}
OTHER_VALUES = {  # a value that is not the default
    **dict(invar=np.full(SHAPE, 25.0), sigclip=5.0, sigfrac=0.1, objlim=2.0, readnoise=9.0, niter=1),
    **dict(fsmode="convolve", psfmodel="moffat", psffwhm=3.0, psfsize=9, psfk=np.ones((3, 3)), psfbeta=3.0),
    **dict(verbose=True),
}


@pytest.fixture
def detect_cosmics(model):
    """Return ``detect_cosmics`` with the tiny network."""

    def run(image, *arguments, **options):
        return cosmicgate.detect_cosmics(image, *arguments, model=model, **options)

    return run


@pytest.fixture
def cosmicray_unet(model):
    """Return ``cosmicray_unet`` with the tiny network."""

    def run(ccd, *arguments, **options):
        return cosmicgate.cosmicray_unet(ccd, *arguments, model=model, **options)

    return run


def make_ccd(kind="std", unit="adu", **more):
    """Make a CCDData with an uncertainty of the given kind, equivalent to a sigma of 5."""
    sigma = np.full(SHAPE, 5.0) ** POWERS[kind]
    return CCDData(sky(), unit=unit, uncertainty=UNCERTAINTIES[kind](sigma), **more)


def star_image(peak, shape=SHAPE):
    """Compute the light (H, W) of a star."""
    rows, columns = np.indices(shape)
    return peak * np.exp(-((rows - 45) ** 2 + (columns - 60) ** 2) / (2 * 2.0**2))


# ------------------------------------------------------------------------------------------------- Astro-SCRAPPY


def test_arguments_and_defaults_are_those_of_astroscrappy():
    theirs = inspect.signature(astroscrappy.detect_cosmics).parameters
    ours = inspect.signature(cosmicgate.detect_cosmics).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert {name: one.default for name, one in theirs.items()} == {name: ours[name].default for name in theirs}
    own = list(ours.values())[len(theirs) :]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in own)


def test_results_have_the_types_of_those_of_astroscrappy(detect_cosmics):
    image = sky()
    for function in (detect_cosmics, astroscrappy.detect_cosmics):
        mask, cleaned = function(image)
        assert (mask.dtype, cleaned.dtype, mask.shape, cleaned.shape) == (bool, np.float32, SHAPE, SHAPE)
        np.testing.assert_array_equal(mask, hit())
        np.testing.assert_array_equal(cleaned[~mask], image[~mask])


@pytest.mark.parametrize("kind", ["meanmask", "medmask", "idw"])
def test_hits_are_replaced_as_by_astroscrappy(detect_cosmics, kind):
    image = sky()
    hits, theirs = astroscrappy.detect_cosmics(image, cleantype=kind, niter=1)
    with pytest.warns(IgnoredArgumentWarning):
        mask, ours = detect_cosmics(image, cleantype=kind, niter=1)
    np.testing.assert_array_equal(mask, hits)
    np.testing.assert_allclose(
        ours, theirs, atol=1.5 if kind == "medmask" else 1e-4
    )  # it takes the lower median of an even number of values


def test_the_default_network_is_the_general_network():
    rng = np.random.default_rng(0)
    image = rng.poisson(400, (96, 96)).astype(np.float32)
    track = 30 + np.arange(10) // 3, 20 + np.arange(10)
    image[track] += rng.normal(2000, 300, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        mask, cleaned = cosmicgate.detect_cosmics(image)
    np.testing.assert_array_equal(mask, cosmicgate.load(check=False).mask(image))
    assert mask[track].all()
    assert abs(cleaned[mask] - 400).max() < 60


@pytest.mark.parametrize("dtype", ["u1", ">i2", "<u2", ">i4", "<i8", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("view", [np.asarray, np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_images_of_any_type_byte_order_and_layout_give_the_same_mask(detect_cosmics, dtype, view):
    image = view(np.clip(np.rint(sky()), 0, 250).astype(dtype))
    before = image.copy()
    image.setflags(write=False)
    mask, cleaned = detect_cosmics(image)
    np.testing.assert_array_equal(mask, hit())
    assert (cleaned.dtype, cleaned.flags.c_contiguous) == (np.dtype(np.float32), True)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(cleaned, detect_cosmics(image.astype(np.float32))[1])


def test_pixels_that_are_not_finite_are_not_hit_replaced_or_used(detect_cosmics):
    image = sky()
    image[10:14], image[:, 7], image[hit()] = np.nan, np.inf, -np.inf
    image[30, 30] = 1000
    mask, cleaned = detect_cosmics(image)
    assert np.argwhere(mask).tolist() == [[30, 30]]
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    assert abs(cleaned[30, 30] - 100) < 10


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_an_input_mask_of_any_type_excludes_its_pixels(detect_cosmics, dtype):
    image = sky()
    bad = np.zeros(SHAPE, bool)
    bad[SHAPE[0] // 2, SHAPE[1] // 3] = True
    bad[40:, 70:] = True
    image[40:, 70:] = 9000.0
    image[39, 69] = 1000.0
    mask, cleaned = detect_cosmics(image, bad.astype(dtype) * dtype(2 if dtype is not bool else 1))
    expected = hit() & ~bad
    expected[39, 69] = True
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(cleaned[bad], image[bad])
    assert abs(cleaned[39, 69] - 100) < 10  # the value of good neighbours instead of 9000


@pytest.mark.parametrize("bad", ["mask", "nan", "saturated", "masked array"])
@pytest.mark.filterwarnings("ignore:saturated stars")
def test_without_good_pixels_nothing_is_found(detect_cosmics, bad):
    image, options = sky(), {}
    if bad == "mask":
        options = dict(inmask=np.ones(SHAPE, bool))
    elif bad == "nan":
        image[:] = np.nan
    elif bad == "saturated":
        options = dict(satlevel=1.0)
    else:
        image = np.ma.masked_array(image, True)
    mask, cleaned = detect_cosmics(image, **options)
    assert not mask.any()
    np.testing.assert_array_equal(cleaned, np.asarray(image))


def test_saturated_stars_are_excluded_and_saturated_hits_found(detect_cosmics):
    image = sky() + np.float32(star_image(9000.0))
    image[45, 60] = 60_000.0  # as sharp as a hit
    image[10, 10] = 70_000.0
    counts = dict(satlevel=100_000.0, gain=4.0)
    mask, _ = detect_cosmics(image, **counts)
    assert mask[10, 10]
    assert mask[hit()].all()
    assert not mask[43:48, 58:63].any()
    assert detect_cosmics(image)[0][45, 60]  # below the default saturation
    theirs, _ = astroscrappy.detect_cosmics(image, **counts)
    np.testing.assert_array_equal(theirs[43:48, 58:63], False)
    assert theirs[10, 10]


@pytest.mark.parametrize("separable", [True, False])
def test_saturated_stars_are_exactly_those_of_astroscrappy(separable):
    update_mask = astroscrappy.astroscrappy.update_mask
    generator = np.random.default_rng(0)
    for _ in range(50):
        image = generator.gamma(0.3, 1000, generator.integers(7, 60, 2)).astype(np.float32)
        for row, column in generator.integers(0, min(image.shape), (3, 2)):
            image[row : row + 9, column : column + 9] += generator.choice([0, 500, 5000])
        expected = np.zeros(image.shape, np.uint8)
        update_mask(image, expected, 1000.0, separable)
        np.testing.assert_array_equal(astroscrappy_saturated_stars(image, 1000.0, separable), expected)


def test_a_saturation_that_covers_much_of_the_image_is_a_warning(detect_cosmics):
    with pytest.warns(UserWarning, match=r"from 1 counts on \(satlevel / gain\), cover 100 % of the image"):
        detect_cosmics(sky(), satlevel=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert detect_cosmics(sky(), satlevel=np.inf)[0].any()


def test_the_cleaned_image_has_the_unit_of_the_input_for_any_gain(detect_cosmics):
    image = sky()
    for function in (detect_cosmics, astroscrappy.detect_cosmics):
        mask, cleaned = function(image, gain=4.0)
        np.testing.assert_allclose(cleaned[~mask], image[~mask], rtol=1e-6)
        assert abs(cleaned[hit()] - 100).max() < 15


def test_a_background_protects_sky_lines_and_is_in_the_cleaned_image(detect_cosmics):
    background = np.zeros(SHAPE, np.float32)
    background[:, 40] = background[20, :] = 300.0  # as sharp as hits
    image = sky() + background
    assert detect_cosmics(image)[0].sum() > 50
    mask, cleaned = detect_cosmics(image, inbkg=background)
    np.testing.assert_array_equal(mask, hit())
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    image[30, 40] += 1000.0
    mask, cleaned = detect_cosmics(image, inbkg=background)
    assert mask[30, 40]
    assert abs(cleaned[30, 40] - 400) < 15
    with pytest.raises(ValueError, match=r"inbkg is \(3, 3\), the image \(64, 80\)"):
        detect_cosmics(image, inbkg=np.ones((3, 3)))
    with pytest.raises(ValueError, match="inbkg has 1 pixels that are not finite"):
        detect_cosmics(image, inbkg=zeros_with_one_nan())


def zeros_with_one_nan():
    background = np.zeros(SHAPE)
    background[3, 3] = np.nan
    return background


def test_arguments_without_effect_are_named_in_one_warning(detect_cosmics):
    assert set(OTHER_VALUES) == set(IGNORED)
    expected = detect_cosmics(sky())
    with pytest.warns(IgnoredArgumentWarning) as caught:
        found = detect_cosmics(sky(), **OTHER_VALUES)
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in OTHER_VALUES)
    assert not any(name in str(caught[0].message) for name in ("gain", "satlevel", "inmask", "inbkg", "cleantype"))
    np.testing.assert_array_equal(found, expected)
    for name, value in OTHER_VALUES.items():
        with pytest.warns(IgnoredArgumentWarning, match=f"^{name} steers"):
            detect_cosmics(sky(), **{name: value})


def test_the_warning_refers_to_the_line_of_the_caller(model):
    with pytest.warns(IgnoredArgumentWarning) as caught:
        cosmicgate.detect_cosmics(sky(), sigclip=5.0, model=model)
    assert caught[0].filename == __file__


def test_arguments_with_effect_give_no_warning(detect_cosmics):
    used = dict(gain=2.0, satlevel=5e4, cleantype="idw", inmask=np.zeros(SHAPE, bool), inbkg=np.zeros(SHAPE))
    np.testing.assert_array_equal(detect_cosmics(sky(), **used)[0], hit())
    np.testing.assert_array_equal(detect_cosmics(sky(), None, None, None, 4.5, 0.3, 5.0, 1.0, 6.5)[0], hit())


def test_threshold_fpr_and_grow_give_the_mask_of_the_masker(detect_cosmics, model):
    image = sky()
    image[5, 5] = 145
    detector = cosmicgate.load(model)
    for options in (dict(threshold=0.3), dict(fpr=1e-2), dict(fpr=1e-5), dict(grow=1)):
        np.testing.assert_array_equal(detect_cosmics(image, **options)[0], detector.mask(image, **options))
    np.testing.assert_array_equal(cosmicgate.detect_cosmics(image, model=detector)[0], detector.mask(image))


def test_a_quantity_keeps_its_unit(detect_cosmics):
    mask, cleaned = detect_cosmics(sky() * u.adu, inbkg=np.zeros(SHAPE) * u.adu)
    np.testing.assert_array_equal(mask, hit())
    assert cleaned.unit == u.adu
    assert cleaned.dtype == np.float32


@pytest.mark.parametrize(
    ("image", "options", "sentence"),
    [
        (np.zeros((2, 40, 56)), {}, r"expected one image \(H, W\), got \(2, 40, 56\)"),
        (np.zeros((7, 40)), {}, "at least 8x8 pixels"),
        (sky(), dict(inmask=np.zeros((3, 3))), r"inmask is \(3, 3\), the image \(64, 80\)"),
        (sky(), dict(cleantype="mean"), "cleantype='mean': expected one of 'meanmask', 'medmask', 'median', 'idw'"),
        (sky(), dict(gain=0.0), r"gain=0\.0: expected a finite number above 0"),
        (sky(), dict(satlevel=-1.0), "expected a level above 0"),
        (sky(), dict(threshold=2.0), "expected a probability between 0 and 1"),
        (sky(), dict(grow=-1), "grow=-1"),
    ],
)
def test_invalid_values_are_refused(detect_cosmics, image, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        detect_cosmics(image, **options)


def test_invalid_types_are_refused(detect_cosmics, model):
    with pytest.raises(TypeError, match="expected an array, got CCDData: cosmicray_unet takes one"):
        detect_cosmics(make_ccd())
    with pytest.raises(TypeError, match="expected an image of numbers, got complex128"):
        detect_cosmics(sky().astype(complex))
    with pytest.raises(ValueError, match=r"fast=True beside a loaded network"):
        cosmicgate.detect_cosmics(sky(), model=cosmicgate.load(model), fast=True)


# -------------------------------------------------------------------------------------------------------- loading


def test_a_network_is_loaded_once_for_all_calls_and_threads(model, monkeypatch):
    loads = []
    real = cosmicgate.masking.load.load
    monkeypatch.setattr("cosmicgate.masking.load.load", lambda *a, **k: loads.append(a) or real(*a, **k))
    os.utime(model, ns=(1, 1))  # a time at which no earlier test has loaded it
    images = [sky(seed=seed) for seed in range(16)]
    expected = [real(model).mask(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda image: cosmicgate.detect_cosmics(image, model=model)[0], images))
    np.testing.assert_array_equal(found, expected)
    assert len(loads) == 1


def test_weights_that_changed_are_loaded_again(tmp_path, monkeypatch):
    model = tiny_model(tmp_path)
    first = load_cached(model)
    assert load_cached(model) is first
    monkeypatch.chdir(tmp_path)
    assert load_cached(model.name) is first
    tiny_model(tmp_path, threshold=0.9)
    os.utime(model, ns=(2, 2))
    assert load_cached(model) is not first
    assert load_cached(model).card.threshold == 0.9


FORK = """
import multiprocessing, sys
import torch, cosmicgate
from helpers.tiny_model import sky
def hits(seed):
    return int(cosmicgate.detect_cosmics(sky((512, 512), seed), model=sys.argv[1])[0].sum())
torch.set_num_threads(2)
assert hits(0) == 4  # starts threads in the parent
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(hits, range(4)).get(100))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_forked_processes_use_the_network_loaded_by_the_parent(model):
    where = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-c", FORK, str(model)]
    done = subprocess.run(command, env=os.environ | where, capture_output=True, text=True, timeout=150)
    assert done.stdout.strip() == "[4, 4, 4, 4]", done.stderr


# ------------------------------------------------------------------------------------------------------- ccdproc


def test_a_ccddata_keeps_all_its_attributes(cosmicray_unet):
    header = fits.Header({"OBJECT": "x", "EXPTIME": 30.0})
    one = make_ccd(mask=np.zeros(SHAPE, bool), meta=header, wcs=WCS(naxis=2), psf=np.ones((3, 3)))
    one.flags = np.arange(one.data.size).reshape(SHAPE)
    one.mask[3, 3] = True
    before = one.copy()
    done = cosmicray_unet(one)
    assert isinstance(done, CCDData)
    assert (done.unit, done.data.dtype, done.header["OBJECT"]) == (one.unit, one.data.dtype, "x")
    np.testing.assert_array_equal(done.mask, before.mask | hit())
    np.testing.assert_array_equal(done.data[~hit()], one.data[~hit()])
    assert abs(done.data[hit()] - 100).max() < 15
    np.testing.assert_array_equal(done.flags, one.flags)
    np.testing.assert_array_equal(done.psf, one.psf)
    assert done.wcs.wcs.compare(one.wcs.wcs)
    assert (done.uncertainty.array[hit()] > 5).all()
    np.testing.assert_array_equal(done.uncertainty.array[~hit()], 5)
    assert (done.header["CRMODEL"], done.header["CRHITPIX"]) == ("tiny", 4)
    np.testing.assert_array_equal(one.data, before.data)
    np.testing.assert_array_equal(one.mask, before.mask)
    assert "CRMODEL" not in one.header


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("gain", [2.5, 2.5 * u.electron / u.adu])
def test_a_gain_converts_image_and_uncertainty_to_electrons(cosmicray_unet, kind, gain):
    plain = cosmicray_unet(make_ccd(kind))
    done = cosmicray_unet(make_ccd(kind), gain=gain)
    assert done.unit == u.electron
    np.testing.assert_allclose(done.data, 2.5 * plain.data, rtol=1e-6)
    np.testing.assert_allclose(done.uncertainty.array, plain.uncertainty.array * 2.5 ** POWERS[kind], rtol=1e-6)
    assert done.uncertainty.unit == u.electron ** POWERS[kind]
    assert isinstance(done.uncertainty, UNCERTAINTIES[kind])
    assert done.header["CRMODEL"] == "tiny"
    kept = cosmicray_unet(make_ccd(kind), gain=gain, gain_apply=False)
    assert kept.unit == u.adu
    np.testing.assert_array_equal(kept.data, plain.data)
    np.testing.assert_array_equal(kept.uncertainty.array, plain.uncertainty.array)


@pytest.mark.parametrize("gain", [2.5, 2.5 * u.electron / u.adu])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gain_keeps_the_type_of_image_and_uncertainty(cosmicray_unet, gain, dtype):
    one = make_ccd()
    one.data, one.uncertainty.array = one.data.astype(dtype), one.uncertainty.array.astype(dtype)
    done = cosmicray_unet(one, gain=gain)
    assert (done.data.dtype, done.uncertainty.array.dtype) == (dtype, dtype)
    assert cosmicray_unet(one.data * one.unit, gain=gain)[0].dtype == np.float32


def test_a_gain_that_does_not_convert_to_electrons_is_refused(cosmicray_unet):
    for unit, gain in (("electron", 2.5), ("Jy", 2.5), ("adu", 2.5 * u.adu / u.electron)):
        with pytest.raises(ValueError, match=rf"of an image in {unit}: expected electrons per {unit}, and none"):
            cosmicray_unet(make_ccd(unit=unit), gain=gain)
    for unit in ("electron", "Jy", "ct"):
        assert cosmicray_unet(make_ccd(unit=unit)).unit == unit
    assert cosmicray_unet(make_ccd(unit="electron"), gain=1.0).unit == "electron"
    with pytest.raises(ValueError, match=r"pssl=5: expected 0 beside inbkg or invar"):
        cosmicray_unet(make_ccd(), pssl=5, inbkg=np.zeros(SHAPE))
    with pytest.raises(TypeError, match="expected CCDData or an array, got list"):
        cosmicray_unet([[1.0]])


def test_subtracted_sky_is_added_before_saturation_is_compared(cosmicray_unet):
    image = make_ccd()
    image.data = image.data + star_image(9000.0)
    image.data[45, 60] = 60_000.0
    assert cosmicray_unet(image, satlevel=61_000.0, sepmed=False).mask[45, 60]
    assert not cosmicray_unet(image, satlevel=61_000.0, sepmed=False, pssl=1500.0).mask[45, 60]


def test_an_array_gives_cleaned_image_and_mask_as_ccdproc_does(cosmicray_unet, detect_cosmics):
    cleaned, mask = cosmicray_unet(sky(), gain=2.0)
    expected, theirs = detect_cosmics(sky())
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(cleaned, 2 * theirs)
    np.testing.assert_array_equal(cosmicray_unet(sky(), gain=2.0, gain_apply=False)[0], theirs)
    assert cleaned.dtype == np.float32


def test_integers_with_a_background_become_floats(cosmicray_unet):
    one = CCDData(np.rint(sky()).astype(np.uint16), unit="adu")
    done = cosmicray_unet(one, inbkg=np.full(SHAPE, 120.25))
    assert done.data.dtype == np.float32
    np.testing.assert_array_equal(done.mask, hit())
    np.testing.assert_array_equal(done.data[~hit()], one.data[~hit()])
    assert abs(done.data[hit()] - 100).max() < 15
    assert cosmicray_unet(one).data.dtype == np.uint16


def test_a_ccddata_without_hits_has_an_empty_mask(cosmicray_unet):
    done = cosmicray_unet(CCDData(np.random.default_rng(0).normal(100.0, 10.0, SHAPE), unit="adu"))
    assert done.mask.dtype == bool
    assert not done.mask.any()


# The following tests need ccdproc, which is in the extra dev.


def test_arguments_and_defaults_are_those_of_ccdproc():
    ccdproc = pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    theirs = inspect.signature(ccdproc.cosmicray_lacosmic).parameters
    ours = inspect.signature(cosmicgate.cosmicray_unet).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    defaults = {name: one.default for name, one in theirs.items() if name != "gain"}  # the default gain differs
    assert defaults == {name: ours[name].default for name in defaults}


@pytest.mark.parametrize("unit", ["adu", "electron"])
def test_a_ccdproc_pipeline_works_with_cosmicray_unet_in_place_of_cosmicray_lacosmic(cosmicray_unet, unit):
    """Run bias, flat, gain, hits and combination; types and units are the same as with ccdproc's own function."""
    ccdproc = pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    bias = ccdproc.CCDData(np.full(SHAPE, 20.0), unit="adu")
    flat = ccdproc.CCDData(np.full(SHAPE, 0.9), unit="")
    gain = 2.0 * u.electron / u.adu

    def reduce(clean):
        frames = []
        for seed in range(3):
            image = np.roll(sky(seed=seed), 5 * seed, axis=1) + 20
            one = ccdproc.CCDData(image, unit="adu", meta=fits.Header({"FRAME": seed}))
            one = ccdproc.create_deviation(one, gain=gain, readnoise=5 * u.electron)
            one = ccdproc.flat_correct(ccdproc.subtract_bias(one, bias), flat)
            if unit == "electron":
                one = ccdproc.gain_correct(one, gain)
            frames.append(clean(one))
        return frames, ccdproc.Combiner(frames).average_combine()

    how = dict(gain=gain) if unit == "adu" else {}
    ours, stack = reduce(lambda one: cosmicray_unet(one, **how))
    theirs, _ = reduce(lambda one: ccdproc.cosmicray_lacosmic(one, readnoise=5 * u.electron, **how))
    for seed, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert isinstance(one, ccdproc.CCDData)
        assert one.unit == other.unit == u.electron
        assert one.header["FRAME"] == seed
        np.testing.assert_array_equal(one.mask, np.roll(hit(), 5 * seed, axis=1))
        good = ~(one.mask | other.mask)
        np.testing.assert_allclose(one.data[good], other.data[good], rtol=1e-5)
    assert abs(stack.data - 200).max() < 60


def test_the_code_of_the_pipelines_page_runs(tmp_path, monkeypatch):
    pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    tiny_model(tmp_path, "general")
    monkeypatch.setattr("cosmicgate.pretrained.registry.WEIGHTS_FOLDER", tmp_path)
    names = {}
    for block in blocks(ROOT / "docs" / "pipelines.md"):
        exec(block.code, names)  # the code exactly as the page prints it
    assert names["mask"][60, 42:50].all()
    assert abs(names["cleaned"][names["mask"]] - 400).max() < 60
    assert names["ccd"].unit == u.electron
    np.testing.assert_array_equal(names["ccd"].mask, names["mask"])


def test_a_quantity_keeps_its_unit_and_takes_gain_and_background_in_units(cosmicray_unet):
    image = make_ccd().data
    plain, hits = cosmicray_unet(image)
    for unit, gain, result in ((u.adu, 2.0, u.electron), (u.electron, None, u.electron)):
        cleaned, found = cosmicray_unet(image * unit, gain=gain)
        assert cleaned.unit == result
        np.testing.assert_allclose(cleaned.value, plain * (gain or 1), rtol=1e-6)
        np.testing.assert_array_equal(found, hits)
    with pytest.raises(ValueError, match="of an image in electron: expected electrons per electron, and none"):
        cosmicray_unet(image * u.electron, gain=2.0)
    sky = np.full(image.shape, 3.0)
    ours = cosmicray_unet(image * u.Jy, inbkg=sky * 1000 * u.mJy)[0]
    np.testing.assert_allclose(ours.value, cosmicray_unet(image, inbkg=sky)[0], rtol=1e-6)
