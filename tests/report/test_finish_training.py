"""Test the table at the end of a training, which compares its network with other detectors on the same frames."""

import json
import logging
import os

import pytest

from cosmicgate import release
from cosmicgate.data.cache import load_labelled, save_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.evaluation.frame_results import frame_of
from cosmicgate.evaluation.records import DetectorRecord, write_results
from cosmicgate.evaluation.run import compare, score_training
from cosmicgate.masking.load import load
from cosmicgate.report.finish_training import log_scores
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks
from helpers.train_command import TINY

FAST = ("trainer=smoke", *TINY, "model=deepcr", "model.channels=4", "baselines=[astroscrappy]", "logger=csv")
# Code of sitecustomize.py that hides a package from a program.
HIDDEN = """
import importlib.metadata, sys
sys.modules["astroscrappy"] = None
found = importlib.metadata.Distribution.from_name
def from_name(name):
    if name == "astroscrappy":
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)
importlib.metadata.Distribution.from_name = staticmethod(from_name)
"""


@pytest.fixture(scope="module")
def run(command, tmp_path_factory):
    """Train a small network; return the run folder and the printed text."""
    folder = tmp_path_factory.mktemp("beside") / "run"
    done = command("train.py", *FAST, f"data.root={command.data}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def result_rows(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


@pytest.mark.slow
def test_a_training_ends_with_a_table_and_the_next_command(run):
    folder, out = run
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("decam (simulated): 1 frames, "))
    assert "core and dilation ring are positives" in lines[head]
    assert lines[head + 1].split("  ")[-1].strip() == "Hits found (%)"
    table = {line[:22].strip(): line[22:].split() for line in lines[head + 2 : head + 4]}
    assert list(table) == ["deepCR", "Astro-SCRAPPY (fair)"]
    for row in result_rows(folder):
        tpr, f1, found = table[DetectorRecord(**row["detector"]).name]
        assert tpr == f"{100 * row['dilated']['tpr_at_fpr_0.01pct']:.2f}"
        assert (f1, found) == (f"{row['dilated']['f1']:.4f}", f"{100 * row['per_hit']['recall']:.2f}")
    assert lines[head + 4 :] == [
        f"report   {folder}/report/tables.md",
        f"figure   {folder}/report/masks_decam.png",
        f"next     cosmicgate mask -m {folder} image.fits",
    ]
    log = (folder / "train.log").read_text()
    assert all(line in log for line in lines[head:])
    assert "Astro-SCRAPPY (fair)" in (folder / "report" / "tables.md").read_text()
    header = (folder / "metrics.csv").read_text().splitlines()
    assert header[-1].count("0.") > 0
    assert sum(bool(line.split(",")[header[0].split(",").index("test/decam/f1")]) for line in header[1:]) == 1


@pytest.mark.slow
def test_the_csv_logger_does_not_use_wandb(run):
    folder, _ = run
    assert not (folder / "wandb").exists()
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert {"val/loss", "val/f1", "lr-Adam", "test/decam/hit_recall"} <= set(header.split(","))


@pytest.mark.slow
def test_the_rows_equal_those_of_an_evaluation_of_the_same_detectors(command, run, tmp_path):
    folder, _ = run
    both = (f"checkpoint={folder}", "detector=[checkpoint,astroscrappy]", "draw_masks=false")
    done = command("evaluate.py", *both, f"hydra.run.dir={tmp_path}/both")
    assert done.returncode == 0, done.stderr
    assert result_rows(tmp_path / "both") == result_rows(folder)
    assert "Astro-SCRAPPY (fair)" in done.stdout
    assert "not compared" not in done.stdout, "there is only one network"


