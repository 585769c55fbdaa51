"""Test which images and masks are read from files in the layouts of instruments and archives."""

import errno
import io
import re
import shutil
import tempfile
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.sources import Files
from cosmicgate.data.splits import SPLITS
from cosmicgate.io.fits.frames import read_frame, read_frames
from cosmicgate.io.fits.hdus import FitsError, first_header_value, open_fits
from cosmicgate.io.fits.images import extensions
from cosmicgate.masking.read_images import read_images
from helpers.fits_files import SHAPE, constant_image, refusal_message, write_fits


@pytest.fixture
def exposure(tmp_path):
    """Write five compressed CCDs, each followed by a mask and a weight map, and a table at the end; return the path."""
    noise = np.random.default_rng(0).normal(0, 5, (5, *SHAPE)).astype(np.float32)
    hdus = []
    for number, name in enumerate(("S29", "S30", "S31", "N4", "N31")):
        header = fits.Header({"CCDNUM": number, "GAIN": 4 + number / 10})
        hdus.append(fits.CompImageHDU(noise[number] + 100 * number, header, name=name, quantize_level=0))
        hdus.append(fits.CompImageHDU(np.full(SHAPE, number == 3, np.uint8), name="DQ_" + name))
        hdus.append(fits.CompImageHDU(constant_image(1), name="WHT"))
    hdus[10].data[:, 1:] = 0  # the first column of N4 is bad
    table = fits.BinTableHDU(np.zeros(3, [("x", "f4")]), name="CAT")
    return write_fits(tmp_path / "exposure.fits.fz", *hdus, table, OBJECT="field 7")


# ------------------------------------------------------------------------------------------------------------ images


def test_all_images_of_a_file_are_listed_with_their_headers(exposure):
    found = extensions(exposure)
    assert [image.name for image in found] == ["S29", "S30", "S31", "N4", "N31"]
    assert [image.number for image in found] == [1, 4, 7, 10, 13]
    assert {image.shape for image in found} == {SHAPE}
    assert [first_header_value(image.headers, "CCDNUM") for image in found] == [0, 1, 2, 3, 4]
    assert {first_header_value(image.headers, "EXPTIME") for image in found} == {90.0}


@pytest.mark.parametrize("ext", ["N4", " n4  ", 10, ("N4", 1)])
def test_an_image_is_selected_by_name_number_or_name_and_version(exposure, ext):
    frame = read_frame(exposure, ext)
    assert frame.image.mean() == pytest.approx(300, abs=1)
    assert frame.gain == 4.3
    assert frame.name == "field 7-N4"
    assert frame.bad[:, 0].all()
    assert not frame.bad[:, 1:].any()


def test_a_name_padded_with_blanks_is_found(tmp_path):
    path = write_fits(
        tmp_path / "a.fits", fits.ImageHDU(constant_image(), name="  Sci  "), fits.ImageHDU(constant_image(2), name="B")
    )
    assert read_frame(path, ext="SCI").image[0, 0] == 100


@pytest.mark.parametrize(
    ("ext", "expected"),
    [
        (None, r"expected one image, found 5 \(S29, S30, S31, N4, \.\.\.\): choose one with ext"),
        ("N5", r"no HDU 'N5' among its 17 HDUs \(0 PRIMARY, 1 S29, 2 DQ_S29,.*\.\.\.\)"),
        (99, "there is no HDU 99 among its 17 HDUs"),
        (("N4", 2), r"no HDU \('N4', 2\)"),
        ("CAT", "expected a two-dimensional image in 'CAT', found CAT"),
        (0, "expected a two-dimensional image in 0, found PRIMARY"),
        ("WHT", r"5 HDUs are named 'WHT': choose one by its number, from \[3, 6, 9, 12, 15\]"),
    ],
)
def test_a_missing_or_ambiguous_image_is_named(exposure, ext, expected):
    assert re.search(expected, refusal_message(read_frame, exposure, ext))


