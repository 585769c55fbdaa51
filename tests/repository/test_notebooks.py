"""Test that the notebooks run on small data, and that no outputs or local paths are saved in them."""

import ast
import itertools
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from astropy.io import fits
from jupyter_client import KernelManager
from nbclient import NotebookClient

import cosmicgate
from helpers.field_exposures import GAIN, write_field
from helpers.repository import ROOT
from helpers.result_rows import difference_entry, result_row, write_run

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def parameters_of(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]


@pytest.fixture(scope="module")
def kernel(command, tmp_path_factory):
    """Start a kernel in the folder of the notebooks; all tests use it, to import torch and GalSim only once."""
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_RUNTIME_DIR", str(folder / "jupyter"))
        patch.setenv("MPLCONFIGDIR", str(command.data / "matplotlib"))
        patch.setenv("PYTHONWARNINGS", "default")
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(ROOT / "notebooks"))
        yield manager
        manager.shutdown_kernel(now=True)


@pytest.fixture
def execute(kernel, tmp_path):
    """Make a function that runs a notebook, or its cells before ``stop``, and returns the printed text."""

    def execute_notebook(name: str, stop: int | None = None, **values: object) -> str:
        """Run a notebook with ``values`` of its parameters, and without the cells from number ``stop`` on."""
        notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
        (cell,) = parameters_of(notebook)
        known = {node.targets[0].id for node in ast.parse(cell.source).body if isinstance(node, ast.Assign)}
        values["FIGURES"] = str(tmp_path / "figures")
        assert set(values) <= known
        cell.source = "\n".join([cell.source, *(f"{key} = {value!r}" for key, value in values.items())])
        notebook.cells = notebook.cells[:stop]
        notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))  # the names of the notebook before
        client = NotebookClient(notebook, km=kernel, timeout=300)
        try:
            client.execute()
        finally:
            client.kc.stop_channels()
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
        stderr = "".join(output.text for output in outputs if output.get("name") == "stderr")
        assert not re.sub(r"\r[^\r\n]*\]", "", stderr).strip(), "a notebook gives a warning"  # beside progress bars
        return "\n".join(output.get("text") or output.data.get("text/markdown", "") for output in outputs)

    return execute_notebook


def figures(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "figures").iterdir()}


SMALL = {"SHAPE": (200, 200), "DARK_EXPTIME": 8000.0, "ITL_FRAMES": 1, "ITL_SHAPE": (1200, 1600)}


@pytest.mark.slow
def test_the_data_notebook_compares_with_real_hits_if_present(execute, tmp_path):
    (tmp_path / "real" / "cr").mkdir(parents=True)
    values = np.random.default_rng(0).integers(60, 2000, (40, 4)) * np.arange(1, 41)[:, None]
    columns = [fits.Column(name, "J", array=np.arange(40)) for name in ("fp_id", "x0", "y0")]
    columns += [fits.Column("pixel_values", "4J", array=values)]
    fits.BinTableHDU.from_columns(columns).writeto(tmp_path / "real" / "cr" / "itl_cosmic_rays.fits.gz")
    printed = execute("01_data", REAL=str(tmp_path / "real"), **SMALL)
    assert figures(tmp_path) == {"01_ingredients", "01_recipes", "01_truth", "01_hits"}
    assert "missing" not in printed
    for name in ("paper", "physical"):
        core = re.search(rf"{name}: .*core (\d+) px", printed)
        assert core, f"no number of core pixels for the {name} recipe"
        assert int(core[1]) > 0


@pytest.mark.slow
def test_the_data_notebook_names_missing_real_hits(execute, tmp_path):
    printed = execute("01_data", REAL=str(tmp_path), **SMALL)
    assert "The real hits are missing" in printed
    assert f"{tmp_path} has no itl_cosmic_rays.fits.gz" in printed
    assert "01_hits" in figures(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["dilated", "core"])
def test_the_results_notebook_shows_the_results_files(execute, tmp_path, convention):
    write_run(tmp_path / "runs" / "att", result_row("Att deepCR"), seed=0)
    write_run(
        tmp_path / "runs" / "evaluation", result_row("deepCR"), result_row("LACosmic"), differences=[difference_entry()]
    )
    printed = execute("02_results", RUNS=[str(tmp_path / "runs")], CONVENTION=convention)
    curves = {f"curves_{name}_decam_simulated" for name in ("dilated", "core")}
    assert figures(tmp_path) == curves | {"recall_decam_simulated", "02_history"}
    for detector in ("Att deepCR", "deepCR", "LACosmic"):
        assert f"| {detector} |" in printed
    assert ("97.69 [97.00, 98.00]" in printed) == (convention == "dilated"), "score with its interval"
    assert "+0.0125 [-0.0010, +0.0200]" in printed


