"""Test that frames are read as they were written, and that invalid files get an error of one line."""

import errno
import os
import re
import signal
import subprocess
import sys
import warnings
from dataclasses import fields

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.io.fits.frames import Frame, read_frame, write_frame

HEADER = {"GAIN": 4.0, "RDNOISE": 6.5, "SATURATE": 45_000.0, "EXPTIME": 90.0, "FILTER": "g DECam SDSS c0001"}


def make_frame(**fields):
    """Make a frame of 40 x 60 px whose fields all differ from the defaults."""
    rng = np.random.default_rng(0)
    bad = np.zeros((40, 60), bool)
    bad[:, 7] = True
    values = {
        "image": rng.normal(100, 5, (40, 60)).astype(np.float32),
        "gain": 4.123456789,
        "read_noise": 6.54321,
        "saturation": 44_999.5,
        "exptime": 90.25,
        "band": "z",
        "name": "night-1.5 ccd 03",
        "bad": bad,
        "hits": rng.exponential(100, (40, 60)).astype(np.float32),
        "read_out": False,
    }
    return Frame(**(values | fields))


@pytest.fixture
def fits_file(tmp_path):
    """Return a function that writes an image with a complete header, changed by ``cards``, and more HDUs."""

    def write(image, *more, **cards):
        header = fits.Header({word: value for word, value in (HEADER | cards).items() if value != "none"})
        path = tmp_path / "science.fits"
        fits.HDUList([fits.PrimaryHDU(image, header), *more]).writeto(path)
        return path

    return write


# ------------------------------------------------------------------------------------------- written and read back


@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_every_field_of_a_frame_is_read_as_it_was_written(tmp_path, ending):
    frame, path = make_frame(), tmp_path / f"frame{ending}"
    write_frame(frame, path)
    again = read_frame(path)
    arrays = {"image", "bad", "hits"}
    for name in {field.name for field in fields(Frame)} - arrays:
        assert getattr(again, name) == getattr(frame, name), name
    for name in ("bad", "hits"):
        np.testing.assert_array_equal(getattr(again, name), getattr(frame, name))
        assert getattr(again, name).dtype == getattr(frame, name).dtype
    np.testing.assert_array_equal(again.image[~frame.bad], frame.image[~frame.bad])
    assert again.image.dtype == np.float32
    assert again.image.dtype.isnative


def test_a_frame_without_recorded_hits_is_read_as_it_was_written(tmp_path):
    write_frame(make_frame(hits=None, read_out=True), tmp_path / "frame.fits")
    again = read_frame(tmp_path / "frame.fits")
    assert again.hits is None
    assert again.read_out is True


def test_bad_pixels_keep_their_values(tmp_path):
    image = make_frame().image
    image[:, 7] = 30_000
    write_frame(make_frame(image=image), tmp_path / "frame.fits")
    np.testing.assert_array_equal(read_frame(tmp_path / "frame.fits").image, image)


def test_a_name_with_non_ascii_letters_is_written_with_question_marks(tmp_path):
    write_frame(make_frame(name="été"), tmp_path / "frame.fits")
    assert read_frame(tmp_path / "frame.fits").name == "?t?"


# ---------------------------------------------------------------------------------------- files of other programs


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_become_bad_pixels(fits_file, value):
    image = np.full((20, 30), 100.0)
    image[3, 4] = value
    frame = read_frame(fits_file(image))
    assert np.argwhere(frame.bad).tolist() == [[3, 4]]
    assert frame.image[3, 4] == 100


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">i4", "u2", "u1"])
def test_images_of_any_type_are_read_as_native_float32(fits_file, dtype):
    image = np.arange(200).reshape(10, 20).astype(dtype)
    if dtype == "u2":
        image += 60_000  # beyond int16: stored with BZERO
    frame = read_frame(fits_file(image))
    assert frame.image.dtype == np.float32
    assert frame.image.dtype.isnative
    np.testing.assert_array_equal(frame.image, image.astype(np.float64))


