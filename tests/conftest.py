"""Fixtures that every test may use: the real data where they are, the user's commands."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
