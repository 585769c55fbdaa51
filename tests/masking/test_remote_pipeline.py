"""Test that files given by URL are masked as local files are, over connections that may fail."""

import json
import os
import signal
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.io import object_stores
from cosmicgate.io.object_stores import TransportError, version
from cosmicgate.io.urls import Url, address
from cosmicgate.masking import temporary_folder
from cosmicgate.masking.output_paths import inputs_of, output_of
from helpers.mask_command import SELF_SIGNAL, SHAPE, output_text, read_mask, run, start_process
from helpers.memory_store import MemoryFileSystem, frame_bytes
from helpers.tiny_model import hit, sky


def read_remote_mask(files, path):
    """Read the mask (H, W), bool, from a file of a filesystem."""
    with fits.open(BytesIO(files.cat(path)), checksum=True) as hdus:
        return hdus["CRMASK"].data.astype(bool)


def record_calls(monkeypatch, name):
    """Record the calls of a method of the filesystem from now on; return the list of their first arguments."""
    calls, before = [], getattr(MemoryFileSystem, name)
    monkeypatch.setattr(MemoryFileSystem, name, lambda self, *a, **k: (calls.append(a[0]), before(self, *a, **k))[1])
    return calls


# -------------------------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("text", "shown", "name", "parent"),
    [
        ("s3://b/night/a.fits", "s3://b/night/a.fits", "a.fits", "s3://b/night"),
        ("memory://a.fits", "memory://a.fits", "a.fits", "memory://"),
        ("s3a://b/night//a?.fits", "s3://b/night//a?.fits", "a?.fits", "s3://b/night/"),
        ("https://h/a.fits?X-Amz-Signature=1", "https://h/a.fits", "a.fits", "https://h"),
        ("sftp://me:secret@h/a.fits", "sftp://h/a.fits", "a.fits", "sftp://me:secret@h"),
        ("sftp://me:p@ss@h/a@b.fits", "sftp://h/a@b.fits", "a@b.fits", "sftp://me:p@ss@h"),
        ("https://token@h/a.fits?sig=1", "https://h/a.fits", "a.fits", "https://token@h"),
        ("abfs://c@account/a.fits", "abfs://c@account/a.fits", "a.fits", "abfs://c@account"),
    ],
)
def test_a_url_has_the_names_of_a_path_and_hides_secrets(text, shown, name, parent):
    url = address(text)
    assert (str(url), url.name, url.parent.text) == (shown, name, parent)
    assert str(url.parent / name) == shown.replace("night//", "night/")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("night/a.fits", "night/a.fits"),
        ("C://a.fits", "C://a.fits"),
        ("file:///my%20night/a.fits", "/my night/a.fits"),
        ("file://localhost/night/a.fits", "/night/a.fits"),
    ],
)
def test_local_addresses_are_paths(text, path):
    assert address(text) == Path(path)


def test_outputs_have_the_folder_structure_of_the_inputs(memory):
    memory.pipe("/night/deep/2.fits.fz", b"x")
    memory.pipe("/night/.hidden/3.fits", b"x")
    memory.pipe("/night/0_crmask.fits", b"x")
    memory.pipe("/night/notes.txt", b"x")
    pairs, products = inputs_of([Url("memory://night/")], recursive=True)
    assert [str(one) for one in products] == ["memory://night/0_crmask.fits"]
    assert {str(output_of(path, root, Url("s3://b/out"), "clean")) for path, root in pairs} == {
        "s3://b/out/0_crclean.fits",
        "s3://b/out/1_crclean.fits",
        "s3://b/out/deep/2_crclean.fits.fz",
    }
    assert [output_of(path, root, Path("out"), "mask") for path, root in pairs][2] == Path("out/deep/2_crmask.fits")
    assert len(inputs_of([Url("memory://night")])[0]) == 2


# ---------------------------------------------------------------------------------------------------------- masking


def test_finished_remote_masks_are_kept_without_a_download(memory, model, tmp_path, monkeypatch):
    first = run("mask", "memory://night/", "-m", model, "-o", "memory://masks", "--json", tmp_path / "s.json")
    assert first.exit_code == 0, first.output
    rows = json.loads((tmp_path / "s.json").read_text())["files"]
    assert [row["file"] for row in rows] == ["memory://night/0.fits", "memory://night/1.fits"]
    assert [row["output"] for row in rows] == ["memory://masks/0_crmask.fits", "memory://masks/1_crmask.fits"]
    assert "memory://night/0.fits: 4 pixels hit (0.179 %)" in first.stdout
    assert sorted(memory.ls("/masks", detail=False)) == ["/masks/0_crmask.fits", "/masks/1_crmask.fits"]
    np.testing.assert_array_equal(read_remote_mask(memory, "/masks/1_crmask.fits"), hit(SHAPE))
    fetched, sent = record_calls(monkeypatch, "get_file"), record_calls(monkeypatch, "put_file")
    again = run("mask", "memory://night/", "-m", model, "-o", "memory://masks")
    assert again.exit_code == 0
    assert again.stdout.count("up to date") == 2
    assert (fetched, sent) == ([], [])