def test_the_mask_of_a_pipeline_marks_bad_pixels(fits_file):
    mask = np.zeros((20, 30), np.uint8)
    mask[:, 5] = 4
    frame = read_frame(fits_file(np.ones((20, 30), np.float32), fits.ImageHDU(mask, name="BPM")))
    np.testing.assert_array_equal(frame.bad, mask > 0)


def test_the_header_of_the_image_overrides_the_primary_header(tmp_path):
    one = fits.ImageHDU(np.ones((20, 30), np.float32), fits.Header({"GAINA": 3.9}), name="SCI")
    fits.HDUList([fits.PrimaryHDU(None, fits.Header(HEADER | {"GAIN": 0.0})), one]).writeto(tmp_path / "a.fits")
    frame = read_frame(tmp_path / "a.fits")
    assert (frame.gain, frame.read_noise, frame.band) == (3.9, 6.5, "g")


def test_given_values_override_the_header(fits_file):
    frame = read_frame(fits_file(np.ones((20, 30), np.float32), GAIN="unknown"), gain=2.5, name="mine")
    assert (frame.gain, frame.name) == (2.5, "mine")


@pytest.mark.parametrize("speed", [0, "", "slow", True])
def test_only_the_keyword_of_this_package_marks_a_frame_as_not_read_out(fits_file, speed):
    assert read_frame(fits_file(np.ones((20, 30), np.float32), READOUT=speed)).read_out


# ------------------------------------------------------------------------------------------------ invalid files


def error_message(path, **header_overrides):
    """Return the error of ``read_frame`` for a file, after a check that it is one line that names the file."""
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        read_frame(path, **header_overrides)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_a_missing_file_is_named(tmp_path):
    assert "no such FITS file" in error_message(tmp_path / "science.fits")


@pytest.mark.parametrize("content", [b"", b"hello world\n" * 500, b"\x89PNG\r\n" + bytes(5000)])
@pytest.mark.parametrize("ending", [".fits", ".fits.gz"])
def test_a_file_that_is_not_fits_is_named(tmp_path, content, ending):
    path = tmp_path / f"science{ending}"
    path.write_bytes(content)
    assert "not a complete FITS file" in error_message(path)


# astropy only warns of a cut in the mask or its header.
@pytest.mark.parametrize("place", ["header", "image", "mask header", "mask"])
def test_a_truncated_file_is_refused_wherever_it_is_cut(tmp_path, place):
    path = tmp_path / "science.fits"
    write_frame(make_frame(hits=None), path)
    with fits.open(path) as hdus:
        image, mask = hdus[0].fileinfo(), hdus[1].fileinfo()
    size = {
        "header": image["datLoc"] - 1000,
        "image": image["datLoc"] + 5000,
        "mask header": mask["hdrLoc"] + 1000,
        "mask": mask["datLoc"] + 10,
    }[place]
    path.write_bytes(path.read_bytes()[:size])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a user may ignore warnings
        assert "not a complete FITS file" in error_message(path)


