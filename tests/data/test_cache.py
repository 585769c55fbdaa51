"""What is computed is kept: made once, whole or not there, under a name that says what it was made from."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cosmicgate.data.cache import Recipe, cached_frame, load_labelled, save_labelled
from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.data.splits import SPLITS
from cosmicgate.data.transforms import Flips, SkyAugmentation
from cosmicgate.io.atomic import temporary_owner
from cosmicgate.io.fits.frames import Frame, write_frame


def a_frame(level=100.0, **fields):
    image = np.random.default_rng(0).normal(level, 5, (40, 60)).astype(np.float32)
    return Frame(**({"image": image, "gain": 4.0, "read_noise": 6.5, "saturation": 4e4, "exptime": 90.0} | fields))


def a_truth():
    truth = np.full((40, 60), SKY, np.uint8)
    truth[20, 10:20] = CORE
    return truth


class Counted:
    """Recipes whose calls are counted; the ``fails``-th one does not end well."""

    def __init__(self, fails=None, level=100.0):
        self.made, self.fails, self.level = [], fails, level

    def recipe(self, name, level=None):
        level = self.level if level is None else level

        def make():
            self.made.append(name)
            if len(self.made) == self.fails:
                raise KeyboardInterrupt
            return a_frame(level, name=name, hits=np.zeros((40, 60), np.float32))

        return Recipe(name, ["counted", name, level], make)


@dataclass(frozen=True)
class Source:
    """Two frames in each split."""

    counted: Counted
    kind: str
    provenance: str = "simulated"

    def recipes(self, which):
        return [self.counted.recipe(f"{which}-{self.kind}-{number}") for number in range(2)]


def data_of(counted, root):
    science, darks = Source(counted, "science"), Source(counted, "dark")
    return DecamData(science, darks, PhysicalRecipe(clean=None), str(root), GridSampler(20), patch=20)


def full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


# ----------------------------------------------------------------------------------------------------- made once


def test_a_frame_is_made_once(tmp_path):
    counted = Counted()
    first, again = (cached_frame(counted.recipe("a"), tmp_path) for _ in range(2))
    assert counted.made == ["a"]
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.image, a_frame().image)
    cached_frame(counted.recipe("a", level=200.0), tmp_path)  # the same name, made from something else
    assert counted.made == ["a", "a"]


def test_all_data_are_made_once(tmp_path, monkeypatch):
    counted = Counted()
    data = data_of(counted, tmp_path)
    data.prepare_data()
    assert sorted(counted.made) == sorted(
        f"{w}-{kind}-{n}" for w in SPLITS for kind in ("science", "dark") for n in (0, 1)
    )
    assert all(load_labelled(folder).image.shape == (40, 60) for folder in data.folders())
    monkeypatch.setattr("cosmicgate.data.datamodule.cached_frame", full)
    data_of(counted, tmp_path).prepare_data()  # reads and writes nothing


def test_for_an_evaluation_frames_of_the_test_alone_are_made(tmp_path):
    counted = Counted()
    data = data_of(counted, tmp_path)
    data.prepare_test()
    assert sorted(counted.made) == ["test-dark-0", "test-dark-1", "test-science-0", "test-science-1"]
    assert all(load_labelled(folder).image.shape == (40, 60) for folder in data.test_sets()[0].folders)


def test_data_that_were_stopped_half_way_go_on_where_they_were(tmp_path):
    counted = Counted(fails=6)
    with pytest.raises(KeyboardInterrupt):
        data_of(counted, tmp_path).prepare_data()
    data_of(counted, tmp_path).prepare_data()
    assert len(counted.made) == 12 + 1  # only the one that failed is made again
    whole = data_of(Counted(), tmp_path / "at once")
    whole.prepare_data()
    for one, other in zip(data_of(counted, tmp_path).folders(), whole.folders(), strict=True):
        np.testing.assert_array_equal(load_labelled(one).image, load_labelled(other).image)
        assert one.name == other.name


# ------------------------------------------------------------------------------------------- whole or not there


def test_a_labelled_frame_comes_back_with_its_facts(tmp_path):
    bad = np.zeros((40, 60), bool)
    bad[:, 3] = True
    save_labelled(a_frame(band="z", bad=bad, telescope="decam"), a_truth(), {"name": "one"}, tmp_path / "one")
    labelled = load_labelled(tmp_path / "one")
    np.testing.assert_array_equal(labelled.image, a_frame().image)
    np.testing.assert_array_equal(labelled.truth, np.where(bad, IGNORED, a_truth()))
    assert labelled.truth.dtype == np.uint8
    assert isinstance(labelled.image, np.memmap)
    expected = {"name": "one", "band": "z", "gain": 4.0, "read_noise": 6.5, "saturation": 4e4, "exptime": 90.0}
    assert labelled.facts == expected | {"telescope": "decam"}
    np.testing.assert_array_equal(labelled.bad, bad)


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_no_folder_and_no_part_of_one(tmp_path, monkeypatch, number):
    calls, save = [], np.save

    def until_full(*arguments):
        calls.append(arguments)
        (full if len(calls) == number else save)(*arguments)

    monkeypatch.setattr(np, "save", until_full)
    with pytest.raises(OSError, match="No space left"):
        save_labelled(a_frame(), a_truth(), {"name": "one"}, tmp_path / "one")
    assert len(calls) == number
    assert list(tmp_path.iterdir()) == []


def test_facts_that_cannot_be_written_leave_no_folder(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_labelled(a_frame(), a_truth(), {"name": {1, 2}}, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import numpy as np
from cosmicgate.io.fits.frames import Frame
from cosmicgate.data.cache import save_labelled

save = np.save
np.save = lambda *arguments: (save(*arguments), os.kill(os.getpid(), signal.SIGKILL))
frame = Frame(np.ones((8, 8), np.float32), 4.0, 6.5, 45000.0, 90.0)
save_labelled(frame, np.zeros((8, 8), np.uint8), {"name": "one"}, Path(sys.argv[1]))
"""


