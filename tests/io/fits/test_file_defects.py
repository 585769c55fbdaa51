"""Test that files which violate the FITS standard are read with a warning if complete, and refused otherwise."""

import gzip
import os
import warnings

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.io.fits.file_defects import find_defects
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.hdus import FitsError
from cosmicgate.io.fits.raw_hdus import spans
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from helpers.mask_command import output_text, run
from helpers.tiny_model import hit, sky

SHAPE = (40, 56)
ENDINGS = (".fits", ".fits.fz", ".fits.gz")
KINDS = (
    MaskOptions(),
    MaskOptions("append"),
    MaskOptions("clean", cleaned=True),
    MaskOptions("in-place", cleaned=True),
)
FIELDS = {"gain": 1.0, "read_noise": 5.0, "saturation": 6e4, "exptime": 60.0}


@pytest.fixture(params=ENDINGS)
def write(request, tmp_path):
    """Return a function that writes a file with one image and alters its bytes, before gzip, by a function."""

    def write_altered(change):
        path = tmp_path / f"a{request.param}"
        kind = fits.CompImageHDU if request.param == ".fits.fz" else fits.ImageHDU
        more = {"quantize_level": 0, "compression_type": "GZIP_2"} if kind is fits.CompImageHDU else {}
        hdus = fits.HDUList([fits.PrimaryHDU(), kind(sky(SHAPE), name="SCI", **more)])
        hdus.writeto(tmp_path / "whole.fits", checksum=True)
        place = spans(tmp_path / "whole.fits")[-1]
        content = change((tmp_path / "whole.fits").read_bytes(), place.data + place.size)
        path.write_bytes(gzip.compress(content) if request.param == ".fits.gz" else content)
        return path

    return write_altered


def mask(path, masker, options=KINDS[0]):
    """Mask a file; return the outcome and the path of the output."""
    output = path if options.kind == "in-place" else path.with_name(f"out-{path.name}")
    return mask_file(path, output, masker, options), output


# ------------------------------------------------------------------------------------------------------- ends of files

TOLERATED = {
    "a last block without padding": (lambda content, end: content[:end], "its last block of 2880 bytes is incomplete"),
    "a last block with some padding": (
        lambda content, end: content[: end + 7],
        "its last block of 2880 bytes is incomplete",
    ),
    "NULs": (lambda content, _: content + bytes(2880), "2880 bytes after its last HDU"),
    "blanks": (lambda content, _: content + b" " * 100, "100 bytes after its last HDU"),
    "a word": (lambda content, _: content + b"\nX-Mailer: night log\n", "21 bytes after its last HDU"),
    "many": (lambda content, _: content + b"\xff" * 30000, "30000 bytes after its last HDU"),
}


@pytest.mark.parametrize("options", KINDS, ids=lambda one: one.kind)
@pytest.mark.parametrize("case", TOLERATED)
def test_an_irregular_end_of_file_is_read_with_a_warning(write, masker, case, options):
    change, message = TOLERATED[case]
    path = write(change)
    outcome, output = mask(path, masker, options)
    assert (outcome.status, outcome.hits) == ("done", hit(SHAPE).sum()), outcome
    assert [message in warning for warning in outcome.warnings] == [True]
    assert find_defects(output) == []  # the output conforms to the standard
    with fits.open(output, checksum=True) as hdus:
        np.testing.assert_array_equal(hdus["SCI_CRMASK"].data.astype(bool), hit(SHAPE))
        if options.kind != "mask":
            np.testing.assert_array_equal(hdus["SCI"].data[~hit(SHAPE)], sky(SHAPE)[~hit(SHAPE)])


