"""Test that a killed or stopped training resumes to identical results, and prints the command that resumes it."""

import csv
import json
import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmicgate.training.run_lock import GUARD_LOCK
from helpers.fork_server import ForkedProcess
from helpers.killed_training import KILL_VARIABLE
from helpers.train_command import TINY

SHORT = (
    *(word for word in TINY if not word.startswith(("data.patch", "data.num_workers"))),
    *("data.patch=64", "data.batch_size=4", "trainer.max_epochs=3", "trainer.log_every_n_steps=1", "logger=csv"),
    *("trainer.accelerator=cpu", "model=deepcr", "model.channels=4", "baselines=[]"),
    "+callbacks.kill={_target_: helpers.killed_training.KillAt}",
)


@pytest.fixture(scope="module")
def start(command):
    """Return a function that starts a training, which sends itself a signal if ``at`` is given."""

    def start_training(folder: Path, *more: str, at: str = "") -> ForkedProcess:
        where = (f"data.root={command.data}", f"hydra.run.dir={folder}")
        return command.start("train.py", *SHORT, *where, *more, **{KILL_VARIABLE: at})

    return start_training


@pytest.fixture(scope="module")
def uninterrupted(start, tmp_path_factory) -> Path:
    """Train without an interruption and without loader workers; return the run folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    done = start(folder, "data.num_workers=0")
    _, err = done.communicate(timeout=600)
    assert done.returncode == 0, err
    return folder


def metric_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def assert_same_run(folder: Path, uninterrupted: Path) -> None:
    """Check that metrics, checkpoints, results and frame results of two runs are identical to the bit."""
    assert metric_rows(folder) == metric_rows(uninterrupted)
    for name in ("best", "last"):
        one, other = (
            torch.load(f / "checkpoints" / f"{name}.ckpt", weights_only=True) for f in (folder, uninterrupted)
        )
        assert one["epoch"] == other["epoch"]
        assert all(torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items())
        assert one["lr_schedulers"] == other["lr_schedulers"]
        for key, state in one["optimizer_states"][0]["state"].items():
            assert all(torch.equal(v, other["optimizer_states"][0]["state"][key][n]) for n, v in state.items())
    assert json.loads((folder / "results.json").read_text()) == json.loads((uninterrupted / "results.json").read_text())
    for one, other in zip(*(sorted((f / "frames").glob("*.npz")) for f in (folder, uninterrupted)), strict=True):
        with np.load(one) as ours, np.load(other) as theirs:
            assert all(np.array_equal(ours[name], theirs[name]) for name in theirs if name != "seconds")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "at"),
    [(0, "train 1"), (1, "train 0"), (1, "validation 2"), (2, "train 2"), (2, "end 0")],
    ids=str,
)
def test_a_killed_training_resumes_to_identical_results(start, uninterrupted, tmp_path, workers, at):
    killed = start(tmp_path, f"data.num_workers={workers}", at=f"SIGKILL {at}")
    _, err = killed.communicate(timeout=600)
    assert killed.returncode == -signal.SIGKILL, err
    done = start(tmp_path, f"data.num_workers={workers}")
    _, err = done.communicate(timeout=600)
    assert done.returncode == 0, err
    assert_same_run(tmp_path, uninterrupted)
    record = json.loads((tmp_path / "provenance.json").read_text())
    earlier = record.get("attempts", [])
    assert len(earlier) == (at != "train 0"), "there is nothing to resume before the first epoch ends"
    for before in earlier:
        assert f"data.num_workers={workers}" in before["command"]
        assert before["started"] <= record["started"]


@pytest.mark.slow
def test_averaged_weights_that_are_validated_every_other_epoch_resume_to_identical_results(start, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    average = "+callbacks.average={_target_: pytorch_lightning.callbacks.EMAWeightAveraging, decay: 0.9}"
    more = ("data.num_workers=1", "trainer.check_val_every_n_epoch=2", average)
    for folder, at, code in ((whole, "", 0), (killed, "SIGKILL train 2", -signal.SIGKILL), (killed, "", 0)):
        process = start(folder, *more, at=at)
        _, err = process.communicate(timeout=600)
        assert process.returncode == code, err
    assert_same_run(killed, whole)


@pytest.mark.slow
@pytest.mark.parametrize("at", ["train 1", "end 0"])
def test_a_terminated_training_prints_the_command_that_resumes_it(start, uninterrupted, tmp_path, at):
    process = start(tmp_path, "data.num_workers=1", at=f"SIGTERM {at}")
    _, err = process.communicate(timeout=600)
    assert process.returncode == 143, err
    message = next(line for line in err.splitlines() if line.startswith("stopped; resume with: python train.py "))
    assert "Traceback" not in err
    assert not (tmp_path / "results.json").exists()
    hidden = {path.name for path in tmp_path.rglob(".*") if path.is_file()}
    assert hidden <= {GUARD_LOCK}, "no partial file, no lock"
    typed = shlex.split(message.partition(": ")[2])
    assert typed[-1] == "data.num_workers=1"
    assert f"hydra.run.dir={tmp_path}" in typed
    done = start(tmp_path, "data.num_workers=1")
    _, err = done.communicate(timeout=600)
    assert done.returncode == 0, err
    log = (tmp_path / "train.log").read_text()
    assert re.findall(r"resumes with epoch (\d) of 3", log) == (["2"] if at == "train 1" else [])
    assert log.count("epoch 3 of 3: ") == 1, "an epoch is reported once"
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.slow
def test_the_default_training_works_without_a_writable_home(command, tmp_path):
    before = dict(command.environment)
    command.environment |= {"HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none"}
    try:
        assert command.train(tmp_path)["rows"]
    finally:
        command.environment = before
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/**/*.png"))
