"""Functions called as those of Astro-SCRAPPY and ccdproc are, on arrays and on ccdproc's own types."""

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
from cosmicgate.masking.drop_in import IGNORED, IgnoredArgument, saturated_stars
from cosmicgate.masking.load import load_cached
from cosmicgate.pretrained.domain_check import FarFromTraining
from helpers.doc_pages import blocks
from helpers.repository import ROOT
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (64, 80)
UNCERTAINTIES = {"std": StdDevUncertainty, "var": VarianceUncertainty, "ivar": InverseVariance}
POWERS = {"std": 1, "var": 2, "ivar": -2}
OTHER = {  # a value that is not the default
    **dict(invar=np.full(SHAPE, 25.0), sigclip=5.0, sigfrac=0.1, objlim=2.0, readnoise=9.0, niter=1),
    **dict(fsmode="convolve", psfmodel="moffat", psffwhm=3.0, psfsize=9, psfk=np.ones((3, 3)), psfbeta=3.0),
    **dict(verbose=True),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def search(model):
    def run(image, *arguments, **options):
        return cosmicgate.detect_cosmics(image, *arguments, model=model, **options)

    return run


@pytest.fixture
def step(model):
    def run(ccd, *arguments, **options):
        return cosmicgate.cosmicray_unet(ccd, *arguments, model=model, **options)

    return run


def a_ccd(kind="std", unit="adu", **more):
    sigma = np.full(SHAPE, 5.0) ** POWERS[kind]
    return CCDData(sky(), unit=unit, uncertainty=UNCERTAINTIES[kind](sigma), **more)


def a_star(peak, shape=SHAPE):
    rows, columns = np.indices(shape)
    return peak * np.exp(-((rows - 45) ** 2 + (columns - 60) ** 2) / (2 * 2.0**2))


# ------------------------------------------------------------------------------------------------- Astro-SCRAPPY


def test_arguments_order_and_defaults_are_those_of_astroscrappy():
    theirs = inspect.signature(astroscrappy.detect_cosmics).parameters
    ours = inspect.signature(cosmicgate.detect_cosmics).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    assert {name: one.default for name, one in theirs.items()} == {name: ours[name].default for name in theirs}
    own = list(ours.values())[len(theirs) :]
    assert all(one.kind is inspect.Parameter.KEYWORD_ONLY for one in own)


def test_what_comes_back_is_of_the_types_that_astroscrappy_returns(search):
    image = sky()
    for function in (search, astroscrappy.detect_cosmics):
        mask, cleaned = function(image)
        assert (mask.dtype, cleaned.dtype, mask.shape, cleaned.shape) == (bool, np.float32, SHAPE, SHAPE)
        np.testing.assert_array_equal(mask, hit())
        np.testing.assert_array_equal(cleaned[~mask], image[~mask])


@pytest.mark.parametrize("kind", ["meanmask", "medmask", "idw"])
def test_hits_are_replaced_as_astroscrappy_does(search, kind):
    image = sky()
    hits, theirs = astroscrappy.detect_cosmics(image, cleantype=kind, niter=1)
    with pytest.warns(IgnoredArgument):
        mask, ours = search(image, cleantype=kind, niter=1)
    np.testing.assert_array_equal(mask, hits)
    np.testing.assert_allclose(ours, theirs, atol=1.5 if kind == "medmask" else 1e-4)  # of an even number: the lower


def test_the_default_network_is_the_general_one():
    rng = np.random.default_rng(0)
    image = rng.poisson(400, (96, 96)).astype(np.float32)
    image[30, 20:30] += 2000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FarFromTraining)
        mask, cleaned = cosmicgate.detect_cosmics(image)
    np.testing.assert_array_equal(mask, cosmicgate.load(check=False).mask(image))
    assert mask[30, 22:28].all()
    assert abs(cleaned[mask] - 400).max() < 60


