"""Test reading and writing files of the LCO data set, and that faulty files are named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.cache import load_labelled
from cosmicgate.data.lco.datamodule import LCO
from cosmicgate.data.lco.io import SIMULATED, MaskedSequence, read_sequence, write_sequence
from cosmicgate.data.lco.simulation import simulate_triple
from cosmicgate.data.pixel_labels import IGNORED
from helpers.fits_files import write_changed_copy

LAYOUT = ["PRIMARY", "SCI", "SCI", "SCI", "VALID_MASK", "CAT", "CR", "CR", "CR", "IGNORE", "IGNORE", "IGNORE"]


def test_a_file_has_the_archives_hdus_in_their_order(lco_files):
    with fits.open(lco_files[0]) as hdus:
        assert [hdu.name for hdu in hdus] == LAYOUT
        assert hdus[0].header["FRMTOTAL"] == 3
        assert [hdus[i].ver for i in (1, 2, 3, 6, 7, 8)] == [0, 1, 2, 0, 0, 0]  # EXTVER does not identify them
        images = [hdu for hdu in hdus if hdu.name not in ("PRIMARY", "CAT")]
        assert all(isinstance(hdu, fits.CompImageHDU) for hdu in images)
        assert [hdus[i].data.dtype.kind + str(hdus[i].data.dtype.itemsize) for i in (1, 4, 6, 9)] == [
            "f4",
            "u1",
            "u1",
            "u1",
        ]
        for number in (1, 2, 3):
            assert {"EXPTIME", "FILENAME", "GAIN", "RDNOISE"} <= set(hdus[number].header)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_files_with_any_number_of_frames_are_read(tmp_path, n):
    rng = np.random.default_rng(n)
    triple = simulate_triple("1m0", [n], (20, 24), frames=n)
    hits = tuple(rng.random((20, 24)) < 0.1 for _ in range(n))
    ignore = tuple(rng.choice([0, 1, 2, 4, 8, 12], (20, 24)).astype(np.uint8) for _ in range(n))
    written = MaskedSequence(tuple(e.exposure for e in triple.exposures), hits, ignore)
    write_sequence(written, tmp_path / "lsc1m005-fl15-20190101-0001-e91_masks.fits")
    read = read_sequence(tmp_path / "lsc1m005-fl15-20190101-0001-e91_masks.fits")
    assert len(read.exposures) == n
    for a, b in zip(written.exposures, read.exposures, strict=True):
        assert np.array_equal(a.frame.image, b.frame.image)
        assert a.frame.name == b.frame.name
        assert (a.frame.gain, a.frame.exptime, a.frame.telescope) == (b.frame.gain, b.frame.exptime, "1m0")
    assert np.array_equal(read.hits, written.hits)
    assert np.array_equal(read.ignore, written.ignore)


@pytest.mark.parametrize(
    "card",
    ["TEL.POS = 12.0", "FOO bar = 3", "A^B     = 12", "CCD-TEMP= nan", "lower   = 1", "DATE-OBS= 2019-01-01T00:00:00"],
)
def test_an_exposure_with_a_card_that_violates_the_standard_is_written(tmp_path, card):
    exposure = simulate_triple("1m0", [0], (20, 24), frames=1).exposures[0].exposure
    exposure.header.append(fits.Card.fromstring(card))
    none = np.zeros((20, 24), np.uint8)
    write_sequence(MaskedSequence((exposure,), (none > 0,), (none,)), tmp_path / "a_masks.fits")
    header = read_sequence(tmp_path / "a_masks.fits").exposures[0].header
    assert header["EXPTIME"] == exposure.frame.exptime
    assert ("LOWER" in header) == (card.startswith("lower"))


def test_a_header_without_saturation_gets_that_of_the_telescope_class(lco_files, tmp_path):
    path = write_changed_copy(lco_files[0], tmp_path, lambda hdus: hdus[2].header.remove("SATURATE"))
    frames = [e.frame for e in read_sequence(path).exposures]
    assert frames[1].saturation == pytest.approx(65_000 * 1.5)
    assert frames[0].saturation != frames[1].saturation


def test_an_unreadable_header_card_counts_as_missing(lco_files, tmp_path):
    path = write_with_unreadable_card(lco_files[0], tmp_path, "SATURATE")
    assert read_sequence(path).exposures[1].frame.saturation == pytest.approx(65_000 * 1.5)
    with pytest.raises(ValueError, match="frame 2: expected GAIN, RDNOISE and EXPTIME, found no RDNOISE"):
        read_sequence(write_with_unreadable_card(lco_files[0], tmp_path, "RDNOISE"))


def test_nan_pixels_are_bad_and_not_scored(lco_files, tmp_path):
    def spoil(hdus):
        hdus[1].data[30:32, 40] = np.nan

    path = write_changed_copy(lco_files[0], tmp_path, spoil)
    frame = read_sequence(path).exposures[0].frame
    assert frame.bad.sum() == 2
    assert np.isfinite(frame.image).all()
    data = LCO(root=str(tmp_path / "root"), folder=str(tmp_path))
    assert (load_labelled(data.test_sets()[0].folders[0]).truth[30:32, 40] == IGNORED).all()


def write_with_unreadable_card(file: Path, folder: Path, word: str) -> Path:
    """Write a copy of a file whose second frame has an unreadable value under ``word``; return its path."""
    path = write_changed_copy(file, folder, lambda hdus: hdus[2].header.set(word, 12345.0))
    card = f"{word:8}= {12345.0:>20}".encode()
    content = path.read_bytes()
    assert content.count(card) == 1
    path.write_bytes(content.replace(card, f"{word:8}= {'unknown':>20}".encode()))
    return path


def unmark(hdus):
    for hdu in hdus:
        hdu.header.remove(SIMULATED, ignore_missing=True)


def test_the_header_says_what_is_simulated_not_the_file_name(lco_files, tmp_path):
    assert read_sequence(lco_files[0]).data_origin == "simulated"
    assert read_sequence(write_changed_copy(lco_files[0], tmp_path, unmark)).data_origin == "real"


def test_real_and_simulated_files_in_one_folder_are_refused(lco_files, tmp_path):
    write_changed_copy(lco_files[0], tmp_path, unmark)
    shutil.copy(lco_files[1], tmp_path)
    data = LCO(root=str(tmp_path / "root"), folder=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"real and simulated files in one folder, coj0m403-kb24-20190101.*and coj0m403"
    ):
        data.prepare_data()


def write_half(file, folder):
    (folder / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def write_text_file(file, folder):
    (folder / file.name).write_text("not found")


def write_other_fits(file, folder):
    fits.PrimaryHDU(np.zeros((9, 9), np.float32)).writeto(folder / file.name)


def drop_masks(file, folder):
    write_changed_copy(file, folder, lambda hdus: [hdus.pop() for _ in range(6)])


def swap_hdus(file, folder):
    write_changed_copy(file, folder, lambda hdus: hdus.insert(1, hdus.pop(4)))


def shrink_one_mask(file, folder):
    def cut(hdus):
        hdus[7] = fits.CompImageHDU(hdus[7].data[:-1], name="CR")

    write_changed_copy(file, folder, cut)


def remove_gain(file, folder):
    write_changed_copy(file, folder, lambda hdus: hdus[3].header.remove("GAIN"))


FAULTY_FILES = [
    (write_half, "not a complete FITS file"),
    (write_text_file, "not a complete FITS file"),
    (write_other_fits, "expected the number of frames as FRMTOTAL of the primary header, found no FRMTOTAL"),
    (
        drop_masks,
        "expected the HDUs PRIMARY, SCI, SCI, SCI, VALID_MASK, CAT, CR, CR, CR, IGNORE, IGNORE, IGNORE, found",
    ),
    (swap_hdus, "expected the HDUs PRIMARY, SCI"),
    (shrink_one_mask, "expected images of one shape, found"),
    (remove_gain, "frame 3: expected GAIN, RDNOISE and EXPTIME"),
]


@pytest.mark.parametrize(("spoil", "reason"), FAULTY_FILES, ids=[spoil.__name__ for spoil, _ in FAULTY_FILES])
def test_a_faulty_file_is_named_and_skipped_or_refused(lco_files, tmp_path, caplog, spoil, reason):
    folder = tmp_path / "masked_fits"
    folder.mkdir()
    spoil(lco_files[0], folder)
    shutil.copy(lco_files[1], folder)
    data = LCO(root=str(tmp_path / "root"), folder=str(folder))
    with caplog.at_level("INFO"):
        data.prepare_data()
    assert lco_files[0].name in caplog.text
    assert "1 file(s) read, 1 skipped" in caplog.text
    summary = json.loads((tmp_path / "root" / "summary.json").read_text())
    assert summary["read"] == 1
    ((skipped),) = summary["skipped"]
    assert skipped["file"].endswith(lco_files[0].name)
    assert reason in skipped["reason"]
    assert [len(s.folders) for s in data.test_sets()] == [3]
    with pytest.raises(ValueError, match=lco_files[0].name) as refused:
        replace(data, on_error="refuse").prepare_data()
    assert "\n" not in str(refused.value)


def test_a_folder_without_a_valid_file_is_refused(lco_files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file \*_masks.fits below"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).prepare_data()
    write_text_file(lco_files[0], tmp_path)
    with pytest.raises(ValueError, match=r"none of 1 file\(s\) could be read"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).prepare_data()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path / "nowhere")).prepare_data()
    with pytest.raises(ValueError, match=r"give data\.folder=DIR"):
        LCO(root=str(tmp_path / "root")).prepare_data()
