"""Fixtures that every test may use: the real data where they are, the user's commands."""

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.replay_server import Replay
from helpers.repository import ROOT
from helpers.train_command import Command

REAL = Path(os.environ.get("COSMICGATE_REAL", ROOT.parent / "shared" / "real"))


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Find a file of the small real data; skip the test where they are not on this machine."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f"the real data {name!r} are not at {REAL} (COSMICGATE_REAL names their folder)")
        return REAL / name

    return find


@pytest.fixture
def replay(monkeypatch) -> Iterator[Replay]:
    """Start a server on the loopback interface that answers as the archives do."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with Replay() as server:
        yield server


@pytest.fixture
def lco(tmp_path) -> dict[str, bytes]:
    """Make the archives of the LCO record, with arbitrary bytes in place of frames."""
    from helpers.archive_files import BODY, taped, zipped  # slow to import: only where it is needed

    name = "LCO_CR_dataset/test_set/masked_fits/coj0m403-kb24-20190101-0147-e91_3frms_masks.fits"
    other = "LCO_CR_dataset/train_set/0m4_2019/masked_fits/coj0m403-kb24-20190101-0150-e91_3frms_masks.fits"
    test = zipped({name: BODY}, tmp_path / "test.zip", zipfile.ZIP_STORED).read_bytes()
    train = taped({other: BODY}, tmp_path / "train.tar.gz").read_bytes()
    return {"test_set.zip": test, "train_set.tar.gz": train, "README.txt": b"read me"}


@pytest.fixture(scope="session")
def lco_archive(tmp_path_factory) -> Path:
    """Simulate files of the three telescope classes in the layout of LCO_CR_dataset."""
    from cosmicgate.data.lco.simulated_archive import simulated_archive  # slow to import: only where it is needed

    folder = tmp_path_factory.mktemp("archive")
    return simulated_archive(str(folder), sequences={"0m4": 2, "1m0": 1, "2m0": 1}, shape=(96, 96), rate=300)


@pytest.fixture(scope="session")
def lco_files(lco_archive) -> list[Path]:
    """List the simulated files, sorted: two of a 0m4 telescope, one of each other class."""
    return sorted((lco_archive / "test_set" / "masked_fits").iterdir())


@pytest.fixture
def a_set(tmp_path) -> Callable[..., Any]:
    """Make a test set with a given number of frames."""
    from helpers.fake_detectors import a_test_set  # slow to import: only where it is needed

    return partial(a_test_set, tmp_path / "data")


@pytest.fixture(scope="session")
def new_interpreter(tmp_path_factory) -> Command:
    """Run ``train.py`` and ``evaluate.py`` in new interpreters; all tests share the data that they make."""
    return Command(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def command(new_interpreter) -> Iterator[Command]:
    """Run ``train.py`` and ``evaluate.py`` in forks of one interpreter, which saves the time of their imports."""
    forks = Command(Path(new_interpreter.environment["HOME"]), new_interpreter.data, forks=True)
    yield forks
    forks.close()
