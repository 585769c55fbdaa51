"""Test the HTML page of finished runs: one self-contained file, accessible by keyboard and screen reader."""

import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import matplotlib.image
import pytest

from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.report import pages
from cosmicgate.report.runs import find_runs, merge_runs
from helpers.result_rows import difference_entry, result_row, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# The browser only shows the page: no updates, no account, no name look-ups.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta"}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """Write the page of three runs: two seeds of a network, and an evaluation."""
    home = tmp_path_factory.mktemp("page")
    for seed in (0, 1):
        write_run(home / "runs" / f"att, seed={seed}", result_row(f"Att deepCR, seed {seed}"), seed=seed)
    gone = [{"detector": "maximask", "reason": "no <weights>"}]
    rows = [result_row(), result_row("deepCR"), result_row(test_set="decam_g", data_origin="real")]
    write_run(home / "runs" / "evaluation", *rows, differences=[difference_entry()], unavailable=gone)
    pages.main([str(home / "runs"), "-o", str(home / "out" / "report.html")])
    return home / "out" / "report.html"


class Structure(HTMLParser):
    """Parse the tags and the nesting of a page for checks of accessibility."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.parents: list[tuple[str, ...]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.parents.append(tuple(self.open))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else at {self.getpos()}")

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


@pytest.fixture(scope="module")
def structure(page) -> Structure:
    return Structure(page.read_text())


@pytest.mark.slow
def test_the_page_is_well_formed_with_landmarks_and_ordered_headings(structure):
    assert not structure.faults
    assert not structure.open
    assert structure.all("html")[0]["lang"] == "en"
    for landmark in ("header", "nav", "main", "footer", "title", "h1"):
        assert len(structure.all(landmark)) == 1, landmark
    first_link = structure.all("a")[0]
    assert first_link["href"] == f"#{structure.all('main')[0]['id']}", "the first link skips the table of contents"
    headings = [int(tag[1]) for tag, _ in structure.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings)), "no heading level is skipped"


def test_ids_are_unique_and_all_links_have_targets(structure, page):
    ids = [attributes["id"] for _, attributes in structure.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in structure.tags:
        assert attributes.get("aria-labelledby", ids[0]) in ids
    for link in structure.all("a"):
        if link["href"].startswith("#"):
            assert link["href"][1:] in ids
        else:
            assert (page.parent / unquote(link["href"])).is_file(), link["href"]
    assert len([link for link in structure.all("a") if link["href"].endswith("results.json")]) == 3


def test_every_figure_is_embedded_and_has_a_text_alternative(structure):
    pictures = structure.all("img")
    assert len(pictures) == 2 * 3 + 3 + 1, "curves by both conventions and recall of two sets, masks, training curves"
    for picture in pictures:
        assert len(picture["alt"]) > 40
        assert picture["src"].startswith("data:image/png;base64,")
    told = [picture["alt"] for picture in pictures]
    assert len(set(told)) == 2 * 3 + 1 + 1, "the three runs have one figure each, of the same name"
    assert "ROC and precision-recall curves, whole and zoomed, core truth: decam_g (real)." in told
    assert "Hits found, by length and brightness: decam (simulated)." in told
    assert any("by epoch of each training" in text for text in told)


def test_figures_of_errors_by_earlier_versions_are_found(tmp_path):
    report = write_run(tmp_path, result_row()) / "report"
    (run,) = find_runs([tmp_path])
    (report / "mistakes_decam_deepCR.png").touch()
    assert run.figures("errors") == [report / "mistakes_decam_deepCR.png"]
    (report / "errors_decam_deepCR.png").touch()
    assert run.figures("errors") == [report / "errors_decam_deepCR.png"]


def test_tables_have_captions_and_scopes_and_scroll_by_keyboard(structure):
    assert len(structure.all("caption")) == len(structure.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in structure.all("th"))
    rows = [at for at, (tag, _) in enumerate(structure.tags) if tag == "tr"]
    assert all(structure.tags[at + 1][0] == "th" for at in rows), "each row begins with its header"
    regions = [attributes for attributes in structure.all("div") if attributes.get("class") == "scroll"]
    assert len(regions) == len(structure.all("table"))
    assert all(r["role"] == "region" and r["tabindex"] == "0" and r["aria-labelledby"] for r in regions)


def test_the_page_has_the_colours_of_the_browsers_light_or_dark_mode(page):
    (style,) = re.findall(r"<style>(.+?)</style>", page.read_text(), re.S)
    assert "color-scheme: light dark" in style
    colours = re.findall(r"(?:color|background|border[\w-]*): [^;]*?(\w+);", style)
    assert set(colours) <= {"dark", "Canvas", "GrayText", "solid", "white", "collapse"}, "colours of the page's own"


def test_the_page_loads_no_resources_and_runs_no_scripts(structure, page):
    assert not structure.all("script", "iframe", "object", "embed", "video", "audio", "base")
    for _, attributes in structure.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not (attributes.get("src") or attributes.get("href") or "").startswith(("http", "//", "file"))
    text = page.read_text()
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text, "the policy forbids loading resources"


def test_text_of_runs_is_escaped(page):
    for text in ("title: &lt;deepCR &amp; friends&gt;", "- a &lt; b", "no &lt;weights&gt;"):
        assert text in page.read_text()


def test_different_rows_of_one_detector_are_distinguished_by_their_runs(tmp_path):
    for name, threshold in (("first", 0.25), ("second", 0.5), ("twin", 0.25)):
        write_run(tmp_path / name, result_row(threshold=threshold))

    def names(*runs):
        return list(titles(row["detector"] for row in merge_runs(find_runs(runs))["rows"]).values())

    assert names(tmp_path / "first", tmp_path / "twin") == ["Att Cosmic-CoNN"], "identical rows are merged"
    two = ["Att Cosmic-CoNN (first)", "Att Cosmic-CoNN (second)"]
    assert names(tmp_path / "first", tmp_path / "second" / "results.json") == two
    assert names(tmp_path) == two
    seeds = [result_row(f"Att Cosmic-CoNN, seed {seed}", threshold=seed) for seed in (0, 1)]
    for seed, row in enumerate(seeds):
        write_run(tmp_path / "sweep" / str(seed), row)
    write_run(tmp_path / "evaluation", *seeds)
    both = ["Att Cosmic-CoNN, seed 0", "Att Cosmic-CoNN, seed 1"]
    assert names(tmp_path / "sweep", tmp_path / "evaluation") == both, "the rows of the evaluation are the same"


@pytest.mark.slow
def test_an_evaluation_without_rows_is_shown_as_failed(tmp_path):
    write_run(tmp_path / "good", result_row())
    failed = [{"detector": DetectorRecord("LACosmic"), "test_set": "decam", "reason": "no ink"}]
    write_run(tmp_path / "bad", failed=failed)
    pages.main([str(tmp_path), "-o", str(tmp_path / "report.html")])
    assert "no ink" in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="bad: no run has a row"):
        find_runs([tmp_path / "bad"])


def test_a_folder_without_runs_is_refused_by_name(tmp_path):
    with pytest.raises(SystemExit, match=r"nothing: expected a finished run .* no results\.json"):
        pages.main([str(tmp_path / "nothing"), "-o", str(tmp_path / "report.html")])
    assert not (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs a Chromium (apt-get install chromium)")
def test_a_browser_shows_the_page_without_requests(page, tmp_path):
    shot, log = tmp_path / "shot.png", tmp_path / "net.json"
    own = (
        f"--user-data-dir={tmp_path}/profile",
        f"--screenshot={shot}",
        f"--log-net-log={log}",
        "--window-size=1200,2400",
    )
    command = [CHROMIUM, *FLAGS, *own, "--enable-logging=stderr", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert "Content Security Policy" not in done.stderr, "the page requested a resource"
    requests = [
        event["params"] for event in json.loads(log.read_text())["events"] if "initiator" in event.get("params", {})
    ]
    assert [p["url"] for p in requests if p["initiator"] != "not an origin"] == [], "requests of the page itself"
    picture = matplotlib.image.imread(shot)[..., :3]
    assert picture.shape[:2] == (2400, 1200)
    assert picture.std() > 0.02, "the page is not blank"
    assert (picture[:, -8:] > 0.95).all() or (picture[:, -8:] < 0.2).all(), "nothing overflows the right margin"
