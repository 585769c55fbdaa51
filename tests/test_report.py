"""The report shows what the results file says: all of it, apart by test set, whole or not at all."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from cosmicgate import panels, report
from cosmicgate.panels import save_figure
from cosmicgate.truth import CORE, IGNORED, RING, SKY

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
    row |= {"dilated": SCORES, "core": SCORES | {"f1": 0.5}, "per_hit": {"recall": 0.98, "false_per_megapixel": 3.25}}
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


def a_scene(height=60, width=80):
    truth = np.full((height, width), SKY, np.uint8)
    truth[40:45, 50:60] = RING
    truth[41:44, 51:59] = CORE
    truth[0, 0] = IGNORED
    return np.random.default_rng(0).normal(100, 5, truth.shape), truth


def test_tables_keep_test_sets_and_provenances_apart():
    rows = [a_row(), a_row(provenance="real"), a_row(test_set="lco_0m4"), a_row("deepCR"), a_row("Old", frames=7)]
    blocks = report.table(rows, "dilated").split("### ")[1:]
    assert [block.splitlines()[0] for block in blocks] == [
        "decam (simulated): 8 frames, 2,097,152 pixels, 321 hits",
        "decam (real): 8 frames, 2,097,152 pixels, 321 hits",
        "lco_0m4 (simulated): 8 frames, 2,097,152 pixels, 321 hits",
        "decam (simulated): 7 frames, 2,097,152 pixels, 321 hits",
    ]
    assert [block.count("decam, simulated |") for block in blocks] == [2, 1, 1, 1]


def test_table_has_the_papers_units_and_a_dash_for_null():
    last = report.table([a_row()], "dilated").strip().splitlines()[-1]
    cells = [cell.strip() for cell in last.strip("|").split("|")]
    assert cells[:6] == ["Att Cosmic-CoNN", "decam, simulated", "0.5", "97.69", "99.60", "—"]
    assert cells[6:] == ["0.9749", "0.9511", "0.0246", "0.9999", "0.9900", "98.00", "3.25"]
    assert "| 0.5000 |" in report.table([a_row()], "core")
    assert "| — | — |" in report.table([a_row(trained_on=None, threshold=None)], "core")


def test_csv_has_every_score_of_both_conventions_at_full_precision(tmp_path):
    report.write_csv([a_row(), a_row("deepCR")], tmp_path / "scores.csv")
    lines = list(csv.DictReader((tmp_path / "scores.csv").read_text().splitlines()))
    assert len(lines) == 2 * (8 + 8 + 2)
    value = {(line["detector"], line["convention"], line["score"]): line["value"] for line in lines}
    assert value["deepCR", "dilated", "f1"] == "0.97494"
    assert value["deepCR", "core", "f1"] == "0.5"
    assert value["deepCR", "core", "precision_at_tpr_95pct"] == ""
    assert value["deepCR", "per_hit", "recall"] == "0.98"


def test_report_has_tables_and_a_figure_for_each_test_set_and_convention(results, tmp_path, legends):
    swept = a_row("LACosmic", points=20)
    path = results(swept, a_row(), a_row("deepCR", curves=None), a_row(test_set="lco/0m4", provenance="real"))
    made = report.write_report(path, tmp_path / "report")
    assert sorted(made) == sorted((tmp_path / "report").iterdir())
    assert [file.name for file in made] == [
        "tables.md",
        "tables.csv",
        "curves_dilated_decam_simulated.png",
        "curves_dilated_lco-0m4_real.png",
        "curves_core_decam_simulated.png",
        "curves_core_lco-0m4_real.png",
    ]
    for figure in made[2:]:
        assert np.ptp(image.imread(figure)[..., :3]) == 1, f"{figure.name} is blank"
    assert legends == 2 * [["LACosmic", "Att Cosmic-CoNN", "deepCR (no curve)"], ["Att Cosmic-CoNN"]]


def test_the_same_results_give_the_same_bytes(tmp_path):
    once, again = (report.draw_curves([a_row()], tmp_path / name) for name in "ab")
    assert once[0].read_bytes() == again[0].read_bytes()


def test_one_test_set_of_other_frames_gets_its_own_figure(tmp_path, legends):
    made = report.draw_curves([a_row(), a_row("deepCR", frames=7)], tmp_path / "curves")
    assert len(set(made)) == 2
    assert legends == [["Att Cosmic-CoNN"], ["deepCR"]]


def test_a_detector_that_was_trained_twice_is_told_apart(tmp_path, legends):
    report.draw_curves([a_row(), a_row(trained_on="lco"), a_row("deepCR")], tmp_path / "curves")
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
        ({"rows": [a_row(), a_row()]}, "rows 0 and 1 are both 'Att Cosmic-CoNN' on 'decam"),
    ],
)
def test_a_broken_results_file_is_refused_by_name(tmp_path, content, complaint):
    path = tmp_path / "broken.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ValueError, match=rf"broken\.json.*{complaint}"):
        report.write_report(path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_nothing_half_written_remains_when_drawing_fails(results, tmp_path, monkeypatch):
    def fail(figure, target, **kwargs):
        target.write(b"half a picture")
        raise RuntimeError("no ink")

    report.write_report(results(a_row()), tmp_path / "report")
    before = {path: path.read_bytes() for path in (tmp_path / "report").iterdir()}
    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(RuntimeError, match="no ink"):
        report.write_report(results(a_row("deepCR")), tmp_path / "report")
    with pytest.raises(RuntimeError, match="no ink"):
        save_figure(panels.masks_figure(*a_scene(), {}, "a scene"), tmp_path / "report" / "masks.png")
    assert {path: path.read_bytes() for path in (tmp_path / "report").iterdir()} == before


def test_masks_show_every_pixel_of_every_kind_in_its_colour(tmp_path):
    scene, truth = a_scene()
    mask = np.zeros(truth.shape, bool)
    mask[40:45, 50:55] = mask[10, 10:13] = mask[0, 0] = True
    path = save_figure(
        panels.masks_figure(scene, truth, {"deepCR": mask}, "a scene (simulated)"), tmp_path / "masks.png"
    )
    picture = np.rint(255 * image.imread(path)[..., :3]).astype(int)
    scale = 7  # 512 / 80, rounded up
    left, bottom = 18 + 2 * (80 * scale + 18), 130  # the third panel, above a legend of two lines
    panel = picture[-bottom - 60 * scale : -bottom, left : left + 80 * scale]
    rgb = {name: [int(code[i : i + 2], 16) for i in (1, 3, 5)] for name, code in panels.MASK_COLOURS.items()}
    count = {name: int((panel == colour).all(-1).sum()) / scale**2 for name, colour in rgb.items()}
    assert count == {
        "core, found": 3 * 4,
        "ring, found": 5 * 5 - 3 * 4,
        "core, missed": 3 * 4,
        "ring, missed": 5 * 5 - 3 * 4,
        "false": 3,
        "ignored": 1,
    }


def test_of_a_large_image_the_window_with_most_hits_is_shown(tmp_path, monkeypatch):
    scene, truth = a_scene(300, 400)  # its one hit is large
    truth[200:210:3, 300:310:3] = CORE  # these are more
    seen = {}
    monkeypatch.setattr(panels, "_panels_figure", lambda shown, *_, **__: seen.update(shown) or Figure())
    panels.masks_figure(scene, truth, {}, "a scene", window=32)
    assert {panel.shape for panel in seen.values()} == {(32, 32, 3)}
    assert (seen["truth"] < 1).all(-1).sum() == 16


def test_an_empty_scene_with_bad_pixels_is_drawn(tmp_path):
    scene = np.full((20, 30), np.nan)
    scene[5:] = 7.0
    path = save_figure(panels.masks_figure(scene, np.zeros((20, 30), np.uint8), {}, "nothing"), tmp_path / "masks.png")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_mask_of_another_shape_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"deepCR has the shape \(3, 3\), expected the image's \(60, 80\)"):
        save_figure(
            panels.masks_figure(*a_scene(), {"deepCR": np.zeros((3, 3), bool)}, "a scene"), tmp_path / "masks.png"
        )
