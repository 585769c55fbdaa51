"""Files that break a rule of FITS and lack no pixel are read with a word, by name; those that lack one are refused."""

import gzip
import os
import warnings

import numpy as np
import pytest
from astropy.io import fits
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.io.fits.file_defects import find_defects
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.io.fits.hdus import FitsError
from cosmicgate.io.fits.raw_hdus import spans
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.pipeline import mask_file
from helpers.tiny_model import hit, sky, tiny_model

SHAPE = (40, 56)
ENDINGS = (".fits", ".fits.fz", ".fits.gz")
KINDS = (
    MaskOptions(),
    MaskOptions("append"),
    MaskOptions("clean", cleaned=True),
    MaskOptions("in-place", cleaned=True),
)
FIELDS = {"gain": 1.0, "read_noise": 5.0, "saturation": 6e4, "exptime": 60.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def masker(model):
    return cosmicgate.load(model)


@pytest.fixture(params=ENDINGS)
def write(request, tmp_path):
    """Return what writes a file with one image, its bytes (before it is gzipped) changed by a function."""

    def written(change):
        path = tmp_path / f"a{request.param}"
        kind = fits.CompImageHDU if request.param == ".fits.fz" else fits.ImageHDU
        more = {"quantize_level": 0, "compression_type": "GZIP_2"} if kind is fits.CompImageHDU else {}
        hdus = fits.HDUList([fits.PrimaryHDU(), kind(sky(SHAPE), name="SCI", **more)])
        hdus.writeto(tmp_path / "whole.fits", checksum=True)
        place = spans(tmp_path / "whole.fits")[-1]
        content = change((tmp_path / "whole.fits").read_bytes(), place.data + place.size)
        path.write_bytes(gzip.compress(content) if request.param == ".fits.gz" else content)
        return path

    return written


def outcome_of(path, masker, wanted=KINDS[0]):
    output = path if wanted.kind == "in-place" else path.with_name(f"out-{path.name}")
    return mask_file(path, output, masker, wanted), output


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


# ----------------------------------------------------------------------------------------------------- ends of files

HARMLESS = {
    "a last block that is not filled up": (lambda all_, end: all_[:end], "its last block of 2880 bytes is incomplete"),
    "a last block half filled up": (lambda all_, end: all_[: end + 7], "its last block of 2880 bytes is incomplete"),
    "NULs": (lambda all_, _: all_ + bytes(2880), "2880 bytes after its last HDU"),
    "blanks": (lambda all_, _: all_ + b" " * 100, "100 bytes after its last HDU"),
    "a word": (lambda all_, _: all_ + b"\nX-Mailer: night log\n", "21 bytes after its last HDU"),
    "many": (lambda all_, _: all_ + b"\xff" * 30000, "30000 bytes after its last HDU"),
}


@pytest.mark.parametrize("wanted", KINDS, ids=lambda one: one.kind)
@pytest.mark.parametrize("case", HARMLESS)
def test_an_odd_end_is_told_and_costs_nothing(write, masker, case, wanted):
    change, said = HARMLESS[case]
    path = write(change)
    outcome, output = outcome_of(path, masker, wanted)
    assert (outcome.status, outcome.hits) == ("done", hit(SHAPE).sum()), outcome
    assert [said in warning for warning in outcome.warnings] == [True]
    assert find_defects(output) == []  # what is written breaks no rule
    with fits.open(output, checksum=True) as hdus:
        np.testing.assert_array_equal(hdus["SCI_CRMASK"].data.astype(bool), hit(SHAPE))
        if wanted.kind != "mask":
            np.testing.assert_array_equal(hdus["SCI"].data[~hit(SHAPE)], sky(SHAPE)[~hit(SHAPE)])


REFUSED = {
    "a byte of the data is missing": (lambda all_, end: all_[: end - 1], "1 bytes of HDU 1 are missing"),
    "half of the data is missing": (lambda all_, end: all_[: end - 2000], "2000 bytes of HDU 1 are missing"),
    "the data are missing": (lambda all_, end: all_[:-2880][:5760], "bytes of HDU 1 are missing"),
    "a header is cut": (lambda all_, end: all_[:3500], "the header of HDU 1 has no END"),
    "the first header is cut": (lambda all_, end: all_[:240], "the header of HDU 0 has no END"),
    "a word of a header is cut": (lambda all_, end: all_[:2884], "the header of HDU 1 has no END"),
    "an HDU follows that is shifted": (lambda all_, end: all_ + b"\n" + all_[2880:], "HDU 1 is damaged"),
    "an HDU follows whose word is spoilt": (lambda all_, end: all_ + b"?" + all_[2881:], "HDU 1 is damaged"),
    "HDUs are promised": (
        lambda all_, _: all_[:480] + b"NEXTEND =                    9".ljust(80) + all_[480:2800] + all_[2880:] + b"?",
        "HDU 1 is damaged",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_lacks_something_is_refused_by_name_with_what_it_lacks(write, masker, case):
    change, said = REFUSED[case]
    path = write(change)
    outcome, output = outcome_of(path, masker, KINDS[2])
    assert outcome.status == "failed"
    assert outcome.error.startswith(f"{path}: not a whole FITS file (")
    assert said in outcome.error
    assert not output.exists()
    with pytest.raises(FitsError, match="not a whole FITS file"):
        read_frame(path, **FIELDS)


@pytest.mark.parametrize("content", [b"", b"night log\n" * 500, b"\0" * 5760, b"XTENSION= 'IMAGE   '".ljust(2880)])
def test_what_is_no_fits_is_refused(tmp_path, masker, content):
    (tmp_path / "a.fits").write_bytes(content)
    outcome, _ = outcome_of(tmp_path / "a.fits", masker)
    assert outcome.error.startswith(f"{tmp_path / 'a.fits'}: not a whole FITS file (it ")


def test_a_primary_header_whose_block_is_not_filled_up_is_whole(tmp_path):
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    (tmp_path / "a.fits").write_bytes(content.rstrip(b" "))
    assert "is incomplete" in find_defects(tmp_path / "a.fits")[0]


def test_bytes_behind_a_gzipped_file_are_told_and_a_wrong_checksum_of_it_is_refused(tmp_path, masker):
    fits.writeto(tmp_path / "b.fits", sky(SHAPE))
    zipped = gzip.compress((tmp_path / "b.fits").read_bytes())
    (tmp_path / "a.fits.gz").write_bytes(zipped + b"rubbish")
    outcome, _ = outcome_of(tmp_path / "a.fits.gz", masker)
    assert (outcome.status, len(outcome.warnings)) == ("done", 1)
    assert "bytes after the end of its gzipped data" in outcome.warnings[0]
    for number, wrong in enumerate((zipped[:-8] + bytes(4) + zipped[-4:], zipped[:-9], zipped[: len(zipped) // 2])):
        path = tmp_path / f"wrong{number}.fits.gz"
        path.write_bytes(wrong)
        assert "not a whole FITS file" in outcome_of(path, masker)[0].error


# -------------------------------------------------------------------------------------------------- headers and sums


@pytest.mark.parametrize("wanted", KINDS, ids=lambda one: one.kind)
@pytest.mark.parametrize("first", [True, False])
def test_nuls_after_the_end_of_a_header_are_told_and_cost_nothing(write, masker, wanted, first):
    def with_nuls(content, _):
        start = 0 if first else 2880
        end = content.index(b"END" + b" " * 77, start) + 3
        stop = -(-end // 2880) * 2880
        return content[:end] + bytes(stop - end) + content[stop:]

    path = write(with_nuls)
    outcome, output = outcome_of(path, masker, wanted)
    assert (outcome.status, outcome.hits) == ("done", hit(SHAPE).sum()), outcome
    assert outcome.warnings == [
        f"the headers of HDUs {0 if first else 1} contain NUL bytes where the FITS standard requires blanks"
    ]
    if wanted.kind == "append":
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        copied = gzip.decompress(output.read_bytes()) if path.suffix == ".gz" else output.read_bytes()
        assert copied.startswith(content)


def test_a_data_sum_that_does_not_match_is_told_by_name(write, masker, caplog):
    def with_another_sum(content, _):
        digit = content.index(b"DATASUM = '", 2880) + 11
        return content[:digit] + bytes([content[digit] ^ 1]) + content[digit + 1 :]

    path = write(with_another_sum)
    outcome, _ = outcome_of(path, masker)
    assert outcome.status == "done"
    assert len(outcome.warnings) == 1
    assert "the checksum of the data of HDU 1 (SCI) is" in outcome.warnings[0]
    read_frame(path, **FIELDS)
    assert [str(path) in record.message and "DATASUM" in record.message for record in caplog.records] == [True]
    shown = run("info", path)
    assert shown.exit_code == 0
    assert f"warning: {path}: the checksum of the data of HDU 1 (SCI)" in shown.stderr


@pytest.mark.parametrize("card", ["NEXTEND = 'two     '", "NEXTEND =                  2.5", "NEXTEND = T"])
def test_a_number_of_extensions_that_is_none_is_not_asked(tmp_path, card):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE), fits.Header({"NEXTEND": 1}))
    content = (tmp_path / "a.fits").read_bytes()
    place = content.index(b"NEXTEND")
    (tmp_path / "a.fits").write_bytes(content[:place] + card.encode().ljust(80) + content[place + 80 :] + b"?")
    assert "1 bytes after its last HDU" in find_defects(tmp_path / "a.fits")[0]


def test_data_sums_that_match_are_those_of_astropy(write):
    assert find_defects(write(lambda content, _: content)) == []


@pytest.mark.parametrize("none", ["[0:0,0:0]", "[0:0, 1:40]", "[1:8,0:0]", ""])
def test_a_section_of_no_pixels_is_no_overscan(tmp_path, masker, none):
    path = tmp_path / "a.fits"
    fits.writeto(path, sky(SHAPE), fits.Header({"BIASSEC": none, "BIASSECA": none, "TRIMSEC": none}))
    outcome, _ = outcome_of(path, masker)
    assert (outcome.status, outcome.hits, outcome.warnings) == ("done", hit(SHAPE).sum(), [])
    assert read_frame(path, **FIELDS).shape == SHAPE


def with_cards(path, *cards):
    """Write an image with cards as they are, whatever rule they break."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header({f"KEY{i}": i for i in range(len(cards))})
        hdus = [fits.PrimaryHDU(None, header), fits.ImageHDU(sky(SHAPE), header, name="SCI")]
        fits.HDUList(hdus).writeto(path)
    content = path.read_bytes()
    for number, card in enumerate(cards):
        content = content.replace(f"KEY{number}    ={number:21}".encode().ljust(80), card.encode("latin-1").ljust(80))
    path.write_bytes(content)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_night_of_astropys_warnings_is_told_once_a_file_with_its_name(tmp_path, model, jobs):
    for number in range(3):
        with_cards(tmp_path / f"{number}.fits", "OBSERVER= 'Bäcker'", "GAIN    =2.0", "VERYLONGKEYWORD = 12")
    done = CliRunner().invoke(app, ["mask", str(tmp_path), "-m", str(model), "--clean", "--jobs", str(jobs)])
    assert done.exit_code == 0, done.output
    lines = done.stderr.splitlines()
    assert len(lines) == len(set(lines)) <= 3 * 4, done.stderr
    for number in range(3):
        named = [line for line in lines if line.startswith(f"warning: {tmp_path / f'{number}.fits'}: ")]
        assert [sum(word in line for line in named) for word in ("non-ASCII", "GAIN =2.0", "VERYLONG")] == [1, 1, 1]
    assert len([line for line in lines if line.startswith("warning: ")]) == len(lines)


def test_of_very_many_warnings_of_a_header_a_few_are_told(tmp_path, masker):
    with_cards(tmp_path / "a.fits", *(f"KEY{number:03}  =2.0" for number in range(10)))
    outcome, _ = outcome_of(tmp_path / "a.fits", masker, KINDS[2])
    assert outcome.status == "done"
    assert len(outcome.warnings) <= 4


# --------------------------------------------------------------------------------------------------- lists and folders


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le with mark", "utf-16-be with mark"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("quote", ["", '"', "'"])
def test_a_list_may_come_from_any_editor(tmp_path, model, encoding, end, quote):
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


def test_a_list_that_is_no_text_is_refused(tmp_path, model):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE))
    done = run("mask", "--list", tmp_path / "a.fits", "-m", model)
    assert done.exit_code == 2
    assert "not a text file" in " ".join(done.output.split())


@pytest.mark.parametrize("recursive", [False, True])
def test_what_is_no_file_in_a_folder_is_named_and_the_others_go_on(tmp_path, model, recursive):
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
    errors = done.stderr.splitlines()
    assert len(errors) == 4
    assert f"{night / 'gone.fits'} is a link to nowhere.fits, which does not exist" in done.stderr
    for name in ("self.fits", "pipe.fits", "empty.fits"):
        assert any(name in error for error in errors)
    assert "folder.fits" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look into every folder")
def test_a_folder_that_cannot_be_looked_into_is_named_and_the_others_go_on(tmp_path, model):
    (tmp_path / "night" / "closed").mkdir(parents=True)
    fits.writeto(tmp_path / "night" / "good.fits", sky(SHAPE))
    (tmp_path / "night" / "closed").chmod(0)
    done = run("mask", tmp_path / "night", "-m", model, "-o", tmp_path / "masks", "--recursive")
    (tmp_path / "night" / "closed").chmod(0o700)
    assert done.exit_code == 1
    assert f"no permission to read the folder {tmp_path / 'night' / 'closed'}" in done.stderr
    assert (tmp_path / "masks" / "good_crmask.fits").is_file()
