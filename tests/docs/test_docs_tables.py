"""Test that the tables of the documentation show the committed results, and that quoted scores are in a table."""

import importlib.util
import re

import pytest

from cosmicgate.report.tables import differences_csv, scores_csv
from helpers.repository import ROOT
from helpers.result_rows import difference_entry, result_row

DOCS = ROOT / "docs"
INTERVAL = re.compile(r"[+-]?[\d.]+ \[[+-]?[\d.]+, [+-]?[\d.]+\]")

spec = importlib.util.spec_from_file_location("tables_of_the_documentation", DOCS / "tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)
PAGES = [page for page in sorted(DOCS.glob("*.md")) if tables.MARKED.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_current(page):
    assert tables.updated(page.read_text()) == page.read_text(), "run make docs-tables"


def test_every_results_file_is_shown():
    shown = {found["file"] for page in PAGES for found in tables.MARKED.finditer(page.read_text())}
    assert shown == {path.name for path in (DOCS / "results").iterdir()}


@pytest.mark.parametrize("name", ["README.md", "docs/results.md", "docs/training-budget.md"])
def test_every_quoted_score_with_its_interval_is_in_a_table(name):
    shown = "".join(found[0] for page in PAGES for found in tables.MARKED.finditer(page.read_text()))
    text = tables.MARKED.sub("", (ROOT / name).read_text())
    quoted = set(INTERVAL.findall(text))
    assert quoted, "no score is quoted"
    assert quoted <= set(INTERVAL.findall(shown))


def test_a_new_results_file_replaces_the_table(tmp_path, monkeypatch):
    head = (
        "test_set,provenance,frames,pixels,hits,detector,trained_on,threshold,convention,score,value,low,high,published"
    )
    lines = [
        "decam,real,2,3000000,7,New,somewhere,0.5,dilated,tpr_at_fpr_0.01pct,0.5,0.25,0.75,",
        "decam,real,2,3000000,7,New,somewhere,0.5,core,tpr_at_fpr_0.01pct,,,,",
        "decam,real,2,3000000,7,Old,,,per_hit,recall,1.0,,,",
    ]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text("\n".join([head, *lines]) + "\n")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    page = tables.updated("Before\n\n<!-- scores: new.csv -->\nold\n<!-- end -->\n\nAfter\n")
    assert "old" not in page
    assert "**decam**, real: 2 frames, 3.0 megapixels, 7 hits." in page
    assert "| New | 50.0 [25.0, 75.0] | — | — | — | — | — | somewhere |" in page
    assert "| Old | — | — | — | — | 100.0 | — | — |" in page
    assert tables.updated(page) == page


def test_the_csv_files_of_a_report_can_be_shown_as_tables(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text(scores_csv([result_row()]))
    (tmp_path / "results" / "new_differences.csv").write_text(differences_csv([difference_entry()]))
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    kinds = {"scores": "new.csv", "hits": "new.csv", "differences": "new_differences.csv"}
    page = tables.updated("".join(f"<!-- {kind}: {file} -->\n<!-- end -->\n" for kind, file in kinds.items()))
    assert "| Att Cosmic-CoNN | 97.7 [97.0, 98.0] |" in page
    assert "| Detector | 1-2 px (%) | ≥3 px (%) |" in page
    assert re.search(r"^\| \S.* - \S.* \| decam \| \+", page, re.M)
