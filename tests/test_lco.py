"""The LCO data set: its layout by number, a test set for each class, ignored pixels left out, bad files named."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from conftest import ROOT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cosmicgate.config import build
from cosmicgate.data.clean import dilate
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.lco.by_class import LCO, masked_files
from cosmicgate.data.lco.masked_fits import SIMULATED, MaskedSequence, read_sequence, write_sequence
from cosmicgate.data.lco.simulated import simulated_archive
from cosmicgate.data.lco.triples import simulate_triple
from cosmicgate.data.store import load_labelled
from cosmicgate.detectors import Detection
from cosmicgate.judging import judge
from cosmicgate.metrics import Curves
from cosmicgate.results import PER_CENT
from cosmicgate.tables import class_tables, published
from cosmicgate.truth import CORE, IGNORED, RING, SKY

SIDE = 96
LAYOUT = ["PRIMARY", "SCI", "SCI", "SCI", "VALID_MASK", "CAT", "CR", "CR", "CR", "IGNORE", "IGNORE", "IGNORE"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Simulated files of the three classes, as LCO_CR_dataset has them."""
    folder = tmp_path_factory.mktemp("archive")
    many = {"sequences": {"0m4": 2, "1m0": 1, "2m0": 1}, "shape": (SIDE, SIDE), "rate": 300}
    return simulated_archive(str(folder), **many)


@pytest.fixture(scope="module")
def files(archive) -> list[Path]:
    return sorted((archive / "test_set" / "masked_fits").iterdir())


@pytest.fixture(scope="module")
def data(archive, tmp_path_factory) -> LCO:
    data = LCO(root=str(tmp_path_factory.mktemp("root")), folder=str(archive))
    data.prepare_data()
    return data


# ------------------------------------------------------------------------------------------------------- the layout


def test_a_file_has_the_archives_hdus_in_their_order(files):
    with fits.open(files[0]) as hdus:
        assert [hdu.name for hdu in hdus] == LAYOUT
        assert hdus[0].header["FRMTOTAL"] == 3
        assert [hdus[i].ver for i in (1, 2, 3, 6, 7, 8)] == [0, 1, 2, 0, 0, 0]  # why they go by number
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
def test_any_number_of_frames_is_read_by_number(tmp_path, n):
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


def test_a_header_without_saturation_gets_that_of_the_class(files, tmp_path):
    path = changed(files[0], tmp_path, lambda hdus: hdus[2].header.remove("SATURATE"))
    frames = [e.frame for e in read_sequence(path).exposures]
    assert frames[1].saturation == pytest.approx(65_000 * 1.5)
    assert frames[0].saturation != frames[1].saturation


def test_what_is_not_a_number_is_bad_and_never_scored(files, tmp_path):
    def spoil(hdus):
        hdus[1].data[30:32, 40] = np.nan

    path = changed(files[0], tmp_path, spoil)
    frame = read_sequence(path).exposures[0].frame
    assert frame.bad.sum() == 2
    assert np.isfinite(frame.image).all()
    data = LCO(root=str(tmp_path / "root"), folder=str(tmp_path))
    assert (load_labelled(data.test_sets()[0].folders[0]).truth[30:32, 40] == IGNORED).all()


# -------------------------------------------------------------------------------------------------- the test sets


def test_there_is_a_test_set_for_each_class(data):
    sets = data.test_sets()
    assert [(s.name, s.provenance, len(s.folders)) for s in sets] == [
        ("lco_0m4", "simulated", 6),
        ("lco_1m0", "simulated", 3),
        ("lco_2m0", "simulated", 3),
    ]
    for test_set in sets:
        for folder in test_set.folders:
            labelled = load_labelled(folder)
            assert labelled.facts["telescope"] == test_set.name[-3:]
            assert labelled.image.shape == (SIDE, SIDE)