def test_images_of_one_name_are_selected_by_version(tmp_path):
    chips = [fits.ImageHDU(constant_image(level), name="SCI", ver=ver) for ver, level in ((1, 10), (2, 20))]
    masks = [fits.ImageHDU(np.full(SHAPE, ver == 2, np.int16), name="DQ", ver=ver) for ver in (1, 2)]
    masks[1].data[1:] = 0
    path = write_fits(tmp_path / "a.fits", *chips, *masks)
    assert "found 2 images named SCI" in refusal_message(read_frame, path)
    assert [image.label for image in extensions(path)] == ["SCI", "SCI_2"]
    one, two = (read_frame(path, ("sci", ver)) for ver in (1, 2))
    assert (one.image[0, 0], two.image[5, 5]) == (10, 20)
    assert not one.bad.any()
    assert two.bad[0].all()
    assert not two.bad[1:].any()


def test_one_ccd_is_read_even_if_another_is_damaged(exposure):
    with fits.open(exposure, disable_image_compression=True) as hdus:
        place = hdus["S30"].fileinfo()
        table = hdus["S30"].header["NAXIS1"] * hdus["S30"].header["NAXIS2"]
    content = bytearray(exposure.read_bytes())
    content[place["datLoc"] : place["datLoc"] + table] = b"\xff" * table  # where its compressed rows are
    exposure.write_bytes(content)
    assert read_frame(exposure, "N4").image.mean() == pytest.approx(300, abs=1)
    assert "not a complete FITS file" in refusal_message(read_frame, exposure, "S30")


@pytest.mark.slow
def test_reading_all_ccds_holds_one_in_memory(tmp_path):
    noise = np.random.default_rng(0).normal(0, 5, (256, 256)).astype(np.float32)

    def peak(number):
        hdus = [fits.CompImageHDU(noise, name=f"N{n}", quantize_level=0) for n in range(number)]
        path = write_fits(tmp_path / f"{number}.fits.fz", *hdus)
        tracemalloc.start()
        assert [image.name for image, _ in read_frames(path)] == [f"N{n}" for n in range(number)]
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(1)  # imports of astropy are not measured
    assert peak(9) < peak(3) + 3 * noise.nbytes


def test_a_three_dimensional_image_is_read_if_it_has_one_plane(tmp_path):
    cube = np.arange(600, dtype=np.float32).reshape(1, *SHAPE)
    frame = read_frame(write_fits(tmp_path / "a.fits", image=cube))
    np.testing.assert_array_equal(frame.image, cube[0])
    assert "found only PRIMARY (2, 20, 30)" in refusal_message(
        read_frame, write_fits(tmp_path / "b.fits", image=cube.repeat(2, 0))
    )


@pytest.mark.parametrize("number", [1, 4])
def test_a_raw_image_is_refused_with_advice(tmp_path, number):
    cards = fits.Header({"BIASSEC": "[26:30, 1:20]", "DATASEC": "[1:25,1:20]"})
    path = write_fits(tmp_path / "a.fits", *[fits.ImageHDU(constant_image(), cards, name="SCI") for _ in range(number)])
    for call in (read_frame, extensions):
        message = refusal_message(call, path)
        assert "SCI is raw, with its overscan (BIASSEC = '[26:30, 1:20]')" in message
        assert "give a reduced frame" in message
        assert ("one of 4 parts" in message) == (number == 4)


@pytest.mark.parametrize("text", ["[3086:3100,1:2048]", "UNKNOWN", "[1:a]"])
def test_a_reduced_image_may_keep_its_overscan_card(tmp_path, text):
    assert read_frame(write_fits(tmp_path / "a.fits", image=constant_image(), BIASSEC=text)).shape == SHAPE


@pytest.mark.parametrize("word", ["TRIMSEC", "DATASEC"])
def test_a_trimmed_image_may_keep_the_card_of_an_overscan_on_its_left(tmp_path, word):
    kept = {"BIASSEC": "[1:5,1:20]", word: f"[6:{SHAPE[1] + 5},1:{SHAPE[0]}]"}
    assert read_frame(write_fits(tmp_path / "a.fits", image=constant_image(), **kept)).shape == SHAPE


