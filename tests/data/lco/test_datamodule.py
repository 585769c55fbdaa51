"""Test the LCO data set: a test set and tables for each telescope class, ignored pixels, training splits."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmicgate.config import ConfigError, build
from cosmicgate.data.background import dilate
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.lco.datamodule import LCO, masked_files
from cosmicgate.data.lco.io import read_sequence
from cosmicgate.data.patches import CropSampler
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.splits import SPLITS
from cosmicgate.detectors import Detection
from cosmicgate.evaluation.frame_results import score_frame
from cosmicgate.io.fits.frames import Frame
from cosmicgate.metrics import Curves
from cosmicgate.report.results import read_results
from helpers.fits_files import write_changed_copy
from helpers.hydra_config import composed_config

SIDE = 96


@pytest.fixture(scope="module")
def data(lco_archive, tmp_path_factory) -> LCO:
    data = LCO(root=str(tmp_path_factory.mktemp("root")), folder=str(lco_archive))
    data.prepare_test()
    return data


# -------------------------------------------------------------------------------------------------- the test sets


def test_each_telescope_class_is_a_test_set(data):
    sets = data.test_sets()
    assert [(s.name, s.data_origin, len(s.folders)) for s in sets] == [
        ("lco_0m4", "simulated", 6),
        ("lco_1m0", "simulated", 3),
        ("lco_2m0", "simulated", 3),
    ]
    for test_set in sets:
        for folder in test_set.folders:
            labelled = load_labelled(folder)
            assert labelled.facts["telescope"] == test_set.name[-3:]
            assert labelled.image.shape == (SIDE, SIDE)


def test_the_truth_is_the_plane_cr_without_the_pixels_of_ignore(data, lco_files):
    folders = {load_labelled(f).facts["name"]: f for s in data.test_sets() for f in s.folders}
    sequences = [read_sequence(path) for path in lco_files]
    masks = [one for s in sequences for one in zip(s.exposures, s.hits, s.ignore, strict=True)]
    assert len(masks) == len(folders) == 12
    for exposure, hits, ignore in masks:
        folder = folders[exposure.frame.name]
        truth = load_labelled(folder).truth
        assert np.array_equal(truth == IGNORED, ignore > 0)
        assert np.array_equal(truth == CORE, hits & (ignore == 0))
        assert np.array_equal(truth == RING, dilate(hits) & ~hits & (ignore == 0)), "the paper's test is dilated"
        assert not load_labelled(folder).bad.any()  # detectors do not know which pixels are ignored


class EverythingHit:
    """Mark every pixel as hit, by logits as a network does, or by masks."""

    model, trained_on, threshold, cache_key = "everything hit", None, 3.0, "everything hit"

    def __init__(self, logits: bool = False) -> None:
        self.logits, self.threshold = logits, 0.5 if logits else 3.0

    def detect(self, frame: Frame) -> Detection:
        if self.logits:
            return Detection(logits=torch.full(frame.shape, 4.0))
        return Detection(masks={3.0: np.ones(frame.shape, bool)})


@pytest.mark.parametrize("logits", [True, False])
def test_ignored_pixels_are_left_out_or_count_as_true_negatives(data, lco_archive, lco_files, tmp_path, logits):
    data = replace(data, dilate=False, root=str(tmp_path / "left_out"))
    theirs = replace(data, ignored="negative", root=str(tmp_path))
    sequence = read_sequence(lco_files[0])
    for number, (hits, ignore) in enumerate(zip(sequence.hits, sequence.ignore, strict=True)):
        kept = ignore == 0
        expected = {  # by the data set's own rule: prediction and truth times (1 - ignore), every pixel counted
            "leave_out": (int((hits & kept).sum()), int((~hits & kept).sum()), int(kept.sum())),
            "negative": (int((hits & kept).sum()), int((~hits & kept).sum()), ignore.size),
        }
        for way in (data, theirs):
            result, mask = score_frame(EverythingHit(logits), load_labelled(way.test_sets()[0].folders[number]))
            counts = result.at_threshold
            tp, fp = int(counts[CORE, 1]), int(counts[SKY, 1])
            assert (tp, fp, int(counts.sum())) == expected[way.ignored]
            curves = Curves.from_counts(result.counts if logits else result.counts[0], "core")
            assert curves.positives + curves.negatives == expected[way.ignored][2]
            assert mask.sum() == (kept.sum() if way.ignored == "negative" else mask.size)
        assert fp / (expected["negative"][2] - tp) < 1  # under "negative" the FPR of this detector is not 1


def test_the_conventions_for_ignored_pixels_have_separate_caches(data, tmp_path):
    root = replace(data, root=str(tmp_path))
    names = {
        f.parent.name for way in ("leave_out", "negative") for f in replace(root, ignored=way).test_sets()[0].folders
    }
    assert len(names) == 4


def test_the_truth_can_be_used_without_a_ring(data, tmp_path):
    plain, ringed = replace(data, dilate=False, root=str(tmp_path)), data
    for a, b in zip(plain.test_sets()[2].folders, ringed.test_sets()[2].folders, strict=True):
        truth, dilated = (np.asarray(load_labelled(folder).truth) for folder in (a, b))
        assert np.array_equal(truth == CORE, dilated == CORE)
        assert np.array_equal(dilated == RING, dilate(truth == CORE) & (truth == SKY))


@pytest.mark.parametrize("dilated", [False, True])
def test_frames_record_whether_their_truth_is_dilated(data, tmp_path, dilated):
    lco = replace(data, dilate=dilated, root=str(tmp_path))
    recorded = {load_labelled(folder).facts["dilated"] for s in lco.test_sets() for folder in s.folders}
    assert recorded == {
        dilated
    }  # by which cosmicgate.detectors.detect_for_truth grows the masks of a detector that says grow


def test_a_second_preparation_reads_no_file(data, monkeypatch):
    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("cosmicgate.data.lco.datamodule.read_sequence", refuse)
    again = replace(data)
    again.prepare_test()
    assert again.test_sets() == data.test_sets()


def test_the_summary_counts_frames_and_pixels_by_class(data, lco_files):
    summary = json.loads((Path(data.root) / "summary.json").read_text())
    sequences = [read_sequence(path) for path in lco_files if path.name.startswith("coj0m4")]
    assert summary["provenance"] == "simulated"
    assert (summary["read"], summary["skipped"]) == (4, [])
    assert summary["classes"]["0m4"] == {
        "sequences": 2,
        "frames": 6,
        "pixels": 6 * SIDE**2,
        "hit_pixels": sum(int(h.sum()) for s in sequences for h in s.hits),
        "ignored_pixels": sum(int((i > 0).sum()) for s in sequences for i in s.ignore),
    }


def test_files_of_another_camera_are_a_test_set_of_their_own(lco_files, tmp_path):
    def rename(hdus):
        for number in (1, 2, 3):
            hdus[number].header["TELID"], hdus[number].header["INSTRUME"] = "wise", "Wise Cam"

    write_changed_copy(lco_files[0], tmp_path, rename, name="mine_masks.fits")
    assert [s.name for s in LCO(root=str(tmp_path / "root"), folder=str(tmp_path)).test_sets()] == ["wise-cam"]


def test_train_and_test_parts_of_the_data_set_can_be_chosen(lco_files, tmp_path):
    for part, file in (("test_set/masked_fits", lco_files[0]), ("train_set/0m4_2019/masked_fits", lco_files[1])):
        (tmp_path / part).mkdir(parents=True)
        shutil.copy(file, tmp_path / part)
    (tmp_path / "test_set" / "aligned_fits").mkdir()
    (tmp_path / "test_set" / "aligned_fits" / "a_3frms_aligned.fits").touch()
    for split, file in (("test", lco_files[0]), ("train", lco_files[1])):
        assert [p.name for p in masked_files(tmp_path, split)] == [file.name]


def test_simulated_data_are_written_as_an_archive_first(tmp_path):
    few = ["data.archive.sequences={0m4:1,1m0:1,2m0:0}", "data.archive.shape=[64,64]", f"data.root={tmp_path}"]
    data = build(composed_config("data=lco_simulated", *few, name="evaluate").data)
    assert [s.name for s in data.test_sets()] == ["lco_simulated_0m4", "lco_simulated_1m0"]
    assert data.data_origin == "simulated"
    assert not any(s.benchmark for s in data.test_sets())


def test_fewer_sequences_reuse_those_of_a_larger_simulation(tmp_path, monkeypatch):
    def sets(number):
        few = [f"data.archive.sequences={{0m4:{number},1m0:1,2m0:0}}", "data.archive.shape=[64,64]"]
        cfg = composed_config("data=lco_simulated", *few, f"data.root={tmp_path}", name="evaluate")
        return {s.name: s.folders for s in build(cfg.data).test_sets()}

    more = sets(2)
    monkeypatch.setattr("cosmicgate.data.lco.simulated_archive.simulate_triple", None)
    monkeypatch.setattr("cosmicgate.data.lco.datamodule.read_sequence", None)
    fewer = sets(1)
    assert {name: len(folders) for name, folders in more.items()} == {"lco_simulated_0m4": 6, "lco_simulated_1m0": 3}
    assert fewer == more | {"lco_simulated_0m4": more["lco_simulated_0m4"][:3]}


# ------------------------------------------------------------------------------------------------------- the commands


@pytest.mark.slow
def test_evaluate_writes_tables_for_each_telescope_class(command, lco_archive, tmp_path):
    arguments = [
        "data=lco",
        f"data.folder={lco_archive}",
        f"data.root={tmp_path}/data",
        "detector=astroscrappy_published",
    ]
    arguments += ["detector.astroscrappy_published.sweep=[3,6]", "draw_masks=false", f"hydra.run.dir={tmp_path}/run"]
    done = command("evaluate.py", *arguments)
    assert done.returncode == 0, done.stderr
    rows = read_results(tmp_path / "run" / "results.json")["rows"]
    assert [(row["test_set"], row["data_origin"]) for row in rows] == [
        ("lco_0m4", "simulated"),
        ("lco_1m0", "simulated"),
        ("lco_2m0", "simulated"),
    ]
    assert [row["threshold"] for row in rows] == [15.0, 15.0, 15.0], "the paper's sigclip on LCO"
    tables = (tmp_path / "run" / "report" / "tables.md").read_text()
    heads = ("Table 1. Along the curves", "Table 2. Masks at the threshold")
    assert all(f"{head}, dilated truth: {row['test_set']} (" in tables for head in heads for row in rows)


def test_training_on_the_test_set_is_refused(lco_archive, tmp_path):
    alone = LCO(root=str(tmp_path), folder=str(lco_archive))
    with pytest.raises(ConfigError, match=r"^data: there is no .*train_set, nothing is left to train on"):
        alone.folders()
    with pytest.raises(ConfigError, match=r"^data: train_set is scored, nothing is left to train on"):
        replace(alone, part="train").setup("fit")


def test_exposures_of_a_sequence_are_resampled_together(data):
    for test_set in data.test_sets():
        facts = [load_labelled(folder).facts for folder in test_set.folders]
        assert len({one["field"] for one in facts}) == len({one["file"] for one in facts}) < len(facts)


def test_a_file_that_is_there_twice_is_refused(data, lco_files, tmp_path):
    for ending in ("", ".fz"):
        shutil.copy(lco_files[0], tmp_path / f"{lco_files[0].name}{ending}")
    with pytest.raises(ValueError, match=rf"{lco_files[0].name} is there twice, compressed and not"):
        replace(data, folder=str(tmp_path), archive=None).test_sets()


@pytest.fixture
def whole_set(lco_files, tmp_path) -> Path:
    """Arrange a data set of two sequences for training and validation, and two for the test."""
    for number, file in enumerate(lco_files):
        part = tmp_path / "LCO_CR_dataset" / ("train_set/0m4" if number < 2 else "test_set") / "masked_fits"
        part.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, part)
    return tmp_path / "LCO_CR_dataset"


def test_training_sequences_are_from_the_train_set_and_each_is_in_one_split(whole_set, tmp_path):
    data = LCO(root=str(tmp_path / "root"), folder=str(whole_set), windows=CropSampler(32, 8), patch=32, num_workers=0)
    data.prepare_data()
    data.setup("fit")
    splits = {which: {folder.parent for folder in data.split(which)} for which in SPLITS}
    assert [len(splits[which]) for which in SPLITS] == [1, 1, 2]
    assert len(set.union(*splits.values())) == 4
    assert {folder.parent for s in data.test_sets() for folder in s.folders} == splits["test"]
    assert next(iter(data.train_dataloader()))["image"].shape == (8, 1, 32, 32)
    assert sum(len(batch["truth"]) for batch in data.val_dataloader()) == 3 * (SIDE // 32) ** 2


@pytest.mark.slow
def test_a_network_is_trained_on_the_data_set_and_tested_by_telescope_class(command, whole_set, tmp_path):
    small = ("data.windows.size=64", "data.patch=96", "data.num_workers=0", "trainer=smoke", "logger=csv")
    where = (f"data.folder={whole_set}", f"data.root={tmp_path}/root", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", "data=lco", *small, *where)
    assert done.returncode == 0, done.stderr
    again = command("evaluate.py", f"checkpoint={tmp_path}/run", "draw_masks=false", f"hydra.run.dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    rows = [json.loads((tmp_path / name / "results.json").read_text())["rows"] for name in ("run", "again")]
    assert rows[0] == rows[1]
    assert [row["test_set"] for row in rows[0]] == ["lco_1m0", "lco_2m0"]
