"""Test sweeps: valid jobs with separate folders, failed jobs, finished and unfinished runs."""

import json
import math
import re
import shutil
import subprocess

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Train, validate
from cosmicgate.training.run_folder import clear_run, is_finished, keep_precision, objective
from cosmicgate.training.sweeps import FAILED
from helpers.hydra_config import composed_config
from helpers.repository import ROOT
from helpers.train_command import TINY

SWEEPS = sorted(path.stem for path in (ROOT / "conf" / "sweep").glob("*.yaml"))


def sweep_values(sweep: str) -> dict[str, list[str]]:
    """Read the values of each key of a sweep."""
    params = yaml.safe_load((ROOT / "conf" / "sweep" / f"{sweep}.yaml").read_text())["hydra"]["sweeper"]["params"]
    found = {}
    for override in OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()]):
        several = override.sweep_string_iterator() if override.is_sweep_override() else [override.value()]
        found[override.key_or_group] = list(several)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_every_value_of_every_sweep_is_valid(sweep):
    found = sweep_values(sweep)
    first = {key: several[0] for key, several in found.items()}
    each_value_once = [first, *(first | {key: value} for key, several in found.items() for value in several[1:])]
    for job in each_value_once:
        cfg = validate(composed_config(f"sweep={sweep}", *(f"{key}={value}" for key, value in job.items())), Train)
        assert cfg.group == sweep
        assert cfg.data.name.startswith("decam")


def test_the_jobs_of_a_sweep_have_separate_folders():
    for sweep in SWEEPS:
        subdir = yaml.safe_load((ROOT / "conf" / "sweep" / f"{sweep}.yaml").read_text())["hydra"]["sweep"].get("subdir")
        subdir = subdir or yaml.safe_load((ROOT / "conf" / "train.yaml").read_text())["hydra"]["sweep"]["subdir"]
        for key in sweep_values(sweep):
            assert key in subdir, f"two values of {key} share a folder in sweep={sweep}"


APP = """
import hydra
from cosmicgate.config import report_user_errors

@hydra.main(config_path=".", config_name="app", version_base="1.3")
@report_user_errors()
def main(cfg):
    print("ran", cfg.x)
    if cfg.x == 1:
        raise ValueError("one is no number to us")
    if cfg.x == 2:
        raise RuntimeError("a fault of our own")
    return (cfg.x - 3) ** 2

main()
"""
CONFIG = """
x: 0
hydra:
  mode: MULTIRUN
  callbacks: {keep_going: {_target_: cosmicgate.training.sweeps.ContinueOnJobFailure}}
  sweep: {dir: jobs, subdir: "x=${x}"}
  job_logging: {root: {handlers: [file]}, loggers: {cosmicgate: {level: DEBUG}}}
"""


