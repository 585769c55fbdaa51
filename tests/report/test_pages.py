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
from matplotlib.figure import Figure

from cosmicgate.evaluation.records import titles
from cosmicgate.report import pages, tables
from cosmicgate.report.runs import find_runs, together
from helpers.result_rows import SCORES, difference_entry, result_row, write_run

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
    better = SCORES | {"f1": 0.99, "fdr": 0.01}
    for seed in (0, 1):
        write_run(
            home / "runs" / f"att, seed={seed}",
            result_row("Att deepCR", dilated=better, threshold=0.5 + seed),
            seed=seed,
        )
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


def test_every_picture_is_embedded_and_has_a_text_alternative(structure):
    pictures = structure.all("img")
    assert len(pictures) == 2 * 3 + 3 + 1, "curves by both conventions and recall of two sets, masks, training curves"
    for picture in pictures:
        assert len(picture["alt"]) > 40
        assert picture["src"].startswith("data:image/png;base64,")
    assert len({picture["alt"] for picture in pictures}) >= 8
    (roc,) = [
        p["alt"]
        for p in pictures
        if p["alt"].startswith("Four panels") and "decam (sim" in p["alt"] and "ring are" in p["alt"]
    ]
    assert "Att deepCR, seed 0 97.7 %" in roc
    (trainings,) = [p["alt"] for p in pictures if "training" in p["alt"]]
    assert "att, seed=1 0.2 in epoch 1" in trainings