def test_masks_equal_those_of_the_same_local_file(memory, model, tmp_path):
    (tmp_path / "0.fits").write_bytes(memory.cat("/night/0.fits"))
    assert run("mask", tmp_path / "0.fits", "-m", model, "-o", tmp_path / "here").exit_code == 0
    assert run("mask", "memory://night/0.fits", "-m", model, "-o", tmp_path / "there").exit_code == 0
    assert run("mask", tmp_path / "0.fits", "-m", model, "-o", "memory://sent").exit_code == 0
    here = (tmp_path / "here" / "0_crmask.fits").read_bytes()
    assert memory.cat("/sent/0_crmask.fits") == here, "local and remote masks are the same"
    one, two = (fits.getheader(tmp_path / name / "0_crmask.fits", "CRMASK") for name in ("here", "there"))
    assert {key for key in two if one.get(key) != two[key]} == {"CRETAG"}


def test_a_rewritten_remote_file_is_masked_again_only_if_it_changed(memory, model, monkeypatch):
    arguments = ("mask", "memory://night/0.fits", "-m", model)
    assert run(*arguments).exit_code == 0
    memory.pipe("/night/0.fits", frame_bytes(0))
    fetched, sent = record_calls(monkeypatch, "get_file"), record_calls(monkeypatch, "put_file")
    assert "up to date" in run(*arguments).stdout
    assert (len(fetched), len(sent)) == (1, 0)
    memory.pipe("/night/0.fits", frame_bytes(7))
    assert "pixels hit" in run(*arguments).stdout
    assert (len(fetched), len(sent)) == (2, 1)
    assert "pixels hit" in run(*arguments, "--grow", 1).stdout, "other settings"


@pytest.mark.parametrize(("ending", "kind"), [("fits", []), ("fits", ["--append"]), ("fits.gz", ["--append"])])
def test_masks_of_other_images_at_a_url_are_not_lost(ending, kind, memory, model, tmp_path):
    hdus = [fits.ImageHDU(sky(SHAPE, number), name=f"N{number}") for number in (1, 2, 3)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / f"mef.{ending}")
    command = ("mask", tmp_path / f"mef.{ending}", "-m", model, "-o", "memory://masks", *kind)
    assert run(*command).exit_code == 0
    before = {path: memory.cat(path) for path in memory.find("/masks")}
    other = run(*command, "--ext", "N1")
    assert other.exit_code == 1
    assert "has masks of other images of the file (HDU 2, 3), which would be lost: name all images" in other.stderr
    assert {path: memory.cat(path) for path in memory.find("/masks")} == before
    assert run(*command, "--ext", "N1", "--overwrite").exit_code == 0
    assert "3 images" in run(*command).stdout


@pytest.mark.parametrize("ending", ["fits", "fits.gz"])
def test_a_finished_remote_cleaned_copy_is_kept(ending, memory, model, tmp_path):
    fits.writeto(tmp_path / f"a.{ending}", sky(SHAPE))
    memory.put_file(str(tmp_path / f"a.{ending}"), f"/night/a.{ending}")
    arguments = ("mask", f"memory://night/a.{ending}", "-m", model, "--clean")
    assert "pixels hit" in run(*arguments).stdout
    memory.get_file(f"/night/a_crclean.{ending}", str(tmp_path / f"b.{ending}"))
    assert (fits.getdata(tmp_path / f"b.{ending}")[hit(SHAPE)] < 150).all()
    assert "up to date" in run(*arguments).stdout


def test_a_remote_input_is_changed_only_in_place(memory, model, monkeypatch):
    before = memory.cat("/night/0.fits")
    refused = run("mask", "memory://night/0.fits", "-m", model, "-o", "memory://night/0.fits", "--overwrite")
    assert refused.exit_code == 1
    assert (
        "memory://night/0.fits: the output would replace the input; use --in-place to change the input itself"
        in refused.stderr
    )
    assert memory.cat("/night/0.fits") == before
    fetched = record_calls(monkeypatch, "get_file")
    for said in ("pixels hit", "up to date"):
        assert said in run("mask", "memory://night/0.fits", "-m", model, "--in-place").stdout
    assert len(fetched) == 1
    np.testing.assert_array_equal(read_remote_mask(memory, "/night/0.fits"), hit(SHAPE))
    other = run("mask", "memory://night/0.fits", "-m", model, "--in-place", "--grow", 1)
    assert other.exit_code == 1
    assert "error: memory://night/0.fits: it has masks by cosmicgate already" in other.stderr