def test_the_truth_is_cr_and_what_ignore_marks_is_left_out(data, files):
    folders = {load_labelled(f).facts["name"]: f for s in data.test_sets() for f in s.folders}
    sequences = [read_sequence(path) for path in files]
    masks = [one for s in sequences for one in zip(s.exposures, s.hits, s.ignore, strict=True)]
    assert len(masks) == len(folders) == 12
    for exposure, hits, ignore in masks:
        folder = folders[exposure.frame.name]
        truth = load_labelled(folder).truth
        assert np.array_equal(truth == IGNORED, ignore > 0)
        assert np.array_equal(truth == CORE, hits)
        assert not (truth == RING).any()
        assert not load_labelled(folder).bad.any()  # a detector is not told


class Shouter:
    """Says of every pixel that it is hit, as a network (``logits``) or as masks."""

    title, trained_on, threshold, identity = "Shouter", None, 3.0, "shouter"

    def __init__(self, logits: bool = False) -> None:
        self.logits, self.threshold = logits, 0.5 if logits else 3.0

    def detect(self, frame: Frame) -> Detection:
        if self.logits:
            return Detection(logits=torch.full(frame.shape, 4.0))
        return Detection(masks={3.0: np.ones(frame.shape, bool)})


@pytest.mark.parametrize("logits", [True, False])
def test_ignored_pixels_are_left_out_or_count_as_true_negatives(data, archive, files, tmp_path, logits):
    theirs = replace(data, ignored="negative", root=str(tmp_path))
    sequence = read_sequence(files[0])
    for number, (hits, ignore) in enumerate(zip(sequence.hits, sequence.ignore, strict=True)):
        kept = ignore == 0
        expected = {  # by the data set's own rule: prediction and truth times (1 - ignore), every pixel counted
            "leave_out": (int((hits & kept).sum()), int((~hits & kept).sum()), int(kept.sum())),
            "negative": (int((hits & kept).sum()), int((~hits & kept).sum()), ignore.size),
        }
        for way in (data, theirs):
            result, mask = judge(Shouter(logits), load_labelled(way.test_sets()[0].folders[number]))
            counts = result.at_threshold
            tp, fp = int(counts[CORE, 1]), int(counts[SKY, 1])
            assert (tp, fp, int(counts.sum())) == expected[way.ignored]
            curves = Curves.from_counts(result.counts if logits else result.counts[0], "core")
            assert curves.positives + curves.negatives == expected[way.ignored][2]
            assert mask.sum() == (kept.sum() if way.ignored == "negative" else mask.size)
        assert fp / (expected["negative"][2] - tp) < 1  # their false-positive rate of this detector is not 1, ours is


def test_the_other_convention_is_another_frame_on_disk(data, tmp_path):
    root = replace(data, root=str(tmp_path))
    names = {
        f.parent.name for way in ("leave_out", "negative") for f in replace(root, ignored=way).test_sets()[0].folders
    }
    assert len(names) == 4


def test_dilate_gives_the_hits_a_ring(data, tmp_path):
    plain, ringed = data, replace(data, dilate=True, root=str(tmp_path))
    for a, b in zip(plain.test_sets()[2].folders, ringed.test_sets()[2].folders, strict=True):
        truth, dilated = (np.asarray(load_labelled(folder).truth) for folder in (a, b))
        assert np.array_equal(truth == CORE, dilated == CORE)
        assert np.array_equal(dilated == RING, dilate(truth == CORE) & (truth == SKY))


@pytest.mark.parametrize("dilated", [False, True])
def test_thin_masks_are_dilated_only_if_the_truth_is(data, tmp_path, dilated):
    lco = replace(data, dilate=dilated, root=str(tmp_path))
    said = {load_labelled(folder).facts["dilated"] for s in lco.test_sets() for folder in s.folders}
    assert said == {dilated}  # by which cosmicgate.detectors.seen grows the masks of a detector that says grow


