"""Test the records that identify rows of results, and the titles made from their fields."""

import json

import pytest

from cosmicgate.evaluation.records import DetectorRecord, figure_titles, titles, with_records, write_results
from cosmicgate.report.results import read_results
from helpers.result_rows import difference_entry, result_row


def test_a_title_has_only_the_fields_that_distinguish_a_row():
    alone = DetectorRecord("deepCR", seed=0, weights="aaaaaaaaaa")
    assert titles([alone]) == {alone: "deepCR"}
    other = DetectorRecord("deepCR", seed=1, weights="bbbbbbbbbb")
    again = DetectorRecord("deepCR", seed=1, weights="cccccccccc")
    mean = DetectorRecord("deepCR", seeds=2)
    released = DetectorRecord("deepCR", "released", trained_on="DECam, real", weights="dddd")
    assert list(titles([alone, other, mean, released]).values()) == [
        "deepCR, seed 0",
        "deepCR, seed 1",
        "deepCR, mean of 2 seeds",
        "deepCR (released)",
    ]
    assert list(titles([other, again]).values()) == ["deepCR, weights bbbbbbbb", "deepCR, weights cccccccc"]


def test_figures_name_the_training_data_where_titles_are_equal():
    here, there = (DetectorRecord("deepCR", trained_on=on) for on in ("decam, simulated", "lco"))
    assert list(titles([here, there]).values()) == ["deepCR", "deepCR"], "the tables have a column for it"
    assert list(figure_titles([here, there]).values()) == ["deepCR [decam, simulated]", "deepCR [lco]"]


@pytest.mark.parametrize(
    ("title", "record"),
    [
        ("Att deepCR", DetectorRecord("Att deepCR")),
        ("Att deepCR 2-8", DetectorRecord("Att deepCR 2-8")),
        ("deepCR, seed 1", DetectorRecord("deepCR", seed=1)),
        ("deepCR, paper hits, seed 1", DetectorRecord("deepCR", "paper hits", 1)),
        ("deepCR, seed 1, sweep-b", DetectorRecord("deepCR", "sweep-b", 1)),
        ("deepCR, mean of 2 seeds", DetectorRecord("deepCR", seeds=2)),
        ("deepCR (published, decam)", DetectorRecord("deepCR", "published, decam")),
        ("Astro-SCRAPPY (fair)", DetectorRecord("Astro-SCRAPPY", "fair")),
        ("CosmicGate general, fast", DetectorRecord("CosmicGate general", "cascade")),
        ("CosmicGate general, checkpoint", DetectorRecord("CosmicGate general", "checkpoint")),
        ("(odd", DetectorRecord("(odd")),
    ],
)
def test_titles_of_version_0_1_are_parsed_into_records(title, record):
    assert DetectorRecord.from_title(title) == record


def test_results_files_of_version_0_1_are_read(tmp_path):
    new = {"rows": [result_row("deepCR (released)")], "differences": [difference_entry()]}
    row = {("provenance" if key == "data_origin" else key): value for key, value in new["rows"][0].items()}
    row |= {"detector": "deepCR (released)", "trained_on": "decam, simulated", "weights": "ab12"}
    difference = difference_entry(a="Att deepCR, seed 1", b="deepCR, seed 1", trained_on=["x", None])
    difference["provenance"] = difference.pop("data_origin")
    failed = {"test_set": "decam", "detector": "LACosmic", "reason": "no ink"}
    seconds = {"detector": "LACosmic", "trained_on": "y", "seconds": 1.0}
    old = {"rows": [row], "differences": [difference], "failed": [failed], "seconds": [seconds]}
    (tmp_path / "old.json").write_text(json.dumps(old))
    found = read_results(tmp_path / "old.json")
    assert found["rows"] == [
        new["rows"][0] | {"detector": DetectorRecord("deepCR", "released", None, None, "decam, simulated", "ab12")}
    ]
    assert found["differences"][0] == difference_entry(
        a=DetectorRecord("Att deepCR", seed=1, trained_on="x"), b=DetectorRecord("deepCR", seed=1)
    )
    assert found["failed"] == [failed | {"detector": DetectorRecord("LACosmic")}]
    assert found["seconds"] == [{"detector": DetectorRecord("LACosmic", trained_on="y"), "seconds": 1.0}]


def test_results_are_read_as_they_were_written(tmp_path):
    content = {"rows": [result_row(DetectorRecord("deepCR", "released", 3, None, "x", "ab"))], "failed": []}
    write_results(tmp_path / "results.json", content)
    assert read_results(tmp_path / "results.json")["rows"] == content["rows"]
    assert with_records(content) == content