def test_a_process_that_is_killed_leaves_no_folder_of_that_name(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "one")], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert len(list(tmp_path.glob(".partial-*/image.npy"))) == 1  # it had begun
    assert not (tmp_path / "one").exists()
    save_labelled(a_frame(), a_truth(), {"name": "one"}, tmp_path / "one")
    assert load_labelled(tmp_path / "one").facts["name"] == "one"


def test_the_next_run_removes_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path):
    data, folder = data_of(Counted(), tmp_path), tmp_path / "contaminated"
    subprocess.run([sys.executable, "-c", KILLED, str(folder / "one")], env=os.environ | {"OMP_NUM_THREADS": "1"})
    (tmp_path / "frames").mkdir()
    dead = next(folder.glob(".partial-*")).name.removeprefix(".partial-")
    (tmp_path / "frames" / f".{dead}.a-0123.fits").touch()
    alive = folder / f".partial-{temporary_owner()}"
    elsewhere, long_ago = (folder / f".partial-{digits * 32}" for digits in "ab")  # of other machines
    for path in (alive, elsewhere, long_ago):
        path.mkdir()
        (path / "image.npy").touch()
    for path in (*long_ago.iterdir(), long_ago):
        os.utime(path, (0, 0))
    data.prepare_data()
    hidden = {path for name in ("contaminated", "frames") for path in (tmp_path / name).glob(".*")}
    assert hidden == {alive, elsewhere}


def test_two_processes_that_make_the_same_folder_at_once_both_go_on(tmp_path, monkeypatch):
    save, others = np.save, []

    def while_another_does(*arguments):
        save(*arguments)
        if not others:
            others.append("at work")
            save_labelled(a_frame(), a_truth(), {"name": "other"}, tmp_path / "one")

    monkeypatch.setattr(np, "save", while_another_does)
    save_labelled(a_frame(), a_truth(), {"name": "ours"}, tmp_path / "one")
    assert load_labelled(tmp_path / "one").facts["name"] == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_two_processes_that_make_the_same_frame_at_once_both_go_on(tmp_path):
    recipe = Counted().recipe("a")

    def while_another_does():
        write_frame(recipe.make(), tmp_path / f"a-{recipe.key}.fits")
        return recipe.make()

    frame = cached_frame(replace(recipe, make=while_another_does), tmp_path)
    np.testing.assert_array_equal(frame.image, a_frame().image)
    assert len(list(tmp_path.iterdir())) == 1


def test_others_may_read_what_one_has_made(tmp_path):
    save_labelled(a_frame(), a_truth(), {"name": "one"}, tmp_path / "one")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "plain").stat().st_mode


def spoil(folder, name):
    """Spoil a file of a folder in one of the ways in which files are spoilt."""
    path = folder / name.removeprefix("cut ").removeprefix("empty ").removeprefix("other ")
    if name.startswith("cut"):
        path.write_bytes(path.read_bytes()[:-20])
    elif name.startswith("empty"):
        path.write_bytes(b"")
    elif name.startswith("other"):
        np.save(path, np.zeros((3, 4), np.uint8))
    else:
        path.unlink()


SPOILT = ["image.npy", "facts.json", "cut image.npy", "empty truth.npy", "other truth.npy", "cut facts.json"]


@pytest.mark.parametrize("what", SPOILT)
def test_a_folder_that_is_spoilt_is_named(tmp_path, what):
    save_labelled(a_frame(), a_truth(), {"name": "one"}, tmp_path / "one")
    spoil(tmp_path / "one", what)
    with pytest.raises(
        ValueError, match=r"one is not a whole labelled frame \(.+\): delete it and run again"
    ) as caught:
        load_labelled(tmp_path / "one")
    assert str(tmp_path / "one") in str(caught.value)


def test_a_stored_frame_that_is_spoilt_is_named(tmp_path):
    recipe = Counted().recipe("a")
    cached_frame(recipe, tmp_path)
    path = next(tmp_path.glob("a-*.fits"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"not a whole FITS file .*: delete it and run again") as caught:
        cached_frame(recipe, tmp_path)
    assert str(path) in str(caught.value)


def test_a_truth_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"mine: the truth is \(3, 4\), the image \(40, 60\)"):
        save_labelled(a_frame(name="mine"), np.zeros((3, 4), np.uint8), {}, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------------- keys


def test_the_facts_of_a_pair_say_what_it_was_made_from(tmp_path):
    data = data_of(Counted(), tmp_path)
    data.prepare_data()
    facts = json.loads((data.folders()[0] / "facts.json").read_text())
    pair = data.pairs("train")[0]
    assert (facts["name"], facts["dark"], facts["contamination"]) == (
        pair.science.name,
        pair.dark.name,
        "PhysicalRecipe",
    )
    assert facts["settings"] == {"n_sigma": 3.0, "ignore_sigma": 1.0, "clean": None, "ring": True}
    assert facts["dilated"] is True


@pytest.mark.parametrize(
    ("level", "transform", "warned"),
    [(0.0, SkyAugmentation(), True), (100.0, SkyAugmentation(), False), (0.0, Flips(), False)],
)
def test_sky_augmentation_says_in_which_frames_it_can_change_nothing(tmp_path, caplog, level, transform, warned):
    data = data_of(Counted(level=level), tmp_path)
    data.transforms = [transform]
    data.prepare_data()
    data.setup("fit")
    assert ("SkyAugmentation changes nothing in 2 of 2 training frames" in caplog.text) is warned
    assert ("train-science-0" in caplog.text) is warned