def test_a_second_run_reads_no_file(data, monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("cosmicgate.data.lco.by_class.read_sequence", refuse)
    again = replace(data)
    again.prepare_data()
    assert again.test_sets() == data.test_sets()


def test_the_summary_counts_frames_and_pixels_by_class(data, files):
    summary = json.loads((Path(data.root) / "summary.json").read_text())
    sequences = [read_sequence(path) for path in files if path.name.startswith("coj0m4")]
    assert summary["provenance"] == "simulated"
    assert (summary["read"], summary["skipped"]) == (4, [])
    assert summary["classes"]["0m4"] == {
        "sequences": 2,
        "frames": 6,
        "pixels": 6 * SIDE**2,
        "hit_pixels": sum(int(h.sum()) for s in sequences for h in s.hits),
        "ignored_pixels": sum(int((i > 0).sum()) for s in sequences for i in s.ignore),
    }


def test_another_telescopes_masks_are_a_test_set_of_their_own(files, tmp_path):
    def rename(hdus):
        for number in (1, 2, 3):
            hdus[number].header["TELID"] = "wise"

    changed(files[0], tmp_path, rename, name="mine_masks.fits")
    assert [s.name for s in LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).test_sets()] == ["lco_other"]


def test_both_parts_of_the_data_set_can_be_chosen(files, tmp_path):
    for part, file in (("test_set/masked_fits", files[0]), ("train_set/0m4_2019/masked_fits", files[1])):
        (tmp_path / part).mkdir(parents=True)
        shutil.copy(file, tmp_path / part)
    (tmp_path / "test_set" / "aligned_fits").mkdir()
    (tmp_path / "test_set" / "aligned_fits" / "a_3frms_aligned.fits").touch()
    for split, file in (("test", files[0]), ("train", files[1])):
        assert [p.name for p in masked_files(tmp_path, split)] == [file.name]


# ------------------------------------------------------------------------------------------ provenance, bad files


def changed(file: Path, folder: Path, change, name: str | None = None) -> Path:
    """Write a copy of a file after ``change`` of its HDUs."""
    path = folder / (name or file.name)
    with fits.open(file, lazy_load_hdus=False) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
        change(copies)
        copies.writeto(path, overwrite=True)
    return path


def unmark(hdus):
    for hdu in hdus:
        hdu.header.remove(SIMULATED, ignore_missing=True)


def test_the_header_tells_what_is_simulated_never_the_name(files, tmp_path):
    assert read_sequence(files[0]).provenance == "simulated"
    assert read_sequence(changed(files[0], tmp_path, unmark)).provenance == "real"


def test_real_and_simulated_files_in_one_folder_are_refused(files, tmp_path):
    changed(files[0], tmp_path, unmark)
    shutil.copy(files[1], tmp_path)
    data = LCO(root=str(tmp_path / "root"), folder=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"real and simulated files in one folder, coj0m403-kb24-20190101.*and coj0m403"
    ):
        data.prepare_data()


def half(file, folder):
    (folder / file.name).write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def text(file, folder):
    (folder / file.name).write_text("not found")


def foreign(file, folder):
    fits.PrimaryHDU(np.zeros((9, 9), np.float32)).writeto(folder / file.name)


def aligned_only(file, folder):
    changed(file, folder, lambda hdus: [hdus.pop() for _ in range(6)])


def swapped(file, folder):
    changed(file, folder, lambda hdus: hdus.insert(1, hdus.pop(4)))


def one_mask_smaller(file, folder):
    def cut(hdus):
        hdus[7] = fits.CompImageHDU(hdus[7].data[:-1], name="CR")

    changed(file, folder, cut)


def no_gain(file, folder):
    changed(file, folder, lambda hdus: hdus[3].header.remove("GAIN"))


BAD = [
    (half, "not a whole FITS file"),
    (text, "not a whole FITS file"),
    (foreign, "expected the number of frames as FRMTOTAL of the primary header, found no FRMTOTAL"),
    (
        aligned_only,
        "expected the HDUs PRIMARY, SCI, SCI, SCI, VALID_MASK, CAT, CR, CR, CR, IGNORE, IGNORE, IGNORE, found",
    ),
    (swapped, "expected the HDUs PRIMARY, SCI"),
    (one_mask_smaller, "expected images of one shape, found"),
    (no_gain, "frame 3: expected GAIN, RDNOISE and EXPTIME"),
]


