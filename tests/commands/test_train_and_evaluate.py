"""Test train.py and evaluate.py as the README describes them, and the messages for invalid arguments."""

import json
import shutil
from pathlib import Path

import pytest
from hydra.utils import get_object
from pytorch_lightning import LightningDataModule, Trainer

from cosmicgate.training.validation import check_validation
from helpers.hydra_config import composed_config, config_choices
from helpers.repository import ROOT
from helpers.train_command import TINY
from helpers.wandb_files import logged_keys, offline_records

NETWORKS = ("deepcr", "att_deepcr", "cosmic_conn", "att_cosmic_conn")


@pytest.fixture(scope="module")
def run(new_interpreter, tmp_path_factory) -> Path:
    """Train the default network with the default logger; return the run folder."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    new_interpreter.train(folder)
    return folder


def test_a_run_folder_holds_the_complete_record(run):
    names = {p.relative_to(run).as_posix() for p in run.rglob("*") if p.is_file()}
    assert {
        ".hydra/config.yaml",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "metrics.csv",
        "provenance.json",
        "report/tables.csv",
        "report/tables.md",
        "results.json",
        "train.log",
    } <= names
    facts = json.loads((run / "provenance.json").read_text())
    assert facts["seed"] == 0
    assert facts["command"][0] == "train.py"
    assert facts["packages"]["torch"].startswith("2.13")
    assert len(facts["inputs"]) == 4
    assert all(len(digest) == 64 for digest in facts["inputs"].values())
    assert facts["config"]["model"]["gate"] is True
    (row,) = json.loads((run / "results.json").read_text())["rows"]
    assert (row["test_set"], row["data_origin"], row["detector"]["model"]) == ("decam", "simulated", "Att Cosmic-CoNN")


def test_an_offline_wandb_run_holds_curves_learning_rates_images_and_the_config(run):
    records = offline_records(run)
    logged = logged_keys(records)
    wanted = {
        "val/tpr_at_fpr_0.01pct",
        "val/precision_at_tpr_95pct",
        "val/f1",
        "val/loss",
        "lr-Adam",
        "train/loss_step",
    }
    assert wanted <= logged
    assert any(key.startswith("val/roc") for key in logged)
    assert any(key.startswith("val/pr") for key in logged)
    assert any(key.startswith("val/masks") for key in logged)
    assert {"test/decam/roc_auc", "test/decam/core_roc_auc", "test/decam/hit_false_per_megapixel"} <= logged
    for shown in ("roc", "pr", "recall_by_length", "recall_by_snr", "masks"):
        assert any(key.startswith(f"test/decam/{shown}") for key in logged), shown
    config = {i.key for r in records for i in r.run.config.update} | {
        i.key or i.nested_key[0] for r in records for i in r.config.update
    }
    assert {"model", "data", "trainer"} <= {key.split("/")[0] for key in config}
    tables = sorted(run.glob("wandb/offline-run-*/files/media/table/val/roc_table_*.json"))
    assert len(json.loads(tables[-1].read_text())["data"]) > 10
    tags = {tag for r in records for tag in r.run.tags}
    assert {"model=att_cosmic_conn", "norm=group", "gate=true", "data=decam", "contamination=random", "seed=0"} <= tags
    assert {r.run.job_type for r in records if r.HasField("run")} == {"train"}
    assert not any(r.HasField("artifact") and r.artifact.type == "model" for r in records), (
        "models are uploaded online only"
    )


@pytest.mark.slow
def test_a_resumed_run_stays_the_same_wandb_run(command, run, tmp_path):
    again = tmp_path / "again"
    shutil.copytree(run, again)
    (again / "results.json").unlink()  # as if it had been stopped during the test
    assert command.train(again) == json.loads((run / "results.json").read_text())
    folders = sorted(again.glob("wandb/offline-run-*"))
    assert len(folders) == 2
    assert {r.run.run_id for r in offline_records(again) if r.HasField("run")} == {(again / "wandb_id").read_text()}


@pytest.mark.slow
def test_a_finished_run_is_not_repeated_nor_overwritten(command, run):
    before = {path: path.stat().st_mtime_ns for path in run.glob("checkpoints/*")}
    arguments = ("trainer=smoke", *TINY, f"data.root={command.data}", f"hydra.run.dir={run}")
    done = command("train.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert "is finished, nothing to do" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in run.glob("checkpoints/*")} == before
    other = command("train.py", *arguments, "module.optimizer.lr=0.001")
    assert other.returncode == 1
    assert "module.optimizer.lr is 0.001 and was 0.003" in other.stderr


@pytest.mark.slow
def test_a_training_whose_scores_are_kept_is_not_repeated_elsewhere(command, run, tmp_path):
    kept = tmp_path / "kept" / "att_cosmic_conn_seed-0.json"
    arguments = ("trainer=smoke", *TINY, f"data.root={command.data}", f"keep_results={kept}")
    done = command("train.py", *arguments, f"hydra.run.dir={run}")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(kept.read_text())["rows"]
    (full,) = json.loads((run / "results.json").read_text())["rows"]
    assert row == {key: value for key, value in full.items() if key != "curves"}
    assert str(run) not in kept.read_text(), "paths of this machine"
    again = command("train.py", *arguments, "trainer.precision=bf16-mixed", f"hydra.run.dir={tmp_path}/again")
    assert again.returncode == 0, again.stderr
    assert "has the results of this training, nothing to do" in again.stdout
    assert not (tmp_path / "again" / "checkpoints").exists()
    other = command("train.py", *arguments, "model.depth=2", f"hydra.run.dir={tmp_path}/other")
    assert other.returncode == 1
    assert f"model.depth is 2 and was 3, but {kept} has the results of another configuration" in other.stderr
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(content | {"config": content["config"] | {"training": 1}}))
    earlier = command("train.py", *arguments, f"hydra.run.dir={tmp_path}/earlier")
    assert earlier.returncode == 1
    assert f"{kept} has the results of a training by an earlier version, which gave others" in earlier.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["trainer.max_epochs=1", "trainer.check_val_every_n_epoch=2"],
            "trainer.check_val_every_n_epoch=2: expected at most trainer.max_epochs, 1",
        ),
        (["~callbacks.best"], "callbacks.best: missing, expected the ModelCheckpoint"),
        (["+trainer.max_steps=1"], "trainer.max_steps=1: expected at least 2, the steps before the first validation"),
        (["+trainer.max_steps=3", "trainer.check_val_every_n_epoch=2"], "expected at least 4, the steps before"),
    ],
)
def test_a_training_without_a_validation_is_refused_before_it_begins(command, tmp_path, words, sentence):
    few = ("logger=csv", *words, f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", "trainer=smoke", *TINY, f"data.root={command.data}", *few)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/checkpoints/*"))


@pytest.mark.slow
def test_a_training_ends_with_an_error_that_says_why_there_are_no_best_weights(command, tmp_path):
    words = ("logger=csv", "callbacks.best.filename=other", f"hydra.run.dir={tmp_path}/run")
    done = command("train.py", "trainer=smoke", *TINY, f"data.root={command.data}", *words)
    assert done.returncode == 1
    assert "error: callbacks.best: no " in done.stderr
    assert f"the last weights are {tmp_path}/run/checkpoints/last.ckpt" in done.stderr


@pytest.mark.slow
def test_a_training_may_end_with_the_steps_of_its_first_validation(command, tmp_path, caplog):
    (row,) = command.train(tmp_path / "run", "logger=csv", "+trainer.max_steps=2", "~data.name")["rows"]
    assert row["detector"]["trained_on"] == "decam, simulated"
    check_validation(Trainer(max_epochs=4, check_val_every_n_epoch=2, logger=False, accelerator="cpu"))
    assert "validated" not in caplog.text
    check_validation(Trainer(max_epochs=3, check_val_every_n_epoch=2, logger=False, accelerator="cpu"))
    assert "the last 1 epoch(s) are neither validated nor saved" in caplog.text


@pytest.mark.slow
def test_a_new_training_deletes_the_one_before_only_once_it_can_begin(command, run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    before = {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").iterdir()}
    again = ("train.py", "trainer=smoke", *TINY, f"data.root={command.data}", "logger=csv", "resume=false")
    for word, sentence in (
        (f"start={folder}", "is in the run folder, whose weights resume=false deletes"),
        ("start=nowhere.ckpt", "no such"),
        ("model.depth=0", "depth"),
        ("trainer.limit_val_batches=0", "trainer.limit_val_batches"),
    ):
        done = command(*again, word, f"hydra.run.dir={folder}")
        assert done.returncode == 1
        assert sentence in done.stderr
        assert {path: path.stat().st_mtime_ns for path in (folder / "checkpoints").iterdir()} == before
        assert (folder / "results.json").is_file()
    assert command.train(folder, "logger=csv", "resume=false")["rows"]
    assert before.keys() == set((folder / "checkpoints").iterdir())
    assert before != {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.slow
def test_evaluate_gives_exactly_the_test_scores_of_the_training(new_interpreter, run, tmp_path):
    done = new_interpreter("evaluate.py", f"checkpoint={run}", f"hydra.run.dir={tmp_path}/again", "logger=csv")
    assert done.returncode == 0, done.stderr
    assert "test/decam/f1" in (tmp_path / "again" / "metrics.csv").read_text().splitlines()[0]
    first, again = (json.loads((folder / "results.json").read_text()) for folder in (run, tmp_path / "again"))
    assert first == again
    drawn = {p.name for p in (tmp_path / "again" / "report").iterdir()}
    assert {"tables.md", "tables.csv", "masks_decam.png", "curves_dilated_decam_simulated.png"} <= drawn


@pytest.mark.slow
def test_an_evaluation_refuses_the_folder_of_a_training(command, run):
    before = (run / "results.json").read_bytes(), (run / "provenance.json").read_bytes()
    done = command("evaluate.py", f"checkpoint={run}/checkpoints/best.ckpt", f"hydra.run.dir={run}")
    assert done.returncode == 1
    assert "is a training's folder, whose results these would replace" in done.stderr
    assert before == ((run / "results.json").read_bytes(), (run / "provenance.json").read_bytes())


@pytest.mark.slow
def test_evaluate_refuses_frames_of_the_training_in_other_data(command, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run / "checkpoints", copy / "checkpoints")
    record = json.loads((run / "provenance.json").read_text())
    splits = record["splits"] | {"train": record["splits"]["test"], "test": record["splits"]["train"]}
    (copy / "provenance.json").write_text(json.dumps(record | {"splits": splits}))
    data = ("data=decam", *TINY, f"data.root={command.data}", "data.seed=0")
    done = command("evaluate.py", f"checkpoint={copy}", *data, f"hydra.run.dir={tmp_path}/out")
    assert done.returncode == 1
    assert "was trained on test-g-000, which is now a test frame: files were added" in done.stderr
    assert not (tmp_path / "out" / "results.json").exists()


@pytest.mark.slow
def test_evaluate_compares_a_network_with_astroscrappy_on_the_same_pixels(command, run, tmp_path):
    arguments = (f"checkpoint={run}/checkpoints/best.ckpt", "detector=[checkpoint,astroscrappy]")
    (tmp_path / "both" / "report").mkdir(parents=True)
    (tmp_path / "both" / "report" / "curves_core_other_simulated.png").touch()  # of an evaluation before
    done = command("evaluate.py", *arguments, f"hydra.run.dir={tmp_path}/both", "draw_masks=false", "logger=wandb")
    assert not list((tmp_path / "both").glob("report/*other*"))
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "both" / "results.json").read_text())["rows"]
    assert [row["detector"]["model"] for row in rows] == ["Att Cosmic-CoNN", "Astro-SCRAPPY"]
    assert len({(row["frames"], row["pixels"], row["hits"]) for row in rows}) == 1
    assert len(rows[1]["curves"]["dilated"]["fpr"]) == 12
    trained = logged_keys(offline_records(run))
    boards = sorted((tmp_path / "both" / "wandb_rows").iterdir())
    assert [folder.name for folder in boards] == [
        "Astro-SCRAPPY-fair-_validation-frames-settings",
        "Att-Cosmic-CoNN_decam,-simulated",
    ]
    for folder in boards:
        records = offline_records(folder)
        assert {(r.run.job_type, r.run.run_group) for r in records if r.HasField("run")} == {("evaluate", "evaluation")}
        logged = {key for key in logged_keys(records) if key.startswith("test/")}
        assert {"test/decam/hit_recall", "test/decam/hit_false_per_megapixel", "test/decam/core_iou"} <= logged
        for shown in ("roc", "pr", "recall_by_length", "masks"):
            assert any(key.startswith(f"test/decam/{shown}") for key in logged), shown
    assert {key for key in logged if "masks" not in key} <= trained, "a training logs the same keys"


@pytest.mark.slow
def test_a_multirun_has_a_folder_and_a_wandb_run_for_each_job(command, tmp_path):
    arguments = (*TINY, "trainer=smoke", f"data.root={command.data}", f"hydra.sweep.dir={tmp_path}/sweep")
    done = command("train.py", "-m", f"model={','.join(NETWORKS)}", *arguments)
    assert done.returncode == 0, done.stderr
    folders = sorted(p.parent for p in tmp_path.glob("sweep/*/results.json"))
    assert [f.name for f in folders] == sorted(f"{name}_seed-0" for name in NETWORKS)
    names = {r.run.display_name for f in folders for r in offline_records(f) if r.WhichOneof("record_type") == "run"}
    assert names == set(NETWORKS)
    rows = [json.loads((f / "results.json").read_text())["rows"][0] for f in folders]
    assert {row["detector"]["model"] for row in rows} == {"deepCR", "Att deepCR", "Cosmic-CoNN", "Att Cosmic-CoNN"}


@pytest.mark.slow
@pytest.mark.parametrize("choice", config_choices("experiment", "pretrained"))
def test_every_experiment_trains_one_batch(command, choice, real, tmp_path):
    one = "{train:1,validation:1,test:1}"
    small = ["trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1", "logger=csv"]
    small += ["data.batch_size=2", "baselines=[]", f"hydra.run.dir={tmp_path}/run"]

    def simulated(data: str) -> list[str]:
        sizes = ("shape=[256,256]", f"frames={one}")
        few = [f"{data}.{kind}.{what}" for kind in ("science", "darks") for what in sizes]
        return [f"{data}.root={command.data}/trained", f"{data}.pairs_per_frame=1", *few]

    def decam(data: str) -> list[str]:
        return [*simulated(data), f"{data}.science.bands=[g]"]

    def semireal(data: str) -> list[str]:
        strips = "{train:[0,0.1],validation:[0.1,0.19],test:[0.9,1]}"
        sky = [f"{data}.science.bands=[g]", f"{data}.science.frames={one}", f"{data}.science.strips={strips}"]
        return [f"real={real('.')}", f"{data}.root={command.data}/semireal", *sky]

    if choice.startswith("pretrained="):
        cameras = ("cameras", "trailed_defocused", "undersampled", "effects", "small", "spectra")
        small += ["pretrained/size=demo", *decam("data.parts.decam"), *decam("data.parts.paper")]
        small += [word for part in cameras for word in simulated(f"data.parts.{part}")]
        small += semireal("data.parts.semireal")
        small += ["data.leave_out=[lco0m4,arcsat]"]  # make pretrained SIZE=demo, a part of CI, trains on them
        small += ["start=general"] if choice == "pretrained=general_annealed" else []
    elif choice == "experiment=decam_semireal":
        cutout = real("decam/cutouts/141029_043225_N26_101x101_V4.8.2a.fits")
        settings = (f"frames.files={cutout}", "frames.ignored=null", f"root={command.data}/cutouts")
        small += [*semireal("data"), *(f"data.extra_test_sets.cutouts.{one}" for one in settings)]
    elif choice == "experiment=gates":  # whose real frames test_truth_rings.py makes
        settings = (
            "archive.sequences={0m4:1}",
            "archive.shape=[256,256]",
            "archive.rate=60",
            f"root={command.data}/lco",
        )
        small += [
            *decam("data"),
            *(f"data.extra_test_sets.lco.{one}" for one in settings),
            "trainer.check_val_every_n_epoch=1",
        ]
        small += [f"~data.extra_test_sets.{name}" for name in ("real_sky", "lco0m4", "arcsat")]
    else:
        small += decam("data")
    done = command("train.py", choice, *small)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert rows
    assert all(row["hits"] > 0 for row in rows)


@pytest.mark.slow
def test_train_help_lists_examples_and_only_choices_that_can_be_trained(command):
    done = command("train.py", "--help")
    assert done.returncode == 0
    for text in ("python train.py model=deepcr", "att_cosmic_conn", "experiment", "max_epochs", "resume"):
        assert text in done.stdout
    listed = listed_choices(done.stdout)
    assert "ablations/ema" in listed["experiment"]
    assert {"model", "data", "data/science", "pretrained", "sweep", "debug"} <= listed.keys()
    for name in listed["data"]:
        node = composed_config(f"data={name}", "real=nowhere").data
        assert issubclass(get_object(node["_target_"]), LightningDataModule), f"data={name} cannot be trained on"


@pytest.mark.slow
def test_evaluate_help_lists_its_own_choices(command):
    listed = listed_choices(command("evaluate.py", "--help").stdout)
    assert {key for key in listed if "/" not in key} == {"detector", "data", "logger", "evaluation"}
    assert set(listed["evaluation"]) == {"paper_tables", "paper_tables_quick", "real_frames", "released", "variants"}
    assert set(listed["data"]) == {path.stem for path in (ROOT / "conf" / "data").glob("[!_]*.yaml")}


def listed_choices(text: str) -> dict[str, list[str]]:
    """Parse the options of each config group from a help text."""
    lines = text.partition("Choices (group=option):\n")[2].partition("\n\nAny value")[0].splitlines()
    return {group: options.strip().split(", ") for group, _, options in (line.partition(":") for line in lines)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "sentence"),
    [
        ("train.py", ["+modle=deepcr"], "modle"),
        ("train.py", ["model=deepcrr"], "deepcrr"),
        (
            "train.py",
            [
                "data/science=files",
                "~data/size",
                "data/darks=files",
                "data.science.files=nowhere/*.fits",
                "data.darks.files=x",
            ],
            "no file matches 'nowhere/*.fits'",
        ),
        ("evaluate.py", ["checkpoint=nowhere.ckpt"], "no such checkpoint: 'nowhere.ckpt'"),
        ("evaluate.py", [], "give checkpoint=RUN"),
    ],
    ids=["misspelt key", "unknown network", "no such files", "no such checkpoint", "nothing to score"],
)
def test_an_invalid_command_gets_a_message_and_no_traceback(command, script, arguments, sentence, tmp_path):
    done = command(script, *arguments, f"hydra.run.dir={tmp_path}")
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