@pytest.mark.parametrize("dtype", ["u1", ">i2", "<u2", ">i4", "<i8", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("view", [np.asarray, np.asfortranarray, lambda x: np.repeat(x, 2, 1)[:, ::2]])
def test_images_of_any_type_order_and_layout_give_the_same_and_stay(search, dtype, view):
    image = view(np.clip(np.rint(sky()), 0, 250).astype(dtype))
    before = image.copy()
    image.setflags(write=False)
    mask, cleaned = search(image)
    np.testing.assert_array_equal(mask, hit())
    assert (cleaned.dtype, cleaned.flags.c_contiguous) == (np.dtype(np.float32), True)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(cleaned, search(image.astype(np.float32))[1])


def test_pixels_that_are_not_finite_are_never_hit_nor_replaced_nor_asked(search):
    image = sky()
    image[10:14], image[:, 7], image[hit()] = np.nan, np.inf, -np.inf
    image[30, 30] = 1000
    mask, cleaned = search(image)
    assert np.argwhere(mask).tolist() == [[30, 30]]
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    assert abs(cleaned[30, 30] - 100) < 10


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.float32])
def test_the_input_mask_is_of_any_type_and_its_pixels_are_left_alone(search, dtype):
    image = sky()
    bad = np.zeros(SHAPE, bool)
    bad[SHAPE[0] // 2, SHAPE[1] // 3] = True
    bad[40:, 70:] = True
    image[40:, 70:] = 9000.0
    image[39, 69] = 1000.0
    mask, cleaned = search(image, bad.astype(dtype) * dtype(2 if dtype is not bool else 1))
    expected = hit() & ~bad
    expected[39, 69] = True
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(cleaned[bad], image[bad])
    assert abs(cleaned[39, 69] - 100) < 10  # of good neighbours, not of 9000


@pytest.mark.parametrize("bad", ["mask", "nan", "saturated", "masked array"])
@pytest.mark.filterwarnings("ignore:saturated stars")
def test_where_nothing_is_good_nothing_is_found(search, bad):
    image, options = sky(), {}
    if bad == "mask":
        options = dict(inmask=np.ones(SHAPE, bool))
    elif bad == "nan":
        image[:] = np.nan
    elif bad == "saturated":
        options = dict(satlevel=1.0)
    else:
        image = np.ma.masked_array(image, True)
    mask, cleaned = search(image, **options)
    assert not mask.any()
    np.testing.assert_array_equal(cleaned, np.asarray(image))


def test_saturated_stars_are_not_searched_and_saturated_hits_are(search):
    image = sky() + np.float32(a_star(9000.0))
    image[45, 60] = 60_000.0  # as sharp as a hit
    image[10, 10] = 70_000.0
    counts = dict(satlevel=100_000.0, gain=4.0)
    mask, _ = search(image, **counts)
    assert mask[10, 10]
    assert mask[hit()].all()
    assert not mask[43:48, 58:63].any()
    assert search(image)[0][45, 60]  # below the default level
    theirs, _ = astroscrappy.detect_cosmics(image, **counts)
    np.testing.assert_array_equal(theirs[43:48, 58:63], False)
    assert theirs[10, 10]


@pytest.mark.parametrize("separable", [True, False])
def test_saturated_stars_are_those_of_astroscrappy_to_the_pixel(separable):
    update_mask = astroscrappy.astroscrappy.update_mask
    generator = np.random.default_rng(0)
    for _ in range(50):
        image = generator.gamma(0.3, 1000, generator.integers(7, 60, 2)).astype(np.float32)
        for row, column in generator.integers(0, min(image.shape), (3, 2)):
            image[row : row + 9, column : column + 9] += generator.choice([0, 500, 5000])
        expected = np.zeros(image.shape, np.uint8)
        update_mask(image, expected, 1000.0, separable)
        np.testing.assert_array_equal(saturated_stars(image, 1000.0, separable), expected)


def test_a_level_that_saturates_much_of_the_image_is_warned_of(search):
    with pytest.warns(UserWarning, match=r"from 1 counts on \(satlevel / gain\), cover 100 % of the image"):
        search(sky(), satlevel=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert search(sky(), satlevel=np.inf)[0].any()


def test_the_cleaned_image_is_in_the_unit_of_the_input_whatever_the_gain(search):
    image = sky()
    for function in (search, astroscrappy.detect_cosmics):
        mask, cleaned = function(image, gain=4.0)
        np.testing.assert_allclose(cleaned[~mask], image[~mask], rtol=1e-6)
        assert abs(cleaned[hit()] - 100).max() < 15


def test_a_background_protects_sky_lines_and_is_still_there_afterwards(search):
    background = np.zeros(SHAPE, np.float32)
    background[:, 40] = background[20, :] = 300.0  # as sharp as hits
    image = sky() + background
    assert search(image)[0].sum() > 50
    mask, cleaned = search(image, inbkg=background)
    np.testing.assert_array_equal(mask, hit())
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])
    image[30, 40] += 1000.0
    mask, cleaned = search(image, inbkg=background)
    assert mask[30, 40]
    assert abs(cleaned[30, 40] - 400) < 15
    with pytest.raises(ValueError, match=r"inbkg is \(3, 3\), the image \(64, 80\)"):
        search(image, inbkg=np.ones((3, 3)))
    with pytest.raises(ValueError, match="inbkg has 1 pixels that are not finite"):
        search(image, inbkg=one_nan())


def one_nan():
    background = np.zeros(SHAPE)
    background[3, 3] = np.nan
    return background


