"""Test that downloaded files are complete or named in an error, whatever fault the server has."""

import json
import shutil
import threading
import time
from dataclasses import replace
from email.utils import formatdate
from types import SimpleNamespace

import httpx
import pytest

from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy, Session
from cosmicgate.data.download.client import server_message as server_message
from cosmicgate.data.download.fetch import download_missing
from cosmicgate.data.download.manifest import BY_MD5, Manifest, RemoteFile, read_manifest
from helpers.archive_files import BODY, FAST_RETRY, wait_until
from helpers.replay_server import Fault, md5


def manifest_of(replay, *names, content=BODY):
    """Put files of ``content`` on the server; return their manifest."""
    for name in names:
        replay.files[f"/{name}"] = content
    files = tuple(RemoteFile(name, f"{replay.base}/{name}", len(content), md5(content)) for name in names)
    return Manifest("here", "nobody", "none", {}, "2026-01-01", files)


def download(root, manifest, retry=FAST_RETRY, **more):
    """Download the files of a manifest; return the completed manifest."""
    return download_missing(manifest, root, "test", retry, **more)


# ------------------------------------------------------------------------------------------------------- the transport


def test_a_download_resumes_where_the_connection_dropped(replay, tmp_path):
    manifest = manifest_of(replay, "a")
    replay.faults["/a"] = [Fault(cut=100_000), Fault(cut=50_000)]
    download(tmp_path, manifest)
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.start for r in replay.requests] == [None, 100_000, 150_000]
    assert sum(r.sent for r in replay.requests) == len(BODY)


