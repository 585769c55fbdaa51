"""Test that several processes train as one: the same patches, the same scores, one run folder, one W&B run."""

import csv
import json
import math
import socket
import subprocess
import sys
from types import SimpleNamespace

import pytest
from pytorch_lightning.accelerators import CPUAccelerator

from cosmicgate.config import ConfigError
from cosmicgate.data.patches import DistributedSequentialSampler, EpochSampler, GridSampler, PatchDataset, make_loader
from cosmicgate.training.prepare_run import prepare_run
from helpers.fake_detectors import save_frame
from helpers.repository import ROOT
from helpers.train_command import TINY
from helpers.wandb_files import offline_records

# Nine validation patches and three test frames, which two processes cannot share equally.
ODD = ("data.science.frames={train:1,validation:1,test:3}", "data.patch=80", "data.batch_size=4")
SHORT = (*TINY, *ODD, "trainer.max_epochs=2", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu", "baselines=[]")
TWO = (*SHORT, "trainer.devices=2")


def epoch_batches(length, size, rank, world, epoch=0):
    """List the patch keys of each batch of a process."""
    sampler = EpochSampler(length, 3, rank, world)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(order) == len(sampler)
    return [order[i : i + size] for i in range(0, len(order), size)]


@pytest.mark.parametrize("world", [2, 3, 4])
@pytest.mark.parametrize("length", [48, 49, 53])
def test_a_step_of_several_processes_has_the_patches_of_one_process(length, world):
    whole = epoch_batches(length, 12, 0, 1, epoch=2)
    parts = [epoch_batches(length, 12 // world, rank, world, epoch=2) for rank in range(world)]
    for number, batch in enumerate(whole):
        together = [key for part in parts for key in (part[number] if number < len(part) else [])]
        assert sorted(together) == sorted(batch)


@pytest.mark.parametrize("length", [8, 9, 1])
def test_the_shares_of_processes_contain_each_patch_once(length):
    shares = [list(DistributedSequentialSampler(length, rank, 2)) for rank in range(2)]
    assert sorted(shares[0] + shares[1]) == list(range(length))


def test_batch_sizes_that_cannot_be_shared_are_refused(tmp_path):
    patches = PatchDataset([save_frame(tmp_path, 0, (96, 96))], GridSampler(32))  # nine of them
    two = SimpleNamespace(global_rank=1, world_size=2, accelerator=CPUAccelerator())
    with pytest.raises(ConfigError, match=r"data.batch_size=5: 2 processes share a batch"):
        make_loader(patches, 5, 0, two)
    with pytest.raises(ConfigError, match="the last step of 9 patches has 1, too few for 2 processes"):
        make_loader(patches, 4, 0, two, seed=0)
    assert [len(batch["image"]) for batch in make_loader(patches, 4, 0, two)] == [2, 2]
    assert [len(batch["image"]) for batch in make_loader(patches, 6, 0, two, seed=0)] == [3, 1]


def test_a_training_that_began_with_other_frames_is_not_resumed(tmp_path):
    trainer = SimpleNamespace(world_size=1, is_global_zero=True, max_epochs=1)
    config = {"title": "deepCR", "trained_on": "night"}

    def data(*train: str) -> SimpleNamespace:
        frames = {"train": [tmp_path / name for name in train], "validation": [], "test": []}
        return SimpleNamespace(split=frames.get, folders=list, test_sets=list, prepare_data=list)

    prepare_run(trainer, tmp_path / "run", 0, data("a-1", "b-2"), config)
    prepare_run(trainer, tmp_path / "run", 0, data("c-3"), config)  # a new training
    assert "attempts" not in json.loads((tmp_path / "run" / "provenance.json").read_text())
    prepare_run(trainer, tmp_path / "run", 0, data("c-4"), config, resume=True)
    assert len(json.loads((tmp_path / "run" / "provenance.json").read_text())["attempts"]) == 1
    with pytest.raises(ConfigError, match=r"the train frames are not those .*d is new.*give the same files"):
        prepare_run(trainer, tmp_path / "run", 0, data("c-3", "d-5"), config, resume=True)


def test_a_training_is_not_resumed_on_other_pixels_or_labels(tmp_path):
    trainer = SimpleNamespace(world_size=1, is_global_zero=True, max_epochs=1)
    config = {"title": "deepCR", "trained_on": "night"}

    def prepare(name: str, labels: str, resume: bool = True, which: str = "train") -> None:
        frame = tmp_path / labels / name
        frame.mkdir(parents=True, exist_ok=True)
        (frame / "truth.npy").write_text(labels)
        frames = {"train": [], "validation": [], "test": []} | {which: [frame]}
        data = SimpleNamespace(
            split=frames.get, folders=lambda: [frame], test_sets=list, prepare_data=list, data_origin="real"
        )
        prepare_run(trainer, tmp_path / "run", 0, data, config, resume)

    key, other = "0123456789abcdef", "f" * 16
    prepare(f"a-{key}", "one", resume=False)
    prepare(f"a-{other}", "one")  # the files were copied
    with pytest.raises(ConfigError, match=r"pixels or labels of train frames were changed after .*run began \(a\)"):
        prepare(f"a-{key}", "two")
    prepare(f"a-{other}", "two")  # under the same key, rounded as another processor does
    prepare("0-sequence", "one", resume=False)  # the name has no key
    prepare("0-sequence", "one")
    with pytest.raises(ConfigError, match=r"pixels or labels of train frames were changed"):
        prepare("0-sequence", "two")
    prepare(f"t-{key}", "one", resume=False, which="test")
    prepare(f"t-{other}", "two", which="test")
    record = tmp_path / "run" / "provenance.json"
    for missing in ("inputs", "splits"):  # of earlier versions
        prepare(f"a-{key}", "one", resume=False)
        before = json.loads(record.read_text())
        before.pop(missing)
        record.write_text(json.dumps(before))
        prepare(f"a-{other}", "two")


# --------------------------------------------------------------------------------------------------------- command


@pytest.fixture(scope="module")
def single_process(command, tmp_path_factory):
    """Train in one process; return the run folder."""
    folder = tmp_path_factory.mktemp("one") / "run"
    command.train(folder, *SHORT, "trainer.limit_train_batches=1.0", "trainer.limit_val_batches=1.0", "logger=csv")
    return folder


def lightning(command, folder):
    """Start a training whose second process is started by Lightning."""
    return [command.start("train.py", "trainer=ddp", *TWO, f"data.root={command.data}", f"hydra.run.dir={folder}")]


def torchrun(command, folder):
    """Start both processes by torchrun."""
    several = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    line = ("train.py", "trainer=ddp", *TWO, f"data.root={command.data}", f"hydra.run.dir={folder}")
    return [command.start(several[0], *several[1:], *line)]


def slurm(command, folder):
    """Start both processes with the environment variables that srun would set."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):
        job = dict(JOB_ID="7", JOB_NAME="cosmicgate", NTASKS="2", NTASKS_PER_NODE="2", NNODES="1", NODELIST="127.0.0.1")
        job |= dict(PROCID=str(rank), LOCALID=str(rank), NODEID="0")
        environment = command.environment | {f"SLURM_{k}": v for k, v in job.items()} | {"MASTER_PORT": str(port)}
        environment |= {"MASTER_ADDR": "127.0.0.1"}
        line = [sys.executable, str(ROOT / "train.py"), "trainer=slurm", *SHORT, f"data.root={command.data}"]
        line += [f"hydra.run.dir={folder}"]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(line, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True))
    return started


def history(folder):
    """Read the validation scores of each epoch."""
    with (folder / "metrics.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["val/loss"]]
    return [{key: float(value) for key, value in row.items() if key.startswith("val/") and value} for row in rows]


def counts(row):
    return {key: row[key] for key in ("frames", "pixels", "hits")}


@pytest.mark.slow
@pytest.mark.parametrize("start", [lightning, torchrun, slurm])
def test_two_processes_give_the_scores_of_one_in_one_folder(new_interpreter, single_process, tmp_path, start):
    started = start(new_interpreter, folder := tmp_path / "run")
    for process in started:
        _, err = process.communicate(timeout=600)
        assert process.returncode == 0, err
    first, second = ((json.loads((f / "results.json").read_text())["rows"]) for f in (single_process, folder))
    assert [counts(row) for row in first] == [counts(row) for row in second]
    for a, b in zip(first, second, strict=True):
        assert b["dilated"]["roc_auc"] == pytest.approx(a["dilated"]["roc_auc"], abs=0.01)
    for a, b in zip(history(single_process), history(folder), strict=True):
        assert b.keys() == a.keys()
        assert all(math.isclose(a[key], b[key], rel_tol=0.02, abs_tol=1e-3) for key in a), (a, b)
    assert len(list((folder / "frames").glob("*.npz"))) == 3
    assert len(list(folder.glob("wandb/offline-run-*"))) == 1
    assert len({r.run.run_id for r in offline_records(folder) if r.HasField("run")}) == 1
    command_line = json.loads((folder / "provenance.json").read_text())["command"]
    assert not any(word.startswith("hydra.job.name") for word in command_line), (
        "the record is written by the first process"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.slow
def test_several_processes_in_a_sweep_are_refused(command, tmp_path):
    done = command("train.py", "-m", "trainer=ddp", *TWO, f"data.root={command.data}", f"hydra.sweep.dir={tmp_path}")
    assert done.returncode == 1
    assert "trainer: 2 processes in a sweep would each run all its jobs" in done.stderr
