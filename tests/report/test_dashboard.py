"""Test what is logged to W&B, TensorBoard and CSV, and that dashboards show exactly the logged keys."""

import csv
import os
import re
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import wandb

from cosmicgate.config import ConfigError
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.provenance import run_metadata, run_tags
from cosmicgate.report.log_results import check_logger, log_evaluation, scores
from cosmicgate.report.wandb_charts import PIXEL_CLASSES, charts, overlay, roc_chart
from cosmicgate.report.wandb_login import logged_in, set_writable_folders
from cosmicgate.training.loggers import csv_logger, tensorboard_logger, wandb_logger, with_csv_logger
from helpers.result_rows import SCORES, result_row, write_run
from helpers.wandb_files import logged_keys, offline_records

NODE = {
    "_target_": "cosmicgate.training.loggers.wandb_logger",
    "project": "p",
    "group": "evaluation",
    "offline": True,
    "tags": ["mine"],
}


def test_tags_of_a_run_come_from_its_configuration():
    config = {"name": "att_deepcr", "seed": 3, "model": {"norm": "batch", "gate": True, "depth": 3}}
    config |= {"data": {"name": "decam", "contamination": {"_target_": "cosmicgate.data.contamination.PhysicalRecipe"}}}
    assert run_tags(run_metadata(config)) == [
        *("model=att_deepcr", "norm=batch", "gate=true", "data=decam", "contamination=physical", "seed=3")
    ]
    assert run_metadata({"model": {}, "title": "small"}) == {}, "an incomplete configuration"


def test_all_detectors_log_the_same_keys_and_no_undefined_scores():
    network, classical = (scores([row]) for row in (result_row(), result_row("LACosmic", points=12, trained_on=None)))
    assert network.keys() == classical.keys()
    assert network["test/decam/f1"] == 0.97494
    assert network["test/decam/core_f1"] == 0.5
    assert network["test/decam/hit_false_per_megapixel"] == 3.25
    assert network["test/decam/hit_recall_length_1-2"] == 0.75
    assert network["test/decam/hit_recall_snr_under_5"] == 0.75
    assert "test/decam/hit_recall_length_from_3" not in network, "no hit has this length"
    assert "test/decam/precision_at_tpr_95pct" not in network
    assert not [key for key, value in network.items() if not np.isfinite(value)]


def test_a_curve_leaves_out_points_without_a_logarithm():
    table = roc_chart([0.0, 1e-4, None, 1.0], [0.1, 0.9, 0.95, None], "ROC").table
    assert table.data == [[1e-4, 0.9, -4.0]]


def test_mask_overlays_encode_found_missed_and_false_pixels():
    truth = np.array([[SKY, SKY, CORE, CORE, RING, RING, IGNORED, IGNORED]], np.uint8)
    mask = np.array([[0, 1, 0, 1, 0, 1, 0, 1]], bool)
    picture = overlay(np.arange(8.0)[None], truth, mask, "a row")
    assert set(picture._masks) == {"truth", "mask"}
    files = {name: layer._path for name, layer in picture._masks.items()}
    verdict = np.rint(255 * matplotlib.image.imread(files["mask"])).astype(int)
    assert [PIXEL_CLASSES.get(code, "sky") for code in verdict.ravel()] == [
        *("sky", "false", "core, missed", "core, found", "ring, missed", "ring, found", "ignored", "ignored")
    ]
    assert np.rint(255 * matplotlib.image.imread(files["truth"])).astype(int).ravel().tolist() == truth.ravel().tolist()