@pytest.mark.parametrize("content", [b"somebody's notes", frame_bytes(), frame_bytes()[:2000]])
def test_an_unknown_remote_file_is_replaced_only_under_overwrite(content, memory, model):
    memory.pipe("/masks/0_crmask.fits", content)
    arguments = ("mask", "memory://night/0.fits", "-m", model, "-o", "memory://masks")
    refused = run(*arguments)
    assert refused.exit_code == 1
    assert "memory://masks/0_crmask.fits exists and is not a known output of cosmicgate; --overwrite" in refused.stderr
    assert memory.cat("/masks/0_crmask.fits") == content
    assert run(*arguments, "--overwrite").exit_code == 0
    np.testing.assert_array_equal(read_remote_mask(memory, "/masks/0_crmask.fits"), hit(SHAPE))


# ---------------------------------------------------------------------------------------------------------- errors


def test_a_bad_remote_file_is_named_and_the_others_are_masked(memory, model, tmp_path):
    memory.pipe("/night/1.fits", memory.cat("/night/1.fits")[:4000])
    memory.pipe("/night/folder.fits/x", b"x")
    (tmp_path / "list").write_text(
        "memory://night/\nmemory://typo/\nmemory://night/none.fits\nmemory://night/folder.fits"
    )
    done = run("mask", "--list", tmp_path / "list", "-m", model, "--quiet")
    assert done.exit_code == 1
    errors = sorted(done.stderr.splitlines())
    assert errors[0].startswith("error: memory://night/1.fits: not a complete FITS file (")
    assert errors[1:] == [
        "error: memory://night/folder.fits: expected a FITS file, found a folder",
        "error: no such FITS file: memory://night/none.fits",
        "error: no such FITS file: memory://typo/",
    ]
    assert memory.exists("/night/0_crmask.fits")


class BreakingConnection:
    """Break the connection in the middle of a file, a number of times."""

    def __init__(self, monkeypatch, name, times):
        self.tried, before = 0, getattr(MemoryFileSystem, name)

        def transfer_or_break(files, source, target, **more):
            before(files, source, target, **more)
            self.tried += 1
            if self.tried <= times:
                if name == "get_file":
                    Path(target).write_bytes(Path(target).read_bytes()[:3000])
                    return
                files.store[files._strip_protocol(target)].truncate(3000)
                raise ConnectionResetError(104, "Connection reset by peer")

        monkeypatch.setattr(MemoryFileSystem, name, transfer_or_break)


@pytest.mark.parametrize("name", ["get_file", "put_file"])
def test_a_broken_connection_is_retried(name, memory, model, monkeypatch):
    breaking = BreakingConnection(monkeypatch, name, object_stores.ATTEMPTS - 1)
    assert run("mask", "memory://night/0.fits", "-m", model).exit_code == 0
    assert breaking.tried == object_stores.ATTEMPTS
    np.testing.assert_array_equal(read_remote_mask(memory, "/night/0_crmask.fits"), hit(SHAPE))
    assert len(memory.ls("/night")) == 3


@pytest.mark.parametrize(
    ("name", "said"), [("get_file", "received 3000 of 14400 bytes"), ("put_file", "Connection reset")]
)
def test_a_connection_that_stays_broken_is_an_error_without_a_partial_file(name, said, memory, model, monkeypatch):
    breaking = BreakingConnection(monkeypatch, name, object_stores.ATTEMPTS)
    done = run("mask", "memory://night/", "-m", model)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: memory://night/0.fits: ")
    assert said in line
    assert line.endswith(f"; tried {object_stores.ATTEMPTS} times")
    assert breaking.tried == object_stores.ATTEMPTS + 1
    assert sorted(memory.ls("/night", detail=False)) == ["/night/0.fits", "/night/1.fits", "/night/1_crmask.fits"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PermissionError("Forbidden"), "no permission (Forbidden)"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (type("NoCredentialsError", (Exception,), {})("Unable to locate credentials"), "Unable to locate credentials"),
    ],
)
def test_permanent_errors_are_not_retried(error, said, memory, monkeypatch):
    url, calls = Url("memory://night/0.fits"), []
    monkeypatch.setattr(
        MemoryFileSystem, "info", lambda self, path, **_: (_ for _ in ()).throw(calls.append(path) or error)
    )
    with pytest.raises(TransportError, match=str(url)) as caught:
        object_stores.remote_info(url)
    assert str(caught.value).endswith(said)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("url", "info", "expected"),
    [
        ("s3://b/a", {"ETag": '"1"', "size": 5, "LastModified": "now"}, '5 "1"'),
        ("https://h/a?key=1", {"ETag": '"1"', "size": 5}, '5 "1" https://h/a'),
        ("https://h/a", {"ETag": 'W/"1"', "Last-Modified": "then", "size": 5}, "5 then https://h/a"),
        ("sftp://me:secret@h/a", {"mtime": "then", "size": 5}, "5 then sftp://h/a"),
        ("s3://b/a", {"size": 5}, ""),
    ],
)
def test_the_version_of_a_remote_file_is_its_checksum_or_its_time_and_url(url, info, expected):
    assert version(info, Url(url)) == expected