def test_tables_have_captions_and_scopes_and_scroll_by_keyboard(structure):
    assert len(structure.all("caption")) == len(structure.all("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in structure.all("th"))
    rows = [at for at, (tag, _) in enumerate(structure.tags) if tag == "tr"]
    assert all(structure.tags[at + 1][0] == "th" for at in rows), "each row begins with its header"
    regions = [attributes for attributes in structure.all("div") if attributes.get("class") == "scroll"]
    assert len(regions) == len(structure.all("table"))
    assert all(r["role"] == "region" and r["tabindex"] == "0" and r["aria-labelledby"] for r in regions)


def test_text_and_focus_have_enough_contrast_in_both_themes(page):
    themes = re.findall(r":root { ([^}]+) }", page.read_text())
    assert len(themes) == 2
    for theme in themes:
        light = {}
        for name, value in re.findall(r"--(\w+): #(\w{6})", theme):
            parts = [int(value[at : at + 2], 16) / 255 for at in (0, 2, 4)]
            linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
            light[name] = 0.05 + 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
        for name in ("ink", "quiet", "link", "focus"):
            low, high = sorted((light[name], light["paper"]))
            assert high / low > 4.5, f"WCAG requires a contrast of 4.5, {name} has {high / low:.1f}"


def test_the_page_loads_no_resources_and_runs_no_scripts(structure, page):
    assert not structure.all("script", "iframe", "object", "embed", "video", "audio", "base")
    for _, attributes in structure.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert not (attributes.get("src") or attributes.get("href") or "").startswith(("http", "//", "file"))
    text = page.read_text()
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text, "the policy forbids loading resources"


def test_telescope_classes_share_a_table_and_detectors_keep_their_colours(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "cosmicgate.report.figures.curves.recall_figure",
        lambda members, looks: drawn.append(list(looks.values())) or Figure(),
    )
    silent = result_row("deepCR", test_set="lco_1m0", per_hit={"recall": 1.0, "false_per_megapixel": 0.0})
    write_run(tmp_path / "lco", silent, result_row(test_set="lco_0m4"), result_row(test_set="lco_1m0"))
    pages.main([str(tmp_path / "lco"), "-o", str(tmp_path / "report.html")])
    assert "By class of telescope: lco (simulated)" in (tmp_path / "report.html").read_text()
    assert drawn == [[("deepCR", 0), ("Att Cosmic-CoNN", 1)]] * 2, "the colours of the curves"


def test_text_of_runs_is_escaped(page):
    for text in ("title: &lt;deepCR &amp; friends&gt;", "- a &lt; b", "no &lt;weights&gt;"):
        assert text in page.read_text()


def test_the_best_value_is_marked_and_published_values_are_not_compared():
    rows = [
        result_row("deepCR"),
        result_row("Att deepCR", dilated=SCORES | {"f1": 0.98, "fdr": 0.01}),
        result_row("No F1"),
    ]
    rows[2] |= {"dilated": SCORES | {"f1": None, "fdr": 0.5}}
    table = tables.tables_of(rows, "dilated")[1]
    assert table.heads[3:5] == ["F1", "F1, published"]
    assert [line[3].best for line in table.lines] == [False, True, False]
    assert [line[table.heads.index("FDR")].best for line in table.lines] == [False, True, False]
    assert all(isinstance(line[column], str) for line in table.lines for column in (2, 4)), (
        "names and published values are not compared"
    )
    one = tables.tables_of(rows[:1], "dilated")[0]
    assert not any(cell.best for cell in one.lines[0] if isinstance(cell, tables.Cell)), "a single row is not compared"
    assert (one.lines[0][2].text, one.lines[0][2].note) == ("97.69", "[97.00, 98.00]")


def test_a_mean_of_seeds_on_one_frame_is_shown_without_an_interval():
    spread = {"dilated": {key: [0.97, 0.98] for key in SCORES}}
    rows = [
        result_row("deepCR, mean of 2 seeds", spread=spread, intervals={"dilated": {}, "draws": 0}),
        result_row("Att deepCR"),
    ]
    found = tables.tables_of(rows, "dilated")[0].lines[0][2]
    assert found.text == "97.69"
    assert found.note == "(seeds 97.00 to 98.00)"


def test_rows_of_one_name_are_distinguished_by_seed_or_run(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path / f"run-{seed}", result_row(threshold=seed), seed=seed)
    write_run(tmp_path / "twin", result_row(threshold=0))

    def names(paths):
        return list(titles(row["detector"] for row in together(find_runs(paths))["rows"]).values())

    both = [tmp_path / "run-0", tmp_path / "run-1"]
    assert names(both) == ["Att Cosmic-CoNN, seed 0", "Att Cosmic-CoNN, seed 1"]
    assert names([both[0], tmp_path / "twin"]) == ["Att Cosmic-CoNN"], "identical rows are merged"
    rows = [result_row(f"Att Cosmic-CoNN, seed {seed}", threshold=seed) for seed in (0, 1)]
    write_run(tmp_path / "evaluation", *rows)
    assert names([*both, tmp_path / "evaluation"]) == names(both), "the rows of the evaluation are the same"
    write_run(tmp_path / "tiled", result_row(threshold=0.25))
    facts = {"command": ["evaluate.py"], "seed": 0, "config": {"group": "evaluation"}}
    (tmp_path / "tiled" / "provenance.json").write_text(json.dumps(facts))
    one = [both[1], tmp_path / "tiled"]
    assert names(one) == ["Att Cosmic-CoNN (run-1)", "Att Cosmic-CoNN (tiled)"], (
        "the seed of an evaluation does not count"
    )
    write_run(tmp_path / "other", result_row(threshold=3))
    assert names([both[0], tmp_path / "other" / "results.json"]) == [
        "Att Cosmic-CoNN (run-0)",
        "Att Cosmic-CoNN (other)",
    ]


def test_an_evaluation_without_rows_is_named_and_left_out(tmp_path, caplog):
    write_run(tmp_path / "good", result_row())
    (tmp_path / "bad").mkdir()
    failed = [{"detector": "a", "test_set": "b", "reason": "c"}]
    (tmp_path / "bad" / "results.json").write_text(json.dumps({"rows": [], "failed": failed}))
    assert [run.folder.name for run in find_runs([tmp_path])] == ["good"]
    assert f"left out: {tmp_path}/bad/results.json: all of its 1 row(s) failed" in caplog.text


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
