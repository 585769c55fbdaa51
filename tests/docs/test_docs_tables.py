"""Test that the tables of the documentation show the committed results, and that quoted scores are in a table."""

import importlib.util
import json
import re

import pytest
from omegaconf import OmegaConf

from cosmicgate.data.lco.datamodule import CLASSES
from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.pretrained.card import read_card
from cosmicgate.pretrained.registry import find_weights
from cosmicgate.report.results import TEST_SET
from cosmicgate.report.tables.export import RECORD, differences_csv, scores_csv
from helpers.hydra_config import composed_config, config_choices
from helpers.repository import ROOT
from helpers.result_rows import SCORES, difference_entry, result_row

DOCS = ROOT / "docs"
INTERVAL = re.compile(r"[+-]?[\d.]+ \[[+-]?[\d.]+, [+-]?[\d.]+\]")

spec = importlib.util.spec_from_file_location("tables_of_the_documentation", DOCS / "tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)
GENERAL = read_card(find_weights("general"))
PAGES = [page for page in sorted(DOCS.glob("*.md")) if tables.MARKED.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_current(page):
    assert tables.updated(page.read_text()) == page.read_text(), "run make docs-tables"


def test_every_results_file_is_shown():
    shown = {found["file"] for page in PAGES for found in tables.MARKED.finditer(page.read_text())}
    assert shown == {path.name for path in (DOCS / "results").iterdir()}


@pytest.mark.slow
def test_every_test_set_of_a_configuration_has_a_title():
    choices = [choice for choice in config_choices("data", "experiment") if not re.match(r"data=(_|.*/)", choice)]
    for choice in choices:
        untitled = names_of_test_sets(OmegaConf.to_container(composed_config(choice).data)) - tables.TEST_SETS.keys()
        assert not untitled, choice


def names_of_test_sets(node) -> set[str]:
    """Collect the names of the test sets of a data node, and of the data sets in it."""
    if not isinstance(node, dict):
        return set()
    below = {name for value in node.values() for name in names_of_test_sets(value)}
    match node.get("_target_", "").rpartition(".")[2]:
        case "DecamData":
            return below | {node["name"]}
        case "LabelledExposures":
            return below | {node["name"], f"{node['name']}_added_hits"}
        case "LCO":
            return below | {f"{node['name']}_{telescope}" for telescope in CLASSES}
        case "RealTest":
            return below | {node["frames"]["name"]}
    return below


@pytest.mark.parametrize("name", ["README.md", "docs/results.md", "docs/training-budget.md"])
def test_every_quoted_score_with_its_interval_is_in_a_table(name):
    shown = "".join(found[0] for page in PAGES for found in tables.MARKED.finditer(page.read_text()))
    text = tables.MARKED.sub("", (ROOT / name).read_text())
    quoted = set(INTERVAL.findall(text))
    assert quoted, "no score is quoted"
    assert quoted <= set(INTERVAL.findall(shown))


@pytest.mark.parametrize(
    ("page", "text", "value"),
    [
        ("view.md", "lowest threshold of the calibration ({:.2g} of the general network)", GENERAL.calibration[-1][1]),
        ("masking.md", "({:.2g} in the present card)", GENERAL.ranges["sharpness"][1]),
    ],
)
def test_quoted_numbers_of_the_general_network_are_those_of_its_card(page, text, value):
    assert text.format(value) in " ".join((DOCS / page).read_text().split())


def test_a_new_results_file_replaces_the_table(tmp_path, monkeypatch):
    head = [*TEST_SET, *RECORD, "convention", "score", "value", "low", "high"]
    lines = [
        "decam,real,2,3000000,7,New,,,,somewhere,,dilated,tpr_at_fpr_0.01pct,0.5,0.25,0.75",
        "decam,real,2,3000000,7,New,,,,somewhere,,core,tpr_at_fpr_0.01pct,,,",
        "decam,real,2,3000000,7,Old,,,,,,per_hit,recall,1.0,,",
    ]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text("\n".join([",".join(head), *lines]) + "\n")
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    page = tables.updated("Before\n\n<!-- scores: new.csv -->\nold\n<!-- end -->\n\nAfter\n")
    assert "old" not in page
    assert "**DECam**, real: 2 frames, 3.0 megapixels, 7 hits." in page
    assert "| New | 50.0 [25.0, 75.0] | — | — | — | — | — | somewhere |" in page
    assert "| Old | — | — | — | — | 100.0 | — | — |" in page
    assert tables.updated(page) == page


def test_the_table_of_seeds_pairs_trainings_of_the_same_seed(tmp_path):
    scores = {("deepCR", 0): 0.90, ("deepCR", 1): 0.94, ("Att deepCR", 0): 0.91, ("Att deepCR", 1): 0.97}
    scores["Att deepCR", 2] = 0.95  # a third without its partner
    for (model, seed), tpr in scores.items():
        row = result_row(model)
        row |= {"detector": {"model": model, "seed": seed}}
        row |= {part: {"tpr_at_fpr_0.01pct": tpr, "f1": tpr, "recall": tpr} for part in ("dilated", "core", "per_hit")}
        (tmp_path / f"{model}-{seed}.json").write_text(json.dumps({"config": {}, "rows": [row]}))
    made = tables.seeds(tmp_path)
    assert "| deepCR | 2 | 92.00 [66.59, 100.00] |" in made
    assert "| Att deepCR | 3 | 94.33 [" in made
    # Differences of 1 and 3 points: standard error 1; with one degree of freedom t(0.975) = 12.71 and t(0.8) = 1.38.
    assert "| Att deepCR - deepCR | 2 | +2.00 [-10.71, +14.71] | 14.08 |" in made
    assert made.count("\n| DECam |") == 3


def test_seeds_of_the_same_score_have_no_interval(tmp_path):
    for model in ("deepCR", "Att deepCR"):
        for seed in (0, 1):
            row = result_row(model) | {"detector": {"model": model, "seed": seed}}
            row |= {
                part: {"tpr_at_fpr_0.01pct": 1.0, "f1": 1.0, "recall": 1.0} for part in ("dilated", "core", "per_hit")
            }
            (tmp_path / f"{model}-{seed}.json").write_text(json.dumps({"config": {}, "rows": [row]}))
    made = tables.seeds(tmp_path)
    assert "| deepCR | 2 | 100.00 | 100.00 | 1.0000 | 100.0 |" in made
    assert "| Att deepCR - deepCR | 2 | 0.00 | — | 0.00 | — | 0.0000 | — | 0.0 | — |" in made


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hits": 300}, "seed 1, has .*'hits': 300.*, others .*'hits': 321"),
        ({"detector": {"model": "deepCR", "seed": 1, "variant": "gated norm"}}, "gated norm"),
        ({"detector": {"model": "deepCR", "seed": 0}}, "deepCR, seed 0, is there twice"),
    ],
)
def test_seeds_that_cannot_be_compared_share_no_table(tmp_path, change, reason):
    row = result_row("deepCR") | {"detector": {"model": "deepCR", "seed": 0}}
    (tmp_path / "a.json").write_text(json.dumps({"config": {}, "rows": [row]}))
    other = row | {"detector": {"model": "deepCR", "seed": 1}} | change
    (tmp_path / "b.json").write_text(json.dumps({"config": {}, "rows": [other]}))
    with pytest.raises(ValueError, match=reason):
        tables.seeds(tmp_path)