@pytest.mark.slow
def test_a_run_stopped_while_other_detectors_are_scored_does_not_train_again(command, run):
    folder, out = run
    before, trained = result_rows(folder), (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    frames = sorted((folder / "frames").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(frames) == 2
    frames[-1].unlink()
    (folder / "results.json").unlink()
    done = command("train.py", *FAST, f"data.root={command.data}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "epoch 1" not in done.stdout
    assert done.stdout.splitlines()[-6:] == out.splitlines()[-6:]
    assert result_rows(folder) == before
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_a_missing_package_is_reported_and_the_training_succeeds(command, run, tmp_path):
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDDEN)
    before = dict(command.environment)
    path = os.pathsep.join([str(tmp_path / "hidden"), os.environ.get("PYTHONPATH", "")])
    command.environment |= {"PYTHONPATH": path}
    try:
        done = command("train.py", *FAST, f"data.root={command.data}", f"hydra.run.dir={tmp_path}/run")
    finally:
        command.environment = before
    assert done.returncode == 0, done.stderr
    missing = "astroscrappy is not installed; to install it: pip install '.[train]' in a clone of cosmicgate"
    assert f"left out astroscrappy: Astro-SCRAPPY: the package {missing}" in done.stdout
    assert [row["detector"]["model"] for row in result_rows(tmp_path / "run")] == ["deepCR"]


@pytest.mark.slow
def test_the_jobs_of_a_sweep_score_no_other_detectors(command, tmp_path):
    done = command("train.py", "-m", *FAST, "seed=0", f"data.root={command.data}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in tmp_path.glob("*/results.json"))
    assert [row["detector"]["model"] for row in result_rows(folder)] == ["deepCR"]


@pytest.mark.slow
def test_an_unknown_detector_name_stops_before_data_are_simulated(command, tmp_path):
    where = (f"data.root={tmp_path}/data", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", *FAST, "baselines=[nobody]", *where)
    assert done.returncode == 1
    assert "baselines: got ['nobody'], expected names of files in conf/detector" in done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_a_failure_of_another_detector_is_recorded_and_one_of_the_network_raised(make_test_set, tmp_path):
    frames, missing = [make_test_set(2)], [{"detector": "gone", "reason": "no ink"}]
    broken = BrightnessLogits("Broken", blur=1.0, fail={1: RuntimeError("no ink")})
    content = score_training(BrightnessLogits(), [broken, BrightnessMasks()], missing, frames, tmp_path / "cache")
    assert [row["detector"].model for row in content["rows"]] == ["deepCR", "LACosmic"]
    assert content["unavailable"] == missing
    assert content["failed"] == [{"test_set": "decam", "detector": DetectorRecord.of(broken), "reason": "no ink"}]
    with pytest.raises(RuntimeError, match="no ink"):
        score_training(BrightnessLogits(fail={1: RuntimeError("no ink")}), [], [], frames, tmp_path / "other")


@pytest.mark.slow
def test_the_table_states_the_positives_and_gives_intervals(make_test_set, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with_ring = make_test_set(3)
    frames = []
    for folder in with_ring.folders:
        labelled = load_labelled(folder)
        frames.append(tmp_path / "thin" / folder.name)
        save_labelled(frame_of(labelled), labelled.truth, {"name": folder.name, "dilated": False}, frames[-1])
    thin = TestSet("thin", "simulated", tuple(frames))
    rows = compare([BrightnessLogits("Att deepCR"), BrightnessMasks()], [with_ring, thin], tmp_path / "cache")["rows"]
    log_scores(rows, [with_ring, thin], [tmp_path / name for name in ("tables.md", "masks_g.png", "masks_r.png")])
    lines = [record.getMessage() for record in caplog.records]
    heads = [number for number, line in enumerate(lines) if line.startswith(("decam", "thin"))]
    assert "core and dilation ring are positives" in lines[heads[0]]
    assert "core pixels are positives, the truth has no ring" in lines[heads[1]]
    low, high = rows[0]["intervals"]["dilated"]["tpr_at_fpr_0.01pct"]
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in lines[heads[0] + 2]
    assert len({len(line) for line in lines[heads[0] + 1 : heads[0] + 4]}) == 1, "columns are aligned"
    assert lines[-1] == f"figure   {tmp_path}/masks_g.png and 1 more"


def test_a_model_card_has_scores_of_its_own_network_only(tmp_path):
    network = load("general", check=False).network
    intervals = {part: {} for part in ("dilated", "core")}
    about = {"test_set": "decam", "data_origin": "simulated", "intervals": intervals}
    ours, theirs = ({part: {"tpr_at_fpr_0.01pct": v, "f1": v} for part in ("dilated", "core")} for v in (0.9, 0.1))
    rows = [
        {**about, **ours, "detector": DetectorRecord("CosmicGate", weights=release.weights_sha256_of(network))},
        {**about, **theirs, "detector": DetectorRecord("Astro-SCRAPPY", "fair")},
    ]
    write_results(tmp_path / "results.json", {"rows": rows})
    found = release.card_scores([tmp_path / "results.json"], network, run_results=tmp_path / "results.json")
    assert {one["value"] for one in found} == {0.9}
