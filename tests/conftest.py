"""Define the fixtures that all tests share: real data, archive servers, simulated files, train.py and evaluate.py."""

import os
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from helpers.replay_server import ReplayServer
from helpers.repository import ROOT
from helpers.train_command import Command

SHARED = ROOT.parent / "shared" / "real"
if SHARED.is_dir():
    os.environ.setdefault("COSMICGATE_REAL", str(SHARED))  # for the commands that tests run, too
REAL = Path(os.environ.get("COSMICGATE_REAL", ROOT / "data" / "real"))


@pytest.fixture
def real() -> Callable[[str], Path]:
    """Return a function that finds a file of the real data, and skips the test if it is not on this machine."""

    def find(name: str) -> Path:
        if not (REAL / name).exists():
            pytest.skip(f"no real data {name!r} in {REAL}: run make data-real, or set COSMICGATE_REAL to their folder")
        return REAL / name

    return find


@pytest.fixture
def replay(monkeypatch) -> Iterator[ReplayServer]:
    """Start a server on the loopback interface that answers as the archives do."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    with ReplayServer() as server:
        yield server


@pytest.fixture
def lco(tmp_path) -> dict[str, bytes]:
    """Make the files of the LCO record on Zenodo by name, with arbitrary bytes in place of frames."""
    from helpers.archive_files import BODY, write_tar, write_zip  # slow to import

    name = "LCO_CR_dataset/test_set/masked_fits/coj0m403-kb24-20190101-0147-e91_3frms_masks.fits"
    other = "LCO_CR_dataset/train_set/0m4_2019/masked_fits/coj0m403-kb24-20190101-0150-e91_3frms_masks.fits"
    test = write_zip({name: BODY}, tmp_path / "test.zip", zipfile.ZIP_STORED).read_bytes()
    train = write_tar({other: BODY}, tmp_path / "train.tar.gz").read_bytes()
    return {"test_set.zip": test, "train_set.tar.gz": train, "README.txt": b"read me"}


@pytest.fixture(scope="session")
def lco_archive(tmp_path_factory) -> Path:
    """Simulate sequences of the three telescope classes in the layout of LCO_CR_dataset; return its folder."""
    from cosmicgate.data.lco.simulated_archive import simulated_archive  # slow to import

    folder = tmp_path_factory.mktemp("archive")
    return simulated_archive(str(folder), sequences={"0m4": 2, "1m0": 1, "2m0": 1}, shape=(96, 96), rate=300)


@pytest.fixture(scope="session")
def lco_files(lco_archive) -> list[Path]:
    """List the simulated files, sorted: two of a 0m4 telescope, one of each other class."""
    return sorted((lco_archive / "test_set" / "masked_fits").iterdir())


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """Write the tiny network; return the path of its weights, as option ``-m`` takes it."""
    from helpers.tiny_model import tiny_model  # slow to import

    return tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def masker(model):
    """Load the tiny network as a masker."""
    import cosmicgate

    return cosmicgate.load(model)


@pytest.fixture
def make_test_set(tmp_path) -> Callable[..., Any]:
    """Return a function that saves labelled frames, as many as it is given, and returns their test set."""
    from helpers.fake_detectors import make_test_set  # slow to import

    return partial(make_test_set, tmp_path / "data")


@pytest.fixture(scope="session")
def new_interpreter(tmp_path_factory) -> Command:
    """Run ``train.py`` and ``evaluate.py`` in new interpreters; all tests share the data that these simulate."""
    return Command(tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def command(new_interpreter) -> Iterator[Command]:
    """Run ``train.py``, ``evaluate.py`` and other scripts in forks of one interpreter, to import packages only once."""
    forks = Command(Path(new_interpreter.environment["HOME"]), new_interpreter.data, forks=True)
    yield forks
    forks.close()
