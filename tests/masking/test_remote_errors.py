"""Test errors of remote files: nothing is lost or overwritten, and the reason is reported."""

import gzip
import os
import shutil
import sys
import time

import pytest
from filelock import FileLock, Timeout

from cosmicgate.io import object_stores
from cosmicgate.io.object_stores import TransportError
from cosmicgate.io.urls import Url
from cosmicgate.masking import pipeline, temporary_folder
from helpers.mask_command import output_text, run
from helpers.memory_store import MemoryFileSystem, frame_bytes, fsspec


def fail_at(monkeypatch, name, where, error):
    """Make a method of the filesystem raise an error at a path; return the list of its calls there."""
    calls, before = [], getattr(MemoryFileSystem, name)

    def failing(files, path, *arguments, **more):
        if path.rstrip("/") == where:
            calls.append(path)
            raise error
        return before(files, path, *arguments, **more)

    monkeypatch.setattr(MemoryFileSystem, name, failing)
    return calls


# ------------------------------------------------------------------------------------------------ temporary folders


def make_old_folder(path, lock):
    """Make a folder with a file, hours old, with or without the lock of a run; return its path."""
    (path / "input").mkdir(parents=True)
    (path / "input" / "a.fits").write_bytes(b"x")
    if lock:
        (path / temporary_folder.LOCK).touch()
    os.utime(path, (0, time.time() - 10000))
    return path


def test_only_temporary_folders_of_killed_runs_are_removed(temporary):
    here, elsewhere = temporary_folder.FOLDER_PREFIX, f"{temporary_folder.FOLDER_PREFIX.rstrip('+')}-2+"
    others = [("cosmicgate-x", False), ("cosmicgate-y", True), (f"{here}x", False), (f"{elsewhere}y", True)]
    stay = [make_old_folder(temporary / name, lock) for name, lock in others]
    (temporary / f"{here}link").symlink_to(make_old_folder(temporary.parent / "mine", True))
    gone = make_old_folder(temporary / f"{here}y", True)
    with temporary_folder.temporary_folder():
        assert not gone.exists()
    assert all((path / "input" / "a.fits").exists() for path in [*stay, temporary.parent / "mine"])


def test_the_lock_of_a_folder_is_closed_before_it_is_removed(temporary, monkeypatch):
    folder, before = make_old_folder(temporary / f"{temporary_folder.FOLDER_PREFIX}y", True), shutil.rmtree

    def rmtree_of_windows(path, *arguments, **more):
        try:
            with FileLock(path / temporary_folder.LOCK, blocking=False):
                pass
        except Timeout:
            raise PermissionError(13, "The process cannot access the file") from None
        before(path, *arguments, **more)

    monkeypatch.setattr(temporary_folder.shutil, "rmtree", rmtree_of_windows)
    temporary_folder.remove_abandoned_folders()
    assert not folder.exists()


# ---------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), PermissionError("Forbidden"), FileNotFoundError()])
def test_nothing_is_masked_if_a_folder_cannot_be_listed(error, memory, model, monkeypatch):
    memory.pipe("/night/deep/er/2.fits", frame_bytes(2))
    fail_at(monkeypatch, "ls", "/night/deep", error)
    done = run("mask", "memory://night/", "--recursive", "-m", model)
    assert done.exit_code == 2
    assert "memory://night/deep: " in output_text(done)
    assert not memory.exists("/night/0_crmask.fits")


def test_listing_a_folder_is_retried(memory, monkeypatch):
    memory.pipe("/night/deep/er/2.fits", frame_bytes(2))
    memory.pipe("/night/.snapshot/3.fits", frame_bytes(3))
    errors, before = [ConnectionResetError(104, "Connection reset by peer")], MemoryFileSystem.ls

    def fail_once(files, path, *arguments, **more):
        assert ".snapshot" not in path
        if path == "/night/deep" and errors:
            raise errors.pop()
        return before(files, path, *arguments, **more)

    monkeypatch.setattr(MemoryFileSystem, "ls", fail_once)
    found = object_stores.list_files(Url("memory://night/"), recursive=True)
    assert [str(url) for url in found] == [f"memory://night/{name}.fits" for name in (0, 1, "deep/er/2")]
    assert len(object_stores.list_files(Url("memory://night/"), recursive=False)) == 2
    assert object_stores.list_files(Url("memory://typo/"), recursive=True) is None


