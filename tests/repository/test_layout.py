"""Test that imports follow the order in which an image is processed, and that names are those of the field."""

import ast
import re
import sys
from pathlib import Path

import pytest

from helpers.repository import ROOT

# Order of the packages: each may import those before it. Every package is listed.
PACKAGE_ORDER = (
    *("extras", "io", "config", "provenance", "data", "models", "inference", "pretrained", "detectors", "metrics"),
    *("evaluation", "report", "training"),  # training uses the figures of the report
    *("masking", "viewer", "release", "adaptation", "cli", "__main__"),
)
# Order of the modules inside some packages.
MODULE_ORDER = {
    "io": ("atomic", "urls", "object_stores", "messages", "fits"),
    # Labels and splits, sources of frames, data sets.
    "data": (
        *(
            "random_streams",
            "pixel_labels",
            "bad_pixels",
            "splits",
            "transforms",
            "background",
            "cache",
            "star_match",
            "noise_samples",
        ),
        *("simulation", "download"),
        *("sources", "contamination", "patches", "datamodule", "real_tests", "lco"),
        *("labelled_exposures", "mixture", "labelling"),
        "collection",
    ),
    "models": ("layers", "normalization", "unet", "weight_conversion"),
    "inference": (
        *("precision", "threads", "background_grid", "tiling", "fuse_batch_norm"),
        *("frozen_group_norm", "row_shares", "streaming", "cascade", "onnx_runtime", "predictor"),
    ),
    "pretrained": ("card", "load_weights", "registry", "renamed_targets", "checkpoint", "load", "domain_check"),
    "detectors": ("base", "optional_packages", "network", "published", "classical", "maximask"),
    # Results of a frame, scores of all frames.
    "evaluation": (
        *("records", "training_configs", "build_detectors", "hits", "operating_points", "frame_results"),
        *("bootstrap", "scores", "seed_means", "run", "costs"),
    ),
    # Results, tables and figures, outputs.
    "report": (
        *("stretch", "results", "runs", "tables", "figures", "write_report", "pages", "wandb_login"),
        *("wandb_charts", "log_results", "dashboard", "finish_training"),
    ),
    # Operations on images, the masker, files, many files.
    "masking": (
        *("html_page", "arrays", "maskfill", "inpainting", "colour_mosaic", "ccddata", "masker", "load", "drop_in"),
        *("export", "output_paths", "static_pixels", "options", "existing_output", "read_images", "read_masks"),
        *("compare_frames", "file_job", "provenance_cards", "fits_writer"),
        *("temporary_folder", "pipeline", "batch", "ray_backend"),
    ),
    "viewer": (
        *("runs", "pyramid", "assemble", "display", "candidates", "labels", "hdus", "overlay", "search", "file_mask"),
        *("images", "static", "server"),
    ),
    "adaptation": ("corrections", "plan", "labels", "training", "card", "result", "run"),
    "cli": ("inputs", "network_options", "progress", "mask", "view", "adapt", "info", "show", "models", "export"),
}
PACKAGE = ROOT / "src" / "cosmicgate"


def imported(path: Path, package: str = "cosmicgate") -> set[str]:
    """List the files and folders of a package that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and f"{node.module}.".startswith(f"{package}."):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith(f"{package}.")}
    return {name.removeprefix(f"{package}.").split(".")[0] for name in names if not name.endswith("__")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_follow_the_order_of_the_packages(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part != "__init__":
        place = PACKAGE_ORDER.index(part)
        for name in imported(path) - {part}:
            assert PACKAGE_ORDER.index(name) < place, f"{path.name} imports {name}, which comes after {part}"


@pytest.mark.parametrize(
    ("folder", "path"),
    [(folder, path) for folder in MODULE_ORDER for path in sorted((PACKAGE / folder).rglob("*.py"))],
    ids=lambda p: p.relative_to(PACKAGE).as_posix() if isinstance(p, Path) else "",
)
def test_imports_follow_the_order_inside_a_folder(folder, path):
    part = path.relative_to(PACKAGE / folder).parts[0].removesuffix(".py")
    order = MODULE_ORDER[folder]
    if not part.startswith("__"):
        for name in imported(path, f"cosmicgate.{folder}") - {part}:
            assert order.index(name) < order.index(part), f"{path.name} imports {name}, which comes after {part}"


def test_every_package_has_a_place_in_the_order():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    parts -= {"__init__"}
    assert parts == set(PACKAGE_ORDER)


def test_models_import_only_torch():
    for path in (PACKAGE / "models").glob("*.py"):
        tree = ast.parse(path.read_text())
        roots = {n.module.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module}
        roots |= {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        assert roots <= {"torch", "cosmicgate", *sys.stdlib_module_names}
        assert imported(path) <= {"models"}


@pytest.mark.parametrize("name", ["train.py", "evaluate.py"])
def test_an_entry_point_is_a_main_of_named_steps(name):
    """Check that the script has only imports and functions; classes, constants and handlers are in the package."""
    docstring, *body, guard = ast.parse((ROOT / name).read_text()).body
    assert isinstance(docstring, ast.Expr)
    assert ast.unparse(guard) == "if __name__ == '__main__':\n    main()"
    *imports, needed, main = body
    assert ast.unparse(needed).startswith("with extra('train', __name__):"), "imports that the extra brings"
    assert {type(node) for node in (*imports, *needed.body)} == {ast.Import, ast.ImportFrom}
    assert isinstance(main, ast.FunctionDef)
    assert main.name == "main"
    assert not [node for node in ast.walk(main) if isinstance(node, ast.Try | ast.While | ast.Lambda)]


def test_only_config_and_the_entry_points_import_omegaconf():
    for path in PACKAGE.rglob("*.py"):
        if path.name not in ("config.py",):
            assert "omegaconf" not in path.read_text(), f"{path} reads configs"


# Phrase -> the term of the field that is used instead.
TERMS = {
    "cameras that never were": "randomised cameras",
    "first look": "coarse stage",
    "made anew": "regenerated",
    "rate of false alarms": "false-positive rate",
    "say whether": "return True if",
    "shipped": "pretrained",
}
VAGUE = re.compile(
    "LEAST|LOST|(WID|LONG|LARG|SMALL|DEEP|FARTH)EST|NEVER|NOTHING|AROUND|MUCH|MOST|ALIKE|SURE|ENOUGH|DECIDE|HOW|SHOW|"
    "FAST|WHO|DEAD|AHEAD|SQUARE|OF_(TRAINING|A_SEED|THE_PAPER|A_CLASS)"
)


@pytest.mark.parametrize("term", TERMS)
def test_one_term_is_used_for_each_idea(term):
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "conf").rglob("*.yaml"), ROOT / "train.py", ROOT / "evaluate.py"]
    found = [path.relative_to(ROOT) for path in files if re.search(rf"\b{term}\b", path.read_text(), re.I)]
    assert not found, f"{term!r}: the term is {TERMS[term]!r}"


def test_constants_are_named_by_nouns():
    for path in PACKAGE.rglob("*.py"):
        assigned = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign | ast.AnnAssign)]
        names = {n.id.lstrip("_") for node in assigned for n in ast.walk(node) if isinstance(n, ast.Name)}
        vague = {name for name in names if VAGUE.fullmatch(name)}
        assert not vague, f"{path.relative_to(ROOT)}: {vague}: expected MAX_ or MIN_ and a noun, or a noun"
