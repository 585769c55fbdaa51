"""Test downloads of the LCO record from a replayed Zenodo: complete files, resumed commands, clear errors."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from cosmicgate.config import build
from cosmicgate.data.download.__main__ import main, parser
from cosmicgate.data.download.client import FetchError
from cosmicgate.data.download.manifest import Manifest, read_manifest
from cosmicgate.data.download.zenodo import fetch_lco
from helpers.archive_files import BODY, FAST_RETRY, wait_until, write_zip
from helpers.hydra_config import composed_config
from helpers.mask_command import RECEIVE_SIGINT
from helpers.replay_server import Fault
from helpers.repository import ROOT


@pytest.mark.parametrize("new", [True, False], ids=["present form", "older form"])
def test_the_lco_record_is_downloaded_and_unpacked(replay, tmp_path, lco, new):
    replay.add_record(5034763, lco, new)
    folder = fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY)
    assert folder == tmp_path / "lco" / "LCO_CR_dataset"
    assert sorted(p.name for p in folder.iterdir()) == ["test_set", "train_set"]
    assert sorted(p.name for p in (tmp_path / "lco").iterdir() if p.is_file()) == [
        *(".lock", "README.txt", "manifest-5034763.json"),
    ]
    assert read_manifest(tmp_path / "lco" / "manifest-5034763.json").licence == "cc-by-4.0"
    replay.requests.clear()
    assert fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY) == folder
    assert replay.requests == []


def test_a_lost_file_downloads_only_its_archive_again(replay, tmp_path, lco):
    replay.add_record(5034763, lco)
    folder = fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY)
    for path in (folder / "test_set").rglob("*.fits"):
        path.unlink()
    replay.requests.clear()
    fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY)
    assert [r.path for r in replay.requests] == ["/api/records/5034763/files/test_set.zip/content"]
    path = next((folder / "test_set").rglob("*.fits"))
    path.write_bytes(BODY[::-1])
    fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY, verify=True)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("end", ["before the manifest is written", "before the archive is deleted"])
def test_a_kill_after_unpacking_downloads_nothing_again(replay, tmp_path, lco, monkeypatch, end):
    replay.add_record(5034763, {name: lco[name] for name in ("test_set.zip",)})
    write, unlink = Manifest.write, Path.unlink

    def write_or_stop(self, path):
        if end == "before the manifest is written" and any(file.unpacked for file in self.files):
            raise KeyboardInterrupt
        write(self, path)

    def unlink_or_stop(self, **more):
        if self.name == "test_set.zip":
            raise KeyboardInterrupt
        unlink(self, **more)

    with monkeypatch.context() as killed:
        killed.setattr(Manifest, "write", write_or_stop)
        killed.setattr(Path, "unlink", unlink_or_stop if end == "before the archive is deleted" else unlink)
        with pytest.raises(KeyboardInterrupt):
            fetch_lco(tmp_path, replay.base, FAST_RETRY)
    replay.requests.clear()
    folder = fetch_lco(tmp_path, replay.base, FAST_RETRY)
    assert replay.requests == []
    assert [path.read_bytes() for path in folder.rglob("*.fits")] == [BODY]
    assert not (tmp_path / "test_set.zip").exists()


def test_an_unsafe_archive_is_named_and_the_others_are_downloaded(replay, tmp_path, lco):
    evil = write_zip({"../../evil": b"1"}, tmp_path / "evil.zip").read_bytes()
    replay.add_record(5034763, {**lco, "evil.zip": evil})
    with pytest.raises(FetchError, match=r"1 of 4 file\(s\) could not be downloaded: evil\.zip \(.*unsafe file name"):
        fetch_lco(tmp_path / "a" / "lco", replay.base, FAST_RETRY)
    assert (tmp_path / "a" / "lco" / "LCO_CR_dataset" / "train_set").is_dir()
    assert not list(tmp_path.rglob("evil"))


def test_the_disk_space_for_unpacking_is_counted(replay, tmp_path, lco, monkeypatch):
    replay.add_record(5034763, lco)
    total = sum(map(len, lco.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=total + 1000))
    with pytest.raises(OSError, match="are needed"):
        fetch_lco(tmp_path / "lco", replay.base, FAST_RETRY)
    assert replay.downloads() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "sha256:00"}, "expected an md5 sum for test_set.zip, got 'sha256:00'"),
        ({"key": "../up.zip"}, "unsafe file name '../up.zip'"),
        ({"links": {}}, "expected name, size, checksum and link of each file"),
    ],
)
def test_a_record_of_unexpected_form_is_refused(replay, tmp_path, lco, change, message):
    replay.add_record(5034763, lco)
    replay.records[5034763]["files"][0].update(change)
    with pytest.raises((ValueError, OSError), match=message):
        fetch_lco(tmp_path, replay.base, FAST_RETRY)


def start_download(*arguments):
    """Start ``python -m cosmicgate.data.download`` in a new process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    code = f"{RECEIVE_SIGINT}from cosmicgate.data.download.__main__ import main; sys.exit(main())"
    run = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_stopped_download_resumes_where_it_stopped(replay, tmp_path, lco, end):
    replay.add_record(5034763, lco)
    path = "/api/records/5034763/files/test_set.zip/content"
    partial = tmp_path / "lco" / "test_set.zip.partial"
    replay.faults[path] = [Fault(stall=200_000, slow=True)]
    first = start_download("lco", "--root", tmp_path / "lco", "--base", replay.base)
    assert wait_until(lambda: partial.is_file() and partial.stat().st_size == 200_000)
    first.send_signal(end)
    if end == signal.SIGINT:
        replay.release.set()  # the server resumes, too slowly to finish before the command receives the signal
    err = first.communicate(timeout=120)[1]
    kept = partial.stat().st_size
    assert 200_000 <= kept < len(lco["test_set.zip"])
    if end == signal.SIGINT:
        assert first.returncode == 130
        assert err.endswith("stopped; the same command resumes where it stopped\n")
    second = start_download("lco", "--root", tmp_path / "lco", "--base", replay.base)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.endswith(f"complete: {tmp_path / 'lco' / 'LCO_CR_dataset'}\n")
    again = [r for r in replay.requests if r.path == path][-1]
    assert (again.start, again.sent) == (kept, len(lco["test_set.zip"]) - kept)


