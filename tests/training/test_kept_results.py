"""Test the files of kept results, by which several machines share a sweep."""

import json

import pytest

from cosmicgate.config import ConfigError
from cosmicgate.training.kept_results import results_are_kept, store_results


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
    elsewhere = {"data": {"files": "/other/a.fits", "root": "b"}, "real": "/other"}
    assert results_are_kept(kept, config | elsewhere | {"trainer": {"max_epochs": 8, "precision": "bf16-mixed"}})
    with pytest.raises(ConfigError, match=r"^seed is 2 and was 1, but .*seed-1.json has the results of another"):
        results_are_kept(kept, config | {"seed": 2})
    with pytest.raises(ConfigError, match=r"^trainer.max_epochs is 9 and was 8"):
        results_are_kept(kept, config | {"trainer": {"max_epochs": 9}})


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