@pytest.mark.parametrize(("spoil", "reason"), BAD, ids=[spoil.__name__ for spoil, _ in BAD])
def test_a_bad_file_is_named_and_skipped_or_refused(files, tmp_path, caplog, spoil, reason):
    folder = tmp_path / "masked_fits"
    folder.mkdir()
    spoil(files[0], folder)
    shutil.copy(files[1], folder)
    data = LCO(root=str(tmp_path / "root"), folder=str(folder))
    with caplog.at_level("INFO"):
        data.prepare_data()
    assert files[0].name in caplog.text
    assert "1 file(s) read, 1 skipped" in caplog.text
    summary = json.loads((tmp_path / "root" / "summary.json").read_text())
    assert summary["read"] == 1
    ((skipped),) = summary["skipped"]
    assert skipped["file"].endswith(files[0].name)
    assert reason in skipped["reason"]
    assert [len(s.folders) for s in data.test_sets()] == [3]
    with pytest.raises(ValueError, match=files[0].name) as refused:
        replace(data, on_error="refuse").prepare_data()
    assert "\n" not in str(refused.value)


def test_a_folder_without_files_and_one_of_bad_files_only_are_refused(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file \*_masks.fits below"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).prepare_data()
    text(files[0], tmp_path)
    with pytest.raises(ValueError, match=r"none of 1 file\(s\) could be read"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).prepare_data()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        LCO(root=str(tmp_path / "root"), folder=str(tmp_path / "nowhere")).prepare_data()
    with pytest.raises(ValueError, match=r"give data\.folder=DIR"):
        LCO(root=str(tmp_path / "root")).prepare_data()


def test_simulated_data_are_an_archive_that_is_made_first(tmp_path):
    few = ["data.archive.sequences={0m4:1,1m0:1,2m0:0}", "data.archive.shape=[64,64]", f"data.root={tmp_path}"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = OmegaConf.to_container(compose("evaluate", ["data=lco_simulated", *few]), resolve=True)
    data = build(config["data"])
    assert [s.name for s in data.test_sets()] == ["lco_simulated_0m4", "lco_simulated_1m0"]
    assert data.provenance == "simulated"
    assert not any(published({"test_set": s.name, "detector": "Astro-SCRAPPY"}) for s in data.test_sets())


# ------------------------------------------------------------------------------------------------------- the commands


@pytest.mark.slow
def test_evaluate_gives_one_table_by_class(command, archive, tmp_path):
    arguments = ["data=lco", f"data.folder={archive}", f"data.root={tmp_path}/data", "detector=astroscrappy"]
    arguments += ["detector.astroscrappy.sweep=[3,6]", "picture=false", f"hydra.run.dir={tmp_path}/run"]
    done = command("evaluate.py", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [(row["test_set"], row["provenance"]) for row in rows] == [
        ("lco_0m4", "simulated"),
        ("lco_1m0", "simulated"),
        ("lco_2m0", "simulated"),
    ]
    (table,) = class_tables(rows)
    assert table.title == "Table 4. By class of telescope: lco (simulated)"
    assert [line[:2] for line in table.lines] == [[name, "Astro-SCRAPPY"] for name in ("0m4", "1m0", "2m0")]
    assert table.heads[3:6] == list(PER_CENT.values())
    assert table.title in (tmp_path / "run" / "report" / "tables.md").read_text()


def test_training_on_the_test_set_stops_with_a_sentence(command, archive, tmp_path):
    done = command("train.py", "data=lco", f"data.folder={archive}", f"hydra.run.dir={tmp_path}")
    assert done.returncode == 1
    assert "error: data: lco is a test set, nothing trains on it" in done.stderr
    assert "Traceback" not in done.stderr
