"""Test that ``pip install .`` installs only what masking needs, and that messages name the extra for the rest."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cosmicgate
from cosmicgate.pretrained.registry import pretrained_names
from helpers.repository import ROOT

PACKAGE = ROOT / "src" / "cosmicgate"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
MODULES = {  # package -> names of its modules, if they differ
    "pillow": "PIL",
    "pytorch-lightning": "pytorch_lightning lightning_fabric",
    "hydra-core": "hydra",
    "scikit-image": "skimage",
    "wandb-workspaces": "wandb_workspaces",
}
# Command that needs an extra -> the extra; the other commands of the package need none.
COMMANDS = {
    **dict.fromkeys(("train.py", "evaluate.py", "scripts/tune_classical.py", "benchmarks/training.py"), "train"),
    **dict.fromkeys(("release", "report", "report.pages", "data.download"), "train"),
    **dict.fromkeys(("data.labelling.multi_exposure", "data.labelling.real_frames"), "label"),
    **{"report.dashboard": "train,wandb", "scripts/search.py": "train,search", "benchmarks/cleaning.py": "simulate"},
}
TRAINING_MODULES = {
    *("pytorch_lightning", "lightning_fabric", "hydra", "omegaconf", "torchmetrics", "wandb", "galsim", "numba"),
    *("astroscrappy", "skimage", "matplotlib", "pandas", "httpx", "tenacity", "sep", "jinja2", "fsspec", "onnx", "ray"),
}


def requirements(extra: str = "") -> dict[str, Requirement]:
    """List the requirements of the package with an extra, or without any, by name."""
    found = {}
    for line in [*PROJECT["dependencies"], *(EXTRAS[extra] if extra else ())]:
        one = Requirement(line)
        if one.name == "cosmicgate":
            found |= {name: each for inner in one.extras for name, each in requirements(inner).items()}
        else:
            found[canonicalize_name(one.name)] = one
    return found


def modules(extra: str) -> set[str]:
    """List the modules that can be imported with an extra, or without any."""
    return {module for name in requirements(extra) for module in MODULES.get(name, name).split()}


def test_requirements_have_a_lower_and_no_upper_bound():
    for extra in ("", *EXTRAS):
        for one in requirements(extra).values():
            assert one.specifier, f"{one}: expected a lower bound"
            assert {each.operator for each in one.specifier} <= {">=", "!="}, f"{one}: expected no upper bound"


def test_the_research_environment_pins_each_package_within_its_range():
    lines = (line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines())
    pins = {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}
    required = requirements("dev")
    assert set(pins) == set(required)
    for name, pin in pins.items():
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert required[name].specifier.contains(exact.version), f"{pin} is not in {required[name]}"


def test_the_extra_all_includes_every_extra_for_users():
    assert set(requirements("all")) == {name for extra in set(EXTRAS) - {"dev", "docs"} for name in requirements(extra)}


def imported(path: Path) -> dict[str, set[str]]:
    """List the packages that importing a file imports, by the extras that their error names; "" if it names none."""
    found: dict[str, set[str]] = {}
    for statement in ast.parse(path.read_text()).body:
        call = statement.items[0].context_expr if isinstance(statement, ast.With) else None
        named = call.args[0].value if isinstance(call, ast.Call) and ast.unparse(call.func) == "extra" else ""
        for node in statement.body if isinstance(statement, ast.With) else [statement]:
            if isinstance(node, ast.ImportFrom) and node.module:
                found.setdefault(named, set()).add(node.module.split(".")[0])
            elif isinstance(node, ast.Import):
                found.setdefault(named, set()).update(alias.name.split(".")[0] for alias in node.names)
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_module_imports_packages_of_an_extra_where_the_error_names_the_extra(path):
    folders = [folder for folder in path.parents if folder.is_relative_to(PACKAGE)]
    of_folders = [names for folder in folders for names in imported(folder / "__init__.py")]
    for named, roots in imported(path).items():
        known = modules("").union(*(modules(name) for names in (named, *of_folders) for name in names.split(",")))
        unnamed = roots - sys.stdlib_module_names - {"cosmicgate"} - known
        assert not unnamed, f"importing {unnamed} needs `with extra(NAME):`, with a name from pyproject.toml"


@pytest.mark.slow
def test_every_module_is_imported_or_names_its_extra_where_no_extra_is_installed():
    hidden = modules("dev") - modules("") - {"jinja2", "fsspec"}  # torch brings these two
    paths = [path.relative_to(PACKAGE.parent).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    names = [".".join(path.parts).removesuffix(".__init__") for path in paths if path.name != "__main__"]
    code = (
        f"import importlib, sys\nsys.modules.update(dict.fromkeys({hidden}))\nfor name in {names}:\n"
        "    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n        print(name, error, sep=': ')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    refused = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert refused.keys() >= {f"cosmicgate.{name}" for name in ("viewer.server", "adaptation", "data.mixture")}
    bare = {
        name
        for name, error in refused.items()
        if not re.search(r"pip install '\.\[[\w,]+\]' in a clone of cosmicgate$", error)
    }
    assert not bare


@pytest.mark.slow
@pytest.mark.parametrize(
    ("codes_of_user", "allowed"),
    [
        (
            [
                "import cosmicgate; cosmicgate.__version__",
                "from cosmicgate.cli import app; app(['mask', '--help'], standalone_mode=False)",
                "from cosmicgate.cli import app; app(['view', '--help'], standalone_mode=False)",
                "from cosmicgate.cli import app; app(['adapt', '--help'], standalone_mode=False)",
            ],
            set(),  # torch takes seconds to import
        ),
        (
            [
                "import cosmicgate; cosmicgate.load(check=False)",
                "import cosmicgate; cosmicgate.detect_cosmics; cosmicgate.cosmicray_unet",
                "from cosmicgate.cli import app; app(['mask', '{frame}'], standalone_mode=False)",
                "from cosmicgate.cli import app; app(['models'], standalone_mode=False)",
                "from cosmicgate.cli import app; app(['info', '{frame}'], standalone_mode=False)",
            ],
            {"torch"},
        ),
    ],
    ids=["help", "masking"],
)
def test_masking_imports_no_package_of_training(codes_of_user, allowed, tmp_path):
    fits.writeto(frame := tmp_path / "a.fits", sky())
    code = "import sys\n"
    for one in codes_of_user:  # typer.Exit is a RuntimeError
        code += f"try:\n    {one.format(frame=frame)}\nexcept (SystemExit, RuntimeError): pass\n"
    code += f"print(*sorted(({TRAINING_MODULES} | {{'torch'}}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) == allowed


@pytest.mark.slow
def test_an_array_is_masked_and_cleaned_without_importing_astropy():
    code = (
        "import sys; import numpy as np; import cosmicgate\n"
        "image = np.full((64, 80), 100.0); image[20, 30] = 600\n"
        "hits = cosmicgate.load(check=False).mask(image); cosmicgate.clean(image, hits)\n"
        "print(*(name for name in sys.modules if name.partition('.')[0] == 'astropy'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [], "astropy takes half a second to import"


def test_every_module_that_is_a_command_is_tested_without_its_extra():
    commands = {path for path in PACKAGE.rglob("*.py") if 'if __name__ == "__main__"' in path.read_text()}
    names = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in commands}
    listed = {name for name in COMMANDS if not name.endswith(".py")}
    assert {name.removesuffix(".__main__") for name in names} == listed | {"__main__"}


def test_one_version_is_stated_everywhere():
    (cited,) = re.findall(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited == cosmicgate.__version__
    assert PROJECT["dynamic"] == ["version"], "pyproject.toml takes it from cosmicgate.__version__"


# ------------------------------------------------------------------------------------------------ a fresh environment


def sky() -> np.ndarray:
    """Simulate a sky (64, 80) of 100 +- 5 ADU with a diagonal hit of five pixels from (20, 30)."""
    image = np.random.default_rng(0).normal(100, 5, (64, 80)).astype(np.float32)
    image[np.arange(20, 25), np.arange(30, 35)] += 500
    return image


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Build the wheel from a copy of the source, as builds leave files in it; return its path."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", folder / "source" / "src", ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(folder / "source"))
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def fresh(wheel, tmp_path_factory) -> Path:
    """Install the wheel without extras into a new environment; return the folder of its programs."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    programs = folder / ("Scripts" if sys.platform == "win32" else "bin")
    pin = next(line for line in (ROOT / "requirements.txt").read_text().splitlines() if line.startswith("torch=="))
    (folder / "constraints.txt").write_text(pin + "\n")  # as make setup installs: others may be gigabytes larger
    pinned = ("-c", str(folder / "constraints.txt"))
    # Most modules of torch are never imported here; compiling them all would take longer than the tests.
    _pip("--python", str(programs / "python"), "install", "--no-compile", *pinned, str(wheel))
    return programs