def test_seeds_of_trainings_that_differ_in_more_share_no_table(tmp_path):
    def config(model, seed, lr=0.003) -> dict:
        module = {"network": {"gate": model != "deepCR"}, "optimizer": {"lr": lr}}
        return {"seed": seed, "data": {"seed": seed}, "model": module["network"], "module": module}

    def table(**changed) -> str:
        for model in ("deepCR", "Att deepCR"):
            for seed in (0, 1):
                row = result_row(model) | {"detector": {"model": model, "seed": seed}}
                content = {"config": config(model, seed, **(changed if seed and "A" in model else {})), "rows": [row]}
                (tmp_path / f"{model}-{seed}.json").write_text(json.dumps(content))
        return tables.seeds(tmp_path)

    assert "| Att deepCR - deepCR | 2 |" in table()
    with pytest.raises(ValueError, match=r"Att deepCR, seed 1, is of another .*optimizer.lr is 0.1 and was"):
        table(lr=0.1)


def test_simulated_and_real_scores_of_seeds_share_no_table(tmp_path):
    rows = [result_row("deepCR", name, origin) for name, origin in (("decam", "simulated"), ("frames", "real"))]
    rows = [row | {"detector": {"model": "deepCR", "seed": 0}} for row in rows]
    (tmp_path / "deepCR-0.json").write_text(json.dumps({"config": {}, "rows": rows}))
    simulated, real = tables.seeds(tmp_path).split("Means over seeds, real.")
    assert "| DECam | deepCR | 1 |" in simulated
    assert "frames" not in simulated
    assert "| frames | deepCR | 1 |" in real
    assert "decam" not in real


