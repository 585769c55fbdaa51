"""A training ends with a short table: its network beside other detectors, on the same frames."""

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
from cosmicgate.report.ending import log_scores
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks
from helpers.train_command import TINY

FAST = ("trainer=smoke", *TINY, "model=deepcr", "model.channels=4", "beside=[astroscrappy]", "logger=csv")
# Stands before a program and hides a package from it.
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
    """A finished training, and what it printed."""
    folder = tmp_path_factory.mktemp("beside") / "run"
    done = command("train.py", *FAST, f"data.root={command.data}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def rows_of(folder):
    return json.loads((folder / "results.json").read_text())["rows"]


def test_a_training_ends_with_a_table_and_what_to_do_next(run):
    folder, out = run
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("decam (simulated): 1 frames, "))
    assert "core and dilation ring are positives" in lines[head]
    assert lines[head + 1].split("  ")[-1].strip() == "Hits found (%)"
    table = {line[:22].strip(): line[22:].split() for line in lines[head + 2 : head + 4]}
    assert list(table) == ["deepCR", "Astro-SCRAPPY (fair)"]
    for row in rows_of(folder):
        tpr, f1, found = table[DetectorRecord(**row["detector"]).name]
        assert tpr == f"{100 * row['dilated']['tpr_at_fpr_0.01pct']:.2f}"
        assert (f1, found) == (f"{row['dilated']['f1']:.4f}", f"{100 * row['per_hit']['recall']:.2f}")
    assert lines[head + 4 :] == [
        f"report   {folder}/report/tables.md",
        f"picture  {folder}/report/masks_decam.png",
        f"next     cosmicgate mask -m {folder} image.fits",
    ]
    log = (folder / "train.log").read_text()
    assert all(line in log for line in lines[head:])
    assert "Astro-SCRAPPY (fair)" in (folder / "report" / "tables.md").read_text()
    header = (folder / "metrics.csv").read_text().splitlines()
    assert header[-1].count("0.") > 0
    assert sum(bool(line.split(",")[header[0].split(",").index("test/decam/f1")]) for line in header[1:]) == 1


@pytest.mark.slow
def test_the_rows_are_those_of_an_evaluation_of_the_same_detectors(command, run, tmp_path):
    folder, _ = run
    both = (f"checkpoint={folder}", "detector=[checkpoint,astroscrappy]", "picture=false")
    done = command("evaluate.py", *both, f"hydra.run.dir={tmp_path}/both")
    assert done.returncode == 0, done.stderr
    assert rows_of(tmp_path / "both") == rows_of(folder)
    assert "Astro-SCRAPPY (fair)" in done.stdout
    assert "not compared" not in done.stdout, "there is one network"


@pytest.mark.slow
def test_stopped_among_the_detectors_beside_it_a_training_is_not_repeated(command, run):
    folder, out = run
    before, trained = rows_of(folder), (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    frames = sorted((folder / "frames").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert len(frames) == 2
    frames[-1].unlink()
    (folder / "results.json").unlink()
    done = command("train.py", *FAST, f"data.root={command.data}", f"hydra.run.dir={folder}")
    assert done.returncode == 0, done.stderr
    assert "epoch 1" not in done.stdout
    assert done.stdout.splitlines()[-6:] == out.splitlines()[-6:]
    assert rows_of(folder) == before
    assert (folder / "checkpoints" / "last.ckpt").stat().st_mtime_ns == trained


@pytest.mark.slow
def test_without_the_package_the_table_says_so_and_the_training_succeeds(command, run, tmp_path):
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
    missing = "astroscrappy is not installed; to install it: pip install 'cosmicgate[train]'"
    assert f"left out astroscrappy: Astro-SCRAPPY: the package {missing}" in done.stdout
    assert [row["detector"]["model"] for row in rows_of(tmp_path / "run")] == ["deepCR"]


@pytest.mark.slow
def test_the_jobs_of_a_sweep_are_tested_alone(command, tmp_path):
    done = command("train.py", "-m", *FAST, "seed=0", f"data.root={command.data}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    (folder,) = (path.parent for path in tmp_path.glob("*/results.json"))
    assert [row["detector"]["model"] for row in rows_of(folder)] == ["deepCR"]


def test_a_name_that_is_none_stops_before_anything_is_made(command, tmp_path):
    where = (f"data.root={tmp_path}/data", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", *FAST, "beside=[nobody]", *where)
    assert done.returncode == 1
    assert "beside: got ['nobody'], expected names of files in conf/detector" in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_detector_beside_may_fail_and_the_network_may_not(make_test_set, tmp_path):
    frames, missing = [make_test_set(2)], [{"detector": "gone", "reason": "no ink"}]
    broken = BrightnessLogits("Broken", blur=1.0, fail={1: RuntimeError("no ink")})
    content = score_training(BrightnessLogits(), [broken, BrightnessMasks()], missing, frames, tmp_path / "kept")
    assert [row["detector"].model for row in content["rows"]] == ["deepCR", "LACosmic"]
    assert content["unavailable"] == missing
    assert content["failed"] == [{"test_set": "decam", "detector": DetectorRecord.of(broken), "reason": "no ink"}]
    with pytest.raises(RuntimeError, match="no ink"):
        score_training(BrightnessLogits(fail={1: RuntimeError("no ink")}), [], [], frames, tmp_path / "other")


def test_the_table_says_what_counts_as_hit_and_gives_intervals(make_test_set, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with_ring = make_test_set(3)
    frames = []
    for folder in with_ring.folders:
        labelled = load_labelled(folder)
        frames.append(tmp_path / "thin" / folder.name)
        save_labelled(frame_of(labelled), labelled.truth, {"name": folder.name, "dilated": False}, frames[-1])
    thin = TestSet("thin", "simulated", tuple(frames))
    rows = compare([BrightnessLogits("Att deepCR"), BrightnessMasks()], [with_ring, thin], tmp_path / "kept")["rows"]
    log_scores(rows, [with_ring, thin], [tmp_path / name for name in ("tables.md", "masks_g.png", "masks_r.png")])
    lines = [record.getMessage() for record in caplog.records]
    heads = [number for number, line in enumerate(lines) if line.startswith(("decam", "thin"))]
    assert "core and dilation ring are positives" in lines[heads[0]]
    assert "core pixels are positives, the truth has no ring" in lines[heads[1]]
    low, high = rows[0]["intervals"]["dilated"]["tpr_at_fpr_0.01pct"]
    assert f"[{100 * low:.2f}, {100 * high:.2f}]" in lines[heads[0] + 2]
    assert len({len(line) for line in lines[heads[0] + 1 : heads[0] + 4]}) == 1, "columns stand below each other"
    assert lines[-1] == f"picture  {tmp_path}/masks_g.png and 1 more"


def test_a_card_takes_no_score_of_a_detector_beside(tmp_path):
    network = load("general", check=False).network
    intervals = {part: {} for part in ("dilated", "core")}
    about = {"test_set": "decam", "data_origin": "simulated", "intervals": intervals}
    ours, theirs = ({part: {"tpr_at_fpr_0.01pct": v, "f1": v} for part in ("dilated", "core")} for v in (0.9, 0.1))
    rows = [
        {**about, **ours, "detector": DetectorRecord("CosmicGate", weights=release.weights_sha256_of(network))},
        {**about, **theirs, "detector": DetectorRecord("Astro-SCRAPPY", "fair")},
    ]
    write_results(tmp_path / "results.json", {"rows": rows})
    found = release.scores([tmp_path / "results.json"], network, own=tmp_path / "results.json")
    assert {one["value"] for one in found} == {0.9}
