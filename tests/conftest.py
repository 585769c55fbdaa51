"""Fixtures that every test may use: the real data where they are, the user's commands."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from replay import Replay
from wandb.proto import wandb_internal_pb2

ROOT = Path(__file__).parents[1]
REAL = Path(os.environ.get("COSMICGATE_REAL", ROOT.parent / "shared" / "real"))


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Return the path of a piece of the small real data; skip where they are not on this machine."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f"the real data {name!r} are not at {REAL} (COSMICGATE_REAL names their folder)")
        return REAL / name

    return find


@pytest.fixture
def replay(monkeypatch) -> Iterator[Replay]:
    """Serve what the archives would answer, on the loopback interface."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Replay() as server:
        yield server


@pytest.fixture(scope="session")
def lco_archive(tmp_path_factory) -> Path:
    """Simulated files of the three classes, as LCO_CR_dataset has them."""
    from cosmicgate.data.lco.simulated import simulated_archive  # slow to import: only where it is needed

    folder = tmp_path_factory.mktemp("archive")
    return simulated_archive(str(folder), sequences={"0m4": 2, "1m0": 1, "2m0": 1}, shape=(96, 96), rate=300)


@pytest.fixture(scope="session")
def lco_files(lco_archive) -> list[Path]:
    """Return the files of the data set, sorted: two of a 0m4, one of each other class."""
    return sorted((lco_archive / "test_set" / "masked_fits").iterdir())


@pytest.fixture
def a_set(tmp_path) -> Callable[..., Any]:
    """Return a function that makes a test set of so many frames."""
    from judged import a_test_set  # slow to import: only where it is needed

    return partial(a_test_set, tmp_path / "data")


TINY = (
    "data.science.shape=[256,256]",
    "data.science.bands=[g]",
    "data.science.frames={train:1,validation:1,test:1}",
    "data.darks.shape=[256,256]",
    "data.darks.frames={train:1,validation:1,test:1}",
    "data.windows.size=64",
    "data.patch=256",
    "data.workers=0",
)


class Command:
    """Runs the user's own commands in a process of their own, without a login of anybody."""

    def __init__(self, home: Path, data: Path) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        self.environment = kept | {
            "HOME": str(home),
            "NUMBA_CACHE_DIR": str(data / "numba"),
            "PYTHONWARNINGS": "default",
        }
        self.data = data

    def start(self, script: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, script, *arguments]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, script: str, *arguments: str) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, run: Path, *arguments: str) -> dict[str, Any]:
        """Train on tiny simulated frames; return results.json."""
        done = self("train.py", "trainer=smoke", *TINY, f"data.root={self.data}", f"hydra.run.dir={run}", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads((run / "results.json").read_text())


@pytest.fixture(scope="session")
def command(tmp_path_factory) -> Command:
    """Return what runs ``train.py`` and ``evaluate.py``; all tests share the data that it makes."""
    return Command(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data"))


def offline_records(folder: Path) -> list[wandb_internal_pb2.Record]:
    """Read W&B's own files of offline runs: records in blocks of 32 kB, each part with a header of 7 bytes."""
    records = []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb")):
        data, at, parts = file.read_bytes(), 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            parts += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):  # a whole record, or the last part of one
                records.append(wandb_internal_pb2.Record.FromString(parts))
                parts = b""
    return records


def logged_keys(records: list[wandb_internal_pb2.Record]) -> set[str]:
    """Return the keys that were logged in an offline run."""
    return {item.key or ".".join(item.nested_key) for record in records for item in record.history.item}