@pytest.mark.parametrize("ending", [".fits.gz", ".fits.fz"])
def test_a_truncated_compressed_file_is_refused(tmp_path, ending):
    path = tmp_path / f"science{ending}"
    noise = np.random.default_rng(0).normal(0, 1, (300, 400)).astype(np.float32)
    hdu = fits.CompImageHDU if ending == ".fits.fz" else fits.ImageHDU
    fits.HDUList([fits.PrimaryHDU(), hdu(noise, fits.Header(HEADER))]).writeto(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert "not a complete FITS file" in error_message(path)


@pytest.mark.parametrize("shape", [(20,), (2, 20, 30), None])
def test_a_file_without_an_image_of_two_dimensions_is_refused(fits_file, shape):
    path = fits_file(None if shape is None else np.zeros(shape, np.float32))
    assert "expected a two-dimensional image, found only PRIMARY" in error_message(path)


def test_a_file_that_holds_only_a_table_is_refused(fits_file):
    table = fits.BinTableHDU(np.zeros(3, [("x", "f4")]), name="CAT")
    assert "expected a two-dimensional image, found only PRIMARY, CAT" in error_message(fits_file(None, table))


def test_several_images_of_one_ccd_are_refused(fits_file):
    parts = [fits.ImageHDU(np.ones((20, 30), np.float32), name="SCI") for _ in range(4)]
    assert "expected one CCD, found 4 images named SCI" in error_message(fits_file(None, *parts))


@pytest.mark.parametrize(
    ("cards", "expected"),
    [
        ({"GAIN": "none"}, r"lacks gain \(one of .*, GAIN, .*\); give gain$"),
        ({"GAIN": None}, r"lacks gain \(one of .*, GAIN, .*\)"),
        ({"RDNOISE": "none", "EXPTIME": "none"}, r"lacks read_noise \(.*RDNOISEA.*\); exptime \(one of EXPTIME"),
        ({"GAIN": "N/A"}, "expected a number for GAIN, got 'N/A'"),
        ({"GAIN": -1.0}, "GAIN = -1.0 is not a plausible gain"),
        ({"SATURATE": 0}, "SATURATE = 0.0 is not a plausible saturation"),
    ],
)
def test_missing_and_invalid_header_values_are_named(fits_file, cards, expected):
    assert re.search(expected, error_message(fits_file(np.ones((20, 30), np.float32), **cards)))


@pytest.mark.parametrize("name", ["BPM", "HITS"])
def test_a_mask_of_another_shape_is_refused_with_both_shapes(fits_file, name):
    other = fits.ImageHDU(np.zeros((3, 4), np.uint8), name=name)
    message = error_message(fits_file(np.ones((20, 30), np.float32), other, READOUT=True))
    assert "(3, 4)" in message
    assert "(20, 30)" in message


@pytest.mark.parametrize("table", [True, False])
def test_an_hdu_hits_of_another_program_is_no_known_charge(fits_file, table):
    other = fits.ImageHDU(np.ones((20, 30), np.uint8), name="HITS")
    if table:
        other = fits.BinTableHDU.from_columns([fits.Column("X", "D", array=[1.0])], name="HITS")
    assert read_frame(fits_file(np.ones((20, 30), np.float32), other)).hits is None


def test_an_image_without_a_good_pixel_is_refused(fits_file):
    assert "none of the 600 pixels is good" in error_message(fits_file(np.full((20, 30), np.nan, np.float32)))


# ---------------------------------------------------------------------------------------------------- atomic writes


def test_a_full_disk_leaves_no_partial_file(tmp_path, monkeypatch):
    def write_part_and_fail(hdus, name, **options):
        name.write_bytes(b"SIMPLE  =")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", write_part_and_fail)
    with pytest.raises(OSError, match="No space left"):
        write_frame(make_frame(), tmp_path / "frame.fits")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_older_file(tmp_path, monkeypatch):
    write_frame(make_frame(), tmp_path / "frame.fits")
    older = (tmp_path / "frame.fits").read_bytes()
    test_a_full_disk_leaves_no_partial_file(tmp_path / "elsewhere", monkeypatch)
    with pytest.raises(OSError, match="No space left"):
        write_frame(make_frame(gain=1.0), tmp_path / "frame.fits")
    assert (tmp_path / "frame.fits").read_bytes() == older


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
import numpy as np
from astropy.io import fits
from cosmicgate.io.fits.frames import Frame, write_frame

def write_part_and_die(hdus, name, **options):
    Path(name).write_bytes(b"SIMPLE  =")
    os.kill(os.getpid(), signal.SIGKILL)

fits.HDUList.writeto = write_part_and_die
write_frame(Frame(np.ones((8, 8), np.float32), 4.0, 6.5, 45000.0, 90.0), Path(sys.argv[1]))
"""


def test_a_process_killed_while_writing_leaves_no_file_of_that_name(tmp_path):
    path = tmp_path / "frame.fits"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING, str(path)], env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 1  # it had begun to write
    assert not path.exists()
    write_frame(make_frame(), path)
    assert read_frame(path).name == make_frame().name