@pytest.fixture
def no_login(monkeypatch, tmp_path):
    """Remove the login and all settings of W&B."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.slow
def test_each_row_of_an_evaluation_is_one_wandb_run_also_when_repeated(no_login, tmp_path):
    mean = result_row("deepCR, mean of 2 seeds", curves=None)
    rows = [result_row(), result_row(test_set="cutouts", data_origin="real"), mean]
    for _ in range(2):
        log_evaluation(NODE, rows, [], [], tmp_path)
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


def test_an_unsupported_logger_of_an_evaluation_is_refused():
    assert check_logger(None) is None
    assert check_logger(NODE) == "wandb"
    with pytest.raises(ConfigError, match="CSVLogger, expected logger=wandb, logger=tensorboard, logger=csv or none"):
        check_logger({"_target_": "pytorch_lightning.loggers.CSVLogger"})


def test_the_csv_of_an_evaluation_has_a_row_for_each_detector_also_when_repeated(tmp_path):
    node = {"_target_": "cosmicgate.training.loggers.csv_logger", "folder": str(tmp_path)}
    for rows in ([result_row("Old")], [result_row(), result_row("deepCR"), result_row(test_set="cutouts")]):
        log_evaluation(node, rows, [], [], tmp_path)
    lines = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [(line["detector"], line["test/decam/f1"], line["test/cutouts/f1"]) for line in lines] == [
        ("Att Cosmic-CoNN", "0.97494", "0.97494"),
        ("deepCR", "0.97494", ""),
    ]


def test_tensorboard_has_a_folder_for_each_detector(tmp_path):
    pytest.importorskip("tensorboard")
    node = {"_target_": "cosmicgate.training.loggers.tensorboard_logger", "folder": str(tmp_path)}
    log_evaluation(node, [result_row(), result_row("deepCR")], [], [], tmp_path)
    folders = sorted((tmp_path / "tensorboard_rows").iterdir())
    assert [folder.name for folder in folders] == ["Att-Cosmic-CoNN_decam,-simulated", "deepCR_decam,-simulated"]
    assert all(list(folder.glob("events*")) for folder in folders)


# wandb-workspaces 0.4 uses decorators of pydantic 1, which warn.
@pytest.mark.filterwarnings("ignore:Pydantic V1 style")
def test_the_dashboard_shows_only_keys_that_runs_log(no_login, monkeypatch, tmp_path, capsys):
    from cosmicgate.report import dashboard

    rows = [
        result_row(),
        result_row("deepCR"),
        result_row(test_set="cutouts", data_origin="real", dilated=SCORES | {"precision_at_tpr_95pct": 1.0}),
    ]
    write_run(tmp_path / "runs" / "a", *rows, seed=0)
    write_run(tmp_path / "runs" / "b", *rows, seed=1)
    with pytest.raises(SystemExit, match="not logged in to W&B: run `wandb login`, then this command again"):
        dashboard.main([str(tmp_path / "runs")])
    saved = []
    monkeypatch.setattr(dashboard, "logged_in", lambda: True)
    for made in (dashboard.ws.Workspace, dashboard.wr.Report):
        monkeypatch.setattr(made, "save", lambda made: saved.append(made))
        monkeypatch.setattr(made, "url", property(lambda made: type(made).__name__))
    dashboard.main([str(tmp_path / "runs"), "--entity", "team"])
    assert capsys.readouterr().out.split() == ["Workspace", "Report"]
    logged = scores(rows).keys() | {f"{key}_table" for row in rows for key in charts(row)}
    logged |= {f"test/{name}/{score}" for name in ("decam", "cutouts") for score in ("masks", "precision_at_tpr_95pct")}
    workspace, report = map(repr, saved)
    shown = set(re.findall(r"\btest/[\w./%-]+", workspace + report))
    assert len(shown) > 20
    assert shown <= logged
    assert "Table 1. Along the curves" in report
    assert "Sweep: gates" in report
    names = [section.name for section in saved[0].sections]
    assert {"decam: Table 1", "decam: Table 2", "cutouts: Curves", "Training"} <= set(names)
    sweep = next(section for section in saved[0].sections if "Sweeps" in section.name)
    assert "about.detector" in repr(sweep), "network and variant, without the seed"


# Lightning warns that files may be overwritten, which csv_logger prevents; train.py silences it too.
@pytest.mark.filterwarnings("ignore:Experiment logs directory")
def test_a_resumed_run_keeps_the_rows_of_its_csv(tmp_path):
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


def test_every_training_writes_a_csv_beside_its_logger(tmp_path):
    alone = csv_logger(str(tmp_path))
    assert with_csv_logger(alone, tmp_path) == [alone]
    beside = with_csv_logger(tensorboard_logger(str(tmp_path)), tmp_path)
    assert [type(logger).__name__ for logger in beside] == ["TensorBoardLogger", "CSVLogger"]


def test_a_missing_tensorboard_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("pytorch_lightning.loggers.tensorboard.TensorBoardLogger.__init__", raise_missing)
    with pytest.raises(ImportError, match="pip install tensorboard"):
        tensorboard_logger(str(tmp_path))


def raise_missing(*_, **__):
    raise ModuleNotFoundError("no tensorboard")


def test_tensorboard_writes_events_into_the_run_folder(tmp_path):
    logger = tensorboard_logger(str(tmp_path))
    logger.log_hyperparams({"model": {"norm": "batch"}})
    logger.log_metrics({"test/decam/f1": 0.5})
    logger.finalize("success")
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_rewinding_the_csv_removes_later_rows_and_adds_a_missing_one(tmp_path):
    logger = csv_logger(str(tmp_path))
    for step in range(4):
        logger.log_metrics({"train/loss_step": float(step)}, step=step)
    logger.save()
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("4,")  # a row truncated by a kill
    resumed = csv_logger(str(tmp_path))
    resumed.experiment.rewind(2, {"train/loss_epoch": 0.25, "epoch": 0})
    resumed.experiment.rewind(2, {"train/loss_epoch": 0.25, "epoch": 0})
    resumed.log_metrics({"train/loss_step": 9.0}, step=2)
    resumed.save()
    lines = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [(line["step"], line["train/loss_step"], line["train/loss_epoch"], line["epoch"]) for line in lines] == [
        ("0", "0.0", "", ""),
        ("1", "1.0", "", ""),
        ("1", "", "0.25", "0"),
        ("2", "9.0", "", ""),
    ]


def test_an_invalid_api_key_is_reported_and_the_run_is_offline(monkeypatch, caplog):
    def refused(**_):
        raise wandb.errors.AuthenticationError("WANDB_API_KEY invalid: API key must have 40+ characters, has 5.")

    monkeypatch.setattr(wandb, "login", refused)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert not logged_in()
    assert "no login at W&B (WANDB_API_KEY invalid" in caplog.text


def test_an_unreachable_server_leaves_a_run_offline(monkeypatch, caplog, tmp_path):
    from pytorch_lightning.loggers import WandbLogger

    def refused(logger):
        if logger._offline:
            return
        raise wandb.errors.CommError("Run initialization has timed out after 30.0 sec.\nmore")

    monkeypatch.setattr("cosmicgate.report.wandb_login.logged_in", lambda: True)
    monkeypatch.setattr(WandbLogger, "experiment", property(refused))
    monkeypatch.delenv("WANDB_MODE", raising=False)
    assert wandb_logger("p", str(tmp_path))._offline
    assert "W&B cannot be reached (Run initialization has timed out after 30.0 sec.)" in caplog.text
    with pytest.raises(ValueError, match=r"^logger\.offline=false: W&B cannot be reached"):
        wandb_logger("p", str(tmp_path), offline=False)


def test_wandb_works_without_a_writable_home(monkeypatch, tmp_path):
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", "/proc/none")
    set_writable_folders(tmp_path)
    for variable in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        assert Path(os.environ[variable]).is_relative_to(tmp_path)
        assert Path(os.environ[variable]).is_dir()