def test_make_data_lco_downloads_the_data_set(replay, tmp_path, lco):
    replay.add_record(5034763, lco)
    arguments = f"ARGS=--root {tmp_path} --base {replay.base}"
    run = ["make", "-o", "setup", "data-lco", f"BIN={os.path.dirname(sys.executable)}", arguments]  # noqa: PTH120
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "LCO_CR_dataset").rglob("*_3frms_masks.fits"))) == 2


def test_data_lco_scores_the_data_set_of_make_data_lco(replay, tmp_path, lco):
    configured = composed_config("data=lco", name="evaluate").data
    assert Path(configured.archive.root) == parser().parse_args(["lco"]).root
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("data-lco:"))
    assert f" into {configured.archive.root} " in line
    replay.add_record(5034763, lco)
    assert main(["lco", "--root", str(tmp_path), "--base", replay.base], FAST_RETRY) == 0
    replay.requests.clear()
    given = ["data=lco", f"data.root={tmp_path}", f"+data.archive.base={replay.base}"]
    assert build(composed_config(*given, name="evaluate").data).archive() == tmp_path / "LCO_CR_dataset"
    assert replay.requests == []


def test_an_unreachable_archive_gets_an_error_of_one_line(replay, tmp_path, capsys):
    assert main(["lco", "--root", str(tmp_path), "--base", "http://127.0.0.1:9"], FAST_RETRY) == 1
    assert capsys.readouterr().err.startswith("error: http://127.0.0.1:9/api/records/5034763: ")