def test_the_reason_why_a_folder_cannot_be_listed_is_reported(memory, model, monkeypatch):
    fail_at(monkeypatch, "ls", "/night", PermissionError("Forbidden"))
    done = run("mask", "memory://night/", "-m", model)
    assert done.exit_code == 2
    assert "memory://night/: no permission (Forbidden)" in output_text(done)


# ------------------------------------------------------------------------------------------------------ connections


@pytest.mark.parametrize(
    ("error", "sentence", "times"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "sftp://h/a.fits: Connection refused; tried 4 times", 4),
        (type("AuthenticationException", (Exception,), {})("Authentication failed."), "Authentication failed.", 1),
    ],
)
def test_an_unreachable_server_gets_an_error(error, sentence, times, memory, model, monkeypatch):
    calls = []

    class Server(fsspec.AbstractFileSystem):
        cachable = False

        def __init__(self, **more):
            calls.append(more)
            raise error

    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "sftp", Server)
    done = run("mask", "sftp://me:secret@h/a.fits", "-m", model)
    assert done.exit_code == 2, done.exception
    assert sentence in output_text(done)
    assert "None" not in done.output
    assert "secret" not in done.output
    assert len(calls) == times


def test_error_messages_contain_no_secrets(monkeypatch):
    url = Url("https://me:p@ss@h/a.fits?sig=secret")
    error = RuntimeError("no answer of URL('https://me:p@ss@h/a.fits?sig=other') nor https://h/b?sig=third at all")
    monkeypatch.setattr(object_stores, "DELAY", 0.0)
    with pytest.raises(TransportError) as caught:
        object_stores._with_retries(url, lambda: (_ for _ in ()).throw(error))
    assert str(caught.value) == (
        "https://h/a.fits: no answer of URL('https://h/a.fits nor https://h/b at all; tried 4 times"
    )


# ------------------------------------------------------------------------------------------------------ overwriting


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_remote_science_masked_in_place_is_replaced_only_under_overwrite(ending, memory, model):
    precious = f"/night/p.{ending}"
    memory.pipe(precious, gzip.compress(frame_bytes(1)) if ending.endswith("gz") else frame_bytes(1))
    assert run("mask", f"memory:/{precious}", "-m", model, "--in-place").exit_code == 0
    before = memory.cat(precious)
    arguments = ("mask", "memory://night/0.fits", "-m", model, "-o", f"memory:/{precious}")
    refused = run(*arguments)
    assert memory.cat(precious) == before
    if ending == "fits.gz":  # masks are never written under such a name
        assert refused.exit_code == run(*arguments, "--overwrite").exit_code == 2
        assert memory.cat(precious) == before
        return
    assert refused.exit_code == 1
    assert f"p.{ending} exists and is not a known output of cosmicgate; --overwrite replaces it" in refused.stderr
    assert run(*arguments, "--overwrite").exit_code == 0
    assert run(*arguments, "--grow", 1).exit_code == 0, "a file of masks of any name is replaced"


def test_a_remote_file_changed_meanwhile_is_not_overwritten(memory, model, monkeypatch):
    before = pipeline.detect

    def detect(*arguments):
        patches = before(*arguments)
        memory.pipe("/night/0.fits", frame_bytes(7))
        return patches

    monkeypatch.setattr(pipeline, "detect", detect)
    done = run("mask", "memory://night/0.fits", "-m", model, "--in-place")
    assert done.exit_code == 1
    assert "error: memory://night/0.fits: it changed while it was searched" in done.stderr
    assert memory.cat("/night/0.fits") == frame_bytes(7)