@pytest.mark.parametrize("words", [["TRIMSEC"], ["DATASEC"], ["TRIMSEC", "DATASEC"]], ids=str)
def test_an_overscan_card_within_the_data_is_that_of_a_trimmed_image(tmp_path, words):
    kept = {"BIASSEC": "[1:8,1:20]", "BIASSECA": "[23:30,1:20]"} | dict.fromkeys(words, f"[1:{SHAPE[1]},1:{SHAPE[0]}]")
    path = write_fits(tmp_path / "a.fits", image=constant_image(), **kept)
    assert not extensions(path)[0].overscan
    (plane,) = read_images(path)
    assert not plane.bad.any()
    assert not plane.notes


@pytest.mark.parametrize("card", ["SATURATE= nan", "SATLEVEL= 65535 ADU", "TELESCOP= 1m0-05", "BIASSEC = [1:4,1:5]"])
def test_an_unreadable_optional_card_is_ignored(tmp_path, card):
    path = write_fits(tmp_path / "a.fits", image=constant_image(), SPARE1="x")
    content = path.read_bytes()
    place = content.index(b"SPARE1")
    path.write_bytes(content[:place] + card.ljust(80).encode() + content[place + 80 :])
    assert read_frame(path).shape == SHAPE


def test_an_unreadable_extname_is_named_as_the_reason(tmp_path):
    path = write_fits(tmp_path / "a.fits", fits.ImageHDU(constant_image(), name="SCI"))
    path.write_bytes(path.read_bytes().replace(b"EXTNAME = 'SCI     '", b"EXTNAME = SCI       "))
    assert "a card of a header cannot be read (Unparsable card (EXTNAME)" in refusal_message(read_frame, path)


def test_a_large_gzipped_file_is_decompressed_on_disk(tmp_path, monkeypatch):
    path = write_fits(tmp_path / "a.fits.gz", image=constant_image())
    monkeypatch.setattr("cosmicgate.io.fits.hdus.MAX_BYTES_IN_MEMORY", 100)
    assert read_frame(path).image[0, 0] == 100


def test_an_invalid_bitpix_is_refused(tmp_path):
    path = write_fits(tmp_path / "a.fits", image=constant_image())
    path.write_bytes(path.read_bytes().replace(b"BITPIX  =                  -32", b"BITPIX  =                   12"))
    assert "expected BITPIX to be one of (8, 16, 32, 64, -32, -64), got 12" in refusal_message(read_frame, path)


def test_all_images_of_a_file_are_in_one_split(exposure):
    for number in range(4):
        shutil.copy(exposure, exposure.with_name(f"{number}.fits.fz"))
    exposure.unlink()
    source = Files(str(exposure.parent / "*.fz"), exts=("N4", "s31"))
    lazy_frames = {which: source.lazy_frames(which) for which in SPLITS}
    splits = [{lazy.name.split("-")[0] for lazy in lazy_frames[which]} for which in SPLITS]
    assert [2 * len(files) for files in splits] == [len(lazy_frames[which]) for which in SPLITS]
    assert sorted(name for files in splits for name in files) == ["0", "1", "2", "3"]
    frames = [lazy.build() for lazy in lazy_frames["test"]]
    assert [round(float(frame.image.mean()), -2) for frame in frames] == [300, 200] * len(splits[2])
    assert [frame.name for frame in frames] == [lazy.name for lazy in lazy_frames["test"]]
    assert len({lazy.key for which in SPLITS for lazy in lazy_frames[which]}) == 8


# ------------------------------------------------------------------------------------------------------- bad pixels