REFUSED = {
    "a byte of the data is missing": (lambda content, end: content[: end - 1], "1 bytes of HDU 1 are missing"),
    "half of the data is missing": (lambda content, end: content[: end - 2000], "2000 bytes of HDU 1 are missing"),
    "the data are missing": (lambda content, end: content[:-2880][:5760], "bytes of HDU 1 are missing"),
    "a header is cut": (lambda content, end: content[:3500], "the header of HDU 1 has no END"),
    "the first header is cut": (lambda content, end: content[:240], "the header of HDU 0 has no END"),
    "a word of a header is cut": (lambda content, end: content[:2884], "the header of HDU 1 has no END"),
    "a second HDU is shifted": (lambda content, end: content + b"\n" + content[2880:], "HDU 1 is damaged"),
    "the keyword of a second HDU is damaged": (
        lambda content, end: content + b"?" + content[2881:],
        "HDU 1 is damaged",
    ),
    "more HDUs are announced": (
        lambda content, _: (
            content[:480] + b"NEXTEND =                    9".ljust(80) + content[480:2800] + content[2880:] + b"?"
        ),
        "HDU 1 is damaged",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_incomplete_file_is_refused_with_what_is_missing(write, masker, case):
    change, message = REFUSED[case]
    path = write(change)
    outcome, output = mask(path, masker, KINDS[2])
    assert outcome.status == "failed"
    assert outcome.error.startswith(f"{path}: not a complete FITS file (")
    assert message in outcome.error
    assert not output.exists()
    with pytest.raises(FitsError, match="not a complete FITS file"):
        read_frame(path, **FIELDS)


@pytest.mark.parametrize("content", [b"", b"night log\n" * 500, b"\0" * 5760, b"XTENSION= 'IMAGE   '".ljust(2880)])
def test_files_that_are_not_fits_are_refused(tmp_path, masker, content):
    (tmp_path / "a.fits").write_bytes(content)
    outcome, _ = mask(tmp_path / "a.fits", masker)
    assert outcome.error.startswith(f"{tmp_path / 'a.fits'}: not a complete FITS file (it ")


def test_a_primary_header_without_padding_is_complete(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content.rstrip(b" "))
    assert "is incomplete" in find_defects(tmp_path / "a.fits")[0]


def test_bytes_after_gzipped_data_are_a_warning_and_a_wrong_gzip_checksum_an_error(tmp_path, masker):
    fits.writeto(tmp_path / "b.fits", sky(SHAPE))
    zipped = gzip.compress((tmp_path / "b.fits").read_bytes())
    (tmp_path / "a.fits.gz").write_bytes(zipped + b"rubbish")
    outcome, _ = mask(tmp_path / "a.fits.gz", masker)
    assert (outcome.status, len(outcome.warnings)) == ("done", 1)
    assert "bytes after the end of its gzipped data" in outcome.warnings[0]
    for number, wrong in enumerate((zipped[:-8] + bytes(4) + zipped[-4:], zipped[:-9], zipped[: len(zipped) // 2])):
        path = tmp_path / f"wrong{number}.fits.gz"
        path.write_bytes(wrong)
        assert "not a complete FITS file" in mask(path, masker)[0].error


# ----------------------------------------------------------------------------------------------- headers and checksums


@pytest.mark.parametrize("options", KINDS, ids=lambda one: one.kind)
@pytest.mark.parametrize("first", [True, False])
def test_nul_bytes_after_a_header_are_a_warning(write, masker, options, first):
    def with_nuls(content, _):
        start = 0 if first else 2880
        end = content.index(b"END" + b" " * 77, start) + 3
        stop = -(-end // 2880) * 2880
        return content[:end] + bytes(stop - end) + content[stop:]

    path = write(with_nuls)
    outcome, output = mask(path, masker, options)
    assert (outcome.status, outcome.hits) == ("done", hit(SHAPE).sum()), outcome
    assert outcome.warnings == [
        f"the headers of HDUs {0 if first else 1} contain NUL bytes where the FITS standard requires blanks"
    ]
    if options.kind == "append":
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        copied = gzip.decompress(output.read_bytes()) if path.suffix == ".gz" else output.read_bytes()
        assert copied.startswith(content)


def test_a_wrong_datasum_is_a_warning_that_names_the_file(write, masker, caplog):
    def change_datasum(content, _):
        digit = content.index(b"DATASUM = '", 2880) + 11
        return content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :]

    path = write(change_datasum)
    outcome, _ = mask(path, masker)
    assert outcome.status == "done"
    assert len(outcome.warnings) == 1
    assert "the checksum of the data of HDU 1 (SCI) is" in outcome.warnings[0]
    read_frame(path, **FIELDS)
    assert [str(path) in record.message and "DATASUM" in record.message for record in caplog.records] == [True]
    shown = run("info", path)
    assert shown.exit_code == 0
    assert f"warning: {path}: the checksum of the data of HDU 1 (SCI)" in shown.stderr


@pytest.mark.parametrize("card", ["NEXTEND = 'two     '", "NEXTEND =                  2.5", "NEXTEND = T"])
def test_an_invalid_nextend_is_ignored(tmp_path, card):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE), fits.Header({"NEXTEND": 1}))
    content = (tmp_path / "a.fits").read_bytes()
    place = content.index(b"NEXTEND")
    (tmp_path / "a.fits").write_bytes(content[:place] + card.encode().ljust(80) + content[place + 80 :] + b"?")
    assert "1 bytes after its last HDU" in find_defects(tmp_path / "a.fits")[0]


def test_a_file_written_by_astropy_has_no_defects(write):
    assert find_defects(write(lambda content, _: content)) == []


@pytest.mark.parametrize("section", ["[0:0,0:0]", "[0:0, 1:40]", "[1:8,0:0]", ""])
def test_an_empty_section_is_no_overscan(tmp_path, masker, section):
    path = tmp_path / "a.fits"
    fits.writeto(path, sky(SHAPE), fits.Header({"BIASSEC": section, "BIASSECA": section, "TRIMSEC": section}))
    outcome, _ = mask(path, masker)
    assert (outcome.status, outcome.hits, outcome.warnings) == ("done", hit(SHAPE).sum(), [])
    assert read_frame(path, **FIELDS).shape == SHAPE


def write_with_cards(path, *cards):
    """Write an image with raw header cards, valid or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header({f"KEY{i}": i for i in range(len(cards))})
        hdus = [fits.PrimaryHDU(None, header), fits.ImageHDU(sky(SHAPE), header, name="SCI")]
        fits.HDUList(hdus).writeto(path)
    content = path.read_bytes()
    for number, card in enumerate(cards):
        content = content.replace(f"KEY{number}    ={number:21}".encode().ljust(80), card.encode("latin-1").ljust(80))
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_warnings_of_astropy_are_shown_once_for_each_file_with_its_name(tmp_path, model, jobs):
    for number in range(3):
        write_with_cards(tmp_path / f"{number}.fits", "OBSERVER= 'Bäcker'", "GAIN    =2.0", "VERYLONGKEYWORD = 12")
    done = run("mask", tmp_path, "-m", model, "--clean", "--jobs", jobs)
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)) <= 3 * 4, done.stderr
    for number in range(3):
        named = [line for line in lines if line.startswith(f"warning: {tmp_path / f'{number}.fits'}: ")]
        assert [sum(word in line for line in named) for word in ("non-ASCII", "GAIN =2.0", "VERYLONG")] == [1, 1, 1]
    assert len([line for line in lines if line.startswith("warning: ")]) == len(lines)


def test_of_many_warnings_of_a_header_a_few_are_shown(tmp_path, masker):
    write_with_cards(tmp_path / "a.fits", *(f"KEY{number:03}  =2.0" for number in range(10)))
    outcome, _ = mask(tmp_path / "a.fits", masker, KINDS[2])
    assert outcome.status == "done"
    assert len(outcome.warnings) <= 4


# --------------------------------------------------------------------------------------------------- lists and folders


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark", "utf-16-be with mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_list_of_files_may_have_any_encoding_and_line_end(tmp_path, model, encoding, end, quote):
    folder = tmp_path / "with blank ä"
    folder.mkdir()
    names = [folder / f"{number}.fits" for number in range(2)]
    for name in names:
        fits.writeto(name, sky(SHAPE))
    text = end.join(["# a night", "", *(f"{quote}{name}{quote} " for name in names)])
    mark = "\ufeff" if "mark" in encoding else ""
    (tmp_path / "list.txt").write_bytes((mark + text).encode(encoding.removesuffix(" with mark")))
    done = run("mask", "--list", tmp_path / "list.txt", "-m", model, "-o", tmp_path / "masks")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "masks").iterdir()) == ["0_crmask.fits", "1_crmask.fits"]


def test_a_list_that_is_not_text_is_refused(tmp_path, model):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE))
    done = run("mask", "--list", tmp_path / "a.fits", "-m", model)
    assert done.exit_code == 2
    assert "not a text file" in output_text(done)


@pytest.mark.parametrize("recursive", [False, True])
def test_broken_links_and_pipes_in_a_folder_are_named_and_the_other_files_masked(tmp_path, model, recursive):
    (tmp_path / "night" / "folder.fits").mkdir(parents=True)
    night = tmp_path / "night"
    fits.writeto(night / "good.fits", sky(SHAPE))
    (night / "gone.fits").symlink_to("nowhere.fits")
    (night / "self.fits").symlink_to("self.fits")
    (night / "notes.txt").symlink_to("nowhere.txt")
    os.mkfifo(night / "pipe.fits")
    (night / "empty.fits").touch()
    done = run("mask", night, "-m", model, "-o", tmp_path / "masks", *["--recursive"] * recursive)
    assert done.exit_code == 1
    assert (tmp_path / "masks" / "good_crmask.fits").is_file()
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    assert f"{night / 'gone.fits'} is a link to nowhere.fits, which does not exist" in done.stderr
    for name in ("self.fits", "pipe.fits", "empty.fits"):
        assert any(name in error for error in errors)
    assert "folder.fits" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_an_unreadable_folder_is_named_and_the_other_files_masked(tmp_path, model):
    (tmp_path / "night" / "closed").mkdir(parents=True)
    fits.writeto(tmp_path / "night" / "good.fits", sky(SHAPE))
    (tmp_path / "night" / "closed").chmod(0)
    done = run("mask", tmp_path / "night", "-m", model, "-o", tmp_path / "masks", "--recursive")
    (tmp_path / "night" / "closed").chmod(0o700)
    assert done.exit_code == 1
    assert f"no permission to read the folder {tmp_path / 'night' / 'closed'}" in done.stderr
    assert (tmp_path / "masks" / "good_crmask.fits").is_file()
