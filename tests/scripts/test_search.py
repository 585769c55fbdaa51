"""Test that scripts/search.py draws trials by Optuna, records them in a journal, and resumes."""

import sys

import pytest

from helpers.repository import ROOT

optuna = pytest.importorskip("optuna", "4", reason="scripts/search.py needs the extra search")


@pytest.fixture
def search(monkeypatch):
    """Import the script with a fake training: the best learning rate is 0.01, and 32 channels fail."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.delitem(sys.modules, "search", raising=False)
    import search

    search.runs = []

    def train(overrides, run):
        search.runs.append((overrides, run))
        values = dict(word.split("=") for word in overrides)
        return None if values["model.channels"] == "32" else abs(float(values["module.optimizer.lr"]) - 0.01)

    monkeypatch.setattr(search, "train", train)
    return search


def test_a_search_finds_the_best_trial_and_continues_after_a_failed_one(search, tmp_path):
    study = search.search(["model=att_deepcr"], tmp_path, 8)
    assert len(search.runs) == len({run for _, run in search.runs}) == 8
    assert all(overrides[0] == "model=att_deepcr" for overrides, _ in search.runs)
    failed = study.get_trials(states=[optuna.trial.TrialState.FAIL])
    assert {trial.params["model.channels"] for trial in failed} <= {"32"}
    rates = [float(dict(word.split("=") for word in overrides)["module.optimizer.lr"]) for overrides, _ in search.runs]
    assert all(0.0005 <= rate <= 0.02 for rate in rates)
    assert study.best_value == min(trial.value for trial in study.trials if trial.value is not None)


def test_a_stopped_search_resumes_with_the_unfinished_trial(search, tmp_path, monkeypatch):
    search.search([], tmp_path / "whole", 5)
    uninterrupted = [run.name for _, run in search.runs]
    search.runs.clear()
    train = search.train

    def stopped(overrides, run):
        if len(search.runs) == 3:
            search.runs.append((overrides, run))
            raise SystemExit(130)
        return train(overrides, run)

    monkeypatch.setattr(search, "train", stopped)
    with pytest.raises(SystemExit):
        search.search([], tmp_path / "stopped", 5)
    search.runs.pop()
    monkeypatch.setattr(search, "train", train)
    search.search([], tmp_path / "stopped", 5)
    assert [run.name for _, run in search.runs] == uninterrupted
    search.search([], tmp_path / "stopped", 5)
    assert len(search.runs) == 5, "a finished search trains nothing"
    search.search([], tmp_path / "stopped", 6)
    assert len(search.runs) == 6


def test_the_search_space_can_be_given(search, tmp_path):
    search.search(["model.channels=8", "module.optimizer.lr=choice(0.1,0.01)", "seed=range(0,3)"], tmp_path, 6)
    for overrides, _ in search.runs:
        values = dict(word.split("=") for word in overrides)
        assert (values["model.channels"], values["module.optimizer.lr"] in ("0.1", "0.01")) == ("8", True)
        assert int(values["seed"]) in range(3)


def test_an_unsupported_kind_of_sweep_is_refused(search, tmp_path):
    with pytest.raises(ValueError, match=r"^seed: expected choice\(\.\.\.\), interval"):
        search.search(["seed=glob(*)"], tmp_path, 1)
