"""What dashboards show: every detector under the same keys, and a workspace and a report of exactly those."""

import csv
import json
import os

import matplotlib.image
import numpy as np
import pytest
from conftest import logged_keys, offline_records
from test_pages import a_run
from test_report import SCORES, a_row

from cosmicgate.config import ConfigError
from cosmicgate.report import boards
from cosmicgate.report.pictures.media import FALSE, FOUND, MISSED, overlay, roc_chart
from cosmicgate.tracking import csv_logger, facts_of, on_record, tags_of, tensorboard_logger
from cosmicgate.truth import CORE, IGNORED, RING, SKY

NODE = {
    "_target_": "cosmicgate.tracking.wandb_logger",
    "project": "p",
    "group": "evaluation",
    "offline": True,
    "tags": ["mine"],
}


def test_a_training_is_told_apart_by_what_its_configuration_says():
    config = {"name": "att_deepcr", "seed": 3, "model": {"norm": "batch", "gate": True, "depth": 3}}
    config |= {"data": {"name": "decam", "contamination": {"_target_": "cosmicgate.data.contaminate.Physical"}}}
    assert tags_of(facts_of(config)) == [
        *("model=att_deepcr", "norm=batch", "gate=true", "data=decam", "contamination=physical", "seed=3")
    ]
    assert facts_of({"model": {}, "title": "small"}) == {}, "a checkpoint that says little"


def test_every_detector_has_the_same_keys_and_no_unknown_score_is_logged():
    network, classical = boards.scores(a_row()), boards.scores(a_row("LACosmic", points=12, trained_on=None))
    assert network.keys() == classical.keys()
    assert network["test/decam/f1"] == 0.97494
    assert network["test/decam/core_f1"] == 0.5
    assert network["test/decam/hit_false_per_megapixel"] == 3.25
    assert network["test/decam/hit_recall_length_1-2"] == 0.75
    assert network["test/decam/hit_recall_snr_under_5"] == 0.75
    assert "test/decam/hit_recall_length_from_3" not in network, "there was no such hit"
    assert "test/decam/precision_at_tpr_95pct" not in network
    assert not [key for key, value in network.items() if not np.isfinite(value)]


def test_a_curve_has_no_point_without_a_logarithm():
    table = roc_chart([0.0, 1e-4, None, 1.0], [0.1, 0.9, 0.95, None], "ROC").table
    assert table.data == [[1e-4, 0.9, -4.0]]


def test_masks_lie_over_the_image_as_what_they_are():
    truth = np.array([[SKY, SKY, CORE, CORE, RING, RING, IGNORED, IGNORED]], np.uint8)
    mask = np.array([[0, 1, 0, 1, 0, 1, 0, 1]], bool)
    picture = overlay(np.arange(8.0)[None], truth, mask, "a row")
    laid = {name: layer._val["mask_data"] if hasattr(layer, "_val") else None for name, layer in picture._masks.items()}
    assert set(laid) == {"truth", "mask"}
    files = {name: layer._path for name, layer in picture._masks.items()}
    verdict = np.rint(255 * matplotlib.image.imread(files["mask"])).astype(int)
    assert verdict.ravel().tolist() == [0, FALSE, MISSED, FOUND, MISSED, FOUND, 0, 0]
    assert np.rint(255 * matplotlib.image.imread(files["truth"])).astype(int).ravel().tolist() == truth.ravel().tolist()


