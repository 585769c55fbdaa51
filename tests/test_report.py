"""The report shows what the results file says: all of it, apart by test set, whole or not at all."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure
from test_panels import a_scene

from cosmicgate.report.__main__ import main
from cosmicgate.report.pictures import panels
from cosmicgate.report.pictures.figures import draw_curves
from cosmicgate.report.pictures.panels import save_figure
from cosmicgate.report.results import read_results
from cosmicgate.report.writing import write_report

SCORES = {
    "tpr_at_fpr_0.01pct": 0.97691,
    "tpr_at_fpr_0.1pct": 0.996,
    "precision_at_tpr_95pct": None,
    "f1": 0.97494,
    "iou": 0.95111,
    "fdr": 0.02459,
    "roc_auc": 0.9999,
    "average_precision": 0.99,
}


def a_row(detector="Att Cosmic-CoNN", test_set="decam", provenance="simulated", points=200, **changes):
    rates = np.geomspace(1e-7, 1, points)
    curve = {
        "fpr": list(rates),
        "tpr": list(rates**0.01),
        "recall": list(rates**0.01),
        "precision": [None, *rates[:0:-1]],
    }
    row = {"test_set": test_set, "provenance": provenance, "detector": detector, "trained_on": "decam, simulated"}
    row |= {"threshold": 0.5, "frames": 8, "pixels": 2097152, "hits": 321}
    by_length = [{"from": 1, "to": 2, "hits": 40, "found": 30, "interval": [0.7, 0.8]}]
    by_length += [{"from": 3, "to": None, "hits": 0, "found": 0, "interval": None}]
    by_snr = [{"from": None, "to": 5.0, "hits": 40, "found": 30, "interval": None}]
    hits = {"recall": 0.98, "false_per_megapixel": 3.25, "by_length": by_length, "by_snr": by_snr}
    row |= {"dilated": SCORES, "core": SCORES | {"f1": 0.5}, "per_hit": hits}
    row |= {"intervals": {"dilated": {"tpr_at_fpr_0.01pct": [0.97, 0.98]}, "core": {}, "per_hit": {}, "draws": 1000}}
    return row | {"curves": {"dilated": curve, "core": curve}} | changes


@pytest.fixture
def results(tmp_path):
    """Return a function that writes a results file of these rows."""

    def write(*rows) -> Path:
        path = tmp_path / "results.json"
        path.write_text(json.dumps({"rows": rows}))
        return path

    return write


@pytest.fixture
def legends(monkeypatch):
    """Collect the texts of the legend of every figure that is saved."""
    found: list[list[str]] = []
    save = Figure.savefig

    def spy(figure, *args, **kwargs):
        found.append([text.get_text() for legend in figure.legends for text in legend.get_texts()])
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", spy)
    return found


def a_difference(**changes):
    parts = {"dilated": SCORES, "core": SCORES, "per_hit": {"recall": 0.98, "false_per_megapixel": 3.25}}
    entry = {"test_set": "decam", "provenance": "simulated", "frames": 8, "a": "Att deepCR", "b": "deepCR"}
    entry |= {"trained_on": ["decam, simulated", "decam, simulated"]}
    found = {"difference": 0.0125, "interval": [-0.001, 0.02], "above_zero": 0.97}
    return entry | {part: dict.fromkeys(scores, found) for part, scores in parts.items()} | changes


def test_latex_is_booktabs_and_escaped(results, tmp_path):
    write_report(results(a_row("A_B & C", test_set="lco_0m4")), tmp_path / "report")
    text = (tmp_path / "report" / "tables.tex").read_text()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 5
    assert r"A\_B \& C & decam, simulated & 97.69 [97.00, 98.00]" in text
    assert r"TPR at FPR 0.01 \% (\%)" in text
    assert r"\caption{Along the curves, dilated truth: lco\_0m4" in text
    assert r"$\geq$3 px" in text
    for line in text.splitlines():
        assert line.isascii(), line
        assert r"\caption{Table" not in line
        if line.startswith(r"\begin{tabular}"):
            columns = len(line.partition("}{")[2].rstrip("}"))
        if line.endswith(r"\\"):
            assert line.replace(r"\&", "").count("&") == columns - 1


def test_several_evaluations_make_one_report(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    gone = {"detector": "maximask", "reason": "no weights"}
    failed = {"test_set": "decam", "detector": "LACosmic", "reason": "no ink"}
    contents = [
        {"rows": [a_row()], "unavailable": [gone], "differences": [a_difference()]},
        {"rows": [a_row(), a_row(provenance="real")], "unavailable": [gone], "failed": [failed]},
        {"rows": [a_row(hits=0)]},
    ]
    for path, content in zip(paths, contents, strict=True):
        path.write_text(json.dumps(content))
    assert len(read_results(paths)["rows"]) == 3, "one row is in two of them"
    main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])
    text = (tmp_path / "report" / "tables.md").read_text()
    assert text.endswith("- LACosmic on decam failed: no ink\n- maximask: no weights\n")
    assert (tmp_path / "report" / "differences.csv").is_file()
    paths[2].write_text(json.dumps({"rows": [a_row(threshold=0.4)]}))
    with pytest.raises(SystemExit, match=r"row 0 of .*a and row 0 of .*c are both 'Att Cosmic-CoNN' on 'decam"):
        main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])


def test_report_has_tables_and_a_figure_for_each_test_set_and_convention(results, tmp_path, legends):
    swept = a_row("LACosmic", points=20)
    path = results(swept, a_row(), a_row("deepCR", curves=None), a_row(test_set="lco/0m4", provenance="real"))
    made = write_report(path, tmp_path / "report")
    assert sorted(made) == sorted((tmp_path / "report").iterdir())
    assert [file.name for file in made] == [
        "tables.md",
        "tables.tex",
        "tables.csv",
        "curves_dilated_decam_simulated.png",
        "curves_dilated_lco-0m4_real.png",
        "curves_core_decam_simulated.png",
        "curves_core_lco-0m4_real.png",
        "recall_decam_simulated.png",
        "recall_lco-0m4_real.png",
    ]
    for figure in made[3:]:
        assert np.ptp(image.imread(figure)[..., :3]) == 1, f"{figure.name} is blank"
    curves = [["LACosmic", "Att Cosmic-CoNN", "deepCR (no curve)"], ["Att Cosmic-CoNN"]]
    assert legends == [*curves, *curves, ["LACosmic", "Att Cosmic-CoNN", "deepCR"], ["Att Cosmic-CoNN"]]


def test_the_same_results_give_the_same_bytes(tmp_path):
    once, again = (draw_curves([a_row()], tmp_path / name) for name in "ab")
    assert once[0].read_bytes() == again[0].read_bytes()


def test_one_test_set_of_other_frames_gets_its_own_figure(tmp_path, legends):
    made = draw_curves([a_row(), a_row("deepCR", frames=7)], tmp_path)
    assert len(set(made)) == 2
    assert legends == [["Att Cosmic-CoNN"], ["deepCR"]]


def test_a_detector_that_was_trained_twice_is_told_apart(tmp_path, legends):
    draw_curves([a_row(), a_row(trained_on="lco"), a_row("deepCR")], tmp_path)
    assert legends == [["Att Cosmic-CoNN [decam, simulated]", "Att Cosmic-CoNN [lco]", "deepCR"]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("{", "no JSON"),
        ("[]", "rows"),
        ('{"rows": []}', "at least one row"),
        ({"rows": [{"detector": "deepCR"}]}, "row 0 lacks test_set, provenance"),
        ({"rows": [a_row(provenance="made up")]}, "'made up', expected one of simulated"),
        ({"rows": [a_row(), a_row("deepCR", core={"f1": 1})]}, r"row 1 \(deepCR\) lacks tpr_at_fpr_0.01pct"),
        ({"rows": [a_row(hits=None)]}, "hits = None, expected a number$"),
        ({"rows": [a_row(per_hit={"recall": "all", "false_per_megapixel": 1})]}, "per_hit.recall = 'all', expected"),
        ({"rows": [a_row(curves=[1])]}, "curves that are list, expected an object or null"),
        ({"rows": [a_row(curves={"core": {"fpr": [0]}})]}, "core curves of .*'tpr': 0"),
        ({"rows": [a_row(), a_row()]}, "are both 'Att Cosmic-CoNN' on 'decam"),
    ],
)
def test_a_broken_results_file_is_refused_by_name(tmp_path, content, complaint):
    path = tmp_path / "broken.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=rf"broken\.json.*{complaint}"):
        write_report(path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_nothing_half_written_remains_when_drawing_fails(results, tmp_path, monkeypatch):
    def fail(figure, target, **kwargs):
        target.write(b"half a picture")
        raise RuntimeError("no ink")

    write_report(results(a_row()), tmp_path / "report")
    before = {path: path.read_bytes() for path in (tmp_path / "report").iterdir()}
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        write_report(results(a_row("deepCR")), tmp_path / "report")
    with pytest.raises(RuntimeError, match="no ink"):
        save_figure(panels.masks_figure(*a_scene(), {}, "a scene"), tmp_path / "report" / "masks.png")
    assert {path: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before
