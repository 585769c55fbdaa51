"""Test that a report shows all results, by test set, and is written completely or not at all."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from cosmicgate.evaluation.records import DetectorRecord, write_results
from cosmicgate.report.__main__ import main
from cosmicgate.report.figures import mask_figures
from cosmicgate.report.figures.curves import COLOURS, draw_figures, line_styles, speed_figure
from cosmicgate.report.figures.mask_figures import save_figure
from cosmicgate.report.results import by_test_set
from cosmicgate.report.runs import find_runs, merge_runs
from cosmicgate.report.write_report import write_report
from helpers.mask_scene import labelled_scene
from helpers.result_rows import difference_entry, result_row


@pytest.fixture
def legends(monkeypatch):
    """Record the texts in the legend of every figure that is saved."""
    found: list[list[str]] = []
    save = Figure.savefig

    def record_legend(figure, *args, **kwargs):
        found.append([text.get_text() for legend in figure.legends for text in legend.get_texts()])
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", record_legend)
    return found


def test_a_report_without_differences_has_none_of_an_earlier_one(tmp_path, monkeypatch):
    monkeypatch.setattr("cosmicgate.report.write_report.draw_figures", lambda rows, *_: [{} for _ in by_test_set(rows)])
    write_report({"rows": [result_row()], "differences": [difference_entry()]}, tmp_path)
    assert (tmp_path / "differences.csv").is_file()
    write_report({"rows": [result_row()]}, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"tables.md", "tables.csv"}


def test_scores_are_drawn_against_the_seconds_of_a_frame():
    rows = [result_row(), result_row("deepCR"), result_row("Cosmic-CoNN")]
    rows[1] = rows[1] | {"core": rows[1]["core"] | {"tpr_at_fpr_0.01pct": None}}
    looks = dict(zip([row["detector"] for row in rows], line_styles("abc"), strict=True))
    timed = [replace(row["detector"], trained_on=None) for row in rows]
    pixels, hits = speed_figure(rows, {timed[0]: 3.0, timed[1]: 5.0}, looks).axes
    drawn = [[line.get_xydata().tolist()[0] for line in axes.lines] for axes in (pixels, hits)]
    assert drawn[0] == [[3.0, pytest.approx(97.691)], [5.0, pytest.approx(np.nan, nan_ok=True)]], "no score: no point"
    assert drawn[1] == [[3.0, 98.0], [5.0, 98.0]], "what was not timed is left out"


def test_the_seconds_of_a_detector_are_those_of_its_row_that_is_not_independent(tmp_path):
    row = result_row(trained_on="general, real: lco (kb97)")
    timed = {"detector": row["detector"], "seconds": 3.0}
    note = row["detector"].with_shared_cameras(["kb97"])
    drawn = draw_figures([row | {"detector": note}, result_row("LACosmic", test_set="m13")], tmp_path, [timed])
    assert ["speed" in figures for figures in drawn] == [True, False], "no row of the second was timed"


@pytest.mark.slow
def test_several_evaluations_are_merged_into_one_report(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    gone = {"detector": "maximask", "reason": "no weights"}
    failed = {"test_set": "decam", "detector": DetectorRecord("LACosmic"), "reason": "no ink"}
    contents = [
        {"rows": [result_row()], "unavailable": [gone], "differences": [difference_entry()]},
        {"rows": [result_row(), result_row(data_origin="real")], "unavailable": [gone], "failed": [failed]},
        {"rows": [result_row(hits=0)]},
    ]
    for path, content in zip(paths, contents, strict=True):
        write_results(path, content)
    assert len(merge_runs(find_runs(paths))["rows"]) == 3, "two files share a row"
    main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])
    text = (tmp_path / "report" / "tables.md").read_text()
    assert text.endswith("| LACosmic | decam | no ink |\n| maximask | every | no weights |\n")
    assert (tmp_path / "report" / "differences.csv").is_file()
    write_results(paths[2], {"rows": [result_row(threshold=0.4)]})
    main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])
    text = (tmp_path / "report" / "tables.md").read_text()
    for name in "ac":
        assert f"| Att Cosmic-CoNN ({tmp_path.name}/{name}) |" in text, "different rows are distinguished"


@pytest.mark.slow
def test_a_report_has_tables_and_figures_for_each_test_set_and_convention(tmp_path, legends):
    swept = result_row("LACosmic", points=20)
    rows = [swept, result_row(), result_row("deepCR", curves=None), result_row(test_set="lco/0m4", data_origin="real")]
    made = write_report({"rows": rows}, tmp_path / "report")
    assert made == sorted((tmp_path / "report").iterdir())
    assert [file.name for file in made] == [
        "curves_core_decam_simulated.png",
        "curves_core_lco-0m4_real.png",
        "curves_dilated_decam_simulated.png",
        "curves_dilated_lco-0m4_real.png",
        "recall_decam_simulated.png",
        "recall_lco-0m4_real.png",
        "tables.csv",
        "tables.md",
    ]
    for figure in made[:6]:
        assert np.ptp(image.imread(figure)[..., :3]) == 1, f"{figure.name} is blank"
    curves, alone = ["LACosmic", "Att Cosmic-CoNN", "deepCR (no curve)"], ["Att Cosmic-CoNN"]
    assert legends == [curves, curves, ["LACosmic", "Att Cosmic-CoNN", "deepCR"], alone, alone, alone]


@pytest.mark.slow
def test_a_test_set_without_known_hits_has_a_table_of_stars_and_no_curves(tmp_path):
    unknown = dict.fromkeys(result_row()["per_hit"]) | {"by_length": [], "by_snr": []}
    per_hit = unknown | {"stars_masked_per_1000": 5.5}
    m13 = result_row(test_set="m13", data_origin="real", per_hit=per_hit, pixels=0, hits=0)
    made = write_report({"rows": [result_row(), m13]}, tmp_path / "report")
    assert not [file.name for file in made if "m13" in file.name]
    text = (tmp_path / "report" / "tables.md").read_text().partition("# m13 (real)")[2]
    assert "truth" not in text
    assert "| Detector | Trained on | Star cores masked per 1000 |" in text


@pytest.mark.slow
def test_the_same_results_give_the_same_bytes(tmp_path):
    once, again = (draw_figures([result_row()], tmp_path / name)[0] for name in "ab")
    assert all(
        once[kind].read_bytes() == again[kind].read_bytes() for kind in ("curves_dilated", "curves_core", "recall")
    )


@pytest.mark.slow
def test_another_number_of_frames_gives_figures_of_its_own(tmp_path, legends):
    here, there = draw_figures([result_row(), result_row("deepCR", frames=7)], tmp_path)
    assert not {*here.values()} & {*there.values()}
    assert legends == [["Att Cosmic-CoNN"]] * 3 + [["deepCR"]] * 3


@pytest.mark.slow
def test_legends_name_the_training_data_of_equal_titles(tmp_path, legends):
    draw_figures([result_row(), result_row(trained_on="lco"), result_row("deepCR")], tmp_path)
    assert legends == [["Att Cosmic-CoNN [decam, simulated]", "Att Cosmic-CoNN [lco]", "deepCR"]] * 3


@pytest.mark.slow
def test_detectors_keep_their_colours_on_every_test_set(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "cosmicgate.report.figures.curves.recall_figure",
        lambda members, styles: drawn.append([styles[row["detector"]]["color"] for row in members]) or Figure(),
    )
    unclassified = result_row("deepCR", test_set="lco_1m0", per_hit={"recall": 1.0, "false_per_megapixel": 0.0})
    rows = [
        result_row("LACosmic"),
        result_row(),
        result_row(test_set="lco_1m0"),
        result_row("LACosmic", test_set="lco_1m0"),
    ]
    draw_figures([unclassified, *rows], tmp_path)
    assert drawn == [[COLOURS[2], COLOURS[1]], [COLOURS[1], COLOURS[2]]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "is not a results file: Expecting property name"),
        ("[]", "rows"),
        ('{"rows": []}', "at least one row"),
        ({"rows": [{"detector": "deepCR"}]}, "row 0 lacks test_set, data_origin"),
        ({"rows": [result_row(data_origin="made up")]}, "'made up', expected one of simulated"),
        (
            {"rows": [result_row(), result_row("deepCR", core={"f1": 1})]},
            "row 1 has core.tpr_at_fpr_0.01pct = 'nothing', expected a number",
        ),
        (
            {"rows": [result_row(per_hit={"recall": "all", "false_per_megapixel": 1})]},
            "per_hit.recall = 'all', expected",
        ),
        ({"rows": [result_row() | {"detector": 3}]}, "the detector 3, expected an object"),
        ({"rows": [result_row() | {"detector": {"name": "x"}}]}, "unexpected keyword argument 'name'"),
        ({"rows": [result_row(), result_row()]}, "two rows are of 'Att Cosmic-CoNN' on 'decam"),
    ],
)
def test_an_invalid_results_file_is_refused_by_name(tmp_path, content, complaint):
    path = tmp_path / "broken.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content, default=asdict))
    with pytest.raises(ValueError, match=rf"broken\.json.*{complaint}"):
        find_runs([path])


@pytest.mark.slow
def test_a_failure_while_drawing_keeps_the_older_files(tmp_path, monkeypatch):
    def fail(figure, target, **kwargs):
        target.write(b"half a picture")
        raise RuntimeError("no ink")

    write_report({"rows": [result_row()]}, tmp_path / "report")
    before = {path: path.read_bytes() for path in (tmp_path / "report").iterdir()}
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        write_report({"rows": [result_row("deepCR")]}, tmp_path / "report")
    with pytest.raises(RuntimeError, match="no ink"):
        save_figure(mask_figures.masks_figure(*labelled_scene(), {}, "a scene"), tmp_path / "report" / "masks.png")
    assert {path: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before