def test_the_csv_files_of_a_report_can_be_shown_as_tables(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "new.csv").write_text(scores_csv([result_row()]))
    (tmp_path / "results" / "new_differences.csv").write_text(differences_csv([difference_entry()]))
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    kinds = {"scores": "new.csv", "hits": "new.csv", "differences": "new_differences.csv"}
    page = tables.updated("".join(f"<!-- {kind}: {file} -->\n<!-- end -->\n" for kind, file in kinds.items()))
    assert "| Att Cosmic-CoNN | 97.7 [97.0, 98.0] |" in page
    assert "| Detector | 1-2 px (%) | ≥3 px (%) |" in page
    assert re.search(r"^\| \S.* - \S.* \\| DECam \\| \+", page, re.M)


def test_a_detector_is_read_as_it_was_written(tmp_path):
    records = [DetectorRecord("deepCR", "released", weights="ab12"), DetectorRecord("Att deepCR", seed=1)]
    (tmp_path / "tables.csv").write_text(scores_csv([result_row(record) for record in records]))
    lines = tables.lines_of(tmp_path / "tables.csv")
    assert list(dict.fromkeys(map(tables.record_of, lines))) == records
    assert {float(line["value"]) for line in lines if line["score"] == "iou"} == {SCORES["iou"]}


SCORED = [path for path in sorted((DOCS / "results").glob("*.csv")) if not path.stem.endswith("_differences")]


@pytest.mark.parametrize("path", SCORED, ids=lambda path: path.name)
def test_every_detector_of_a_committed_file_has_a_title_and_all_parts(path):
    parts = {}
    for line in tables.lines_of(path):
        parts.setdefault(tables.record_of(line), set()).add(line["convention"])
    assert len({(title, record.trained_on) for record, title in titles(parts).items()}) == len(parts)
    assert all(found == {"dilated", "core", "per_hit"} for found in parts.values())


def test_scores_on_a_single_patch_of_sky_have_no_interval():
    lines = [line for path in (DOCS / "results").glob("*.csv") for line in tables.lines_of(path)]
    coadd = [line for line in lines if line["test_set"] == "decam_semireal"]
    assert coadd
    assert not any(line["low"] or line["high"] or line.get("above_zero") for line in coadd)


def test_the_scores_of_the_paper_stand_beside_real_data_alone():
    lines = [line for path in SCORED for line in tables.lines_of(path)]
    assert {line["data_origin"] for line in lines if line["published"]} <= {"real"}