def _pip(*arguments: str) -> None:
    """Run pip; skip the test if no package index answers."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    done = run(*pip, *arguments)
    if done.returncode:
        answer = run(*pip, "install", "--dry-run", "--ignore-installed", "--no-deps", "setuptools")
        if answer.returncode:
            pytest.skip(f"no package index answers: {answer.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-3000:]


def run(*words: object, folder: Path | None = None) -> subprocess.CompletedProcess:
    """Run a program without PYTHONPATH, so that it sees the packages of its own environment only."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, cwd=folder, env=environment)


@pytest.mark.slow
def test_the_wheel_contains_every_network_with_its_card(wheel):
    inside = zipfile.ZipFile(wheel).namelist()
    for name in pretrained_names():
        for suffix in ("safetensors", "json"):
            assert f"cosmicgate/pretrained/weights/{name}.{suffix}" in inside
    assert not [path for path in inside if not path.startswith(("cosmicgate/", "cosmicgate-"))]


@pytest.mark.slow
def test_without_extras_no_package_of_training_is_installed(fresh):
    pip = (sys.executable, "-m", "pip", "--python", fresh / "python")
    listed = json.loads(run(*pip, "list", "--format", "json", folder=fresh).stdout)
    installed = {canonicalize_name(one["name"]) for one in listed}
    assert set(requirements()) <= installed
    assert "cosmicgate" in installed
    absent = {"wandb", "hydra-core", "galsim", "numba", "pytorch-lightning", "lightning", "matplotlib", "astroscrappy"}
    assert not absent & installed
    of_torch = {"jinja2", "fsspec"}
    assert not (set(requirements("dev")) - set(requirements()) - of_torch) & installed


