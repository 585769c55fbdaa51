"""A misspelt key or a wrong type stops with its name, wherever it stands."""

import pytest
import torch
from conftest import ROOT
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Evaluate, Train, build, checked, fits

NETWORKS = ("deepcr", "att_deepcr", "cosmic_conn", "att_cosmic_conn")


def composed(*overrides: str, name: str = "train"):
    """Compose a configuration as the command does, with its run folder set."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose(name, list(overrides), return_hydra_config=True)
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = "run"
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return cfg


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_is_built_from_its_config(network):
    cfg = composed(f"model={network}")
    model = build(cfg.model)
    assert bool(model.gates) == network.startswith("att_")
    assert cfg.model.norm == ("batch" if "deepcr" in network else "group")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("+sede=1", "sede"),
        ("seed=one", "seed"),
        ("+model.chanels=16", "model.chanels"),
        ("model.channels=many", "model.channels"),
        ("model.norm=layer", "model.norm"),
        ("model.gate=maybe", "model.gate"),
        ("+data.science.frams=3", "data.science.frams"),
        ("data.batch_size=2.5", "data.batch_size"),
        ("data.contamination.k=strong", "data.contamination.k"),
        ("+data.contamination.clean.sigclp=3", "data.contamination.clean.sigclp"),
        (
            "data.transforms=[{_target_: cosmicgate.data.transforms.SkyAugmentation, hihg: 3}]",
            r"data.transforms\[0\].hihg",
        ),
        ("+module.optimizer.learning_rate=0.1", "module.optimizer.learning_rate"),
        ("module.optimizer.lr=fast", "module.optimizer.lr"),
        ("trainer.max_epochs=abc", "trainer.max_epochs"),
        ("+trainer.max_epoch=3", "trainer.max_epoch"),
        ("+callbacks.curves.evry=1", "callbacks.curves.evry"),
        ("module._target_=cosmicgate.segmentation.Segmentaton", "module._target_"),
    ],
)
def test_a_misspelt_key_or_a_wrong_type_stops_with_its_name(override, key):
    with pytest.raises(ConfigError, match=f"^{key}"):
        checked(composed(override), Train)


def test_a_typo_in_an_experiment_file_stops_with_its_name(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 3\n")
    cfg = composed("experiment=typo", f"hydra.searchpath=[file://{tmp_path}]")
    with pytest.raises(ConfigError, match=r"^trainer\.max_epoch: unknown key.*max_epochs"):
        checked(cfg, Train)


def test_a_forgotten_value_is_asked_for_by_name():
    with pytest.raises(ConfigError, match=r"^data\.science\.files: needs a value"):
        checked(composed("data/science=files", "data/size=none"), Train)


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_shipped_configs_pass_their_own_check(name):
    checked(composed(name=name), {"train": Train, "evaluate": Evaluate}[name])


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_the_partials_can_be_called(group):
    cfg = composed()
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = build(cfg.module.optimizer)(parameters)
    assert optimizer.param_groups[0]["lr"] == 0.005
    if group == "scheduler":
        scheduler = build(cfg.module.scheduler)(optimizer)
        assert (scheduler.factor, scheduler.patience, scheduler.threshold) == (0.1, 4, 0.001)


@pytest.mark.parametrize(
    ("value", "hint", "right"),
    [
        (1, float, True),
        (True, int, False),
        ("1", int, False),
        (None, int | None, True),
        (None, int, False),
        ("a", str, True),
    ],
)
def test_types_are_compared_as_a_reader_means_them(value, hint, right):
    assert fits(value, hint) is right


def test_what_is_compared_are_pairs():
    with pytest.raises(ConfigError, match=r"compare: got \['a'\], expected pairs"):
        checked(composed("compare=[[a]]", name="evaluate"), Evaluate)
