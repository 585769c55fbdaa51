"""Test the lock of run folders, the command printed when a run is stopped, and folder names that need no quotes."""

import json
import os
import shlex
import signal
import threading
import time

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from lightning_fabric.utilities.rank_zero import _get_rank
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError, path_name
from cosmicgate.training import run_lock
from cosmicgate.training.arguments import typed, unquoted
from cosmicgate.training.run_lock import HOLDER_FILE, lock_run_folder, refuse_if_held
from helpers.fork_server import ForkedProcess
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

APP = """
import sys, time
import hydra
from cosmicgate.training.arguments import explain_arguments
from cosmicgate.training.stopping import in_run_folder

@explain_arguments
@hydra.main(config_path=".", config_name="app", version_base="1.3")
@in_run_folder()
def main(cfg):
    print("ready", flush=True)
    time.sleep(cfg.seconds)
    print("done", flush=True)

main()
"""
CONFIG = """
seconds: 0
resume: true
path: null
hydra:
  callbacks: {held: {_target_: cosmicgate.training.sweeps.RefuseHeldFolder}}
  job: {chdir: false}
  run: {dir: "outputs/seed-0/run"}
  job_logging: {root: {handlers: [file]}}
"""


@pytest.fixture
def app(command, tmp_path):
    """Return a function that starts a small program in a run folder, and end its processes afterwards."""
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "app.yaml").write_text(CONFIG)
    started = []

    def start_app(*words: str, ready: bool = True) -> ForkedProcess:
        started.append(command.start("app.py", *words, cwd=tmp_path))
        if ready:
            started[-1].wait_for_line("ready")
        return started[-1]

    yield start_app
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)], ids=["TERM", "Ctrl-C"])
def test_a_stopped_command_has_its_exit_code_and_prints_how_to_resume(app, tmp_path, number, code):
    process = app("seconds=60", "resume=false", "path='a, b'")
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    message = err.strip().splitlines()[-1]
    command = "python app.py seconds=60 'path='\"'\"'a, b'\"'\"'' hydra.run.dir=outputs/seed-0/run"
    assert message == f"stopped; resume with: {command}"
    assert "Traceback" not in err
    assert not list((tmp_path / "outputs/seed-0/run").glob(".in_use.json*"))
    again = shlex.split(message.partition(": ")[2].replace("seconds=60", "seconds=0"))
    assert again[:2] == ["python", "app.py"]
    out, err = app(*again[2:], ready=False).communicate(timeout=60)
    assert out.splitlines()[-1] == "done", err


@pytest.mark.slow
def test_a_second_command_in_a_run_folder_is_refused_until_the_first_ends(app, tmp_path):
    folder = tmp_path / "outputs/seed-0/run"
    first = app("seconds=60")
    written = (folder / ".hydra" / "overrides.yaml").read_bytes()
    second = app("seconds=0", ready=False)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 1
    holder = json.loads((folder / HOLDER_FILE).read_text())
    assert (
        f"is in use by app.py, process {first.pid} of {holder['user']} on {holder['host']}, since {holder['since']}"
        in err
    )
    assert "Traceback" not in err
    assert (folder / ".hydra" / "overrides.yaml").read_bytes() == written
    first.kill()
    first.wait()
    third = app("seconds=0", ready=False)
    assert third.wait(60) == 0, "a killed command holds no lock"
    assert not (folder / HOLDER_FILE).exists()


@pytest.mark.slow
def test_a_value_with_an_equals_sign_gets_an_error_that_shows_the_quotes(app):
    process = app("path=outputs/a/seed=0/best.ckpt", ready=False)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.strip() == (
        "error: path=outputs/a/seed=0/best.ckpt: a value that contains '=' must be quoted: "
        "'path=\"outputs/a/seed=0/best.ckpt\"'"
    )


# ------------------------------------------------------------------------------------------------------------ lock


@pytest.fixture
def quick(monkeypatch):
    """Shorten the intervals of the lock to fractions of a second."""
    monkeypatch.setattr(run_lock, "STALE_AFTER_S", 0.5)
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(run_lock, "READ_TIMEOUT_S", 0.1)


def write_lock(folder, **facts) -> None:
    """Write the record of a command that holds a folder, by default of this process."""
    about = run_lock._holder_record() | facts
    folder.mkdir(exist_ok=True)
    (folder / HOLDER_FILE).write_text(json.dumps(about))


def test_a_folder_is_locked_once_and_free_afterwards(tmp_path):
    with lock_run_folder(tmp_path):
        with (
            pytest.raises(ConfigError, match=f"is in use by .*, process {os.getpid()} of .*, since 20"),
            lock_run_folder(tmp_path),
        ):
            pass
        with pytest.raises(ConfigError, match="is in use by"):
            refuse_if_held(tmp_path)
    refuse_if_held(tmp_path)
    with lock_run_folder(tmp_path):
        pass
    assert {path.name for path in tmp_path.iterdir()} <= {run_lock.GUARD_LOCK}


