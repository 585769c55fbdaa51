"""What measures this machine runs: a benchmark that broke would be seen only by who needs its figures."""

import re

import pytest
from conftest import ROOT, TINY

QUICK = {
    "masking": ("--shape", "128", "128", "--rounds", "1", "--no-memory"),
    "metric": ("--side", "64", "--repeats", "1"),
    "screening": ("--shape", "128", "128", "--rounds", "1", "--steps", "-1", "0", "1"),
    "simulation": ("--repeats", "1", "--bands", "g", "--shape", "128", "128"),
    "training": ("--steps", "1", "--rounds", "1", "--loader", "0.1", *TINY),
}


SMALL = ("model=deepcr", "model.channels=4", "model.depth=2", "model.scaling=robust")


@pytest.mark.slow  # each imports torch or GalSim anew
@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_prints_its_table(command, script, tmp_path):
    told = [*QUICK[script]]
    if script == "training":
        told += [f"data.root={command.data}"]
    if script == "masking":
        command.train(tmp_path / "run", *SMALL)
        told += ["--model", str(tmp_path / "run")]
    done = command(f"benchmarks/{script}.py", *told)
    assert done.returncode == 0, done.stderr
    table = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert len(table) > 4
    assert all(re.search(r"\| [+-]?\d", line) for line in table[2:]), "a row without a number"
    assert "nan" not in "".join(table)