@pytest.mark.parametrize(
    ("dtype", "blank"),
    [
        (np.uint8, 200),
        (np.int16, -7),
        (np.int16, 0),
        (np.int32, 2**31 - 1),
        (np.uint16, -(2**15) + 200),
        (np.uint16, 0),
    ],
)
@pytest.mark.parametrize("hdu", [fits.ImageHDU, fits.CompImageHDU])
def test_blank_pixels_of_integers_are_bad(tmp_path, dtype, blank, hdu):
    image = np.full(SHAPE, 100, dtype)
    image[3, 4] = blank + (2**15 if dtype == np.uint16 else 0)
    one = hdu(image, name="SCI")
    one.header["BLANK"] = blank
    frame = read_frame(write_fits(tmp_path / "a.fits", one))
    assert np.argwhere(frame.bad).tolist() == [[3, 4]]
    assert (frame.image == 100).all()


def test_auxiliary_images_are_not_listed(tmp_path):
    names = ("SCI", "D2IMARR", "WCSDVARR", "OBJMASK", "AREA", "WAVELENGTH", "VAR_POISSON", "PSF")
    path = write_fits(tmp_path / "a.fits", *(fits.ImageHDU(np.ones(SHAPE, np.float32), name=name) for name in names))
    assert [image.name for image in extensions(path)] == ["SCI"]


def test_a_missing_file_is_not_reported_as_damage_of_an_open_file(tmp_path):
    path = write_fits(tmp_path / "a.fits", fits.ImageHDU(np.ones(SHAPE, np.float32)))
    with pytest.raises(FileNotFoundError, match=r"nowhere\.fits"), open_fits(path):
        (tmp_path / "nowhere.fits").stat()


def test_a_card_that_violates_the_standard_is_read_without_a_warning(tmp_path):
    path = write_fits(tmp_path / "a.fits", image=constant_image())
    card = b"FILTER  = 'g DECam SDSS c0001'"
    path.write_bytes(path.read_bytes().replace(card, b"BLANK   = 7".ljust(len(card)), 1))
    assert read_frame(path).shape == SHAPE  # BLANK is for integers; warnings are errors here


def test_saturated_pixels_are_kept_and_not_bad(tmp_path):
    image = constant_image()
    image[5, 5:9] = 50_000
    frame = read_frame(write_fits(tmp_path / "a.fits", image=image))
    assert not frame.bad.any()
    assert (frame.image[5, 5:9] > frame.saturation).all()


FLAGS = {  # cards, name of the mask, its flags, those of bad pixels
    "decam codes": ({"INSTRUME": "DECam"}, "DQ", [0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2]),
    "decam bits up to 8": ({"INSTRUME": "DECam", "PLVER": "V2.3.1"}, "DQ", [0, 1, 2, 4, 5, 8], [1, 4, 5, 8]),
    "decam bits": ({"FPA": "DECAM_BKP1"}, "MSK", [0, 1, 2, 4, 8, 16, 64, 512, 1024, 17], [1, 4, 8, 512, 17]),
    "lco": ({"TELID": "1m0a"}, "BPM", [0, 1, 2, 4, 8, 9, 10], [1, 4, 9]),
    "rubin": (
        {"MP_BAD": 0, "MP_SAT": 1, "MP_INTRP": 2, "MP_CR": 3, "HIERARCH MP_DETECTED": 5, "HIERARCH MP_NO_DATA": 8},
        *("MASK", [0, 1, 2, 4, 8, 32, 40, 256], [1, 4, 256]),
    ),
    "rubin on decam": ({"INSTRUME": "DECam", "MP_BAD": 0, "MP_CR": 3}, "MASK", [0, 1, 2, 8, 9], [1, 9]),
    "hst": ({"TELESCOP": "HST"}, "DQ", [0, 4, 16, 256, 4096, 8192, 8196], [4, 16, 8196]),
    "gemini": ({"TELESCOP": "Gemini-South"}, "DQ", [0, 1, 4, 8, 16, 24], [1, 16, 24]),
    "any other": ({}, "MASK", [0, 1, 2, 4, 8, 16], [1, 2, 4, 8, 16]),
}


