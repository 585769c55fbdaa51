"""Test that checkpoints and caches with old names of classes can be opened."""

import inspect

import pytest
import torch
from hydra.utils import get_object

from cosmicgate.data.background import AstroScrappyCleaner
from cosmicgate.data.cache import digest
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe, RandomRecipe
from cosmicgate.models import UNet
from cosmicgate.pretrained.checkpoint import data_config, read_checkpoint
from cosmicgate.pretrained.renamed_targets import RENAMED, RENAMED_KEYS


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_every_old_name_is_mapped_to_an_existing_class(old, new):
    assert callable(get_object(new))
    with pytest.raises(Exception, match=r"Error (loading|locating)"):
        get_object(old)


@pytest.mark.parametrize(("target", "keys"), RENAMED_KEYS.items())
def test_every_renamed_key_is_a_key_of_its_class(target, keys):
    parameters = set(inspect.signature(get_object(target)).parameters)
    assert set(keys.values()) <= parameters
    assert not set(keys) & parameters


def test_a_checkpoint_with_old_names_is_read_with_the_present_ones(tmp_path):
    network = UNet(depth=2, channels=4)
    data = {
        "_target_": "cosmicgate.data.decam.DecamData",
        "name": "mine",
        "workers": 3,
        "root": "data/mine",
        "science": {"_target_": "cosmicgate.data.sources.SimulatedScience", "frames": {"test": 1}},
        "darks": {"_target_": "cosmicgate.data.sources.SimulatedDarks", "frames": {"test": 1}},
        "contamination": {"_target_": "cosmicgate.data.contaminate.Paper"},
        "windows": {"_target_": "cosmicgate.data.patches.Grid", "size": 256},
    }
    config = {"model": {"_target_": "cosmicgate.models.UNet", "depth": 2, "channels": 4}, "data": data}
    path = tmp_path / "old.ckpt"
    weights = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": weights, "config": config}, path)
    assert read_checkpoint(path)["config"]["data"]["_target_"] == "cosmicgate.data.datamodule.DecamData"
    found = data_config(path)
    assert (found["num_workers"], "workers" in found) == (3, False)
    assert found["contamination"]["_target_"] == "cosmicgate.data.contamination.PaperRecipe"
    assert found["science"]["_target_"] == "cosmicgate.data.sources.simulated.SimulatedScience"


@pytest.mark.parametrize("kind", [PaperRecipe, PhysicalRecipe, AstroScrappyCleaner], ids=lambda kind: kind.__name__)
def test_a_renamed_class_keeps_its_cache_keys(kind):
    NewName = type("NewName", (kind,), {"cache_name": kind.cache_name, "__module__": kind.__module__})
    assert digest(NewName()) == digest(kind())


def test_recipes_with_the_same_fields_have_different_keys():
    parts = (PhysicalRecipe(), PhysicalRecipe())
    assert digest(RandomRecipe(*parts)) != digest(PhysicalRecipe()) != digest(PaperRecipe())