@pytest.fixture
def app(command, tmp_path):
    """Return a function that runs a small program with the callback of train.py."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.yaml").write_text(CONFIG)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return command("app.py", *arguments, cwd=tmp_path)

    return run


@pytest.mark.slow
def test_a_failed_job_leaves_its_traceback_and_does_not_stop_the_others(app, tmp_path):
    done = app("x=1,2,3")
    assert [line for line in done.stdout.splitlines() if line.startswith("ran")] == ["ran 1", "ran 2", "ran 3"]
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        "error: 2 job(s) failed, the others are finished: x=1: ValueError: one is no number to us; "
        "x=2: RuntimeError: a fault of our own"
    )
    assert "Traceback" not in done.stderr
    for job, error in (("x=1", "ValueError"), ("x=2", "RuntimeError")):
        for name in (FAILED, "app.log"):
            text = (tmp_path / "jobs" / job / name).read_text()
            assert "Traceback" in text
            assert error in text
    assert not (tmp_path / "jobs" / "x=3" / FAILED).exists()
    again = app("x=3")
    assert again.returncode == 0, "failures of an earlier attempt do not count"


@pytest.mark.slow
def test_jobs_that_would_share_a_folder_are_refused(app):
    done = app("x=3,4", "hydra.sweep.subdir=same")
    assert done.returncode == 1
    assert "error: x differs between the jobs, but not their folders" in done.stderr
    assert "ran" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("words", [["kind=one,two"], ["kind=one,two", "x=3,4"], ["kind/size@size=a,b", "x=3"]])
def test_the_advised_names_of_folders_work(app, tmp_path, words):
    for file in ("kind/one", "kind/two", "kind/size/a", "kind/size/b"):
        (tmp_path / f"{file}.yaml").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{file}.yaml").write_text("name: any\n")
    defaults = "defaults:\n  - _self_\n  - kind: null\n  - kind/size@size: null\n"
    (tmp_path / "app.yaml").write_text(defaults + CONFIG)
    refused = app(*words, "hydra.sweep.subdir=same")
    assert refused.returncode == 1
    (advice,) = re.findall(r"as in '(.*)'", refused.stderr)
    done = app(*words, advice)
    assert done.returncode == 0, done.stderr
    jobs = 2 ** len([word for word in words if "," in word])
    assert len(list((tmp_path / "jobs").glob("*/app.log"))) == jobs


def test_the_objective_of_a_search_is_the_monitored_score(tmp_path):
    best = tmp_path / "best.ckpt"
    states = {"a": {"monitor": "val/f1", "best_model_score": torch.tensor(0.75)}, "b": {"monitor": None}}
    for mode, expected in (("max", -0.75), ("min", 0.75)):
        config = {"callbacks": {"best": {"monitor": "val/f1", "mode": mode}}}
        torch.save({"state_dict": {}, "config": config, "callbacks": states}, best)
        assert objective(best) == expected


def test_a_finished_run_without_its_weights_has_no_objective(tmp_path):
    assert math.isnan(objective(tmp_path / "checkpoints" / "best.ckpt"))


@pytest.fixture
def run_folder(tmp_path):
    """Write the files of a finished run; return its folder and configuration."""
    config = {"seed": 0, "data": {"name": "a", "frames": [1, 2]}, "model": {"depth": 3}, "module": {}, "trainer": {}}
    config |= {"callbacks": {"curves": {"every": 5}}, "threshold": 0.5}
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "provenance.json").write_text(json.dumps({"config": config}))
    return tmp_path, config


def test_a_finished_run_is_recognised_by_results_and_configuration(run_folder, tmp_path):
    run, config = run_folder
    assert is_finished(run, config | {"logger": "another", "tags": ["also"]})
    assert not is_finished(tmp_path / "elsewhere", config)
    with pytest.raises(ConfigError, match=r"^model\.depth is 2 and was 3, but .* is a finished run of another"):
        is_finished(run, config | {"model": {"depth": 2}})
    with pytest.raises(ConfigError, match=r"^data\.ring is True and was None"):
        is_finished(run, config | {"data": config["data"] | {"ring": True}})
    assert is_finished(run, config | {"data": config["data"] | {"root": "elsewhere", "num_workers": 8}})
    assert is_finished(run, config | {"callbacks": {"curves": {"every": 1}, "rate": {"logging_interval": "step"}}})
    for key in ("rate", "curves"):  # names of logging callbacks, here as settings of the data
        with pytest.raises(ConfigError, match=rf"^data\.darks is {{'{key}': 5}} and was None"):
            is_finished(run, config | {"data": config["data"] | {"darks": {key: 5}}})
    with pytest.raises(ConfigError, match=r"^callbacks\.freeze is {'fraction': 0.2} and was None"):
        is_finished(run, config | {"callbacks": {"freeze": {"fraction": 0.2}, "curves": {"every": 1}}})
    with pytest.raises(ConfigError, match=r"^threshold is 0\.3 and was 0\.5"):
        is_finished(run, config | {"threshold": 0.3})
    (run / "provenance.json").unlink()
    with pytest.raises(ConfigError, match=r"^seed is 0 and was None"):
        is_finished(run, config)


def test_a_stopped_training_resumes_only_with_its_own_configuration(run_folder):
    run, config = run_folder
    (run / "results.json").unlink()
    (run / "checkpoints").mkdir()
    torch.save({"config": config, "state_dict": {}}, run / "checkpoints" / "last.ckpt")
    assert not is_finished(run, config | {"tags": ["also"]})
    with pytest.raises(ConfigError, match=r"^module\.lr is 1 and was None, but .* is an unfinished run of another"):
        is_finished(run, config | {"module": {"lr": 1}})


@pytest.mark.parametrize("finished", [True, False])
def test_a_run_is_known_on_a_machine_that_would_choose_another_precision(run_folder, finished):
    run, config = run_folder
    config |= {"trainer": {"precision": "bf16-mixed"}, "real": "/mine", "data": {"files": "/mine/a.fits"}}
    (run / "provenance.json").write_text(json.dumps({"config": config}))
    if not finished:
        (run / "results.json").unlink()
        (run / "checkpoints").mkdir()
        torch.save({"config": config, "state_dict": {}}, run / "checkpoints" / "last.ckpt")
    here = config | {"real": "/yours", "data": {"files": "/yours/a.fits"}, "trainer": {"precision": "32-true"}}
    cfg = OmegaConf.create({"trainer": {"precision": "${auto_precision:}"}})
    keep_precision(cfg, here, run)
    assert cfg.trainer.precision == here["trainer"]["precision"] == "bf16-mixed"
    assert is_finished(run, here) == finished
    named = config | {"trainer": {"precision": "32-true"}}
    keep_precision(OmegaConf.create({"trainer": {"precision": "32-true"}}), named, run)
    with pytest.raises(ConfigError, match=r"^trainer\.precision is '32-true' and was 'bf16-mixed'"):
        is_finished(run, named)


def test_a_new_training_has_the_precision_of_its_machine(run_folder):
    run, config = run_folder
    (run / "results.json").unlink()
    (run / "provenance.json").write_text(json.dumps({"config": config | {"trainer": {"precision": "bf16-mixed"}}}))
    here = config | {"trainer": {"precision": "32-true"}}
    keep_precision(OmegaConf.create({"trainer": {"precision": "${auto_precision:}"}}), here, run)
    assert here["trainer"]["precision"] == "32-true"


def test_clear_run_removes_everything_from_which_a_run_resumes(run_folder):
    run, config = run_folder
    for name in ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "report/tables.md", "metrics.csv"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("of the training before")
    clear_run(run)
    assert not is_finished(run, config)
    assert [path.name for path in run.rglob("*") if path.is_file()] == ["provenance.json"]


@pytest.mark.slow
def test_the_same_command_resumes_a_sweep(command, tmp_path):
    small = (*TINY, "trainer=smoke", f"data.root={command.data}", "logger=csv", "model=deepcr", "model.channels=8")
    sweep = ("-m", *small, f"hydra.sweep.dir={tmp_path}", "hydra.sweep.subdir=${module.optimizer.lr}")
    bad, good = tmp_path / "-1", tmp_path / "0.001"
    done = command("train.py", *sweep, "module.optimizer.lr=-1,0.001")
    assert done.returncode == 1
    assert "1 job(s) failed, the others are finished: -1: ValueError: Invalid learning rate: -1" in done.stderr
    assert "Traceback" in (bad / "train.log").read_text()
    assert not (bad / "results.json").exists()
    first = (good / "results.json").read_bytes()

    skipped = command("train.py", *sweep, "module.optimizer.lr=0.001")
    assert skipped.returncode == 0, skipped.stderr
    assert "is finished, nothing to do" in skipped.stdout

    (good / "results.json").unlink()  # as if it had been stopped during the test
    shutil.rmtree(good / "report")
    done = command("train.py", *sweep, "module.optimizer.lr=-1,0.001")
    assert done.returncode == 1
    assert (good / "results.json").read_bytes() == first


@pytest.mark.slow
def test_a_training_without_its_report_is_not_finished(command, tmp_path):
    small = (*TINY, "trainer=smoke", f"data.root={command.data}", "logger=csv", "model=deepcr", "model.channels=8")
    (tmp_path / "report").write_text("in the way")
    failed = command("train.py", *small, f"hydra.run.dir={tmp_path}")
    assert failed.returncode != 0
    assert not (tmp_path / "results.json").exists()
    (tmp_path / "report").unlink()
    done = command("train.py", *small, f"hydra.run.dir={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert "is finished" not in done.stdout
    assert (tmp_path / "results.json").is_file()
    assert (tmp_path / "report" / "tables.md").is_file()
