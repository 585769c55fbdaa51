"""Test that names of other programs and earlier versions work, or that the error gives the name used here."""

import json

import pytest
from omegaconf import OmegaConf

from cosmicgate.config import KNOWN_AS, ConfigError, Evaluate, Train, validate
from cosmicgate.training.arguments import GROUPS, renamed, without_file
from helpers.hydra_config import composed_config, config_choices
from helpers.repository import ROOT
from helpers.train_command import TINY


@pytest.mark.parametrize(
    "words",
    [
        ["trainer=cpu"],
        ["trainer=gpu"],
        ["callbacks=early_stopping", "callbacks.early_stopping.patience=5"],
        ["debug=default"],
        ["debug=profiler"],
        ["trainer.limit_train_batches=0.1", "trainer.limit_val_batches=2", "trainer.gradient_clip_val=1.0"],
        ["data.num_workers=2", "data.batch_size=8"],
        ["logger=wandb", "logger.project=mine"],
    ],
    ids=" ".join,
)
def test_common_overrides_work(words):
    cfg = validate(composed_config(*words), Train)
    for word in words:
        key, _, value = word.partition("=")
        if "." in key:
            assert str(OmegaConf.select(cfg, key)) == value


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("ckpt_path=a.ckpt", "start=CHECKPOINT"),
        ("trainer.fast_dev_run=true", "debug=default"),
        ("+trainer.fast_dev_run=true", "debug=default"),
        ("+trainer.logger=false", "use logger=csv"),
        ("+trainer.callbacks=[]", "use +callbacks.NAME="),
        ("model.optimizer.lr=0.1", "module.optimizer.lr"),
        ("hparams_search=optuna", "python scripts/search.py"),
        ("sweep=search", "python scripts/search.py"),
        ("logger.wandb.project=mine", "use logger.project"),
        ("data.workers=4", "data.num_workers"),
        ("data.science.smeared=0.5", "data.science.trailed_or_defocused"),
        ("data.parts.sharp.seed=1", "data.parts.undersampled.seed"),
        ("debug=fdr", "debug=default"),
        ("experiment=sharp", "pretrained=general"),
        ("experiment=decam,narrow", "experiment=ablations/width_8"),
        ("experiment=paper_tables", "evaluation=paper_tables"),
        ("data=sealed", "data=held_out"),
        ("beside=[pretrained]", "use baselines"),
        ("mistakes=true", "use draw_errors"),
        ("callbacks.freeze.hold=true", "use callbacks.freeze.constant_lr"),
        ("detector=[checkpoint, packaged_four]", "detector=pretrained_paper"),
        ("detector.lacosmic.grow=false", "detector.lacosmic.dilate_masks"),
        ("data=lco_zenodo", "data=lco"),
        ("data/size=none", "~data/size"),
        ("data/size@data.parts.decam=none", "~data/size"),
    ],
)
def test_another_name_gets_an_error_with_the_name_used_here(word, here):
    assert here in renamed(word)
    assert "unknown name" in renamed(word)


@pytest.mark.parametrize(
    ("word", "here"),
    [
        ("logger=null", "conf/logger: logger=csv"),
        ("logger=false", "conf/logger: logger=csv"),
        ("data=null", "a file in conf/data;"),
        ("callbacks=null", "a file in conf/callbacks;"),
        ("data/size=null", "'~data/size'"),
        ("data/size@data.parts.decam=null", "'~data/size@data.parts.decam'"),
        ("experiment=null", "'~experiment'"),
    ],
)
def test_a_group_without_a_file_is_named(word, here):
    assert without_file(word).startswith(f"{word}: expected the name of a file in conf/")
    assert here in f"{without_file(word)};"


@pytest.mark.slow
def test_a_group_without_a_file_gets_an_error_of_one_sentence(command):
    done = command("train.py", "data=null")
    assert (done.returncode, done.stderr) == (1, f"error: {without_file('data=null')}\n")


def test_every_config_group_is_known():
    assert {path.name for path in (ROOT / "conf").iterdir() if path.is_dir()} == set(GROUPS)


@pytest.mark.parametrize("word", ["start=null", "resume=false", "trainer.limit_val_batches=null", "~data/size", "-m"])
def test_values_of_keys_may_be_null_or_false(word):
    assert without_file(word) == ""


@pytest.mark.parametrize(
    "word", ["experiment=decam", "data=lco", "data.batch_size=8", "trainer.max_epochs=3", "seed=1"]
)
def test_valid_names_are_accepted(word):
    assert renamed(word) == ""


@pytest.mark.slow
def test_every_suggested_name_exists():
    configs = [composed_config(), composed_config(name="evaluate")]
    configs += [
        composed_config(f"data={data}") for data in ("lco", "camera_effects", "mixture", "real_frames", "real_sky")
    ]
    configs += [composed_config("~data/size", "data/science=files", "data/darks=files")]
    for here in set(KNOWN_AS.values()):
        if " " in here or here.startswith(("~", "hydra.", "debug=")):
            continue
        group, _, value = here.partition("=")
        if (ROOT / "conf" / group).is_dir() and value:
            assert here in config_choices(group)  # composed in test_config
        elif value:
            composed_config(here)
        elif here.startswith("detector."):
            cfg = composed_config(f"detector={here.split('.')[1]}", name="evaluate")
            assert isinstance(OmegaConf.select(cfg, here), bool), here
        else:
            assert any(OmegaConf.select(config, here, default=configs) is not configs for config in configs), here


@pytest.mark.parametrize(
    ("override", "schema", "message"),
    [
        ("+ckpt_path=x", Train, r"^ckpt_path: .*start=CHECKPOINT"),
        ("+trainer.gpus=2", Train, r"^trainer\.gpus: unknown name trainer\.gpus; use trainer\.devices"),
        ("+trainer.logger=false", Train, r"^trainer\.logger: unknown name trainer\.logger; use logger=csv"),
        ("+trainer.callbacks=[]", Train, r"^trainer\.callbacks: unknown name .* use \+callbacks\.NAME="),
        ("+data.workers=2", Train, r"^data\.workers: unknown name data\.workers; use data\.num_workers"),
        ("+ckpt_path=x", Evaluate, r"^ckpt_path: .*checkpoint=RUN"),
    ],
)
def test_an_unknown_key_in_a_config_gets_the_name_used_here(override, schema, message):
    with pytest.raises(ConfigError, match=message):
        validate(composed_config(override, name=schema.__name__.lower()), schema)


@pytest.mark.slow
def test_the_command_gives_an_error_of_one_line(command):
    done = command("train.py", "experiment=sharp")
    assert done.returncode == 1
    assert done.stderr == ("error: experiment=sharp: unknown name experiment=sharp; use pretrained=general\n")


@pytest.mark.slow
def test_a_debug_run_trains_tests_and_profiles(command, tmp_path):
    choices = ("debug=profiler", "trainer=cpu", "callbacks=early_stopping", "trainer.gradient_clip_val=1")
    where = (f"data.root={command.data}", f"hydra.run.dir={tmp_path}")
    done = command("train.py", *choices, *TINY, *where, "data.batch_size=2")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "results.json").read_text())["rows"]
    assert "optimizer_step" in (tmp_path / "fit-profile.txt").read_text()
    gpu = command("train.py", "trainer=gpu", *TINY, f"data.root={command.data}", f"hydra.run.dir={tmp_path}/gpu")
    if gpu.returncode:
        assert gpu.stderr.startswith("error: trainer: ")
        assert "Traceback" not in gpu.stderr
