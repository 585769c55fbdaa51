"""The report shows what the results file says: all of it, apart by test set, whole or not at all."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image
from matplotlib.figure import Figure

from cosmicgate import panels, rankings, report, tables
from cosmicgate.figures import draw_curves
from cosmicgate.panels import save_figure
from cosmicgate.results import read_results
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


def a_scene(height=60, width=80):
    truth = np.full((height, width), SKY, np.uint8)
    truth[40:45, 50:60] = RING
    truth[41:44, 51:59] = CORE
    truth[0, 0] = IGNORED
    return np.random.default_rng(0).normal(100, 5, truth.shape), truth


def a_difference(**changes):
    parts = {"dilated": SCORES, "core": SCORES, "per_hit": {"recall": 0.98, "false_per_megapixel": 3.25}}
    entry = {"test_set": "decam", "provenance": "simulated", "frames": 8, "a": "Att deepCR", "b": "deepCR"}
    entry |= {"trained_on": ["decam, simulated", "decam, simulated"]}
    found = {"difference": 0.0125, "interval": [-0.001, 0.02], "above_zero": 0.97}
    return entry | {part: dict.fromkeys(scores, found) for part, scores in parts.items()} | changes


def test_tables_keep_test_sets_and_provenances_apart():
    rows = [a_row(), a_row(provenance="real"), a_row(test_set="lco_0m4"), a_row("deepCR"), a_row("Old", frames=7)]
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
        assert table.caption.startswith(about)
        assert len(table.lines) == lines
    assert len(tables.hit_tables(rows)) == 4


def shown(table):
    """The first line's cells by their head; where a head stands twice, the last."""
    return dict(zip(table.heads, table.lines[0], strict=True))


def test_tables_have_the_papers_units_its_values_and_a_dash_for_null():
    one, two = tables.tables_of([a_row()], "dilated")
    assert one.lines[0][:2] == ["Att Cosmic-CoNN", "decam, simulated"]
    assert one.lines[0][2:8] == ["97.69 [97.00, 98.00]", "97.69", "99.60", "99.60", "—", "98.99"]
    assert one.lines[0][8:] == ["0.9999", "0.9900"]
    assert two.lines[0][2:] == ["0.5", "0.9749", "0.9749", "0.9511", "0.9511", "0.0246", "0.0246"]
    assert "not the same frames" in one.caption
    assert "8 frames again 1,000 times: few" in one.caption
    core = tables.tables_of([a_row(trained_on=None, threshold=None)], "core")[1]
    assert core.lines[0] == ["Att Cosmic-CoNN", "—", "—", "0.5000", "0.9511", "0.0246"]
    assert "ublished" not in core.caption, "the paper has one convention"
    assert "need several frames" in tables.tables_of([a_row(intervals={})], "core")[0].caption
    (hits,) = tables.hit_tables([a_row()])
    assert shown(hits)["Hits found (%)"] == "98.00"
    assert shown(hits)["1-2 px, of 40"] == "75.0"
    assert shown(hits)["≥3 px, of 0"] == "—"


@pytest.mark.parametrize(
    ("detector", "test_set", "f1"),
    [
        ("deepCR", "decam", 0.9711),
        ("deepCR (released)", "decam_semireal", 0.9711),
        ("deepCR, seed 1", "lco_0m4", 0.6452),
        ("Cosmic-CoNN (pre-trained on LCO)", "decam", 0.9574),
        ("Cosmic-CoNN (pre-trained on LCO)", "lco_0m4", None),
        ("Astro-SCRAPPY (tuned)", "decam", None),
        ("deepCR", "cutouts", None),
    ],
)
def test_published_values_stand_beside_their_own_detector_and_data(detector, test_set, f1):
    assert tables.published(a_row(detector, test_set)).get("f1") == f1


def test_latex_is_booktabs_and_escaped(results, tmp_path):
    report.write_report(results(a_row("A_B & C", test_set="lco_0m4")), tmp_path / "report")
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


