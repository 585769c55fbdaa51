"""Test the Markdown and CSV tables of results: grouping, units, published values, differences."""

import csv

import pytest

from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.report import tables
from cosmicgate.report.results import by_test_set
from helpers.repository import ROOT
from helpers.result_rows import SCORES, difference_entry, result_row

COSMIC_CONN = {"a": "Att Cosmic-CoNN", "b": "Cosmic-CoNN"}


def test_each_test_set_and_data_origin_has_tables_of_its_own():
    rows = [
        result_row(),
        result_row(data_origin="real"),
        result_row(test_set="lco_0m4"),
        result_row("deepCR"),
        result_row("Old", frames=7),
    ]
    made = tables.tables_of(rows, "dilated")
    assert [table.title.partition(". ")[0] for table in made] == ["Table 1", "Table 2"] * 4
    for table, about, lines in zip(
        made[::2],
        [
            "decam (simulated): 8 frames, 2,097,152 pixels, 321 hits.",
            "decam (real): 8 frames, 2,097,152 pixels, 321 hits.",
            "lco_0m4 (simulated): 8 frames, 2,097,152 pixels, 321 hits.",
            "decam (simulated): 7 frames, 2,097,152 pixels, 321 hits.",
        ],
        [2, 1, 1, 1],
        strict=True,
    ):
        assert tables.markdown(table).splitlines()[2].startswith(about)
        assert len(table.lines) == lines
    assert len(tables.hit_tables(rows)) == 4


def first_line(table):
    """Return the cells of the first line of a table by column."""
    return dict(zip(table.heads, texts(table.lines[0]), strict=True))


def texts(line):
    return [str(cell) for cell in line]


def test_tables_have_the_papers_units_published_values_and_a_dash_for_null():
    one, two = tables.tables_of([result_row()], "dilated")
    assert one.lines[0][:2] == ["Att Cosmic-CoNN", "decam, simulated"]
    assert texts(one.lines[0])[2:8] == ["97.69 [97.00, 98.00]", "97.69", "99.60", "99.60", "—", "98.99"]
    assert texts(one.lines[0])[8:] == ["0.9999", "0.9900"]
    assert texts(two.lines[0])[2:] == ["0.5", "0.9749", "0.9749", "0.9511", "0.9511", "0.0246", "0.0246"]
    assert "not the same frames" in one.caption
    assert "bootstrap over 8 frames, 1,000 draws; with so few" in one.caption
    core = tables.tables_of([result_row(trained_on=None, threshold=None)], "core")[1]
    assert texts(core.lines[0]) == ["Att Cosmic-CoNN", "—", "—", "0.5000", "0.9511", "0.0246"]
    assert "ublished" not in core.caption, "the paper has one convention"
    assert "need several frames" in tables.tables_of([result_row(intervals={})], "core")[0].caption
    (hits,) = tables.hit_tables([result_row()])
    assert first_line(hits)["Hits found (%)"] == "98.00"
    assert first_line(hits)["1-2 px, of 40"] == "75.0"
    assert first_line(hits)["≥3 px, of 0"] == "—"


@pytest.mark.parametrize(
    ("detector", "test_set", "f1"),
    [
        ("deepCR", "decam", 0.9711),
        ("deepCR (released)", "decam_semireal", 0.9711),
        ("deepCR, seed 1", "lco_0m4", 0.6452),
        ("Cosmic-CoNN (pre-trained on LCO)", "decam", 0.9574),
        ("Cosmic-CoNN (pre-trained on LCO)", "lco_0m4", None),
        ("Astro-SCRAPPY (fair)", "decam", None),
        ("Astro-SCRAPPY (as published)", "decam", 0.9011),
        ("deepCR", "cutouts", None),
    ],
)
def test_published_values_are_shown_for_their_own_detector_and_data(detector, test_set, f1):
    assert tables.published(result_row(detector, test_set)).get("f1") == f1


def test_published_values_are_not_shown_for_a_users_files():
    assert tables.published(result_row("deepCR", "decam", "semi-real", benchmark="")) == {}
    assert tables.published(result_row("deepCR", "lco_0m4", "real", benchmark="")) == {}
    old = result_row("deepCR", "decam", "semi-real")
    del old["benchmark"]
    assert tables.published(old) == {}, "a row without the field"


