"""Test the reduction of raw DECam exposures to darks, and the checks that an exposure is dark, on simulated frames."""

import logging
import re

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.background import dark_mask
from cosmicgate.data.sources.files import Files
from cosmicgate.data.sources.raw_darks.defects import DefectFinder
from cosmicgate.data.sources.raw_darks.quality import NotADarkError
from cosmicgate.data.sources.raw_darks.reduction import Reduction, read_dark
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.hdus import FitsError
from helpers.raw_decam import GAINS, NOISES, dark_charge, raw_hdu, write_raw

SHAPE = (512, 512)
GAIN = sum(GAINS) / 2
BARE = Reduction(DefectFinder(edge=0, column=0, hot=0), limits=None)  # overscan, trimming and gains only


def write_raw_ccd(path, charge, exptime=300.0, name="S1", seed=0, **cards):
    """Write a raw exposure of one CCD with the charge (H, W), electrons; return its path."""
    return write_raw(path, [raw_hdu(charge, name, seed)], exptime, **cards)


@pytest.fixture(scope="module")
def dark_600s():
    """Simulate a dark of 600 s: its charge, hot pixels, bad columns and hits."""
    return dark_charge(SHAPE, 600.0, seed=4)


# ------------------------------------------------------------------------------------------------------ reduction


def test_overscan_trimming_and_gains_restore_the_charge(tmp_path):
    charge = np.random.default_rng(0).uniform(0, 2000, (300, 200)).astype(np.float32)
    hdu = raw_hdu(charge, noise=(0.0, 0.0))
    frame = BARE(write_raw(tmp_path / "dark.fits.fz", [hdu], 300.0))
    assert frame.shape == charge.shape
    assert frame.image.dtype == np.float32
    assert np.abs(frame.image * frame.gain - charge).max() < GAINS[0] * 1.01  # two roundings to ADU


def test_a_frame_has_the_mean_gain_and_noise_of_its_amplifiers(tmp_path):
    frame = BARE(write_raw_ccd(tmp_path / "DECam_00500238.fits.fz", np.zeros((64, 64))))
    assert frame.gain == pytest.approx(GAIN)
    assert frame.read_noise == pytest.approx(sum(NOISES) / 2)
    assert frame.saturation == pytest.approx((44_935 - 1515) * GAINS[1] / GAIN, rel=5e-3)  # B's, without its bias
    assert (frame.exptime, frame.telescope, frame.band) == (300.0, "decam", "")
    assert frame.name == "DECam_00500238-S1"


def test_both_amplifiers_have_one_level_and_one_scale(tmp_path):
    charge = np.zeros((512, 256), np.float32)
    charge[100:400] = 4000
    image = BARE(write_raw_ccd(tmp_path / "a.fits.fz", charge)).image
    left, right = image[110:390, :128], image[110:390, 128:]
    assert left.mean() == pytest.approx(4000 / GAIN, abs=0.3)
    assert right.mean() == pytest.approx(left.mean(), abs=0.3)
    assert abs(image[:90].mean()) < 0.3
    assert image[:90].std() == pytest.approx(sum(NOISES) / 2 / GAIN, rel=0.1)


def test_given_gain_exptime_and_name_override_the_header(tmp_path):
    frame = BARE(write_raw_ccd(tmp_path / "a.fits.fz", np.zeros((64, 64))), gain=4.0, exptime=1.0, name="mine")
    assert (frame.gain, frame.exptime, frame.name) == (4.0, 1.0, "mine")


def test_one_of_several_ccds_is_read_by_its_name(tmp_path):
    levels = {"S4": 0, "N4": 400, "N5": 800}
    hdus = [raw_hdu(np.full((64, 64), level), name, seed=level) for name, level in levels.items()]
    path = write_raw(tmp_path / "a.fits.fz", hdus, 90.0)
    assert np.median(BARE(path, "n4").image) == pytest.approx(400 / GAIN, abs=1)
    with pytest.raises(FitsError, match=r"expected one image, found 3 \(S4, N4, N5\): choose one with ext"):
        BARE(path)
    with pytest.raises(FitsError, match="N4 is raw, with its overscan"):
        read_frame(path, "N4")