@pytest.mark.slow
def test_without_extras_a_frame_is_masked_shown_and_cleaned(fresh, tmp_path):
    fits.writeto(tmp_path / "a.fits", sky())
    for words in ("mask a.fits --clean", "mask a.fits", "show a.fits", "info a.fits", "models"):
        done = run(fresh / "cosmicgate", *words.split(), folder=tmp_path)
        assert done.returncode == 0, done.stderr
    mask = fits.getdata(tmp_path / "a_crmask.fits", 1)
    assert mask[np.arange(20, 25), np.arange(30, 35)].all()
    assert (tmp_path / "a_crmask.png").is_file()
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    code = f"import numpy as np\nfrom astropy.io import fits\nimage = fits.getdata('a.fits')\n{code}"
    done = run(fresh / "python", "-c", f"{code}\nassert hits.any() and cleaned[hits].max() < 200", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["export", "--onnx", "a.onnx"], "onnx"),
        (["mask", "a.fits", "--engine", "onnxruntime"], "onnx"),
        (["mask", "a.fits", "--ray", "local"], "ray"),
        (["mask", "s3://bucket/a.fits"], "s3"),
        (["mask", "a.fits", "-m", "run.ckpt"], "train"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_command_that_needs_an_extra_names_it(words, extra, fresh, tmp_path):
    fits.writeto(tmp_path / "a.fits", sky())
    done = run(fresh / "cosmicgate", *words, folder=tmp_path)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert f"pip install '.[{extra}]' in a clone of cosmicgate" in " ".join(
        re.sub("[│╭╰─╮╯]", " ", done.stderr).split()
    )


@pytest.mark.slow
@pytest.mark.parametrize(("command", "extra"), COMMANDS.items(), ids=COMMANDS)
def test_a_program_that_needs_an_extra_names_it_in_one_line(command, extra, fresh):
    words = [command] if command.endswith(".py") else ["-m", f"cosmicgate.{command}"]
    done = run(fresh / "python", *words, folder=ROOT)
    assert done.returncode == 1
    assert re.fullmatch(
        rf"error: the package \w+ is not installed: pip install '\.\[{extra}\]' in a clone of cosmicgate\n", done.stderr
    )
