"""Test the Markdown and CSV tables of results: grouping, units, published values, differences."""

import csv
from pathlib import Path

import pytest

from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.report.results import LISTS
from cosmicgate.report.runs import Run, find_runs, merge_runs
from cosmicgate.report.tables.cells import markdown, published
from cosmicgate.report.tables.export import differences_csv, scores_csv
from cosmicgate.report.tables.paper import difference_tables, hit_table, score_tables
from cosmicgate.report.write_report import chapters_of, markdown_of
from helpers.result_rows import SCORES, difference_entry, result_row, write_run

COSMIC_CONN = {"a": "Att Cosmic-CoNN", "b": "Cosmic-CoNN"}


def test_each_test_set_and_data_origin_has_tables_of_its_own():
    rows = [
        result_row(),
        result_row(data_origin="real"),
        result_row(test_set="lco_0m4"),
        result_row("deepCR"),
        result_row("Old", frames=7),
    ]
    content = merge_runs([Run(Path(), "a", {name: [] for name in LISTS} | {"rows": rows})])
    chapters = chapters_of(content)
    assert [(chapter.title, chapter.about) for chapter in chapters] == [
        ("decam (simulated)", "decam (simulated): 8 frames, 2,097,152 pixels, 321 hits"),
        ("decam (real)", "decam (real): 8 frames, 2,097,152 pixels, 321 hits"),
        ("lco_0m4 (simulated)", "lco_0m4 (simulated): 8 frames, 2,097,152 pixels, 321 hits"),
        ("decam (simulated)", "decam (simulated): 7 frames, 2,097,152 pixels, 321 hits"),
    ]
    for chapter, lines in zip(chapters, [2, 1, 1, 1], strict=True):
        assert [section.title for section in chapter.sections] == ["Dilated truth", "Core truth", "Hits"]
        tables = [table for section in chapter.sections for table in section.tables]
        assert [table.title.partition(". ")[0] for table in tables[:4]] == ["Table 1", "Table 2"] * 2
        assert {len(table.lines) for table in tables} == {lines}
        assert all(chapter.title in table.title and markdown(table) in markdown_of(chapter) for table in tables)


def test_failed_and_unavailable_detectors_have_a_table():
    content = {name: [] for name in LISTS} | {"unavailable": [{"detector": "maximask", "reason": "no weights"}]}
    content["failed"] = [{"test_set": "decam", "detector": DetectorRecord("LACosmic"), "reason": "no ink"}]
    (chapter,) = chapters_of(content)
    assert "| LACosmic | decam | no ink |\n| maximask | every | no weights |\n" in markdown_of(chapter)


def shown(table):
    """The first line's cells by their head."""
    return dict(zip(table.heads, table.lines[0], strict=True))


def test_tables_have_the_papers_units_published_values_and_a_dash_for_null():
    one, two = score_tables([result_row()], "dilated")
    assert one.lines[0][:2] == ["Att Cosmic-CoNN", "decam, simulated"]
    assert one.lines[0][2:8] == ["97.69 [97.00, 98.00]", "97.69", "99.60", "99.60", "—", "98.99"]
    assert one.lines[0][8:] == ["0.9999", "0.9900", "90.12"]
    assert two.lines[0][2:] == ["0.5", "0.9749", "0.9749", "0.9511", "0.9511", "0.0246", "0.0246"]
    assert two.heads[3:5] == ["F1", "F1, published"]
    assert "not the same frames" in one.caption
    assert "bootstrap over 8 frames, 1,000 samples; with so few" in one.caption
    core = score_tables([result_row(trained_on=None, threshold=None)], "core")[1]
    assert core.lines[0] == ["Att Cosmic-CoNN", "—", "—", "0.5000", "0.9511", "0.0246"]
    assert "ublished" not in core.caption, "the paper has one convention"
    assert "need several frames" in score_tables([result_row(intervals={})], "core")[0].caption
    silent = result_row("deepCR", per_hit={"recall": 1.0, "false_per_megapixel": 0.0})
    hits = hit_table([result_row(), silent])
    assert shown(hits)["Hits found (%)"] == "98.00"
    assert shown(hits)["1-2 px, of 40"] == "75.0"
    assert shown(hits)["≥3 px, of 0"] == "—"
    assert hits.lines[1] == ["deepCR", "decam, simulated", "100.00", "0.00", "—", "—", "—", "—"]


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
        ("deepCR (the paper's recipe)", "decam", 0.9711),  # experiment=paper
        ("deepCR", "cutouts", None),
    ],
)
def test_published_values_are_shown_for_their_own_detector_and_data(detector, test_set, f1):
    assert published(result_row(detector, test_set)).get("f1") == f1