def test_the_csv_has_all_scores_of_both_conventions_at_full_precision():
    lines = list(csv.DictReader(tables.scores_csv([result_row(), result_row("deepCR")]).splitlines()))
    assert len(lines) == 2 * (8 + 8 + 2 + 2 + 1)
    value = {(line["model"], line["convention"], line["score"]): line for line in lines}
    assert value["deepCR", "dilated", "f1"]["value"] == "0.97494"
    assert value["deepCR", "dilated", "f1"]["published"] == "0.9711"
    assert value["deepCR", "dilated", "tpr_at_fpr_0.1pct"]["published"] == "0.996"
    tpr = value["deepCR", "dilated", "tpr_at_fpr_0.01pct"]
    assert (tpr["low"], tpr["high"]) == ("0.97", "0.98")
    assert value["deepCR", "core", "f1"]["value"] == "0.5"
    assert value["deepCR", "core", "f1"]["published"] == ""
    assert value["deepCR", "core", "precision_at_tpr_95pct"]["value"] == ""
    assert value["deepCR", "per_hit", "recall"]["value"] == "0.98"
    assert value["deepCR", "per_hit", "recall, length 1-2 px"]["value"] == "0.75"
    assert value["deepCR", "per_hit", "recall, peak SNR <5"]["value"] == "0.75"


def test_differences_have_tables_of_their_own():
    other = difference_entry(**{k: DetectorRecord(m, trained_on="decam, simulated") for k, m in COSMIC_CONN.items()})
    dilated, core, real, _ = tables.difference_tables([difference_entry(), other, difference_entry(data_origin="real")])
    assert dilated.heads[1:] == [
        "Att deepCR - deepCR (trained on decam, simulated)",
        "Att Cosmic-CoNN - Cosmic-CoNN (trained on decam, simulated)",
    ]
    assert texts(dilated.lines[0]) == ["TPR at FPR 0.01 % (%)", *["+1.25 [-0.10, +2.00], 97 %"] * 2]
    assert ["F1", *["+0.0125 [-0.0010, +0.0200], 97 %"] * 2] in [texts(line) for line in core.lines]
    assert "(real)" in real.title
    nothing = {"difference": None, "interval": None, "above_zero": None}
    entry = difference_entry(core=dict.fromkeys(SCORES, nothing))
    assert str(tables.difference_tables([entry])[1].lines[0][1]) == "—"
    assert len(tables.differences_csv([entry]).splitlines()) == 1 + 8 + 8 + 2


def test_a_mean_of_seeds_shows_the_lowest_and_the_highest():
    row = result_row("deepCR, mean of 2 seeds", spread={"dilated": {"f1": [0.9, 0.95]}})
    _, two = tables.tables_of([row], "dilated")
    assert first_line(two)["F1"].endswith("(seeds 0.9000 to 0.9500)")
    assert "Student's t" in two.caption
    assert "seeds" not in first_line(tables.tables_of([result_row()], "dilated")[1])["F1"]


def test_scores_are_read_exactly_from_a_csv(tmp_path):
    rows = [result_row(DetectorRecord("deepCR", "released", weights="ab12")), result_row("Att deepCR, seed 1")]
    (tmp_path / "tables.csv").write_text(tables.scores_csv([*rows, result_row(test_set="cutouts")]))
    found = tables.read_scores(tmp_path / "tables.csv")
    assert [row["detector"] for row in found[:2]] == [row["detector"] for row in rows]
    assert found[0]["dilated"] == rows[0]["dilated"]


RESULTS = [p for p in sorted((ROOT / "docs" / "results").glob("*.csv")) if not p.stem.endswith("_differences")]


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.name)
def test_all_results_of_the_documentation_can_be_read(path):
    for members in by_test_set(tables.read_scores(path)):
        assert len(titles(row["detector"] for row in members)) == len(members)
        assert all({"dilated", "core", "per_hit"} <= row.keys() for row in members)
