"""Downloads, replayed on the loopback interface: whatever goes wrong on the way, what arrives is whole or named."""

import json
import shutil
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from types import SimpleNamespace

import httpx
import pytest

from cosmicgate.data.download import DEFAULT_RETRY, FetchError, Manifest, Remote, RetryPolicy
from cosmicgate.data.download.client import Session
from cosmicgate.data.download.client import _said as said
from cosmicgate.data.download.fetch import complete
from cosmicgate.data.download.manifest import BY_MD5, read_manifest
from helpers.archive_files import BODY, FAST_RETRY, wait_until
from helpers.replay_server import Fault, md5


def wanted(replay, *names, content=BODY):
    """Return a manifest of files of ``content`` that the server has."""
    for name in names:
        replay.files[f"/{name}"] = content
    files = tuple(Remote(name, f"{replay.base}/{name}", len(content), md5(content)) for name in names)
    return Manifest("here", "nobody", "none", {}, "2026-01-01", files)


def got(root, manifest, manners=FAST_RETRY, **more):
    return complete(manifest, root, "test", manners, **more)


# ------------------------------------------------------------------------------------------------------- the transport


def test_a_dropped_connection_goes_on_where_it_broke(replay, tmp_path):
    manifest = wanted(replay, "a")
    replay.faults["/a"] = [Fault(cut=100_000), Fault(cut=50_000)]
    got(tmp_path, manifest)
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.start for r in replay.requests] == [None, 100_000, 150_000]
    assert sum(r.sent for r in replay.requests) == len(BODY)


def test_a_file_may_break_more_often_than_there_are_attempts_while_it_grows(replay, tmp_path):
    replay.faults["/a"] = [Fault(cut=20_000) for _ in range(10)]
    got(tmp_path, wanted(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_server_that_ignores_range_sends_everything_again(replay, tmp_path):
    replay.ranges = False
    replay.faults["/a"] = [Fault(cut=100_000)]
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
    replay.faults["/a"] = [Fault(429, {"Retry-After": after()})]  # seconds, or a date of whole seconds
    started = time.monotonic()
    got(tmp_path, wanted(replay, "a"))
    assert time.monotonic() - started > 0.35
    assert len(replay.requests) == 2


def test_a_server_that_asks_for_an_hour_is_not_waited_for(replay, tmp_path):
    replay.faults["/a"] = [Fault(429, {"Retry-After": "3600"})]
    with pytest.raises(FetchError, match=r"a \(.*HTTP 429 \(come back later\), asks to come back in 3600 s"):
        got(tmp_path, wanted(replay, "a"))


def test_a_500_passes_and_six_of_them_are_named(replay, tmp_path):
    replay.faults["/a"] = [Fault(500)]
    replay.faults["/b"] = [Fault(500)] * 9
    with pytest.raises(FetchError, match=r"1 of 2 file\(s\) did not come: b \(.*HTTP 500"):
        got(tmp_path, wanted(replay, "a", "b"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert len([r for r in replay.requests if r.path == "/b"]) == FAST_RETRY.attempts


def test_delays_double_and_chance_moves_them():
    with Session(RetryPolicy(delay=1.0, longest=60.0)) as session:
        wait = session.patient().wait
        waits = [[wait(SimpleNamespace(attempt_number=n, outcome=None)) for _ in range(20)] for n in (1, 2, 3, 9)]
    for drawn, least in zip(waits, (1, 2, 4, 60), strict=True):
        assert least <= min(drawn) <= max(drawn) <= least + 1
    assert len(set(waits[0])) > 1


@pytest.mark.parametrize("sent", [BODY[:-1] + b"?", BODY[: len(BODY) // 2]], ids=["wrong md5", "truncated"])
def test_other_bytes_are_fetched_again_once(replay, tmp_path, sent):
    replay.faults["/a"] = [Fault(content=sent)]
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
    replay.faults = {f"/{n}": [Fault(stall=1000)] for n in range(5)}
    manifest = wanted(replay, *map(str, range(5)))
    thread = threading.Thread(target=got, args=(tmp_path, manifest, replace(FAST_RETRY, connections=2)))
    thread.start()
    assert wait_until(lambda: len(replay.requests) >= 2)
    time.sleep(0.2)
    at_once = len(replay.requests)
    replay.release.set()
    thread.join(60)
    assert at_once == 2
    assert sum((tmp_path / str(n)).read_bytes() == BODY for n in range(5)) == 5
    assert DEFAULT_RETRY.connections == 4


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


# --------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("body", ['"an error message"', "5", '["message"]', "{}", "no JSON", '{"detail": null}'])
def test_an_archives_own_words_are_passed_on_only_if_there_are_some(body):
    assert said(httpx.Response(400, text=body)) == ""
    assert said(httpx.Response(400, text='{"errorMessage": "Unknown field"}')) == " (Unknown field)"