def test_published_values_are_not_shown_for_a_users_files():
    assert published(result_row("deepCR", "decam", "semi-real", benchmark="")) == {}
    assert published(result_row("deepCR", "lco_0m4", "real", benchmark="")) == {}
    old = result_row("deepCR", "decam", "semi-real")
    del old["benchmark"]
    assert published(old) == {}, "a row without the field"


def test_the_csv_has_all_scores_of_both_conventions_at_full_precision():
    lines = list(csv.DictReader(scores_csv([result_row(), result_row("deepCR")]).splitlines()))
    assert len(lines) == 2 * (9 + 9 + 8 + 2 + 1)
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


def test_scores_that_a_file_of_an_earlier_version_lacks_have_a_dash_or_no_column():
    old, entry = result_row("Old"), difference_entry()
    for part, score in (("dilated", "tpr_at_fpr_0.001pct"), ("per_hit", "recall_at_1_false")):
        old[part] = {key: value for key, value in old[part].items() if key != score}
        entry[part] = {key: value for key, value in entry[part].items() if key != score}
    assert shown(score_tables([old, result_row()], "dilated")[0])["TPR at FPR 0.001 % (%)"] == "—"
    assert shown(hit_table([old, result_row()]))["Hits found at 1 false per megapixel (%)"] == "—"
    assert "Hits found at 1 false per megapixel (%)" not in hit_table([old]).heads
    heads = [line[0] for line in difference_tables([entry])[0].lines]
    assert "Hits found at 10 false per megapixel (%)" in heads
    assert "Hits found at 1 false per megapixel (%)" not in heads


def test_differences_have_tables_of_their_own():
    other = difference_entry(**{k: DetectorRecord(m, trained_on="decam, simulated") for k, m in COSMIC_CONN.items()})
    dilated, core = difference_tables([difference_entry(), other])
    assert dilated.heads[1:] == [
        "Att deepCR - deepCR (trained on decam, simulated)",
        "Att Cosmic-CoNN - Cosmic-CoNN (trained on decam, simulated)",
    ]
    assert dilated.lines[0] == ["TPR at FPR 0.01 % (%)", *["+1.25 [-0.10, +2.00] (97 %)"] * 2]
    assert ["F1", *["+0.0125 [-0.0010, +0.0200] (97 %)"] * 2] in core.lines
    nothing = {"difference": None, "interval": None, "above_zero": None}
    entry = difference_entry(core=dict.fromkeys(SCORES, nothing))
    assert difference_tables([entry])[1].lines[0][1] == "—"
    assert difference_tables([]) == []
    assert len(differences_csv([entry]).splitlines()) == 1 + 9 + 9 + 8


def test_differences_are_in_the_chapter_of_their_test_set():
    rows, differences = [result_row(), result_row(data_origin="real")], [difference_entry(data_origin="real")]
    content = {name: [] for name in LISTS} | {"rows": rows, "differences": differences}
    simulated, real = chapters_of(content)
    assert [section.title for section in real.sections if "Differences" in section.title] == ["Differences"]
    assert "Differences" not in [section.title for section in simulated.sections]


def test_differences_on_other_hits_of_one_test_set_are_in_chapters_of_their_own(tmp_path):
    runs = []
    for name, hits, gain in (("a", 1065, 0.1), ("b", 1021, -0.05)):
        entry = difference_entry(pixels=2097152, hits=hits)
        entry["core"] = {key: one | {"difference": gain} for key, one in entry["core"].items()}
        records = [result_row(entry[side], hits=hits) for side in "ab"]
        runs.append(write_run(tmp_path / name, *records, differences=[entry]))
    chapters = chapters_of(merge_runs(find_runs(runs)))
    shown = [[s.tables for s in chapter.sections if s.title == "Differences"] for chapter in chapters]
    assert [any("+0.1000" in str(one) for one in tables) for tables in shown] == [True, False]
    assert [any("-0.0500" in str(one) for one in tables) for tables in shown] == [False, True]


def test_differences_of_rows_that_differ_name_their_runs(tmp_path):
    runs = [
        write_run(
            tmp_path / name,
            *(result_row(difference_entry()[side], threshold=threshold) for side in "ab"),
            differences=[difference_entry()],
        )
        for name, threshold in (("a", 0.4), ("b", 0.6))
    ]
    merged = merge_runs(find_runs(runs))
    assert [entry["a"].variant for entry in merged["differences"]] == ["a", "b"]
    assert {entry[side] for entry in merged["differences"] for side in "ab"} == {r["detector"] for r in merged["rows"]}


def test_a_mean_of_seeds_shows_the_lowest_and_the_highest():
    row = result_row("deepCR, mean of 2 seeds", spread={"dilated": {"f1": [0.9, 0.95]}})
    _, two = score_tables([row], "dilated")
    assert shown(two)["F1"] == "0.9749 (seeds 0.9000 to 0.9500)"
    assert "Student's t" in two.caption
    assert "seeds" not in shown(score_tables([result_row()], "dilated")[1])["F1"]