@pytest.mark.parametrize("case", FLAGS)
@pytest.mark.parametrize("place", ["same file", "separate file"])
def test_only_flags_of_bad_pixels_mark_bad_pixels(tmp_path, case, place):
    cards, name, flags, bad = FLAGS[case]
    mask = np.zeros(SHAPE, np.int32)
    mask[4, : len(flags)] = flags
    extra = fits.ImageHDU(mask, name=name)
    if place == "same file":
        frame = read_frame(write_fits(tmp_path / "a.fits", extra, image=constant_image(), **cards))
    else:
        side = write_fits(tmp_path / "mask.fits", extra)
        frame = read_frame(write_fits(tmp_path / "a.fits", image=constant_image(), **cards), mask=side)
    assert [flag for flag, x in zip(flags, frame.bad[4], strict=False) if x] == bad
    assert frame.bad.sum() == len(bad)


def test_mask_files_of_the_archive_are_matched_by_name_and_are_no_images(tmp_path, exposure):
    masks = [fits.CompImageHDU(np.full(SHAPE, 5, np.int32), name=name) for name in ("N31", "N4", "S29")]
    masks[1].data[2, 3] = 1
    side = write_fits(tmp_path / "ood.fits.fz", *masks, PRODTYPE="dqmask", INSTRUME="DECam")
    frame = read_frame(exposure, "N4", mask=side, telescope="decam")
    assert frame.bad.any()
    assert "in a dqmask product" in refusal_message(read_frame, side)
    with pytest.raises(FitsError, match=r"ood\.fits\.fz: expected one mask for S30, found 0"):
        read_frame(exposure, "S30", mask=side)


def test_a_mask_can_be_ignored(tmp_path):
    wrong = fits.ImageHDU(np.ones((3, 4), np.uint8), name="BPM")
    path = write_fits(tmp_path / "a.fits", wrong, image=constant_image())
    assert "mask='none' ignores it" in refusal_message(read_frame, path)
    assert not read_frame(path, mask="none").bad.any()


# ------------------------------------------------------------------------------------------------------- real files


def test_real_frames_of_lco_are_read_with_their_class_and_raw_ones_refused(real):
    small = read_frame(real("lco/0m4_tfn0m414-kb29-20160625-0060-e91like_banzai_test_frame.fits.fz"))
    assert (small.telescope, small.shape, small.gain, small.read_noise) == ("0m4", (1020, 1523), 1.0, 16.4)
    path = real("lco/1m0_lsc1m005-fl15-20170614-0130-e91_cropped.fits.gz")
    assert "BPM has shape (4096, 4096), the image (400, 400)" in refusal_message(
        read_frame, path
    )  # only the image was cropped
    cropped = read_frame(path, mask="none")
    assert (cropped.telescope, cropped.shape, cropped.exptime, cropped.band) == ("1m0", (400, 400), 300.0, "i")
    message = refusal_message(read_frame, real("lco/1m0_elp1m008-fa05-20211007-0042-e00_raw_4amp.fits"))
    assert "SCI is raw, with its overscan (BIASSEC = '[520:540,1:512]'), one of 4 parts" in message
    assert "give a reduced frame" in message


def test_real_cutouts_are_recognised_as_decam_by_their_focal_plane(real):
    for path in sorted(real("decam/cutouts").glob("*.fits")):
        frame = read_frame(path)
        assert frame.telescope == "decam"
        with fits.open(path) as hdus:
            flags, header = hdus["DQ"].data, hdus["SCI"].header
        assert frame.gain == (header["GAINA"] + header["GAINB"]) / 2
        assert not frame.bad[flags == (16 if flags.max() > 8 else 5)].any()  # flagged hits are not bad pixels


def test_a_full_disk_is_not_reported_as_a_damaged_file(tmp_path, monkeypatch):
    """Raise the error of the disk, as data sets skip damaged files and must not skip good ones."""
    path = tmp_path / "a.fits.gz"
    fits.PrimaryHDU(np.zeros((40, 40), np.float32)).writeto(path)

    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", lambda *_: Full())
    with pytest.raises(OSError, match="No space left on device") as raised, open_fits(path):
        pass
    assert not isinstance(raised.value, FitsError)