def test_missing_amplifier_values_come_from_the_instrument_with_a_warning(tmp_path, caplog):
    hdu = raw_hdu(np.zeros((64, 64)))
    for word in ("GAINA", "GAINB", "RDNOISEB"):
        del hdu.header[word]
    with caplog.at_level(logging.WARNING):
        frame = BARE(write_raw(tmp_path / "a.fits.fz", [hdu], 90.0))
    assert frame.gain == 4.0
    assert sum("lacks gain; it is taken to be 4 of DECam" in r.getMessage() for r in caplog.records) == 2


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"DATASECA": None, "DATASECB": None}, "S1 is no raw CCD of DECam: it lacks DATASECA and BIASSECA"),
        ({"DATASECA": "[57:80,51:114]", "DATASECB": "[90:120,51:114]"}, "DATASEC cards of the amplifiers leave a gap"),
        (
            {"BIASSECA": "[900:950,51:114]"},
            "expected BIASSECA to be a part of an image of (114, 176), got '[900:950,51:",
        ),
        ({"BIASSECA": None}, "expected BIASSECA to be a part of an image of (114, 176), got None"),
        ({"DATASECB": "none"}, "expected DATASECB to be a part of an image of (114, 176), got 'none'"),
        ({"BIASSECB": "[7:56,1:60]"}, "expected overscan beside the rows 51 to 114, got 1 to 60"),
        ({"GAINA": 0.0}, "GAINA = 0.0 is not a plausible gain"),
    ],
)
def test_inconsistent_amplifiers_are_refused(tmp_path, cards, expected):
    hdu = raw_hdu(np.zeros((64, 64)))
    for word, value in cards.items():
        if value is None:
            del hdu.header[word]
        else:
            hdu.header[word] = value
    path = write_raw(tmp_path / "a.fits.fz", [hdu], 90.0)
    with pytest.raises(FitsError, match=re.escape(expected)) as caught:
        BARE(path)
    assert str(path) in str(caught.value)


# ------------------------------------------------------------------------------------------------------- defects


def test_bad_columns_and_hot_pixels_are_masked_and_hits_are_kept(tmp_path, dark_600s):
    charge, hot, columns, hits = (part.copy() for part in dark_600s)
    for column, level in ((100, 300), (300, 30)):
        charge[200:, column], columns[200:, column] = level, True
    for row, column in ((77, 51), (301, 402)):
        charge[row - 2 : row + 3, column - 2 : column + 3] = hits[row - 2 : row + 3, column - 2 : column + 3] = 0
        charge[row, column], hot[row, column] = 900, True
    frame = Reduction(limits=None)(write_raw_ccd(tmp_path / "a.fits.fz", charge, 600.0))
    inside = np.zeros(SHAPE, bool)
    inside[16:-16, 16:-16] = True
    assert frame.bad[~inside].all()
    assert frame.bad[columns].all()
    assert frame.bad[hot & inside].all()
    assert frame.bad[(77, 301), (51, 402)].all()
    seen = (hits > 100) & inside & ~columns
    assert (frame.bad & seen).sum() <= 0.01 * seen.sum()
    assert (frame.bad & inside & ~columns & ~hot).mean() < 0.004  # the other pixels of partly bad columns


def test_a_bad_pixel_mask_is_added(tmp_path):
    known = np.zeros((64, 64), np.uint8)
    known[5, 6] = 1
    masks = [fits.ImageHDU(known * number, name=name) for number, name in enumerate(("S4", "S1"))]
    fits.HDUList([fits.PrimaryHDU(), *masks]).writeto(tmp_path / "bpm.fits")
    path = write_raw_ccd(tmp_path / "a.fits.fz", np.zeros((64, 64)))
    frame = Reduction(DefectFinder(edge=0, column=0, hot=0), None, str(tmp_path / "bpm.fits"))(path)
    np.testing.assert_array_equal(frame.bad, known == 1)