def test_what_has_no_meaning_is_named_in_one_warning_and_changes_nothing(search):
    assert set(OTHER) == set(IGNORED)
    expected = search(sky())
    with pytest.warns(IgnoredArgument) as told:
        found = search(sky(), **OTHER)
    assert len(told) == 1
    assert all(name in str(told[0].message) for name in OTHER)
    assert not any(name in str(told[0].message) for name in ("gain", "satlevel", "inmask", "inbkg", "cleantype"))
    np.testing.assert_array_equal(found, expected)
    for name, value in OTHER.items():
        with pytest.warns(IgnoredArgument, match=f"^{name} steers"):
            search(sky(), **{name: value})


def test_the_warning_points_at_the_line_of_the_caller(model):
    with pytest.warns(IgnoredArgument) as told:
        cosmicgate.detect_cosmics(sky(), sigclip=5.0, model=model)
    assert told[0].filename == __file__


def test_what_has_a_meaning_is_used_without_a_warning(search):
    used = dict(gain=2.0, satlevel=5e4, cleantype="idw", inmask=np.zeros(SHAPE, bool), inbkg=np.zeros(SHAPE))
    np.testing.assert_array_equal(search(sky(), **used)[0], hit())
    np.testing.assert_array_equal(search(sky(), None, None, None, 4.5, 0.3, 5.0, 1.0, 6.5)[0], hit())


def test_threshold_false_positive_rate_and_growth_are_those_of_the_detector(search, model):
    image = sky()
    image[5, 5] = 145
    detector = cosmicgate.load(model)
    for options in (dict(threshold=0.3), dict(fpr=1e-2), dict(fpr=1e-5), dict(grow=1)):
        np.testing.assert_array_equal(search(image, **options)[0], detector.mask(image, **options))
    np.testing.assert_array_equal(cosmicgate.detect_cosmics(image, model=detector)[0], detector.mask(image))


def test_a_quantity_keeps_its_unit(search):
    mask, cleaned = search(sky() * u.adu, inbkg=np.zeros(SHAPE) * u.adu)
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
def test_what_is_impossible_is_refused_in_one_sentence(search, image, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        search(image, **options)


def test_wrong_types_are_refused_in_one_sentence(search, model):
    with pytest.raises(TypeError, match="expected an array, got CCDData: cosmicray_unet takes one"):
        search(a_ccd())
    with pytest.raises(TypeError, match="expected an image of numbers, got complex128"):
        search(sky().astype(complex))
    with pytest.raises(ValueError, match=r"fast=True beside a loaded network"):
        cosmicgate.detect_cosmics(sky(), model=cosmicgate.load(model), fast=True)


# ------------------------------------------------------------------------------------------- one load for a night


def test_a_network_is_loaded_once_for_all_calls_and_threads(model, monkeypatch):
    loads = []
    real = cosmicgate.masking.load.load
    monkeypatch.setattr("cosmicgate.masking.load.load", lambda *a, **k: loads.append(a) or real(*a, **k))
    os.utime(model, ns=(1, 1))  # not what an earlier test has loaded
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
assert hits(0) == 4  # the threads of the parent are there
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(hits, range(4)).get(100))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_processes_that_are_forked_after_a_call_go_on_with_its_network(model):
    where = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "2"}
    told = [sys.executable, "-W", "ignore", "-c", FORK, str(model)]
    done = subprocess.run(told, env=os.environ | where, capture_output=True, text=True, timeout=150)
    assert done.stdout.strip() == "[4, 4, 4, 4]", done.stderr


# ------------------------------------------------------------------------------------------------------- ccdproc


def test_a_ccd_comes_back_with_all_of_its_planes(step):
    header = fits.Header({"OBJECT": "x", "EXPTIME": 30.0})
    one = a_ccd(mask=np.zeros(SHAPE, bool), meta=header, wcs=WCS(naxis=2), psf=np.ones((3, 3)))
    one.flags = np.arange(one.data.size).reshape(SHAPE)
    one.mask[3, 3] = True
    before = one.copy()
    done = step(one)
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
def test_with_a_gain_image_and_uncertainty_become_electrons(step, kind, gain):
    plain = step(a_ccd(kind))
    done = step(a_ccd(kind), gain=gain)
    assert done.unit == u.electron
    np.testing.assert_allclose(done.data, 2.5 * plain.data, rtol=1e-6)
    np.testing.assert_allclose(done.uncertainty.array, plain.uncertainty.array * 2.5 ** POWERS[kind], rtol=1e-6)
    assert done.uncertainty.unit == u.electron ** POWERS[kind]
    assert isinstance(done.uncertainty, UNCERTAINTIES[kind])
    assert done.header["CRMODEL"] == "tiny"
    kept = step(a_ccd(kind), gain=gain, gain_apply=False)
    assert kept.unit == u.adu
    np.testing.assert_array_equal(kept.data, plain.data)
    np.testing.assert_array_equal(kept.uncertainty.array, plain.uncertainty.array)


