"""Tables keep apart what is not alike, in the paper's units, and say all that the results say."""

import csv

import pytest
from test_report import SCORES, a_difference, a_row

from cosmicgate.report import tables
from cosmicgate.report.tables import rankings


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


def test_a_mean_of_seeds_tells_the_lowest_and_the_highest():
    row = a_row("deepCR, mean of 2 seeds", spread={"dilated": {"f1": [0.9, 0.95]}})
    _, two = tables.tables_of([row], "dilated")
    assert shown(two)["F1"].endswith("(seeds 0.9000 to 0.9500)")
    assert "the seeds are drawn again as well" in two.caption
    assert "seeds" not in shown(tables.tables_of([a_row()], "dilated")[1])["F1"]
