"""Test raw darks as a data source: each exposure in one split, exposures that are not dark left out."""

import logging
import re

import numpy as np
import pytest

from cosmicgate.config import Train, build, validate
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.contamination import PaperRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.data.sources.raw_darks import RawDarks
from cosmicgate.data.sources.raw_darks.quality import LightLimits
from cosmicgate.data.sources.raw_darks.reduction import Reduction
from cosmicgate.data.sources.simulated import SimulatedScience
from cosmicgate.data.splits import SPLITS
from helpers.hydra_config import composed_config
from helpers.raw_decam import dark_charge, raw_hdu, write_raw


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """Write six raw exposures of two CCDs, one with a light leak and one of another type; return their folder."""
    folder = tmp_path_factory.mktemp("raw")
    for number in range(6):
        ccds = []
        for name, seed in (("S4", 10 + number), ("N4", 30 + number)):
            charge, *_ = dark_charge((256, 256), 900.0, seed)
            ccds.append(raw_hdu(charge + (200 if number == 2 else 0), name, seed))
        write_raw(folder / f"DECam_{number:03d}.fits.fz", ccds, 900.0, kind="object" if number == 4 else "dark")
    return folder


def raw_darks(folder, record, **settings):
    fractions = {"train": 0.5, "validation": 0.2, "test": 0.3}
    return RawDarks(str(folder / "*.fits.fz"), str(record), ("S4", "N4"), fractions, **settings)


def test_all_ccds_of_an_exposure_are_in_one_split_and_exposures_that_are_not_dark_are_left_out(
    exposures, tmp_path, caplog
):
    source = raw_darks(exposures, tmp_path / "record.json")
    with caplog.at_level(logging.WARNING):
        names = {which: [lazy.name for lazy in source.lazy_frames(which)] for which in SPLITS}
    numbers = {which: {name.split("-")[0] for name in found} for which, found in names.items()}
    assert all(len(names[which]) == 2 * len(numbers[which]) for which in SPLITS)
    assert sum(len(found) for found in names.values()) == 8
    assert len(set().union(*numbers.values())) == 4
    messages = "\n".join(record.getMessage() for record in caplog.records)
    for number, reason in ((2, "light leaks in"), (4, "expected OBSTYPE 'dark', got 'object'")):
        for ccd in ("S4", "N4"):
            assert re.search(f"DECam_00{number}-{ccd} is left out: .*{reason}", messages)
    assert messages.count("4 of 12 raw darks are left out") == 1


def test_a_frame_is_checked_once_for_each_choice_of_limits(exposures, tmp_path, monkeypatch):
    read = []
    whole = Reduction.__call__
    monkeypatch.setattr(Reduction, "__call__", lambda self, *a, **k: (read.append(a), whole(self, *a, **k))[1])
    source = raw_darks(exposures, tmp_path / "record.json")
    first = [lazy.key for which in SPLITS for lazy in source.lazy_frames(which)]
    assert len(read) == 12
    assert [lazy.key for which in SPLITS for lazy in source.lazy_frames(which)] == first
    assert len(read) == 12
    generous = raw_darks(exposures, tmp_path / "record.json", reduction=Reduction(limits=LightLimits(base=1000)))
    assert sum(len(generous.lazy_frames(which)) for which in SPLITS) == 10
    assert len(read) == 24


def test_the_number_and_shape_of_darks_can_be_limited(exposures, tmp_path):
    source = raw_darks(exposures, tmp_path / "record.json", frames={"train": 1}, shape=(128, 100))
    assert [len(source.lazy_frames(which)) for which in SPLITS] == [1, 0, 0]
    dark = source.lazy_frames("train")[0].build()
    assert dark.shape == (128, 100)
    assert dark.bad.mean() < 0.1  # the masked edge is cut off
    with pytest.raises(ValueError, match=r"expected a dark of at least 999 x 9 px, got \(256, 256\)"):
        raw_darks(exposures, tmp_path / "record.json", shape=(999, 9)).lazy_frames("train")[0].build()


@pytest.mark.slow
def test_raw_darks_give_labelled_frames_by_the_papers_recipe(exposures, tmp_path):
    science = SimulatedScience({"train": 2, "validation": 1, "test": 1}, bands=("g",), shape=(224, 224))
    data = DecamData(
        science, raw_darks(exposures, tmp_path / "record.json"), PaperRecipe(), str(tmp_path), GridSampler(32), patch=32
    )
    assert data.data_origin == "simulated"  # because the sky is
    data.prepare_data()
    labelled = [load_labelled(folder) for folder in data.folders()]
    assert [one.facts["dark_exptime"] for one in labelled] == [900.0] * 4
    cores = [one.truth == CORE for one in labelled]
    assert sum(core.sum() for core in cores) > 20
    for one, core in zip(labelled, cores, strict=True):
        if core.any():
            assert np.median(one.image[core]) > np.percentile(one.image[one.truth == SKY], 90)


@pytest.mark.parametrize("size", ["demo", "none"])
def test_the_configuration_reads_raw_darks(exposures, tmp_path, size):
    numbers = ["data.science.shape=[128,128]", "data.science.frames={train:1,validation:1,test:1}"]
    numbers += ["+data.darks.shape=[128,128]"] if size == "none" else ["data.darks.shape=[128,128]"]
    pattern = f"data.darks.files={exposures}/*.fits.fz"
    if size == "none":
        numbers[:2] = ["+" + number for number in numbers[:2]]
    cfg = validate(
        composed_config(
            "~data/size" if size == "none" else f"data/size={size}",
            "data/darks=decam_raw",
            pattern,
            f"data.root={tmp_path}",
            *numbers,
        ),
        Train,
    )
    data = build(cfg.data)
    assert data.darks.reduction == Reduction()  # conf/data/darks/decam_raw.yaml states the defaults
    assert {pair.dark.name.split("-")[1] for which in SPLITS for pair in data.pairs(which)} == {"N4"}
    assert (tmp_path / "raw_darks.json").is_file()