def test_a_gain_that_does_not_lead_to_electrons_is_refused(step):
    for unit, gain in (("electron", 2.5), ("Jy", 2.5), ("adu", 2.5 * u.adu / u.electron)):
        with pytest.raises(ValueError, match=rf"of an image in {unit}: expected electrons per {unit}, and none"):
            step(a_ccd(unit=unit), gain=gain)
    for unit in ("electron", "Jy", "ct"):
        assert step(a_ccd(unit=unit)).unit == unit
    assert step(a_ccd(unit="electron"), gain=1.0).unit == "electron"
    with pytest.raises(ValueError, match=r"pssl=5: expected 0 beside inbkg or invar"):
        step(a_ccd(), pssl=5, inbkg=np.zeros(SHAPE))
    with pytest.raises(TypeError, match="expected CCDData or an array, got list"):
        step([[1.0]])


def test_sky_that_was_subtracted_counts_where_saturation_is_compared(step):
    image = a_ccd()
    image.data = image.data + a_star(9000.0)
    image.data[45, 60] = 60_000.0
    assert step(image, satlevel=61_000.0, sepmed=False).mask[45, 60]
    assert not step(image, satlevel=61_000.0, sepmed=False, pssl=1500.0).mask[45, 60]


def test_an_array_gives_cleaned_image_and_mask_in_the_order_of_ccdproc(step, search):
    cleaned, mask = step(sky(), gain=2.0)
    expected, theirs = search(sky())
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(cleaned, 2 * theirs)
    np.testing.assert_array_equal(step(sky(), gain=2.0, gain_apply=False)[0], theirs)
    assert cleaned.dtype == np.float32


def test_whole_numbers_with_a_background_become_real_ones(step):
    one = CCDData(np.rint(sky()).astype(np.uint16), unit="adu")
    done = step(one, inbkg=np.full(SHAPE, 120.25))
    assert done.data.dtype == np.float32
    np.testing.assert_array_equal(done.mask, hit())
    np.testing.assert_array_equal(done.data[~hit()], one.data[~hit()])
    assert abs(done.data[hit()] - 100).max() < 15
    assert step(one).data.dtype == np.uint16


def test_a_ccd_without_hits_has_a_mask_of_none(step):
    done = step(CCDData(np.random.default_rng(0).normal(100.0, 10.0, SHAPE), unit="adu"))
    assert done.mask.dtype == bool
    assert not done.mask.any()


# Below: only with ccdproc itself, which the extra dev has.


def test_arguments_order_and_defaults_are_those_of_ccdproc():
    ccdproc = pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    theirs = inspect.signature(ccdproc.cosmicray_lacosmic).parameters
    ours = inspect.signature(cosmicgate.cosmicray_unet).parameters
    assert list(ours)[: len(theirs)] == list(theirs)
    defaults = {name: one.default for name, one in theirs.items() if name != "gain"}  # ours says what it does not know
    assert defaults == {name: ours[name].default for name in defaults}


@pytest.mark.parametrize("unit", ["adu", "electron"])
def test_a_night_goes_through_ccdproc_with_our_step_in_the_place_of_theirs(step, unit):
    """Bias, flat, gain, hits, combination: the same calls, the same types, units and masks after each."""
    ccdproc = pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    bias = ccdproc.CCDData(np.full(SHAPE, 20.0), unit="adu")
    flat = ccdproc.CCDData(np.full(SHAPE, 0.9), unit="")
    gain = 2.0 * u.electron / u.adu

    def night(clean):
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
    ours, stack = night(lambda one: step(one, **how))
    theirs, _ = night(lambda one: ccdproc.cosmicray_lacosmic(one, readnoise=5 * u.electron, **how))
    for seed, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert isinstance(one, ccdproc.CCDData)
        assert one.unit == other.unit == u.electron
        assert one.header["FRAME"] == seed
        np.testing.assert_array_equal(one.mask, np.roll(hit(), 5 * seed, axis=1))
        good = ~(one.mask | other.mask)
        np.testing.assert_allclose(one.data[good], other.data[good], rtol=1e-5)
    assert abs(stack.data - 200).max() < 60


def test_the_page_of_both_migrations_runs(tmp_path, monkeypatch):
    pytest.importorskip("ccdproc", reason="ccdproc of the extra dev is not installed")
    tiny_model(tmp_path, "general")
    monkeypatch.setattr("cosmicgate.pretrained.card.FOLDER", tmp_path)
    names = {}
    for block in blocks(ROOT / "docs" / "pipelines.md"):
        exec(block.code, names)  # the page itself, as its reader types it
    assert names["mask"][60, 42:50].all()
    assert abs(names["cleaned"][names["mask"]] - 400).max() < 60
    assert names["ccd"].unit == u.electron
    np.testing.assert_array_equal(names["ccd"].mask, names["mask"])