@pytest.mark.slow
def test_the_results_notebook_without_runs_names_the_command_for_one(execute, tmp_path):
    (tmp_path / "figures").mkdir()
    printed = execute("02_results", RUNS=[str(tmp_path)])
    assert "No finished run below" in printed
    assert "make demo" in printed
    assert not figures(tmp_path)


@pytest.mark.slow
def test_the_attention_notebook_shows_both_gates_and_masks_by_threshold(execute, tmp_path):
    printed = execute("03_attention", SIDE=128, DARK_EXPTIME=8000.0)
    assert figures(tmp_path) == {"03_attention", "03_masks"}
    assert "gates: 2" in printed
    medians = dict(re.findall(r"attention at level (\d) \| (\S+ \| \S+ \| \S+) \|", printed))
    assert set(medians) == {"1", "2"}
    core, _, sky = medians["2"].split(" | ")
    assert 0 <= float(core) < float(sky) - 0.5 <= 0.5, "the gate at level 2 closes at hits and is open in empty sky"
    found = [float(value) for value in re.findall(r"\| FPR \S+ \| \S+ \| (\S+) \|", printed)]
    assert len(found) == 3
    assert found == sorted(found, reverse=True), "a lower FPR finds fewer pixels"
    assert found[0] > 50


SHORT = ["trainer.max_epochs=1", "data.windows.size=32", "data.windows.count=32", "data.density=1500"]
SHORT += ["data.validation_windows.size=32", "data.validation_windows.count=16"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["own", "real"])
def test_the_adapt_notebook_says_which_exposures_it_takes(execute, tmp_path, kind):
    for number in range(2):
        for path in write_field(tmp_path / "lco0m4", f"field{number}", number, pointing=(150 + number, 2)):
            image, header = fits.getdata(path, header=True)
            fits.writeto(f"{path}.fz", (image * GAIN / 0.77).astype(np.int32), header)  # the gain of lco0m4
            path.unlink()
    values, said = {
        "own": (
            {"FRAMES": str(tmp_path / "lco0m4" / "*.fits.fz"), "HEADER": {"gain": 0.8}},
            ("Your own exposures.", "gain: 0.8 electrons per count, as given"),
        ),
        "real": (
            {"CAMERA": "lco0m4", "REAL": str(tmp_path)},
            ("Real exposures: lco0m4.", "gain: 0.77 electrons per count, as given"),
        ),
    }[kind]
    printed = execute("04_adapt", stop=5, OUTPUT=str(tmp_path / "mine"), **values)  # up to the dry run
    for text in (*said, "found 6 exposures of 2 field(s)", "missing: darks"):
        assert text in printed
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_the_adapt_notebook_leads_from_exposures_to_a_network(execute, tmp_path):
    values = {"CAMERA": "lco0m4", "REAL": str(tmp_path), "SHAPE": (256, 256)}
    printed = execute("04_adapt", OUTPUT=str(tmp_path / "mine"), SETTINGS=SHORT, **values)
    assert "Simulated exposures, as lco0m4 is missing" in printed
    assert printed.index("labelled ") < printed.index("epoch 1 of 1: "), "the labels are shown before the training"
    assert figures(tmp_path) == {"04_labels", "04_masks"}
    for name in ("mine", "mine_added_hits"):
        for network in ("CosmicGate general (before)", "mine"):
            score = re.search(rf"^\| {name}, simulated \| {re.escape(network)} \| (\S+) \[", printed, re.M)
            assert score, f"no score with an interval of {network} on {name}"
            assert 0 <= float(score[1]) <= 100
    kept = re.search(r"kept was trained on: (\w+)", printed)[1]
    assert (kept == "mine") == ("the adapted network is kept" in printed)
    assert len(list((tmp_path / "mine" / "masks").glob("*_crmask.fits"))) == 1
    assert cosmicgate.load(tmp_path / "mine").card.name == "mine"


@every_notebook
def test_notebooks_have_no_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs"), "run nbstripout notebooks/*.ipynb"
        assert cell.get("execution_count") is None, "run nbstripout notebooks/*.ipynb"


@every_notebook
def test_a_notebook_begins_with_its_purpose_and_one_cell_of_parameters(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].cell_type == "markdown"
    assert "You will learn" in notebook.cells[0].source
    assert parameters_of(notebook) == [notebook.cells[1]]
    assert notebook.cells[1].cell_type == "code"


@every_notebook
def test_notebooks_contain_no_absolute_paths(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not re.search(r"""["'(\s](/\w|~/|[A-Z]:\\)""", cell.source), "paths are relative to the repository"


@every_notebook
def test_every_figure_is_introduced_by_what_to_look_for(path):
    cells = nbformat.read(path, as_version=4).cells
    for before, cell in itertools.pairwise(cells):
        draws = re.search(r"\b(show|Image)\(", cell.source) and "def show" not in cell.source
        assert not draws or "*Look for:*" in before.source
