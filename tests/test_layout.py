"""A pixel goes one way through the files, and imports go with it."""

import ast
from pathlib import Path

import pytest
from conftest import ROOT

# What may import only what stands before it.
ORDER = (
    *("files", "truth", "config", "tracking", "data", "models", "losses", "segmentation", "metrics", "hits", "panels"),
    *("callbacks", "detectors", "lineup", "featuremaps", "bootstrap", "judging", "scoring", "seeds", "evaluation"),
    *("results", "tables", "rankings", "figures", "report"),
)
PACKAGE = ROOT / "src" / "cosmicgate"


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("cosmicgate."):
            names.add(node.module.split(".")[1])
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("cosmicgate.")}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_never_run_back(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part != "__init__":
        place = ORDER.index(part)
        for name in imported(path) - {part}:
            assert ORDER.index(name) < place, f"{path.name} imports {name}, which comes after {part}"


def test_networks_know_torch_and_nothing_else():
    for path in (PACKAGE / "models").glob("*.py"):
        tree = ast.parse(path.read_text())
        roots = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        roots |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert roots <= {"torch", "cosmicgate", "collections", "functools", "itertools", "typing"}


def test_the_entry_points_stay_short():
    for name in ("train.py", "evaluate.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 60


def test_only_the_entry_points_read_the_configuration():
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("config.py",):
            assert "omegaconf" not in path.read_text(), f"{path} reads configs"
