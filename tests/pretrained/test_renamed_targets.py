"""Checkpoints, run folders and caches that were made before classes were renamed still open."""

from dataclasses import dataclass

import pytest
import torch
from hydra.utils import get_object

from cosmicgate.data.background import AstroScrappyCleaner
from cosmicgate.data.cache import digest
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe, RandomRecipe
from cosmicgate.models import UNet
from cosmicgate.pretrained.checkpoint import data_config, read_checkpoint
from cosmicgate.pretrained.renamed_targets import RENAMED


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_every_old_name_stands_for_a_class_of_today(old, new):
    assert callable(get_object(new))
    with pytest.raises(Exception, match=r"Error (loading|locating)"):
        get_object(old)


def test_a_checkpoint_with_old_names_opens_and_its_data_are_found(tmp_path):
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
def test_a_class_that_is_renamed_finds_what_it_has_cached(kind):
    @dataclass(frozen=True)
    class NewName(kind):
        pass

    assert digest(NewName()) == digest(kind())


def test_recipes_of_one_form_have_keys_of_their_own():
    parts = (PhysicalRecipe(), PhysicalRecipe())
    assert digest(RandomRecipe(*parts)) != digest(PhysicalRecipe()) != digest(PaperRecipe())
