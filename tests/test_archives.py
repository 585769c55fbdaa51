"""Downloads, replayed on the loopback interface: whatever goes wrong on the way, what arrives is whole or named."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from dataclasses import replace
from email.utils import formatdate
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT
from replay import Replay, Trouble, md5

from cosmicgate.data.archives import POLITE, FetchError, Manifest, Manners, Remote, fetch_lco
from cosmicgate.data.archives.__main__ import main
from cosmicgate.data.archives.client import Session
from cosmicgate.data.archives.fetch import complete
from cosmicgate.data.archives.listing import BY_MD5, read_manifest
from cosmicgate.data.archives.unpack import unpack

HASTY = Manners(attempts=3, delay=0.01, longest=0.02, timeout=30.0)
BODY = np.random.default_rng(0).bytes(300_000)


@pytest.fixture
def replay(monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Replay() as server:
        yield server


def wanted(replay, *names, content=BODY):
    """Return a manifest of files of ``content`` that the server has."""
    for name in names:
        replay.files[f"/{name}"] = content
    files = tuple(Remote(name, f"{replay.base}/{name}", len(content), md5(content)) for name in names)
    return Manifest("here", "nobody", "none", {}, "2026-01-01", files)


def got(root, manifest, manners=HASTY, **more):
    return complete(manifest, root, "test", manners, **more)


# ------------------------------------------------------------------------------------------------------- the transport


def test_a_dropped_connection_goes_on_where_it_broke(replay, tmp_path):
    manifest = wanted(replay, "a")
    replay.troubles["/a"] = [Trouble(cut=100_000), Trouble(cut=50_000)]
    got(tmp_path, manifest)
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.start for r in replay.requests] == [None, 100_000, 150_000]
    assert sum(r.sent for r in replay.requests) == len(BODY)


def test_a_file_may_break_more_often_than_there_are_attempts_while_it_grows(replay, tmp_path):
    replay.troubles["/a"] = [Trouble(cut=20_000) for _ in range(10)]
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_server_that_ignores_range_sends_everything_again(replay, tmp_path):
    replay.ranges = False
    replay.troubles["/a"] = [Trouble(cut=100_000)]
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.sent for r in replay.requests] == [100_000, len(BODY)]


def test_a_beginning_of_another_file_is_thrown_away(replay, tmp_path):
    (tmp_path / "a.partial").write_bytes(b"older" * 1000)
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.start for r in replay.requests] == [5000, None]


def test_a_whole_partial_needs_no_byte(replay, tmp_path):
    (tmp_path / "a.partial").write_bytes(BODY)
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert sum(r.sent for r in replay.requests) == 0


@pytest.mark.parametrize("after", [lambda: "0.4", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_a_429_is_waited_for_as_long_as_it_says(replay, tmp_path, after):
    replay.troubles["/a"] = [Trouble(429, {"Retry-After": after()})]  # seconds, or a date of whole seconds
    started = time.monotonic()
    got(tmp_path, wanted(replay, "a"))
    assert time.monotonic() - started > 0.35
    assert len(replay.requests) == 2


def test_a_server_that_asks_for_an_hour_is_not_waited_for(replay, tmp_path):
    replay.troubles["/a"] = [Trouble(429, {"Retry-After": "3600"})]
    with pytest.raises(FetchError, match=r"a \(.*HTTP 429 \(come back later\), asks to come back in 3600 s"):
        got(tmp_path, wanted(replay, "a"))


def test_a_500_passes_and_six_of_them_are_named(replay, tmp_path):
    replay.troubles["/a"] = [Trouble(500)]
    replay.troubles["/b"] = [Trouble(500)] * 9
    with pytest.raises(FetchError, match=r"1 of 2 file\(s\) did not come: b \(.*HTTP 500"):
        got(tmp_path, wanted(replay, "a", "b"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert len([r for r in replay.requests if r.path == "/b"]) == HASTY.attempts


def test_delays_double_and_chance_moves_them():
    with Session(Manners(delay=1.0, longest=60.0)) as session:
        wait = session.patient().wait
        waits = [[wait(SimpleNamespace(attempt_number=n, outcome=None)) for _ in range(20)] for n in (1, 2, 3, 9)]
    for drawn, least in zip(waits, (1, 2, 4, 60), strict=True):
        assert least <= min(drawn) <= max(drawn) <= least + 1
    assert len(set(waits[0])) > 1


@pytest.mark.parametrize("sent", [BODY[:-1] + b"?", BODY[: len(BODY) // 2]], ids=["wrong md5", "truncated"])
def test_other_bytes_are_fetched_again_once(replay, tmp_path, sent):
    replay.troubles["/a"] = [Trouble(content=sent)]
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("sent", [BODY[:-1] + b"?", BODY[: len(BODY) // 2]], ids=["wrong md5", "truncated"])
def test_bytes_that_stay_wrong_are_named_and_never_get_to_their_place(replay, tmp_path, sent):
    manifest = wanted(replay, "a", "b")
    replay.files["/a"] = sent
    with pytest.raises(FetchError, match=rf"1 of 2 .*: a \(came as {len(sent)} bytes with md5 {md5(sent)}.*go on$"):
        got(tmp_path, manifest)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "b", "manifest-test.json"]


def test_a_file_that_is_not_there_is_not_asked_for_twice(replay, tmp_path):
    manifest = wanted(replay, "a", "b")
    del replay.files["/a"]
    with pytest.raises(FetchError, match=r"a \(.*HTTP 404 \(Not found\.\)"):
        got(tmp_path, manifest)
    assert [r.path for r in replay.requests].count("/a") == 1
    replay.files["/a"] = BODY
    got(tmp_path, manifest)
    assert [r.path for r in replay.requests].count("/b") == 1


def test_no_more_connections_than_asked_for(replay, tmp_path):
    replay.troubles = {f"/{n}": [Trouble(stall=1000)] for n in range(5)}
    manifest = wanted(replay, *map(str, range(5)))
    thread = threading.Thread(target=got, args=(tmp_path, manifest, replace(HASTY, connections=2)))
    thread.start()
    assert soon(lambda: len(replay.requests) >= 2)
    time.sleep(0.2)
    at_once = len(replay.requests)
    replay.go_on.set()
    thread.join(60)
    assert at_once == 2
    assert sum((tmp_path / str(n)).read_bytes() == BODY for n in range(5)) == 5
    assert POLITE.connections == 4


def test_a_disk_without_room_is_refused_before_the_first_byte(replay, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=299_999))
    with pytest.raises(OSError, match=r"300kB are needed, 300kB are free"):
        got(tmp_path / "new" / "folder", wanted(replay, "a"))
    assert replay.requests == []
    (tmp_path / "a.partial").write_bytes(BODY[:1])  # what is there already needs no room
    got(tmp_path, wanted(replay, "a"))


# -------------------------------------------------------------------------------------------------------- the manifest


def test_the_manifest_says_what_was_asked_and_how_it_was_checked(replay, tmp_path):
    got(tmp_path, wanted(replay, "a"))
    written = json.loads((tmp_path / "manifest-test.json").read_text())
    assert {k: written[k] for k in ("archive", "citation", "query", "date", "provenance")} == {
        **{"archive": "here", "citation": "nobody", "query": {}, "date": "2026-01-01", "provenance": "real"},
    }
    file = {"path": "a", "url": f"{replay.base}/a", "size": len(BODY), "md5": md5(BODY), "checked": BY_MD5}
    assert file.items() <= written["files"][0].items()


def test_a_second_run_asks_for_nothing_and_verify_finds_what_changed(replay, tmp_path):
    manifest = got(tmp_path, wanted(replay, "a", "b"))
    replay.requests.clear()
    got(tmp_path, manifest)
    assert replay.requests == []
    (tmp_path / "a").write_bytes(BODY[:-1] + b"?")  # of the same size
    got(tmp_path, manifest)
    assert replay.requests == []
    got(tmp_path, manifest, verify=True)
    assert [r.path for r in replay.requests] == ["/a"]
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_file_that_was_copied_there_is_checked_not_fetched(replay, tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    (tmp_path / "b").write_bytes(b"something else")
    got(tmp_path, wanted(replay, "a", "b"))
    assert [r.path for r in replay.requests] == ["/b"]


def test_a_manifest_that_is_none_is_refused_by_name(tmp_path):
    (tmp_path / "m.json").write_text('{"files": [{"path": "../../etc/passwd", "unpacked": []}]}')
    with pytest.raises(ValueError, match=r"m\.json is not a manifest \(unsafe file name '\.\./\.\./etc/passwd'"):
        read_manifest(tmp_path / "m.json")


# ---------------------------------------------------------------------------------------------------------- unpacking


def zipped(names, path, kind=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", kind) as packed:
        for name, content in names.items():
            packed.writestr(name, content)
    return path


def taped(items, path):
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tape:
        for name, content in items.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                tape.addfile(info, BytesIO(content))
            else:
                info.type, info.linkname = content
                tape.addfile(info)
    return path


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:evil"])
@pytest.mark.parametrize("pack", [zipped, taped])
def test_no_name_of_an_archive_leaves_the_folder(tmp_path, name, pack):
    archive = pack({"fine": b"1", name: b"2"}, tmp_path / ("a.zip" if pack is zipped else "a.tar.gz"))
    root = tmp_path / "deep" / "root"
    with pytest.raises(ValueError, match=r"a\.(zip|tar\.gz): unsafe file name '.*evil'"):
        unpack(archive, root)
    assert list(root.iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["deep", archive.name])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE], ids=["symlink", "hard", "fifo"])
def test_links_in_a_tape_are_refused(tmp_path, kind):
    archive = taped({"way": (kind, str(tmp_path / "out")), "way/file": b"1"}, tmp_path / "a.tar")
    with pytest.raises(ValueError, match=r"a\.tar: holds 'way', which is a link or a device"):
        unpack(archive, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("way")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr(info, str(tmp_path))
    with pytest.raises(ValueError, match=r"a\.zip: holds the link 'way'"):
        unpack(tmp_path / "a.zip", tmp_path / "root")


@pytest.mark.parametrize("pack", [zipped, taped])
def test_a_broken_archive_leaves_nothing_behind(tmp_path, pack):
    archive = pack({"a": BODY, "b": BODY}, tmp_path / ("a.zip" if pack is zipped else "a.tar.gz"))
    archive.write_bytes(archive.read_bytes()[: 2 * archive.stat().st_size // 3])
    with pytest.raises(ValueError, match=r"a\.(zip|tar\.gz): cannot be unpacked"):
        unpack(archive, tmp_path / "root")
    assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize("pack", [zipped, taped])
def test_two_archives_of_one_folder_become_one_folder(tmp_path, pack):
    end = ".zip" if pack is zipped else ".tar"
    root = tmp_path / "root"
    first = unpack(pack({"top/train/a": b"1", "top/notes": b"old"}, tmp_path / f"1{end}"), root)
    unpack(pack({"top/test/b": b"2", "top/notes": b"new"}, tmp_path / f"2{end}"), root)
    assert (root / "top/train/a").read_bytes() + (root / "top/test/b").read_bytes() == b"12"
    assert (root / "top/notes").read_bytes() == b"new"
    assert (first[0].path, first[0].size, first[0].md5) == ("top/train/a", 1, md5(b"1"))


# ------------------------------------------------------------------------------------------------------------- Zenodo


@pytest.fixture
def lco(tmp_path):
    """Archives in the data set's layout, with bytes for frames."""
    name = "LCO_CR_dataset/test_set/masked_fits/coj0m403-kb24-20190101-0147-e91_3frms_masks.fits"
    other = "LCO_CR_dataset/train_set/0m4_2019/masked_fits/coj0m403-kb24-20190101-0150-e91_3frms_masks.fits"
    test = zipped({name: BODY}, tmp_path / "test.zip", zipfile.ZIP_STORED).read_bytes()
    train = taped({other: BODY}, tmp_path / "train.tar.gz").read_bytes()
    return {"test_set.zip": test, "train_set.tar.gz": train, "README.txt": b"read me"}


