"""A pixel goes one way through the files, and imports go with it."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from conftest import ROOT

# What may import only what stands before it.
ORDER = (
    *("files", "truth", "config", "tracking", "data", "models", "detectors", "losses", "segmentation", "training"),
    *("metrics", "evaluation", "report"),
    "callbacks",  # validations are shown as results are
    *("masking", "__main__"),
)
# The same below some of its folders.
INSIDE = {
    # What a file is, what can be drawn, what frames come from, what is made of them.
    "data": (
        *("telling", "fits", "archives", "splits", "transforms", "clean", "store", "simulate", "sources"),
        *("contaminate", "patches", "real", "darks", "cameras", "remote", "decam", "mixture", "lco", "labels"),
    ),
    # Who is judged, what is counted of a frame, what follows from the counts of all.
    "evaluation": ("lineup", "hits", "judging", "bootstrap", "scoring", "seeds", "rows"),
    # What is read, what is made of it, where it goes.
    "report": ("results", "runs", "tables", "pictures", "writing", "pages", "boards", "dashboard"),
    # What computes, the detector made of it, its packages, what is written for a file, the command that has it written.
    "masking": (*("inpainting", "traits", "engine", "masker", "loading", "shipping", "export", "products", "command"),),
}
PACKAGE = ROOT / "src" / "cosmicgate"
MOST = 15  # modules of a folder: in a longer list nobody finds the one that matters


def imported(path: Path, package: str = "cosmicgate") -> set[str]:
    """Return what a file imports of a package: the names of the files and folders in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{package}."):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(f"{package}.")}
    return {name.removeprefix(f"{package}.").split(".")[0] for name in names if not name.endswith("__")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_never_run_back(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part != "__init__":
        place = ORDER.index(part)
        for name in imported(path) - {part}:
            assert ORDER.index(name) < place, f"{path.name} imports {name}, which comes after {part}"


@pytest.mark.parametrize(
    ("folder", "path"),
    [(folder, path) for folder in INSIDE for path in sorted((PACKAGE / folder).rglob("*.py"))],
    ids=lambda p: p.relative_to(PACKAGE).as_posix() if isinstance(p, Path) else "",
)
def test_inside_a_folder_imports_never_run_back_either(folder, path):
    part = path.relative_to(PACKAGE / folder).parts[0].removesuffix(".py")
    order = INSIDE[folder]
    if not part.startswith("__"):
        for name in imported(path, f"cosmicgate.{folder}") - {part}:
            assert order.index(name) < order.index(part), f"{path.name} imports {name}, which comes after {part}"


def test_a_folder_holds_no_more_modules_than_can_be_surveyed():
    modules = Counter(path.parent for path in PACKAGE.rglob("*.py") if not path.name.startswith("__"))
    for folder, number in modules.items():
        assert number <= MOST, (
            f"{folder.name} holds {number} modules, expected at most {MOST}: give it folders by meaning"
        )


def test_the_top_is_surveyed_with_its_folders():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    parts -= {"__init__"}
    assert parts == set(ORDER)
    number = len(parts - {"__main__"})
    assert number <= MOST, f"the top holds {number} modules and folders, expected at most {MOST}"


def test_networks_know_torch_and_nothing_else():
    for path in (PACKAGE / "models").glob("*.py"):
        tree = ast.parse(path.read_text())
        roots = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        roots |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert roots <= {
            "torch",
            "cosmicgate",
            "collections",
            "copy",
            "dataclasses",
            "functools",
            "itertools",
            "math",
            "typing",
        }


def test_the_entry_points_stay_short():
    for name in ("train.py", "evaluate.py"):
        assert len((ROOT / name).read_text().splitlines()) <= 60


def test_only_the_entry_points_read_the_configuration():
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("config.py",):
            assert "omegaconf" not in path.read_text(), f"{path} reads configs"