def test_files_of_two_urls_with_the_same_size_and_time_are_both_masked(memory, model, tmp_path, monkeypatch):
    for folder, seed in (("one", 0), ("two", 7)):
        memory.pipe(f"/{folder}/0.fits", frame_bytes(seed))
    before = MemoryFileSystem.info
    monkeypatch.setattr(
        MemoryFileSystem, "info", lambda self, path, **more: before(self, path, **more) | {"created": "then"}
    )
    for folder in ("one", "two"):
        for said in ("pixels hit", "up to date"):
            done = run("mask", f"memory://{folder}/0.fits", "-m", model, "-o", tmp_path / "masks")
            assert said in done.stdout, done.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["s3://b/a.fits"], "s3:// needs s3fs: pip install '.[s3]' in a clone of cosmicgate"),
        (["memory://night/", "-o", "s3://b/masks"], "s3:// needs s3fs: pip install '.[s3]' in a clone of cosmicgate"),
        (["foo://b/a.fits"], "foo:// is not a known kind of URL: expected s3, gs, abfs, https or similar"),
        (["http://h/a.fits"], "http:// can only be read: give -o"),
        (["memory://night/", "-o", "ftp://h/masks"], "ftp:// can only be read: give -o with s3, gs"),
        (["file://h/a.fits"], "expected file:///PATH or file://localhost/PATH, got the host 'h'"),
        (["memory://night/", "-o", "memory://one.fits"], "would be the output of"),
    ],
)
def test_invalid_urls_are_invalid_arguments(arguments, sentence, memory, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)  # if another test used it
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "ftp", MemoryFileSystem)
    done = run("mask", *arguments, "-m", model)
    assert done.exit_code == 2
    assert sentence in output_text(done)


def test_without_fsspec_the_command_says_what_to_install(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "fsspec", None)
    done = run("mask", "s3://b/a.fits", "-m", model)
    assert done.exit_code == 2
    assert "pip install '.[s3]' in a clone of cosmicgate" in output_text(done)


# -------------------------------------------------------------------------------------------------------------- HTTP


@pytest.fixture
def http_folder(tmp_path):
    """Serve a folder with three frames by HTTP; return its URL."""
    (tmp_path / "web" / "night").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "web" / "night" / f"{number}.fits").write_bytes(frame_bytes(number))
    handler = partial(type("Quiet", (SimpleHTTPRequestHandler,), {"log_message": lambda *_: None}))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "web"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/night/"
        server.shutdown()


def test_an_http_folder_is_read(http_folder, temporary, model, tmp_path):
    pytest.importorskip("aiohttp", reason="https:// needs the extra s3")
    for said in ("pixels hit", "up to date"):
        done = run("mask", http_folder, f"{http_folder}none.fits", "-m", model, "-o", tmp_path / "out")
        assert done.exit_code == 1
        assert done.stdout.count(said) == 3, done.output
        assert done.stderr.startswith(f"error: no such FITS file: {http_folder}none.fits")
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "2_crmask.fits"), hit(SHAPE))
    assert not list(temporary.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_stopped_or_killed_run_leaves_no_temporary_files_in_the_end(
    name, http_folder, temporary, model, tmp_path, monkeypatch
):
    pytest.importorskip("aiohttp", reason="https:// needs the extra s3")
    stopped = start_process(
        "mask", http_folder, "-m", model, "-o", tmp_path / "out", code=SELF_SIGNAL.format(signal=name)
    )
    stopped.communicate()
    assert stopped.returncode == {"SIGTERM": 130, "SIGKILL": -signal.SIGKILL}[name]
    assert [path.name for path in (tmp_path / "out").glob("[!.]*")] == ["0_crmask.fits"]
    left = list(temporary.iterdir())
    assert len(left) == (name == "SIGKILL"), "it was not killed while it masked a file"
    for folder in left:
        os.utime(folder, (0, time.time() - 2 * temporary_folder.STALE_AFTER_S))
    again = run("mask", http_folder, "-m", model, "-o", tmp_path / "out")
    assert again.exit_code == 0
    assert again.stdout.count("up to date") == 1
    assert not list(temporary.iterdir())


def test_a_temporary_folder_in_use_is_kept(temporary):
    with temporary_folder.temporary_folder() as folder:
        os.utime(folder, (0, 0))
        with temporary_folder.temporary_folder():
            assert folder.exists()
    assert not list(temporary.iterdir())
