"""Test that cache keys are equal for equal settings, different for others, and the same in every process."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pytest

from cosmicgate.data.background import AstroScrappyCleaner
from cosmicgate.data.cache import digest
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe, RandomRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.simulation.ccd import DECAM
from cosmicgate.data.sources.files import Files
from cosmicgate.data.sources.simulated import SimulatedDarks, SimulatedScience
from cosmicgate.io.fits.frames import read_frame

SCIENCE = SimulatedScience({"train": 2}, shape=(512, 512), bands=("g",))
DARKS = SimulatedDarks({"train": 2}, shape=(512, 512))


def keys(contamination=None, science=SCIENCE, darks=DARKS, pairing_seed=0):
    data = DecamData(
        science, darks, contamination or PhysicalRecipe(), "unused", GridSampler(), pairing_seed=pairing_seed
    )
    return [pair.folder.name for pair in data.pairs("train")]


@pytest.mark.parametrize(
    "change",
    [
        {"contamination": PhysicalRecipe(n_sigma=4.0)},
        {"contamination": PhysicalRecipe(clean=None)},
        {"contamination": PhysicalRecipe(clean=AstroScrappyCleaner(objlim=2.0))},
        {"contamination": PaperRecipe()},
        {"science": replace(SCIENCE, exptime=91.0)},
        {"science": replace(SCIENCE, shape=(512, 511))},
        {"science": replace(SCIENCE, seed=1)},
        {"darks": replace(DARKS, ccd="itl")},
        {"darks": replace(DARKS, seed=1)},
        {"pairing_seed": 1},
    ],
)
def test_different_settings_have_different_keys(change):
    assert not set(keys(**change)) & set(keys())


def test_the_same_settings_have_the_same_keys():
    assert keys() == keys(PhysicalRecipe(3.0, 1.0, AstroScrappyCleaner()), replace(SCIENCE), replace(DARKS))
    assert len(set(keys())) == 2


class OwnRecipe(PhysicalRecipe):
    pass


@dataclass(frozen=True)
class OwnCleaner(AstroScrappyCleaner):
    pass


@pytest.mark.parametrize(
    ("ours", "own"),
    [
        (PhysicalRecipe(), OwnRecipe()),
        (PhysicalRecipe(), PhysicalRecipe(clean=OwnCleaner())),
        (RandomRecipe(OwnRecipe(), PhysicalRecipe()), RandomRecipe(PhysicalRecipe(), OwnRecipe())),
    ],
)
def test_a_class_of_the_users_own_has_another_key_than_the_one_it_is_derived_from(ours, own):
    assert digest(own) != digest(ours)


def one_reader(path, ext=None, **header_overrides):
    return read_frame(path, ext, **header_overrides)


def other_reader(path, ext=None, **header_overrides):
    return read_frame(path, ext, **header_overrides)


def test_every_reader_of_files_has_keys_of_its_own(tmp_path):
    path = tmp_path / "a.fits"
    path.touch()
    readers = (read_frame, one_reader, other_reader, partial(one_reader, mask="a"), partial(one_reader, mask="b"))
    assert len({Files(str(path), read=read).lazy_frames_of(path)[0].key for read in readers}) == 5


HASHED = """
import json
from cosmicgate.data.simulation.ccd import DECAM
from cosmicgate.data.cache import digest

print(digest(["dark", DECAM, {"b": 1.5, "a": [1, 2], "c": None}, 90.0]))
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_a_key_is_the_same_in_another_process(seed):
    environment = os.environ | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", HASHED], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(["dark", DECAM, {"c": None, "a": (1, 2), "b": 1.5}, np.float64(90)])


@pytest.mark.parametrize("value", [{1, 2}, print, np.zeros(3)])
def test_values_without_a_stable_form_are_refused_as_part_of_a_key(value):
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        digest(["dark", value])