@pytest.mark.parametrize("new", [True, False], ids=["now", "before"])
def test_the_lco_record_becomes_its_folder(replay, tmp_path, lco, new):
    replay.add_record(5034763, lco, new)
    folder = fetch_lco(tmp_path / "lco", replay.base, HASTY)
    assert folder == tmp_path / "lco" / "LCO_CR_dataset"
    assert sorted(p.name for p in folder.iterdir()) == ["test_set", "train_set"]
    assert sorted(p.name for p in (tmp_path / "lco").iterdir() if p.is_file()) == [
        *(".lock", "README.txt", "manifest-5034763.json"),
    ]
    assert read_manifest(tmp_path / "lco" / "manifest-5034763.json").licence == "cc-by-4.0"
    replay.requests.clear()
    assert fetch_lco(tmp_path / "lco", replay.base, HASTY) == folder
    assert replay.requests == []


def test_a_lost_file_of_an_archive_brings_only_that_archive_again(replay, tmp_path, lco):
    replay.add_record(5034763, lco)
    folder = fetch_lco(tmp_path / "lco", replay.base, HASTY)
    for path in (folder / "test_set").rglob("*.fits"):
        path.unlink()
    replay.requests.clear()
    fetch_lco(tmp_path / "lco", replay.base, HASTY)
    assert [r.path for r in replay.requests] == ["/api/records/5034763/files/test_set.zip/content"]
    path = next((folder / "test_set").rglob("*.fits"))
    path.write_bytes(BODY[::-1])
    fetch_lco(tmp_path / "lco", replay.base, HASTY, verify=True)
    assert path.read_bytes() == BODY