@pytest.fixture
def nobody(monkeypatch, tmp_path):
    """No login, and no setting of W&B before or after."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))


def test_each_row_of_an_evaluation_is_a_run_of_its_own_and_stays_it(nobody, tmp_path):
    mean = a_row("deepCR, mean of 2 seeds", curves=None)
    rows = [a_row(), a_row(test_set="cutouts", provenance="real"), mean]
    for _ in range(2):
        boards.show_evaluation(NODE, rows, [], [], tmp_path)
    folders = sorted((tmp_path / "wandb_rows").iterdir())
    assert [folder.name for folder in folders] == [
        "Att-Cosmic-CoNN_decam,-simulated",
        "deepCR,-mean-of-2-seeds_decam,-simulated",
    ]
    for folder in folders:
        records = offline_records(folder)
        runs = [record.run for record in records if record.HasField("run")]
        assert {(run.job_type, run.run_group, run.run_id) for run in runs} == {
            ("evaluate", "evaluation", (folder / "wandb_id").read_text())
        }
        assert set(runs[0].tags) == {"mine"}
    assert {"test/decam/f1", "test/cutouts/f1"} <= logged_keys(offline_records(folders[0]))


def test_an_evaluation_logs_to_wandb_or_not_at_all():
    boards.only_wandb(None)
    boards.only_wandb(NODE)
    with pytest.raises(ConfigError, match=r"logger: got .*CSVLogger, expected logger=wandb"):
        boards.only_wandb({"_target_": "pytorch_lightning.loggers.CSVLogger"})


# wandb-workspaces 0.4 is written for pydantic's first version, whose decorators warn.
@pytest.mark.filterwarnings("ignore:Pydantic V1 style")
def test_without_a_login_the_definition_is_written_and_asks_for_keys_that_runs_log(nobody, tmp_path, capsys):
    from cosmicgate.report import dashboard

    rows = [
        a_row(),
        a_row("deepCR"),
        a_row(test_set="cutouts", provenance="real", dilated=SCORES | {"precision_at_tpr_95pct": 1.0}),
    ]
    a_run(tmp_path / "runs" / "a", *rows, seed=0)
    a_run(tmp_path / "runs" / "b", *rows, seed=1)
    dashboard.main([str(tmp_path / "runs"), "-o", str(tmp_path / "dashboard.json")])
    said = capsys.readouterr().out
    assert "Not logged in" in said
    assert "after `wandb login` the same command saves them in the project 'cosmicgate'" in said
    made = json.loads((tmp_path / "dashboard.json").read_text())
    logged = {key for row in rows for key in boards.scores(row)} | {
        f"{key}_table" for row in rows for key in boards.charts(row)
    }
    logged |= {f"test/{name}/{score}" for name in ("decam", "cutouts") for score in ("masks", "precision_at_tpr_95pct")}
    asked = set()

    def collect(value):
        if isinstance(value, dict):
            for inner in value.values():
                collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)
        elif isinstance(value, str) and value.removeprefix("summary:").startswith("test/"):
            asked.add(value.removeprefix("summary:"))

    collect(made)
    assert len(asked) > 20
    assert asked <= logged
    text = json.dumps(made["report"])
    assert "Table 1. Along the curves" in text
    assert "Sweep: gates" in text
    names = [section["name"] for section in made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]]
    assert {"decam: Table 1", "decam: Table 2", "cutouts: Curves", "Training"} <= set(names)
    sweep = next(
        section
        for section in made["workspace"]["spec"]["section"]["panelBankConfig"]["sections"]
        if "Sweeps" in section["name"]
    )
    assert "about.value.detector" in json.dumps(sweep), "the title has what was swept, and no seed"


# It warns of what csv_logger prevents; train.py leaves the warning out.
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_a_resumed_run_keeps_the_lines_of_its_csv(tmp_path):
    first = csv_logger(str(tmp_path))
    first.log_metrics({"epoch": 0, "val/loss": 0.5}, step=0)
    first.save()
    again = csv_logger(str(tmp_path))
    again.log_metrics({"epoch": 1, "val/loss": 0.25, "test/decam/f1": 1.0}, step=1)
    again.save()
    lines = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [(line["epoch"], line["val/loss"], line["test/decam/f1"]) for line in lines] == [
        ("0", "0.5", ""),
        ("1", "0.25", "1.0"),
    ]


def test_every_training_leaves_a_csv_whatever_its_logger_is(tmp_path):
    alone = csv_logger(str(tmp_path))
    assert on_record(alone, tmp_path) == [alone]
    beside = on_record(tensorboard_logger(str(tmp_path)), tmp_path)
    assert [type(logger).__name__ for logger in beside] == ["TensorBoardLogger", "CSVLogger"]


def test_tensorboard_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("pytorch_lightning.loggers.tensorboard.TensorBoardLogger.__init__", missing)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        tensorboard_logger(str(tmp_path))


def missing(*_, **__):
    raise ModuleNotFoundError("no tensorboard")


def test_tensorboard_writes_events_into_the_run_folder(tmp_path):
    logger = tensorboard_logger(str(tmp_path))
    logger.log_hyperparams({"model": {"norm": "batch"}})
    logger.log_metrics({"test/decam/f1": 0.5})
    logger.finalize("success")
    assert list(tmp_path.glob("events.out.tfevents.*"))
