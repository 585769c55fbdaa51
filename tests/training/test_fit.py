"""Test the order in which a training is prepared."""

from types import SimpleNamespace

import pytest

from cosmicgate.io.run_files import BEST, LAST
from cosmicgate.training import fit as module
from cosmicgate.training.loggers import WANDB_ID

FILES = ("results.json", "metrics.csv", WANDB_ID, BEST, LAST, "report/tables.md")


@pytest.fixture
def again(tmp_path, monkeypatch):
    """Write the files of a training, and replace all parts of a new one; return its folder and its parts."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    fitted = []
    trainer = SimpleNamespace(is_global_zero=True, fit=lambda *_, **__: fitted.append((tmp_path / BEST).write_text("")))
    nodes = {"module": SimpleNamespace(network=None), "callbacks": {}, "trainer": trainer, "logger": "csv"}
    cfg = SimpleNamespace(resume=False, start=None, seed=0, model={}, data={}, **{key: key for key in nodes})
    parts = {
        "build": lambda node, **_: nodes[node],
        "training_data": lambda *_: SimpleNamespace(data_origin="real", name="night"),
        "load_initial_weights": lambda *_: None,
        "check_validation": lambda _: None,
        "modules_named": lambda _: [],
        "with_csv_logger": lambda logger, _: [logger],
        "log_run_metadata": lambda *_: None,
        "prepare_run": lambda *_, **__: None,
    }

    def run(**failing):
        for name, part in (parts | failing).items():
            monkeypatch.setattr(module, name, part)
        return module.fit(cfg, {"model": {}}, tmp_path)

    run.parts, run.folder, run.fitted = parts, tmp_path, fitted
    return run


def test_a_new_training_whose_data_or_logger_fails_leaves_the_one_before(again):
    def fail(*_, **__):
        raise FileNotFoundError("no file matches")

    def build(node, **more):
        return fail() if node == "logger" else again.parts["build"](node, **more)

    for failing in ({"prepare_run": fail}, {"build": build}):
        with pytest.raises(FileNotFoundError):
            again(**failing)
        assert {name: (again.folder / name).read_text() for name in FILES} == dict.fromkeys(FILES, "before")


def test_a_new_training_deletes_the_one_before_and_has_a_wandb_run_of_its_own(again):
    def build(node, **more):
        if node == "logger":
            assert not (again.folder / WANDB_ID).exists()
            (again.folder / WANDB_ID).write_text("new")
        return again.parts["build"](node, **more)

    again(build=build)
    assert again.fitted
    assert {name for name in FILES if (again.folder / name).exists()} == {WANDB_ID, BEST}
    assert (again.folder / WANDB_ID).read_text() == "new"