def test_attempts_are_counted_again_after_each_progress(replay, tmp_path):
    replay.faults["/a"] = [Fault(cut=20_000) for _ in range(10)]
    download(tmp_path, manifest_of(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_server_without_range_requests_sends_the_whole_file_again(replay, tmp_path):
    replay.ranges = False
    replay.faults["/a"] = [Fault(cut=100_000)]
    download(tmp_path, manifest_of(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.sent for r in replay.requests] == [100_000, len(BODY)]


def test_a_partial_file_of_other_content_is_discarded(replay, tmp_path):
    (tmp_path / "a.partial").write_bytes(b"older" * 1000)
    download(tmp_path, manifest_of(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert [r.start for r in replay.requests] == [5000, None]


def test_a_complete_partial_file_is_not_downloaded_again(replay, tmp_path):
    (tmp_path / "a.partial").write_bytes(BODY)
    download(tmp_path, manifest_of(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert sum(r.sent for r in replay.requests) == 0


@pytest.mark.slow
@pytest.mark.parametrize("after", [lambda: "0.4", lambda: formatdate(time.time() + 2, usegmt=True)])
def test_a_429_waits_for_its_retry_after(replay, tmp_path, after):
    replay.faults["/a"] = [Fault(429, {"Retry-After": after()})]  # seconds, or a date of whole seconds
    started = time.monotonic()
    download(tmp_path, manifest_of(replay, "a"))
    assert time.monotonic() - started > 0.35
    assert len(replay.requests) == 2


def test_a_retry_after_of_an_hour_is_an_error(replay, tmp_path):
    replay.faults["/a"] = [Fault(429, {"Retry-After": "3600"})]
    with pytest.raises(FetchError, match=r"a \(.*HTTP 429 \(come back later\), asks to wait 3600 s"):
        download(tmp_path, manifest_of(replay, "a"))


def test_a_500_is_retried_and_too_many_are_an_error(replay, tmp_path):
    replay.faults["/a"] = [Fault(500)]
    replay.faults["/b"] = [Fault(500)] * 9
    with pytest.raises(FetchError, match=r"1 of 2 file\(s\) could not be downloaded: b \(.*HTTP 500"):
        download(tmp_path, manifest_of(replay, "a", "b"))
    assert (tmp_path / "a").read_bytes() == BODY
    assert len([r for r in replay.requests if r.path == "/b"]) == FAST_RETRY.attempts


def test_retry_delays_double_with_random_jitter():
    with Session(RetryPolicy(delay=1.0, max_delay=60.0)) as session:
        wait = session.retrying().wait
        waits = [[wait(SimpleNamespace(attempt_number=n, outcome=None)) for _ in range(20)] for n in (1, 2, 3, 9)]
    for drawn, least in zip(waits, (1, 2, 4, 60), strict=True):
        assert least <= min(drawn) <= max(drawn) <= least + 1
    assert len(set(waits[0])) > 1


@pytest.mark.parametrize("sent", [BODY[:-1] + b"?", BODY[: len(BODY) // 2]], ids=["wrong md5", "truncated"])
def test_a_file_with_a_wrong_checksum_is_downloaded_again_once(replay, tmp_path, sent):
    replay.faults["/a"] = [Fault(content=sent)]
    download(tmp_path, manifest_of(replay, "a"))
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("sent", [BODY[:-1] + b"?", BODY[: len(BODY) // 2]], ids=["wrong md5", "truncated"])
def test_a_file_that_stays_wrong_is_named_and_not_saved(replay, tmp_path, sent):
    manifest = manifest_of(replay, "a", "b")
    replay.files["/a"] = sent
    with pytest.raises(FetchError, match=rf"1 of 2 .*: a \(downloaded {len(sent)} bytes with MD5 {md5(sent)}.*resume$"):
        download(tmp_path, manifest)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", "b", "manifest-test.json"]


def test_a_missing_file_is_requested_once(replay, tmp_path):
    manifest = manifest_of(replay, "a", "b")
    del replay.files["/a"]
    with pytest.raises(FetchError, match=r"a \(.*HTTP 404 \(Not found\.\)"):
        download(tmp_path, manifest)
    assert [r.path for r in replay.requests].count("/a") == 1
    replay.files["/a"] = BODY
    download(tmp_path, manifest)
    assert [r.path for r in replay.requests].count("/b") == 1


def test_no_more_connections_than_configured(replay, tmp_path):
    replay.faults = {f"/{n}": [Fault(stall=1000)] for n in range(5)}
    manifest = manifest_of(replay, *map(str, range(5)))
    thread = threading.Thread(target=download, args=(tmp_path, manifest, replace(FAST_RETRY, connections=2)))
    thread.start()
    assert wait_until(lambda: len(replay.requests) >= 2)
    time.sleep(0.2)
    at_once = len(replay.requests)
    replay.release.set()
    thread.join(60)
    assert at_once == 2
    assert sum((tmp_path / str(n)).read_bytes() == BODY for n in range(5)) == 5
    assert DEFAULT_RETRY.connections == 4


def test_too_little_disk_space_is_an_error_before_the_download(replay, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=299_999))
    with pytest.raises(OSError, match=r"300kB are needed, 300kB are free"):
        download(tmp_path / "new" / "folder", manifest_of(replay, "a"))
    assert replay.requests == []
    (tmp_path / "a.partial").write_bytes(BODY[:1])  # bytes that are on disk already are not counted
    download(tmp_path, manifest_of(replay, "a"))


# -------------------------------------------------------------------------------------------------------- the manifest


def test_the_manifest_records_the_query_and_the_check_of_each_file(replay, tmp_path):
    download(tmp_path, manifest_of(replay, "a"))
    written = json.loads((tmp_path / "manifest-test.json").read_text())
    assert {k: written[k] for k in ("archive", "citation", "query", "date", "provenance")} == {
        **{"archive": "here", "citation": "nobody", "query": {}, "date": "2026-01-01", "provenance": "real"},
    }
    file = {"path": "a", "url": f"{replay.base}/a", "size": len(BODY), "md5": md5(BODY), "checked": BY_MD5}
    assert file.items() <= written["files"][0].items()


def test_a_second_run_requests_nothing_and_verify_replaces_changed_files(replay, tmp_path):
    manifest = download(tmp_path, manifest_of(replay, "a", "b"))
    replay.requests.clear()
    download(tmp_path, manifest)
    assert replay.requests == []
    (tmp_path / "a").write_bytes(BODY[:-1] + b"?")  # of the same size
    download(tmp_path, manifest)
    assert replay.requests == []
    download(tmp_path, manifest, verify=True)
    assert [r.path for r in replay.requests] == ["/a"]
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_file_that_was_copied_by_hand_is_checked_instead_of_downloaded(replay, tmp_path):
    (tmp_path / "a").write_bytes(BODY)
    (tmp_path / "b").write_bytes(b"something else")
    download(tmp_path, manifest_of(replay, "a", "b"))
    assert [r.path for r in replay.requests] == ["/b"]


def test_an_invalid_manifest_is_refused_by_name(tmp_path):
    (tmp_path / "m.json").write_text('{"files": [{"path": "../../etc/passwd", "unpacked": []}]}')
    with pytest.raises(ValueError, match=r"m\.json is not a manifest \(unsafe file name '\.\./\.\./etc/passwd'"):
        read_manifest(tmp_path / "m.json")


# --------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("body", ['"an error message"', "5", '["message"]', "{}", "no JSON", '{"detail": null}'])
def test_the_error_message_of_an_archive_is_quoted_if_it_has_one(body):
    assert server_message(httpx.Response(400, text=body)) == ""
    assert server_message(httpx.Response(400, text='{"errorMessage": "Unknown field"}')) == " (Unknown field)"