def test_a_changed_bad_pixel_mask_changes_the_cache_key_of_a_dark(tmp_path):
    mask, path = tmp_path / "bpm.fits", write_raw_ccd(tmp_path / "a.fits.fz", np.zeros((64, 64)))
    keys = []
    for shape in ((64, 64), (640, 640)):
        fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(shape, np.uint8), name="S1")]).writeto(
            mask, overwrite=True
        )
        files = Files(str(path), read=Reduction(mask=str(mask)))
        keys.append(files.lazy_frames_of(path)[0].key)
    assert keys[0] != keys[1]


def test_an_edge_as_wide_as_the_image_is_refused(tmp_path):
    with pytest.raises(FitsError, match=r"expected an edge that leaves something of \(64, 64\), got 32"):
        Reduction(DefectFinder(edge=32))(write_raw_ccd(tmp_path / "a.fits.fz", np.zeros((64, 64))))


# ------------------------------------------------------------------------------------------- checks that it is dark


@pytest.mark.parametrize(("exptime", "seed"), [(90.0, 0), (90.0, 1), (400.0, 2), (1200.0, 3), (1200.0, 4)])
def test_a_dark_of_any_exposure_time_passes(tmp_path, exptime, seed):
    charge, _, _, hits = dark_charge(SHAPE, exptime, seed)
    frame = read_dark(write_raw_ccd(tmp_path / "a.fits.fz", charge, exptime, seed=seed))
    found = dark_mask(frame)
    bright = (hits > 60 * NOISES[0]) & ~frame.bad
    assert found[bright].mean() > 0.9
    assert (found & (hits < 10)).sum() <= 0.05 * found.sum() + 3  # the tail of the noise


@pytest.mark.parametrize("exptime", [90.0, 1200.0])
@pytest.mark.parametrize("where", ["across the columns", "along the columns", "everywhere"])
def test_a_light_leak_of_one_percent_of_a_dark_sky_is_refused(tmp_path, exptime, where):
    charge, *_ = dark_charge(SHAPE, exptime, seed=5)
    leak = 0.01 * 134 / 90 * GAIN * exptime  # electrons; 134 ADU in 90 s is a dark sky in g
    rows, columns = np.indices(SHAPE) / SHAPE[0]
    share = {"across the columns": columns, "along the columns": rows, "everywhere": 1.0}[where]
    light = np.random.default_rng(0).poisson(1.1 * leak * share * np.ones(SHAPE))
    with pytest.raises(NotADarkError, match=r"expected at most \d+\.\d: light leaks in"):
        read_dark(write_raw_ccd(tmp_path / "a.fits.fz", charge + light, exptime))


@pytest.mark.parametrize("fwhm", [3.0, 4.0, 6.0])
@pytest.mark.parametrize("peak", [10, 300])
def test_ten_stars_are_refused_faint_or_bright(tmp_path, dark_600s, fwhm, peak):
    rng = np.random.default_rng(8)
    rows, columns = np.indices(SHAPE)
    width = fwhm / 2 / np.sqrt(2 ** (1 / 3.5) - 1)  # of a Moffat profile, as stars have it
    light = np.zeros(SHAPE)
    for row, column in rng.uniform(40, SHAPE[0] - 40, (10, 2)):
        light += peak * NOISES[0] * (1 + ((rows - row) ** 2 + (columns - column) ** 2) / width**2) ** -3.5
    path = write_raw_ccd(tmp_path / "a.fits.fz", dark_600s[0] + rng.poisson(light), 600.0)
    with pytest.raises(
        NotADarkError, match=r"sources like stars, \d\.\d px wide, expected fewer than 4: the shutter was open"
    ):
        read_dark(path)
    assert Reduction(limits=None)(path).shape == SHAPE


@pytest.mark.parametrize("kind", ["object", "dome flat", "zero", ""])
def test_an_exposure_of_another_type_is_refused(tmp_path, kind):
    path = write_raw_ccd(tmp_path / "a.fits.fz", np.zeros((64, 64)), kind=kind)
    with pytest.raises(NotADarkError, match=f"expected OBSTYPE 'dark', got '{kind}'"):
        read_dark(path)


def test_a_dark_of_zero_seconds_is_refused(tmp_path):
    charge, *_ = dark_charge((256, 256), 90.0)
    with pytest.raises(NotADarkError, match="the exposure is 0 s"):
        read_dark(write_raw_ccd(tmp_path / "a.fits.fz", charge, 0.0))