def test_an_evil_archive_of_a_record_is_named_and_the_others_come(replay, tmp_path, lco):
    evil = zipped({"../../evil": b"1"}, tmp_path / "evil.zip").read_bytes()
    replay.add_record(5034763, {**lco, "evil.zip": evil})
    with pytest.raises(FetchError, match=r"1 of 4 file\(s\) did not come: evil\.zip \(.*unsafe file name"):
        fetch_lco(tmp_path / "a" / "lco", replay.base, HASTY)
    assert (tmp_path / "a" / "lco" / "LCO_CR_dataset" / "train_set").is_dir()
    assert not list(tmp_path.rglob("evil"))


def test_room_for_unpacking_counts(replay, tmp_path, lco, monkeypatch):
    replay.add_record(5034763, lco)
    total = sum(map(len, lco.values()))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=total + 1000))
    with pytest.raises(OSError, match="are needed"):
        fetch_lco(tmp_path / "lco", replay.base, HASTY)
    assert replay.downloads() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checksum": "sha256:00"}, "expected an md5 sum for test_set.zip, got 'sha256:00'"),
        ({"key": "../up.zip"}, "unsafe file name '../up.zip'"),
        ({"links": {}}, "expected name, size, checksum and link of each file"),
    ],
)
def test_a_record_in_another_form_is_refused(replay, tmp_path, lco, change, message):
    replay.add_record(5034763, lco)
    replay.records[5034763]["files"][0].update(change)
    with pytest.raises((ValueError, OSError), match=message):
        fetch_lco(tmp_path, replay.base, HASTY)