def test_csv_has_every_score_of_both_conventions_at_full_precision():
    lines = list(csv.DictReader(tables.scores_csv([a_row(), a_row("deepCR")]).splitlines()))
    assert len(lines) == 2 * (8 + 8 + 2 + 2 + 1)
    value = {(line["detector"], line["convention"], line["score"]): line for line in lines}
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


def test_differences_have_their_own_tables():
    other = a_difference(a="Att Cosmic-CoNN", b="Cosmic-CoNN")
    dilated, core, real, _ = tables.difference_tables([a_difference(), other, a_difference(provenance="real")])
    assert dilated.heads[1:] == [
        "Att deepCR - deepCR (trained on decam, simulated)",
        "Att Cosmic-CoNN - Cosmic-CoNN (trained on decam, simulated)",
    ]
    assert dilated.lines[0] == ["TPR at FPR 0.01 % (%)", *["+1.25 [-0.10, +2.00], 97 %"] * 2]
    assert ["F1", *["+0.0125 [-0.0010, +0.0200], 97 %"] * 2] in core.lines
    assert "(real)" in real.title
    nothing = {"difference": None, "interval": None, "above_zero": None}
    entry = a_difference(core=dict.fromkeys(SCORES, nothing))
    assert tables.difference_tables([entry])[1].lines[0][1] == "—"
    assert len(tables.differences_csv([entry]).splitlines()) == 1 + 8 + 8 + 2


def test_the_order_of_detectors_and_where_it_changes_between_conventions_is_told():
    first = a_row("A", dilated=SCORES | {"f1": 0.9}, core=SCORES | {"f1": 0.6})
    second = a_row("B", dilated=SCORES | {"f1": 0.8}, core=SCORES | {"f1": 0.7})
    unknown = a_row("C", dilated=SCORES | {"f1": None}, core=SCORES | {"f1": None})
    (table,) = rankings.ranking_tables([first, second, unknown])
    f1_dilated, f1_core = table.heads.index("F1, dilated"), table.heads.index("F1, core")
    assert [line[f1_dilated] for line in table.lines] == ["0.9000 (1)", "0.8000 (2)", "—"]
    assert [line[f1_core] for line in table.lines] == ["0.6000 (2)", "0.7000 (1)", "—"]
    assert "by F1: A 1 to 2; B 2 to 1." in table.caption
    assert "by TPR: no place changes." in table.caption
    assert rankings.ranking_tables([first]) == []


def test_few_false_hits_come_before_many():
    rows = [a_row("A"), a_row("B")]
    rows[1]["per_hit"] = rows[1]["per_hit"] | {"false_per_megapixel": 1.0}
    assert rankings.places(rows, rankings.JUDGES[-1]) == [2, 1]


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
    report.main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])
    text = (tmp_path / "report" / "tables.md").read_text()
    assert text.endswith("- LACosmic on decam failed: no ink\n- maximask: no weights\n")
    assert (tmp_path / "report" / "differences.csv").is_file()
    paths[2].write_text(json.dumps({"rows": [a_row(threshold=0.4)]}))
    with pytest.raises(SystemExit, match=r"row 0 of .*a and row 0 of .*c are both 'Att Cosmic-CoNN' on 'decam"):
        report.main([*(str(path) for path in paths), "-o", str(tmp_path / "report")])


def test_report_has_tables_and_a_figure_for_each_test_set_and_convention(results, tmp_path, legends):
    swept = a_row("LACosmic", points=20)
    path = results(swept, a_row(), a_row("deepCR", curves=None), a_row(test_set="lco/0m4", provenance="real"))
    made = report.write_report(path, tmp_path / "report")
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


def test_the_mistakes_of_a_noisy_detector_do_not_choose_the_window(monkeypatch):
    scene, truth = a_scene(300, 400)
    noisy = np.zeros(truth.shape, bool)
    noisy[100:300:4, 200::4] = True
    good = truth == CORE
    good[41:44, 51:59] = False  # it misses the one hit
    seen = {}
    monkeypatch.setattr(panels, "_panels_figure", lambda shown, *_, **__: seen.update(shown) or Figure())
    panels.masks_figure(scene, truth, {"noisy": noisy, "good": good}, "a scene", window=32)
    assert (seen["truth"] < 1).any(), "the hit is shown"


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