def test_the_command_above_a_table_scores_the_detectors_of_the_table():
    nodes = {path.stem: OmegaConf.load(path).values() for path in (ROOT / "conf" / "detector").glob("*.yaml")}
    names = {(node["model"], node["variant"]): file for file in nodes for node in nodes[file] if "variant" in node}
    checked = set()
    for section in re.split("^##+ ", (DOCS / "results.md").read_text(), flags=re.M):
        chosen = re.search(r"'detector=\[(.*)\]'", section)
        for found in tables.MARKED.finditer(section):
            if chosen and found["kind"] in ("scores", "real"):
                lines = tables.lines_of(DOCS / "results" / found["file"])
                shown = {names.get((line["model"], line["variant"])) for line in lines} - {None}
                assert shown <= set(chosen[1].split(",")), found["file"]
                checked.add(found["file"])
    assert len(checked) >= 7


@pytest.mark.parametrize("file", ["held_out", "real_sky", "real_sky_lco"])
def test_the_command_above_a_table_of_differences_computes_them(file):
    pairs = {tuple(pair) for pair in OmegaConf.load(ROOT / "conf" / "evaluation" / "released.yaml")["compare"]}
    for line in tables.lines_of(DOCS / "results" / f"{file}_differences.csv"):
        models = line["a_model"], line["b_model"]
        # The tables name the networks of the package without a variant, or with that of the version.
        variants = (line[f"{side}_variant"].replace("0.1.3", "") or "pretrained" for side in "ab")
        rows = tuple(f"{model} ({variant})" for model, variant in zip(models, variants, strict=True))
        assert rows in pairs or models in pairs, rows


def test_every_column_of_a_results_file_is_described():
    described = (DOCS / "protocol.md").read_text().partition("## Files of results")[2]
    columns = {name for path in (DOCS / "results").glob("*.csv") for name in tables.lines_of(path)[0]}
    assert not {name for name in columns if f"`{name}`" not in described and name[:2] not in ("a_", "b_")}


def test_test_sets_of_committed_files_have_the_names_of_the_configuration():
    names = {line["test_set"] for path in (DOCS / "results").glob("*.csv") for line in tables.lines_of(path)}
    assert not names & {"cameras_sealed", "decam_sealed", "decam_trained"}


def test_a_file_of_other_columns_is_refused_by_name(tmp_path):
    (tmp_path / "old.csv").write_text("detector,score\nOld,f1\n")
    with pytest.raises(ValueError, match=r"old\.csv: expected a tables\.csv"):
        tables.lines_of(tmp_path / "old.csv")


def test_a_test_set_without_truth_shows_its_stars_alone(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    hits = result_row()["per_hit"] | {"stars_masked_per_1000": 5.5, "hot_pixels_masked_per_megapixel": 12.0}
    hits["stars_by_snr"] = [{"from": 10.0, "to": 20.0, "stars": 400, "masked": 1, "interval": [0.0, 0.005]}]
    nothing = dict.fromkeys(result_row()["dilated"])
    unknown = dict.fromkeys(("recall", "false_per_megapixel", "recall_at_10_false", "recall_at_1_false"))
    m13 = result_row(test_set="real_m13", data_origin="real", dilated=nothing, core=nothing, per_hit=hits | unknown)
    rows = [result_row(test_set="real_arcsat", data_origin="real", per_hit=hits), m13 | {"pixels": 0, "hits": 0}]
    (tmp_path / "results" / "new.csv").write_text(scores_csv(rows))
    monkeypatch.setattr(tables, "DOCS", tmp_path)
    page = tables.updated("<!-- real: new.csv -->\n<!-- end -->\n<!-- stars: new.csv -->\n<!-- end -->\n")
    assert "**ARCSAT 0.5 m frames**, real: 8 frames, 2.1 megapixels, 321 hits; trained on DECam, simulated." in page
    assert "| Found at 10 false / Mpx (%) | at 1 false / Mpx | Star cores masked per 1000 |" in page
    assert "**M13**, real: 8 frames; trained on DECam, simulated." in page
    assert "| Detector | Star cores masked per 1000 | Hot pixels masked / Mpx |" in page
    assert "| Att Cosmic-CoNN | 5.5 | 12.0 |" in page
    assert "| Detector | peak S/N 10-20 |" in page
    assert "| Att Cosmic-CoNN | 2.5 [0.0, 5.0] |" in page