# --------------------------------------------------------------------------------------------------------- the command


def command(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "error"}
    run = [sys.executable, "-m", "cosmicgate.data.archives", *map(str, arguments)]
    return subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_command_that_was_stopped_goes_on_where_it_was(replay, tmp_path, lco, end):
    replay.add_record(5034763, lco)
    path = "/api/records/5034763/files/test_set.zip/content"
    partial = tmp_path / "lco" / "test_set.zip.partial"
    replay.troubles[path] = [Trouble(stall=200_000)]
    first = command("lco", "--root", tmp_path / "lco", "--base", replay.base)
    assert soon(lambda: partial.is_file() and partial.stat().st_size == 200_000)
    first.send_signal(end)
    if end == signal.SIGINT:
        time.sleep(0.2)
        replay.go_on.set()  # the server speaks again; nobody listens any more
    err = first.communicate(timeout=120)[1]
    kept = partial.stat().st_size
    assert 200_000 <= kept < len(lco["test_set.zip"])
    if end == signal.SIGINT:
        assert first.returncode == 130
        assert err.endswith("stopped; the same command goes on where it was\n")
    second = command("lco", "--root", tmp_path / "lco", "--base", replay.base)
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, err
    assert out.endswith(f"all there: {tmp_path / 'lco' / 'LCO_CR_dataset'}\n")
    again = [r for r in replay.requests if r.path == path][-1]
    assert (again.start, again.sent) == (kept, len(lco["test_set.zip"]) - kept)


def soon(is_so):
    return any(is_so() or time.sleep(0.02) for _ in range(5000))


def test_make_data_lco_from_end_to_end(replay, tmp_path, lco):
    replay.add_record(5034763, lco)
    arguments = f"ARGS=--root {tmp_path} --base {replay.base}"
    run = ["make", "-o", "setup", "data-lco", f"BIN={os.path.dirname(sys.executable)}", arguments]  # noqa: PTH120
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "LCO_CR_dataset").rglob("*_3frms_masks.fits"))) == 2


def test_an_archive_that_cannot_be_reached_is_one_sentence(replay, tmp_path, capsys):
    assert main(["lco", "--root", str(tmp_path), "--base", "http://127.0.0.1:9"], HASTY) == 1
    assert capsys.readouterr().err.startswith("error: http://127.0.0.1:9/api/records/5034763: ")
