"""Test the cache of frames: computed once, written completely or not at all, under a key of all settings."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

from cosmicgate.data.cache import LazyFrame, cached_frame, load_labelled, pixels_sha256, save_labelled
from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.patches import GridSampler
from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.data.splits import SPLITS
from cosmicgate.data.transforms import Flips, SkyAugmentation
from cosmicgate.io.atomic import temporary_owner
from cosmicgate.io.fits.frames import Frame, write_frame


def make_frame(level=100.0, **fields):
    image = np.random.default_rng(0).normal(level, 5, (40, 60)).astype(np.float32)
    return Frame(**({"image": image, "gain": 4.0, "read_noise": 6.5, "saturation": 4e4, "exptime": 90.0} | fields))


def make_truth():
    truth = np.full((40, 60), SKY, np.uint8)
    truth[20, 10:20] = CORE
    return truth


class CountedFrames:
    """Make lazy frames that record their calls; the call number ``fails`` is interrupted."""

    def __init__(self, fails=None, level=100.0):
        self.made, self.fails, self.level = [], fails, level

    def lazy(self, name, level=None):
        level = self.level if level is None else level

        def build():
            self.made.append(name)
            if len(self.made) == self.fails:
                raise KeyboardInterrupt
            return make_frame(level, name=name, hits=np.zeros((40, 60), np.float32))

        return LazyFrame(name, ["counted", name, level], build)


@dataclass(frozen=True)
class Source:
    """Give two lazy frames for each split."""

    counted: CountedFrames
    kind: str
    data_origin: str = "simulated"

    def lazy_frames(self, which):
        return [self.counted.lazy(f"{which}-{self.kind}-{number}") for number in range(2)]


def decam_data(counted, root):
    science, darks = Source(counted, "science"), Source(counted, "dark")
    return DecamData(science, darks, PhysicalRecipe(clean=None), str(root), GridSampler(20), patch=20)


def raise_disk_full(*arguments, **options):
    raise OSError(errno.ENOSPC, "No space left on device")


# ------------------------------------------------------------------------------------------------- computed once


def test_a_frame_is_computed_once(tmp_path):
    counted = CountedFrames()
    first, again = (cached_frame(counted.lazy("a"), tmp_path) for _ in range(2))
    assert counted.made == ["a"]
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.image, make_frame().image)
    cached_frame(counted.lazy("a", level=200.0), tmp_path)  # the same name with other settings
    assert counted.made == ["a", "a"]


def test_all_data_are_computed_once(tmp_path, monkeypatch):
    counted = CountedFrames()
    data = decam_data(counted, tmp_path)
    data.prepare_data()
    assert sorted(counted.made) == sorted(
        f"{w}-{kind}-{n}" for w in SPLITS for kind in ("science", "dark") for n in (0, 1)
    )
    assert all(load_labelled(folder).image.shape == (40, 60) for folder in data.folders())
    monkeypatch.setattr("cosmicgate.data.datamodule.cached_frame", raise_disk_full)
    decam_data(counted, tmp_path).prepare_data()  # reads and writes nothing


def test_an_evaluation_computes_frames_of_the_test_split_only(tmp_path):
    counted = CountedFrames()
    data = decam_data(counted, tmp_path)
    data.prepare_test()
    assert sorted(counted.made) == ["test-dark-0", "test-dark-1", "test-science-0", "test-science-1"]
    assert all(load_labelled(folder).image.shape == (40, 60) for folder in data.test_sets()[0].folders)


def test_an_interrupted_preparation_resumes(tmp_path):
    counted = CountedFrames(fails=6)
    with pytest.raises(KeyboardInterrupt):
        decam_data(counted, tmp_path).prepare_data()
    decam_data(counted, tmp_path).prepare_data()
    assert len(counted.made) == 12 + 1  # only the interrupted frame is computed again
    other = decam_data(CountedFrames(), tmp_path / "uninterrupted")
    other.prepare_data()
    for first, second in zip(decam_data(counted, tmp_path).folders(), other.folders(), strict=True):
        np.testing.assert_array_equal(load_labelled(first).image, load_labelled(second).image)
        assert first.name == second.name


# ------------------------------------------------------------------------------------------------- atomic writes


def test_a_labelled_frame_is_read_as_it_was_saved(tmp_path):
    bad = np.zeros((40, 60), bool)
    bad[:, 3] = True
    save_labelled(make_frame(band="z", bad=bad, telescope="decam"), make_truth(), {"name": "one"}, tmp_path / "one")
    labelled = load_labelled(tmp_path / "one")
    np.testing.assert_array_equal(labelled.image, make_frame().image)
    np.testing.assert_array_equal(labelled.truth, np.where(bad, IGNORED, make_truth()))
    assert labelled.truth.dtype == np.uint8
    assert isinstance(labelled.image, np.memmap)
    expected = {"name": "one", "band": "z", "gain": 4.0, "read_noise": 6.5, "saturation": 4e4, "exptime": 90.0}
    assert labelled.facts == expected | {"telescope": "decam", "sky_sha256": pixels_sha256(make_frame().image)}
    np.testing.assert_array_equal(labelled.bad, bad)


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_no_partial_folder(tmp_path, monkeypatch, number):
    calls, save = [], np.save

    def until_full(*arguments):
        calls.append(arguments)
        (raise_disk_full if len(calls) == number else save)(*arguments)

    monkeypatch.setattr(np, "save", until_full)
    with pytest.raises(OSError, match="No space left"):
        save_labelled(make_frame(), make_truth(), {"name": "one"}, tmp_path / "one")
    assert len(calls) == number
    assert list(tmp_path.iterdir()) == []


def test_metadata_that_cannot_be_written_leave_no_folder(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_labelled(make_frame(), make_truth(), {"name": {1, 2}}, tmp_path / "one")
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


def test_a_killed_process_leaves_no_folder_of_that_name(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "one")], env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert len(list(tmp_path.glob(".partial-*/image.npy"))) == 1  # it had begun to write
    assert not (tmp_path / "one").exists()
    save_labelled(make_frame(), make_truth(), {"name": "one"}, tmp_path / "one")
    assert load_labelled(tmp_path / "one").facts["name"] == "one"


def test_the_next_run_removes_leftovers_of_killed_processes_only(tmp_path):
    data, folder = decam_data(CountedFrames(), tmp_path), tmp_path / "contaminated"
    subprocess.run([sys.executable, "-c", KILLED, str(folder / "one")], env=os.environ | {"OMP_NUM_THREADS": "1"})
    (tmp_path / "frames").mkdir()
    dead = next(folder.glob(".partial-*")).name.removeprefix(".partial-")
    (tmp_path / "frames" / f".{dead}.a-0123.fits").touch()
    alive = folder / f".partial-{temporary_owner()}"
    elsewhere, long_ago = (
        folder / f".partial-{digits * 32}" for digits in "ab"
    )  # of other machines, a recent and an old one
    for path in (alive, elsewhere, long_ago):
        path.mkdir()
        (path / "image.npy").touch()
    for path in (*long_ago.iterdir(), long_ago):
        os.utime(path, (0, 0))
    data.prepare_data()
    hidden = {path for name in ("contaminated", "frames") for path in (tmp_path / name).glob(".*")}
    assert hidden == {alive, elsewhere}


def test_two_processes_can_write_the_same_folder_at_once(tmp_path, monkeypatch):
    save, other_processes = np.save, []

    def with_concurrent_writer(*arguments):
        save(*arguments)
        if not other_processes:
            other_processes.append("at work")
            save_labelled(make_frame(), make_truth(), {"name": "other"}, tmp_path / "one")

    monkeypatch.setattr(np, "save", with_concurrent_writer)
    save_labelled(make_frame(), make_truth(), {"name": "ours"}, tmp_path / "one")
    assert load_labelled(tmp_path / "one").facts["name"] == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_two_processes_can_write_the_same_frame_at_once(tmp_path):
    lazy = CountedFrames().lazy("a")

    def with_concurrent_writer():
        write_frame(lazy.build(), tmp_path / f"a-{lazy.key}.fits")
        return lazy.build()

    frame = cached_frame(replace(lazy, build=with_concurrent_writer), tmp_path)
    np.testing.assert_array_equal(frame.image, make_frame().image)
    assert len(list(tmp_path.iterdir())) == 1


def test_cached_folders_have_the_default_permissions(tmp_path):
    save_labelled(make_frame(), make_truth(), {"name": "one"}, tmp_path / "one")
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "one").stat().st_mode == (tmp_path / "plain").stat().st_mode


def damage(folder, name):
    """Damage a file of a folder as its label says: remove, cut, empty or replace it."""
    path = folder / name.removeprefix("cut ").removeprefix("empty ").removeprefix("other ")
    if name.startswith("cut"):
        path.write_bytes(path.read_bytes()[:-20])
    elif name.startswith("empty"):
        path.write_bytes(b"")
    elif name.startswith("other"):
        np.save(path, np.zeros((3, 4), np.uint8))
    else:
        path.unlink()


DAMAGED = ["image.npy", "facts.json", "cut image.npy", "empty truth.npy", "other truth.npy", "cut facts.json"]


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_folder_is_named(tmp_path, what):
    save_labelled(make_frame(), make_truth(), {"name": "one"}, tmp_path / "one")
    damage(tmp_path / "one", what)
    with pytest.raises(
        ValueError, match=r"one is not a whole labelled frame \(.+\): delete it and run again"
    ) as caught:
        load_labelled(tmp_path / "one")
    assert str(tmp_path / "one") in str(caught.value)


def test_a_damaged_frame_is_named(tmp_path):
    lazy = CountedFrames().lazy("a")
    cached_frame(lazy, tmp_path)
    path = next(tmp_path.glob("a-*.fits"))
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"not a complete FITS file .*: delete it and run again") as caught:
        cached_frame(lazy, tmp_path)
    assert str(path) in str(caught.value)


def test_a_truth_of_another_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"mine: the truth is \(3, 4\), the image \(40, 60\)"):
        save_labelled(make_frame(name="mine"), np.zeros((3, 4), np.uint8), {}, tmp_path / "one")
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------------- metadata


def test_the_metadata_of_a_labelled_frame_record_its_origin(tmp_path):
    data = decam_data(CountedFrames(), tmp_path)
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
    assert facts["sky_sha256"] == pixels_sha256(pair.science.build().image)


@pytest.mark.parametrize(
    ("level", "transform", "warned"),
    [(0.0, SkyAugmentation(), True), (100.0, SkyAugmentation(), False), (0.0, Flips(), False)],
)
def test_sky_augmentation_warns_of_frames_without_sky(tmp_path, caplog, level, transform, warned):
    data = decam_data(CountedFrames(level=level), tmp_path)
    data.transforms = [transform]
    data.prepare_data()
    data.setup("fit")
    assert ("SkyAugmentation changes nothing in 2 of 2 training frames" in caplog.text) is warned
    assert ("train-science-0" in caplog.text) is warned