@pytest.mark.parametrize(
    "left",
    [{"pid": 2**22 + 1}, {"started": "1"}, {"machine": "another", "host": "another"}],
    ids=["process ended", "process number reused", "no heartbeat from its machine"],
)
def test_the_lock_of_a_dead_command_is_ignored(tmp_path, quick, left):
    write_lock(tmp_path, **left)
    with lock_run_folder(tmp_path):
        assert json.loads((tmp_path / HOLDER_FILE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_an_incomplete_lock_file_is_ignored(tmp_path, quick, content):
    (tmp_path / HOLDER_FILE).write_text(content)
    with lock_run_folder(tmp_path):
        assert json.loads((tmp_path / HOLDER_FILE).read_text())["pid"] == os.getpid()


def test_a_running_command_on_another_machine_holds_its_folder(tmp_path, quick):
    write_lock(tmp_path, machine="another", host="node7", user="eve")
    done = threading.Event()
    mine = json.loads((tmp_path / HOLDER_FILE).read_text())
    beat = threading.Thread(target=run_lock._renew, args=(tmp_path / HOLDER_FILE, mine, done))
    beat.start()
    try:
        with pytest.raises(ConfigError, match="of eve on node7"), lock_run_folder(tmp_path):
            pass
    finally:
        done.set()
        beat.join()


def test_one_of_many_concurrent_commands_gets_the_folder(tmp_path, quick):
    write_lock(tmp_path, pid=2**22 + 1)
    outcomes, together, over = [], threading.Barrier(8), threading.Event()

    def attempt() -> None:
        together.wait()
        try:
            with lock_run_folder(tmp_path):
                outcomes.append("held")
                over.wait(20)
        except ConfigError:
            outcomes.append("refused")

    several = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in several:
        thread.start()
    end = time.monotonic() + 20
    while len(outcomes) < 8 and time.monotonic() < end:
        time.sleep(0.01)
    over.set()
    for thread in several:
        thread.join()
    assert sorted(outcomes) == ["held"] + ["refused"] * 7


@pytest.mark.parametrize("variable", ["RANK", "LOCAL_RANK", "NODE_RANK"])
def test_other_processes_of_a_training_take_no_lock(tmp_path, variable, monkeypatch):
    with lock_run_folder(tmp_path):
        monkeypatch.setenv(variable, "1")
        monkeypatch.setattr(rank_zero_only, "rank", _get_rank())  # as Lightning does when it is imported
        with lock_run_folder(tmp_path):
            pass
    monkeypatch.undo()
    with lock_run_folder(tmp_path), pytest.raises(ConfigError, match="is in use by"), lock_run_folder(tmp_path):
        pass


# ----------------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "choice",
    [[], ["name='a=b, c'"], ["model=deepcr", "seed=3"], ["trainer=slurm"], ["sweep=variants"], ["sweep=sky"]],
)
def test_the_folder_of_a_run_can_be_typed_without_quotes(choice, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    composed_config(*choice)
    hydra = HydraConfig.get()
    for folder in (hydra.run.dir, f"{hydra.sweep.dir}/{hydra.sweep.subdir}"):
        for key in ("checkpoint", "start", "hydra.run.dir"):
            word = f"{key}={folder}/checkpoints/best.ckpt"
            assert shlex.quote(word) == word
            parsed = OverridesParser.create().parse_override(word)
            assert not parsed.is_sweep_override()
            assert parsed.value() == f"{folder}/checkpoints/best.ckpt"


def test_a_name_becomes_a_path_that_needs_no_quotes():
    assert path_name("att_deepcr") == "att_deepcr"
    assert path_name("a=b, c") == "a-b-c"
    assert path_name("mine/lr 0.1") == "mine/lr-0.1"
    assert path_name("=") == "unnamed"


@pytest.mark.parametrize("folder", ["outputs/a", "a=b", "a, b", 'say "x"', "sky+hits/17", "17", "{x}"])
def test_overrides_with_folders_are_quoted_for_hydra(folder):
    parsed = OverridesParser.create().parse_override(typed("hydra.run.dir", folder))
    assert str(parsed.value()) == folder
    assert not parsed.is_sweep_override()


def test_only_values_that_need_quotes_are_reported():
    assert unquoted("checkpoint=a/b.ckpt") == ""
    assert unquoted('checkpoint="a=b/c.ckpt"') == ""
    assert unquoted("--config-dir=a=b") == ""
    assert '["a=b/c"]' in unquoted("checkpoint=[a=b/c.ckpt,d]")


def test_no_config_or_page_names_a_folder_that_needs_quotes():
    for path in [*(ROOT / "conf").rglob("*.yaml"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for line in path.read_text().splitlines():
            assert "/seed=" not in line, f"{path}: {line}"
            assert not ("subdir" in line and "=${" in line), f"{path}: {line}"
