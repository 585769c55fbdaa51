"""Test the files of kept results, by which several machines share a sweep."""

import json

import pytest
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Train, validate
from cosmicgate.training.kept_results import results_are_kept, store_results
from helpers.hydra_config import composed_config
from helpers.repository import ROOT


@pytest.fixture
def finished(tmp_path):
    """Write the results of a run; return its folder and configuration."""
    rows = [{"test_set": "decam", "core": {"f1": 0.5}, "curves": [1, 2, 3]}]
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    config = {"seed": 1, "data": {"files": "/mine/real/a.fits", "root": "data/a"}, "trainer": {"max_epochs": 8}}
    return tmp_path, config | {"real": "/mine/real"}


def test_results_are_recognised_on_a_machine_with_other_folders(finished, tmp_path):
    run, config = finished
    kept = tmp_path / "kept" / "seed-1.json"
    assert not results_are_kept(kept, config)
    store_results(kept, config, run)
    assert "/mine" not in kept.read_text()
    elsewhere = {"data": {"files": "/jürgen/a.fits", "root": "b"}, "real": "/jürgen"}
    assert results_are_kept(kept, config | elsewhere | {"trainer": {"max_epochs": 8, "precision": "bf16-mixed"}})
    with pytest.raises(ConfigError, match=r"^seed is 2 and was 1, but .*seed-1.json has the results of another"):
        results_are_kept(kept, config | {"seed": 2})
    with pytest.raises(ConfigError, match=r"^trainer.max_epochs is 9 and was 8"):
        results_are_kept(kept, config | {"trainer": {"max_epochs": 9}})


def test_kept_results_tell_the_precision(finished, tmp_path):
    run, config = finished
    store_results(tmp_path / "kept.json", config | {"trainer": {"precision": "bf16-mixed"}}, run)
    assert json.loads((tmp_path / "kept.json").read_text())["precision"] == "bf16-mixed"


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "results" / "gates").glob("*.json")), ids=lambda p: p.stem)
def test_the_committed_results_of_the_gates_are_recognised(path):
    network, _, seed = path.stem.rpartition("_seed-")
    cfg = validate(
        composed_config("sweep=gates", f"model={network}", f"seed={seed}", 'real="/home/jürgen/real"'), Train
    )
    assert cfg.keep_results == f"docs/results/gates/{path.name}"
    assert results_are_kept(path, OmegaConf.to_container(cfg, resolve=True))


def test_results_with_renamed_keys_are_recognised(finished, tmp_path):
    run, config = finished
    data = {"_target_": "cosmicgate.data.datamodule.DecamData"}
    freeze = {"_target_": "cosmicgate.training.batch_norm_freeze.BatchNormFreeze"}
    kept = tmp_path / "kept.json"
    before = {"data": data | {"also": {"lco": 1}}, "callbacks": {"freeze": freeze | {"hold": True}}}
    store_results(kept, config | before, run)
    now = {"data": data | {"extra_test_sets": {"lco": 1}}, "callbacks": {"freeze": freeze | {"constant_lr": True}}}
    assert results_are_kept(kept, config | now)


def test_without_a_file_nothing_is_kept(finished):
    run, config = finished
    before = sorted(run.iterdir())
    store_results(None, config, run)
    assert not results_are_kept(None, config)
    assert sorted(run.iterdir()) == before


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"rows": []}'])
def test_another_file_in_its_place_is_an_error(finished, tmp_path, text):
    _, config = finished
    (tmp_path / "kept.json").write_text(text)
    with pytest.raises(ValueError, match=r"kept.json: expected the results of a training"):
        results_are_kept(tmp_path / "kept.json", config)
