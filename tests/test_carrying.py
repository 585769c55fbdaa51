"""What is elsewhere goes wrong, or is changed by others, on the way: nothing is lost, and the reason is said."""

import os
import shutil
import time

import pytest
from filelock import FileLock, Timeout
from test_command import run
from test_urls import frame, memory, temporary  # noqa: F401 (fixtures)
from tiny import tiny_model

from cosmicgate.masking.products import carrying


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_model(tmp_path_factory.mktemp("model"))


# ------------------------------------------------------------------------------------------------ temporary folders


def left(path, lock):
    """Make a folder with a file, hours old, as a killed run or somebody else left it."""
    (path / "input").mkdir(parents=True)
    (path / "input" / "a.fits").write_bytes(b"x")
    if lock:
        (path / carrying.LOCK).touch()
    os.utime(path, (0, time.time() - 10000))
    return path


def test_only_folders_of_killed_runs_on_this_machine_are_removed(temporary):  # noqa: F811
    here, elsewhere = carrying.FOLDER, f"{carrying.FOLDER.rstrip('+')}-2+"
    others = [("cosmicgate-x", False), ("cosmicgate-y", True), (f"{here}x", False), (f"{elsewhere}y", True)]
    stay = [left(temporary / name, lock) for name, lock in others]
    (temporary / f"{here}link").symlink_to(left(temporary.parent / "mine", True))
    gone = left(temporary / f"{here}y", True)
    with carrying.temporary():
        assert not gone.exists()
    assert all((path / "input" / "a.fits").exists() for path in [*stay, temporary.parent / "mine"])


def test_the_lock_of_a_folder_is_closed_before_it_is_removed(temporary, monkeypatch):  # noqa: F811
    folder, before = left(temporary / f"{carrying.FOLDER}y", True), shutil.rmtree

    def windows(path, *arguments, **more):
        try:
            with FileLock(path / carrying.LOCK, blocking=False):
                pass
        except Timeout:
            raise PermissionError(13, "The process cannot access the file") from None
        before(path, *arguments, **more)

    monkeypatch.setattr(carrying.shutil, "rmtree", windows)
    carrying._sweep()
    assert not folder.exists()


# ---------------------------------------------------------------------------------------------------------- changes


def test_what_came_meanwhile_is_not_overwritten_in_place(memory, model, monkeypatch):  # noqa: F811
    before = carrying.make

    def make(*arguments):
        outcome = before(*arguments)
        memory.pipe("/night/0.fits", frame(7))
        return outcome

    monkeypatch.setattr(carrying, "make", make)
    done = run("mask", "memory://night/0.fits", "-m", model, "--in-place")
    assert done.exit_code == 1
    assert "error: memory://night/0.fits: it changed meanwhile" in done.stderr
    assert memory.cat("/night/0.fits") == frame(7)
