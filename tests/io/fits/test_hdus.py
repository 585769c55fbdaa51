"""Test by random images, headers and damage that files are read correctly or refused with an error of one line."""

import warnings
from itertools import count

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosmicgate.io.fits.frames import Frame, read_frame, write_frame
from cosmicgate.io.fits.hdus import FitsError

FULL = {"GAIN": 4.0, "RDNOISE": 6.5, "SATURATE": 45_000.0, "EXPTIME": 90.0}
TYPES = ("u1", "<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "<u4", "<f4", ">f4", "<f8", ">f8")
SIDES = st.sampled_from((1, 2, 3, 7, 8, 13, 31, 64))
NUMBERS = count()
quick = settings(max_examples=40, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fits")


@st.composite
def images(draw):
    """Draw images of odd shapes and all FITS types, with NaN, infinities and huge values."""
    dtype = np.dtype(draw(st.sampled_from(TYPES)))
    shape = (draw(SIDES), draw(SIDES))
    if dtype.kind != "f":
        return draw(hnp.arrays(dtype, shape))
    special = st.sampled_from((0.0, -0.0, np.nan, np.inf, -np.inf, 1e30, -1e30, 3.3e38, 1e-40))
    values = st.floats(width=8 * dtype.itemsize, allow_subnormal=False) | special.map(dtype.type)
    return draw(hnp.arrays(dtype, shape, elements=values.map(float), fill=st.just(100.0)))


def write_file(folder, hdu, cards=FULL, name=""):
    """Write an HDU below a primary header to a file of a new name; return its path."""
    path = folder / f"{next(NUMBERS)}{name}.fits"
    fits.HDUList([fits.PrimaryHDU(None, fits.Header(cards)), hdu]).writeto(path)
    return path


def read_or_none(path):
    """Read a frame; return None if it is refused, after a check that the error is one line with the path."""
    try:
        return read_frame(path)
    except FitsError as error:
        message = str(error)
    assert str(path) in message
    assert "\n" not in message
    return None


@quick
@given(image=images(), packed=st.booleans())
def test_any_image_is_read_as_native_float32_or_has_no_good_pixel(folder, image, packed):
    before = image.copy()
    kind = dict(compression_type="GZIP_1", quantize_level=0) if packed else {}
    path = write_file(folder, (fits.CompImageHDU if packed else fits.ImageHDU)(image, name="SCI", **kind))
    with np.errstate(over="ignore"):
        expected = before.astype("=f4")
    good = np.isfinite(expected)
    if not good.any():
        with pytest.raises(FitsError, match="is good"):
            read_frame(path)
        return
    frame = read_frame(path)
    assert frame.image.dtype == np.float32
    assert frame.image.dtype.isnative
    np.testing.assert_array_equal(frame.bad, ~good)
    np.testing.assert_array_equal(frame.image[good], expected[good])
    assert np.isfinite(frame.image).all()


@quick
@given(image=images())
def test_a_frame_is_written_and_read_again_without_a_change(folder, image):
    with np.errstate(over="ignore"):
        values = np.nan_to_num(image.astype("=f4"))
    frame = Frame(values, bad=~np.isfinite(image), **dict(gain=4.0, read_noise=6.5, saturation=45e3, exptime=90.0))
    if frame.bad.all():
        return
    path = folder / f"{next(NUMBERS)}.fits"
    write_frame(frame, path)
    again = read_frame(path)
    np.testing.assert_array_equal(again.image, frame.image)
    np.testing.assert_array_equal(again.bad, frame.bad)


WORDS = ("GAIN", "EGAIN", "GAINA", "GAINB", "RDNOISE", "RDNOISEA", "READNOIS", "SATURATE", "SATURATB", "EXPTIME")
VALUES = st.sampled_from((4.0, 1, 0, -1.0, 1e30, True, "4.5", "N/A", "nan", "", None)) | st.floats(1, 1e6, width=32)


@quick
@given(
    cards=st.dictionaries(st.sampled_from(WORDS), VALUES, max_size=3),
    more=st.fixed_dictionaries({}, optional={"INSTRUME": st.sampled_from(("DECam", "fl15", "kb24", "", "WFC3"))}),
    unit=st.sampled_from((None, "adu", "electrons", "electrons/s", "furlong", "UNKNOWN")),
)
def test_any_header_gives_a_plausible_frame_or_an_error_with_the_path(folder, cards, more, unit):
    header = {word: value for word, value in (FULL | cards | more | {"BUNIT": unit}).items() if value is not None}
    path = write_file(folder, fits.ImageHDU(np.ones((5, 6), np.float32)), header)
    frame = read_or_none(path)
    if frame:
        assert frame.gain > 0
        assert frame.saturation > 0
        assert min(frame.read_noise, frame.exptime) >= 0
        assert np.isfinite([frame.gain, frame.read_noise, frame.saturation, frame.exptime]).all()


@quick
@given(where=st.integers(0, 20_000), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_byte_or_a_cut_gives_a_frame_or_an_error_with_the_path(folder, where, value, cut):
    mask = fits.CompImageHDU(np.zeros((40, 60), np.uint8), name="BPM")
    path = folder / "spoilt.fits"
    image = np.arange(2400, dtype=np.float32).reshape(40, 60)
    fits.HDUList([fits.PrimaryHDU(image, fits.Header(FULL)), mask]).writeto(path, overwrite=True)
    content = bytearray(path.read_bytes())
    where %= len(content)
    content[where] = value
    path.write_bytes(content[:where] if cut else content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy warns of damaged cards
        frame = read_or_none(path)
    if frame:
        assert frame.image.dtype == np.float32
        assert np.isfinite(frame.image).all()
