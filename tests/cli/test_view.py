"""The command shows the given files, says why it cannot, and writes a page without a server."""

import errno
import json
import os
import re
import signal
import urllib.error
import urllib.request

import numpy as np
import pytest
from astropy.io import fits

import cosmicgate
from helpers.full_disk import full_disk
from helpers.mask_command import output_text, run, start_process
from helpers.repository import ROOT
from helpers.tiny_model import sky
from helpers.viewer import served, write_sky

SHAPE = (64, 80)


@pytest.fixture
def frame(tmp_path):
    return write_sky(tmp_path / "a.fits", sky(SHAPE))


def content_of(path):
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', path.read_text(), re.S)
    return json.loads(found[1])


@pytest.mark.slow
def test_the_printed_address_shows_the_file_and_no_other_address_does(frame, model):
    with served(frame, "-m", model) as address:
        with urllib.request.urlopen(address + "api") as answer:
            assert json.load(answer)["images"][0]["file"] == "a.fits"
        for wrong in (address[:-2] + "/", address.partition("127.0.0.1")[0] + "127.0.0.1:" + address.split(":")[2][:6]):
            with pytest.raises(urllib.error.HTTPError, match="403"):
                urllib.request.urlopen(wrong.rstrip("/") + "/")
        request = urllib.request.Request(address, headers={"Host": "example.org"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request)


@pytest.mark.slow
def test_ctrl_c_stops_the_server_without_a_traceback(frame):
    process = start_process("view", frame, "--blind", "--no-browser")
    assert process.stdout.readline().startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode in (0, 130)
    assert "Traceback" not in errors


def test_a_page_is_written_with_saved_settings_of_the_mask(frame, model, tmp_path):
    assert run("mask", frame, "-m", model, "--threshold", 0.9, "--grow", 1).exit_code == 0
    done = run("view", frame, "-m", model, "--html", tmp_path / "out.html")
    assert done.exit_code == 0, done.output
    assert "out.html: 1 image(s)" in done.output
    content = content_of(tmp_path / "out.html")
    assert (content["details"][0]["threshold"], content["details"][0]["grow"]) == (0.9, 1)
    assert str(tmp_path) not in (tmp_path / "out.html").read_text(), "the folder of the file is left out"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["missing.fits"], 1, "no such FITS file: missing.fits"),
        (["{frame}", "{frame}"], 2, "is given twice"),
        (["{frame}", "night/a.fits", "-o", "all"], 1, "a.fits have the same file of labels, all/a_truth.fits.fz"),
        (["{frame}", "-m", "nothing"], 2, "no network 'nothing'"),
        (["{frame}", "--ext", "SCI"], 1, "there is no image 'SCI' among its HDUs (0 PRIMARY)"),
        (["{frame}", "--blind", "--html", "out.html"], 2, "leave out --blind"),
        (["{table}"], 1, "expected an image of two dimensions, found none"),
        (["{empty}"], 1, "e.fits: not a complete FITS file (it is empty)"),
        (["{text}"], 1, "x.fits: not a complete FITS file (it does not begin with SIMPLE, as FITS does)"),
        (["{truncated}"], 1, "r.fits: not a complete FITS file (11840 bytes of HDU 0 are missing)"),
        (["{cube}"], 1, "c.fits: expected an image of two dimensions, found 5 x 64 x 80"),
        (["{rgb}"], 1, "g.fits: expected an image of two dimensions, found 64 x 80 x 3"),
        (["{spectrum}"], 1, "s.fits: expected an image of two dimensions, found 80"),
        (["{folder}"], 1, " is a folder"),
        (["{frame}", "{text}"], 1, "x.fits: not a complete FITS file"),
        (["{small}", "--html", "out.html"], 1, "m.fits: "),
        (["{blank}", "--html", "out.html"], 1, "b.fits: "),
        (["{frame}", "--html", "{folder}"], 1, "Is a directory"),
        (["{large}", "--html", "out.html"], 1, "too large for a page in one file (25 megapixels, expected at most 20)"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_a_sentence(frame, model, tmp_path, monkeypatch, words, code, message):
    monkeypatch.chdir(tmp_path)
    fits.BinTableHDU.from_columns([]).writeto(tmp_path / "t.fits")
    if "{large}" in words:
        fits.writeto(tmp_path / "large.fits", np.zeros((5000, 5000), np.uint8))
    for letter, shape in {"c": (5, 64, 80), "g": (64, 80, 3), "s": (80,), "m": (4, 4)}.items():
        fits.writeto(tmp_path / f"{letter}.fits", np.zeros(shape, np.float32))
    fits.writeto(tmp_path / "b.fits", np.full(SHAPE, np.nan, np.float32))
    for letter, content in {"e": b"", "x": b"no FITS", "r": frame.read_bytes()[:11520]}.items():
        (tmp_path / f"{letter}.fits").write_bytes(content)
    (tmp_path / "night").mkdir()
    names = {"frame": frame, "table": "t.fits", "large": "large.fits", "folder": "night", "empty": "e.fits"}
    names |= {"text": "x.fits", "truncated": "r.fits", "cube": "c.fits", "rgb": "g.fits", "spectrum": "s.fits"}
    words = [word.format(**names, small="m.fits", blank="b.fits") for word in words]
    done = run("view", *words, "--no-browser", *([] if "-m" in words else ["-m", model]))
    assert done.exit_code == code
    assert message in output_text(done)
    assert "Traceback" not in done.output
    assert isinstance(done.exception, SystemExit)
    assert not (tmp_path / "out.html").exists()


def test_a_full_disk_is_reported_and_leaves_no_partial_page(frame, model, tmp_path):
    with full_disk(5000):
        done = run("view", frame, "-m", model, "--html", tmp_path / "out" / "a.html")
    assert done.exit_code == 1
    assert os.strerror(errno.EFBIG) in done.output
    assert "a.html" in done.output
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(frame):
    with served(frame, "--blind") as address:
        port = address.split(":")[2].split("/")[0]
        done = run("view", frame, "--blind", "--no-browser", "--port", port)
    assert done.exit_code == 1
    assert f"port {port} of 127.0.0.1 cannot be used" in done.output


def test_the_code_of_the_page_view_md_runs(frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "view.md").read_text(), re.S)
    image = np.random.default_rng(0).normal(1000, 30, (64, 64)).astype(np.float32)
    exec(compile(code, "view.md", "exec"), {"image": image, "cosmicgate": cosmicgate})
    assert content_of(tmp_path / "hits.html")["images"][0]["shape"] == [64, 64]
