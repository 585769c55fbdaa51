"""Define fixtures for masking remote files and masking on Ray."""

import tempfile

import pytest

from cosmicgate.io import object_stores
from helpers.repository import ROOT


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Make the folder that Python and its child processes use for temporary files."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.fixture
def memory(temporary, monkeypatch):
    """Fill a filesystem in memory with two frames, set retries to no delay, and check that no temporary file stays."""
    from helpers.memory_store import frame_bytes, fsspec  # skips the test if fsspec is not installed

    monkeypatch.setattr(object_stores, "DELAY", 0.0)
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    for number in range(2):
        files.pipe(f"/night/{number}.fits", frame_bytes(number))
    yield files
    assert not list(temporary.iterdir()), "temporary files remain"
    files.store.clear()


@pytest.fixture
def cluster(monkeypatch):
    """Set the environment in which Ray starts workers: they import the tests' helpers and run at normal priority."""
    pytest.importorskip("ray", reason="--ray needs the extra ray")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{ROOT / 'tests'}")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
