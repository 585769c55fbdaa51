"""Test that every benchmark runs and prints its table."""

import re

import pytest

from helpers.repository import ROOT
from helpers.train_command import TINY

QUICK = {
    "cleaning": ("--scenes", "5", "--rounds", "5"),
    "masking": ("--shape", "128", "128", "--rounds", "1", "--no-memory"),
    "metric": ("--side", "64", "--repeats", "1"),
    "mosaics": ("--frames", "1", "--side", "128"),
    "cascade": ("--shape", "128", "128", "--rounds", "1", "--steps", "-1", "0", "1"),
    "simulation": ("--repeats", "1", "--bands", "g", "--shape", "128", "128"),
    "training": ("--steps", "1", "--rounds", "1", "--loader", "0.1", *TINY, "data.windows.count=64"),
}
SMALL = ("model=deepcr", "model.channels=4", "model.depth=2", "model.scaling=robust")


@pytest.mark.slow  # each imports torch or GalSim
@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_prints_its_table(command, script, tmp_path):
    arguments = [*QUICK[script]]
    if script == "training":
        arguments += [f"data.root={command.data}"]
    if script == "masking":
        command.train(tmp_path / "run", *SMALL)
        arguments += ["--model", str(tmp_path / "run")]
    done = command(f"benchmarks/{script}.py", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    heads = {number + step for number, line in enumerate(lines) if line.startswith("|---") for step in (-1, 0)}
    table = [line for number, line in enumerate(lines) if line.startswith("|") and number not in heads]
    assert len(table) > 2
    assert all(re.search(r"\| [+-]?\d", line) for line in table), "every row has a number"
    assert "nan" not in "".join(table)
