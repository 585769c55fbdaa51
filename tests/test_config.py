"""Test that configurations are checked: unknown keys, wrong types, the paper's settings, messages in plain words."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
import torch
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Evaluate, Train, build, describe_type, matches_type, validate
from cosmicgate.data.background import AstroScrappyCleaner
from cosmicgate.data.datamodule import training_data
from cosmicgate.data.splits import Split
from helpers.hydra_config import composed_config, config_choices

NETWORKS = ("deepcr", "att_deepcr", "cosmic_conn", "att_cosmic_conn")


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_config_builds_its_network(network):
    cfg = composed_config(f"model={network}")
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
        ("data.contamination.share=much", "data.contamination.share"),
        ("+data.contamination.first.clean.sigclp=3", "data.contamination.first.clean.sigclp"),
        (
            "data.transforms=[{_target_: cosmicgate.data.transforms.SkyAugmentation, hihg: 3}]",
            r"data.transforms\[0\].hihg",
        ),
        ("+module.optimizer.learning_rate=0.1", "module.optimizer.learning_rate"),
        ("module.optimizer.lr=fast", "module.optimizer.lr"),
        ("trainer.max_epochs=abc", "trainer.max_epochs"),
        ("+trainer.max_epoch=3", "trainer.max_epoch"),
        ("+callbacks.curves.evry=1", "callbacks.curves.evry"),
        ("module._target_=cosmicgate.training.module.Segmentaton", "module._target_"),
    ],
)
def test_an_unknown_key_or_a_wrong_type_is_an_error_that_names_it(override, key):
    with pytest.raises(ConfigError, match=f"^{key}"):
        validate(composed_config(override), Train)


def test_an_unknown_key_in_an_experiment_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "typo.yaml").write_text("# @package _global_\ntrainer:\n  max_epoch: 3\n")
    cfg = composed_config("experiment=typo", f"hydra.searchpath=[file://{tmp_path}]")
    with pytest.raises(ConfigError, match=r"^trainer\.max_epoch: unknown key.*max_epochs"):
        validate(cfg, Train)


def test_a_missing_value_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match=r"^data\.science\.files: needs a value"):
        validate(composed_config("data/science=files", "~data/size"), Train)


@pytest.mark.parametrize("name", ["train", "evaluate"])
def test_the_default_configs_are_valid(name):
    validate(composed_config(name=name), {"train": Train, "evaluate": Evaluate}[name])


@pytest.mark.parametrize("network", NETWORKS)
def test_the_paper_experiment_has_exactly_the_papers_settings(network):
    """Compare with the numbers of Bhavanam et al. 2022, independently of the defaults of this package."""
    cfg = OmegaConf.to_container(validate(composed_config("experiment=paper", f"model={network}"), Train), resolve=True)
    data, module, model = cfg["data"], cfg["module"], cfg["model"]
    assert data["science"]["frames"] == {"train": 36, "validation": 4, "test": 16}  # frames of each band
    assert data["science"]["bands"] == ["g", "r", "i", "z"]
    assert data["science"]["shape"] == data["darks"]["shape"] == [4096, 2048]
    assert sum(data["darks"]["frames"].values()) == 42
    assert data["contamination"]["_target_"] == "cosmicgate.data.contamination.PaperRecipe"
    assert [data["contamination"][key] for key in ("k", "n_sigma", "floor", "ring")] == [1 / 8, 3.0, 0.0, True]
    assert data["windows"] == {"_target_": "cosmicgate.data.patches.GridSampler", "size": 256}
    assert (data["patch"], data["batch_size"], data["pairs_per_frame"]) == (256, 16, 1)
    assert data["transforms"] == [{"_target_": "cosmicgate.data.transforms.SkyAugmentation", "low": -0.9, "high": 3.0}]
    assert [model[key] for key in ("depth", "channels", "scaling", "prior")] == [3, 32, "none", None]
    assert model["momentum"] == 0.005 if "deepcr" in network else model["groups"] == 8
    assert module["loss"] == {"_target_": "torch.nn.BCEWithLogitsLoss"}
    assert module["optimizer"] == {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.005}
    scheduler = module["scheduler"]
    assert [scheduler[key] for key in ("factor", "patience", "threshold", "cooldown")] == [0.1, 4, 0.001, 0]
    freeze = [
        cfg["callbacks"]["freeze"][key]
        for key in ("start_fraction", "restart_lr_factor", "constant_lr", "validate_on_batch")
    ]
    assert freeze == [0.4, None, False, False]
    assert cfg["trainer"]["max_epochs"] == 60


@pytest.mark.parametrize("size", ["demo", "small", "medium"])
def test_data_size_makes_the_paper_experiment_smaller_and_changes_nothing_else(size):
    full, small = (
        OmegaConf.to_container(composed_config("experiment=paper", *more), resolve=True)
        for more in ([], [f"data/size={size}"])
    )
    for kind in ("science", "darks"):
        ours, theirs = small["data"].pop(kind), full["data"].pop(kind)
        assert ours["frames"]["train"] <= theirs["frames"]["train"]
        assert prod(ours["shape"]) < prod(theirs["shape"])
    assert full == small


def test_paper_short_differs_from_the_paper_only_as_documented():
    """List all differences; docs/training.md explains each."""
    paper, short = (
        OmegaConf.to_container(composed_config(f"experiment={name}", "data/size=small", "model=deepcr"), resolve=True)
        for name in ("paper", "paper_short")
    )
    for cfg in (paper, short):
        del cfg["title"], cfg["variant"], cfg["group"], cfg["logger"]
    assert short["data"].pop("windows") == {
        "_target_": "cosmicgate.data.patches.CropSampler",
        "size": 64,
        "count": 4000,
        "on_hits": 0.75,
    }
    del paper["data"]["windows"]
    paper["model"]["prior"] = paper["module"]["network"]["prior"] = 0.01
    paper["module"]["scheduler"]["patience"] = 0
    paper["callbacks"]["freeze"] |= {"restart_lr_factor": 0.4, "validate_on_batch": True}
    paper["trainer"]["max_epochs"] = 6
    assert short == paper


@pytest.mark.slow
@pytest.mark.parametrize("choice", config_choices("experiment", "pretrained"))
def test_no_experiment_augments_the_sky_of_a_normalising_network(choice):
    cfg = OmegaConf.to_container(composed_config(choice), resolve=False)
    augmented = "SkyAugmentation" in repr(cfg.get("data"))
    assert not (augmented and (cfg.get("model") or {}).get("scaling") == "robust")


@pytest.mark.parametrize(("scaling", "warned"), [("none", False), ("robust", True)])
def test_sky_augmentation_under_robust_scaling_gives_a_warning(scaling, warned, caplog):
    cfg = composed_config("experiment=paper", "data/size=demo", f"model.scaling={scaling}")
    training_data(cfg.data, cfg.model.scaling)
    assert ("SkyAugmentation changes nothing for a network with model.scaling=robust" in caplog.text) is warned


@pytest.mark.parametrize("group", ["optimizer", "scheduler"])
def test_optimizer_and_scheduler_can_be_built(group):
    cfg = composed_config()
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = build(cfg.module.optimizer)(parameters)
    assert optimizer.param_groups[0]["lr"] == 0.003
    if group == "scheduler":
        scheduler = build(cfg.module.scheduler)(optimizer)
        for _ in range(cfg.trainer.max_epochs - 1):
            optimizer.step()
            scheduler.step()
        assert 0.03 < scheduler.get_last_lr()[0] / 0.003 < 0.05


@pytest.mark.parametrize(
    ("value", "hint", "valid"),
    [
        (1, float, True),
        (True, int, False),
        ("1", int, False),
        (None, int | None, True),
        (None, int, False),
        ("a", str, True),
        ([1, 2], list[int], True),
        ([1, "2"], Sequence[int], False),
        ("abc", Sequence[str], False),
        (3, Sequence[int], False),
        ([3], int, False),
        ([3], str | None, False),
        ([1.0, 2.0], tuple[float, float], True),
        ([1.0], tuple[float, float], False),
        ([1.0, 2.0, 3.0], tuple[float, ...], True),
        ({"train": 1}, Mapping[Split, int], True),
        ({"train": "many"}, Mapping[Split, int], False),
        ({"tset": 1}, Mapping[Split, int], False),
        ({"a": 1}, int, False),
        ({"_target_": "a.b"}, int, True),
        ({"sigclip": 3}, AstroScrappyCleaner | None, False),
        ({"_target_": "a.b"}, AstroScrappyCleaner | None, True),
        ("gauss", Callable[..., int], False),
        (True, Literal[1, 2], False),
        (3, Annotated[int, "px"], True),
        ("x", Any, True),
    ],
)
def test_values_are_checked_against_type_hints(value, hint, valid):
    assert matches_type(value, hint) is valid


def test_compare_takes_pairs():
    with pytest.raises(ConfigError, match=r"compare: got \['a'\], expected pairs"):
        validate(composed_config("compare=[[a]]", name="evaluate"), Evaluate)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "a whole number"),
        (float | None, "a number or null"),
        (Optional[float], "a number or null"),  # noqa: UP045 (as Lightning writes it)
        (bool, "true or false"),
        (Union[int, str, None], "a whole number, a string or null"),  # noqa: UP007
        (Literal["batch", "group"], "one of batch, group"),
        (Literal["median", None], "one of median, null"),
        (list[str], "a list of strings"),
        (Sequence[float], "a list of numbers"),
        (tuple[int, ...], "a list of whole numbers"),
        (tuple[float, float], "a list of 2: a number, a number"),
        (list, "a list"),
        (str | Sequence[str], "a string or a list of strings"),
        (list[list[str]], "a list of (a list of strings)"),
        (Mapping[str, float], "a mapping of strings to numbers"),
        (Mapping[Split, int], "a mapping of (one of train, validation, test) to whole numbers"),
        (dict, "a mapping"),
        (Callable[..., int] | None, "a function or class to call, a node with _target_ and _partial_: true or null"),
        (Path, "a node with the _target_ of a pathlib.Path"),
        (AstroScrappyCleaner, "a node with the _target_ of a cosmicgate.data.background.AstroScrappyCleaner"),
        (Annotated[int, "px"], "a whole number"),
        (Any, "anything"),
    ],
    ids=str,
)
def test_type_hints_are_described_in_plain_words(hint, words):
    assert describe_type(hint) == words


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=one", "seed: got 'one', expected a whole number"),
        ("tags=3", "tags: got 3, expected a list of strings"),
        ("resume=perhaps", "resume: got 'perhaps', expected true or false"),
        ("model.channels=many", "model.channels: got 'many', expected a whole number"),
        ("model.norm=layer", "model.norm: got 'layer', expected one of batch, group"),
        (
            "callbacks.freeze.restart_lr_factor=soon",
            "callbacks.freeze.restart_lr_factor: got 'soon', expected a number or null",
        ),
        ("data.science.bands=g", "data.science.bands: got 'g', expected a list of strings"),
        ("data.science.frames.train=few", "to whole numbers"),
        ("trainer.limit_train_batches=[1]", "expected a number or null"),
    ],
)
def test_type_errors_say_what_was_expected_in_plain_words(override, sentence):
    with pytest.raises(ConfigError) as caught:
        validate(composed_config(override), Train)
    assert sentence in str(caught.value)
    assert not any(
        word in str(caught.value) for word in ("Optional", "Union", "typing", "NoneType", "<class", "Integer")
    )


def test_a_wrong_value_below_a_name_with_a_dot_is_named():
    cfg = composed_config(name="evaluate")
    cfg.networks = {"unet.v2": {"_target_": "cosmicgate.models.UNet", "channels": "many"}}
    with pytest.raises(ConfigError, match=r"^networks\.unet\.v2\.channels: got 'many', expected a whole number$"):
        validate(cfg, Evaluate)


@pytest.mark.parametrize("value", ["3", "[1]", "{a: b}"])
def test_checkpoint_takes_a_path_or_several(value):
    with pytest.raises(ConfigError, match=r"^checkpoint: got .*, expected a string, a list of strings or null$"):
        validate(composed_config(f"checkpoint={value}", name="evaluate"), Evaluate)


@pytest.mark.parametrize(
    ("capability", "trainer", "chosen", "synchronised"),
    [
        (None, "default", "32-true", False),
        ((7, 0), "default", "16-mixed", True),  # V100
        ((7, 5), "gpu", "16-mixed", True),  # T4
        ((8, 0), "default", "bf16-mixed", True),
        ((9, 0), "cpu", "32-true", False),
        ((9, 0), "default trainer.accelerator=cpu", "32-true", False),
    ],
)
def test_the_precision_is_chosen_for_the_accelerator_and_bfloat16_only_where_it_is_in_hardware(
    monkeypatch, capability, trainer, chosen, synchronised
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or capability >= (8, 0)
    )
    cfg = composed_config(*f"trainer={trainer}".split())
    assert cfg.trainer.precision == chosen
    if trainer.startswith("default"):
        assert (
            composed_config(*f"trainer={trainer.replace('default', 'ddp')}".split()).trainer.sync_batchnorm
            == synchronised
        )
