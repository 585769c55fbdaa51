"""Test how evaluate.py builds detectors: missing ones are named, and each checkpoint is a row of the results."""

import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from cosmicgate.config import ConfigError, Evaluate, Train, validate
from cosmicgate.detectors import MissingDependency
from cosmicgate.evaluation import build_detectors
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.io.atomic import tree_hash
from cosmicgate.models import UNet
from helpers.hydra_config import composed_config


def a_checkpoint(path: Path, **config) -> str:
    path.parent.mkdir(parents=True)
    made = UNet(channels=4)
    weights = {f"network.{key}": value for key, value in made.state_dict().items()}
    config = {
        "model": {"_target_": "cosmicgate.models.UNet", "channels": 4},
        **dict(title="deepCR", trained_on="decam", threshold=0.5, seed=0, data={"name": "decam"}),
        **config,
    }
    torch.save({"state_dict": weights, "config": config}, path)
    return str(path)


NODE = {"checkpoint": {"_target_": "cosmicgate.detectors.network.load_checkpoint_detector", "path": "?"}}
MISSING_PACKAGE = {"_target_": f"{__name__}.missing_package"}
REASON = "the package gone is not installed; to install it: pip install gone"


def missing_package():
    raise MissingDependency(REASON)


def test_detectors_of_missing_packages_are_left_out_and_named(tmp_path):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    detectors, unavailable = build_detectors.build_detectors({"gone": MISSING_PACKAGE} | NODE, path)
    assert [d.model for d in detectors] == ["deepCR"]
    assert unavailable == [{"detector": "gone", "reason": REASON}]
    with pytest.raises(ValueError, match="no detector: gone: the package gone"):
        build_detectors.build_detectors({"gone": MISSING_PACKAGE}, None)
    _, unavailable = build_detectors.build_detectors(
        NODE | {"other": NODE["checkpoint"] | {"path": path}}, f"{tmp_path}/*/nothing.ckpt"
    )
    assert "no file matches" in unavailable[0]["reason"]


def test_several_checkpoints_are_rows_with_different_names(tmp_path):
    for run, config in {
        "a": dict(title="Att deepCR"),
        "b": dict(title="deepCR", seed=0),
        "c": dict(title="deepCR", seed=1),
        "d": dict(title="deepCR", seed=1),
        "e": dict(title="deepCR", trained_on="lco"),
    }.items():
        a_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt", **config)
    detectors, _ = build_detectors.build_detectors(NODE, f"{tmp_path}/*/checkpoints/best.ckpt")
    records = [DetectorRecord.of(detector) for detector in detectors]
    assert [(one.model, one.variant, one.seed) for one in records] == [
        ("Att deepCR", "", 0),
        ("deepCR", "", 0),
        ("deepCR", "c", 1),
        ("deepCR", "d", 1),
        ("deepCR", "", 0),
    ]
    assert [one.trained_on for one in records] == ["decam"] * 4 + ["lco"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"module": {"optimizer": {"lr": 1e-7}}}, "module.optimizer.lr is 1e-07 and was 0.003"),
        ({"threshold": 0.9}, "threshold is 0.9 and was 0.5"),
        ({"data": {"name": "decam", "seed": 1, "windows": {"count": 9}}}, "data.windows is {'count': 9} and was None"),
    ],
)
def test_trainings_that_differ_in_more_than_their_seed_have_no_mean(tmp_path, caplog, change, reason):
    def variants(**changed) -> list[str]:
        seeds = [
            dict(seed=n, data={"name": "decam", "seed": n}, module={"optimizer": {"lr": 0.003}}, real=f"/{n}")
            for n in (0, 1)
        ]
        folder = tmp_path / str(len(changed))
        for run, config in zip("ab", (seeds[0], seeds[1] | changed), strict=True):
            a_checkpoint(folder / run / "checkpoints" / "best.ckpt", **config)
        return [DetectorRecord.of(d).variant for d in build_detectors.build_detectors(NODE, f"{folder}/*")[0]]

    assert variants() == ["", ""]
    assert not caplog.messages
    assert variants(**change) == ["a", "b"]
    assert caplog.messages == [f"deepCR: not averaged over seeds, each is a row: {reason}"]


def test_checkpoints_of_the_same_title_get_different_variants(tmp_path):
    for sweep in "ab":
        a_checkpoint(tmp_path / sweep / "run" / "checkpoints" / "best.ckpt", variant="raw input")
    found = [d.variant for d in build_detectors.build_detectors(NODE, f"{tmp_path}/*/run/checkpoints/best.ckpt")[0]]
    assert len(set(found)) == 2
    assert all(variant.startswith("raw input, ") for variant in found)
    path = str(tmp_path / "a" / "run" / "checkpoints" / "best.ckpt")
    detectors, _ = build_detectors.build_detectors(NODE | {"mine": NODE["checkpoint"] | {"path": path}}, path)
    assert [d.variant for d in detectors] == ["raw input", "raw input, mine"]


@pytest.mark.parametrize("threshold", [43.0, 0.0, 1.0])
def test_a_threshold_that_is_no_probability_is_refused(tmp_path, threshold):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    with pytest.raises(Exception, match=f"threshold = {threshold}: expected a probability between 0 and 1"):
        build_detectors.build_detectors({"checkpoint": NODE["checkpoint"] | {"threshold": threshold}}, path)
    with pytest.raises(ConfigError, match=f"threshold: got {threshold}, expected a probability"):
        validate(composed_config(f"threshold={threshold}"), Train)


@pytest.mark.slow
def test_the_evaluation_of_the_papers_tables_has_every_detector():
    cfg = validate(composed_config("evaluation=paper_tables", "real=nowhere", name="evaluate"), Evaluate)
    config = OmegaConf.to_container(cfg, resolve=True)
    detectors, unavailable = build_detectors.build_detectors(config["detector"], config["checkpoint"])
    assert len(config["detector"]) == len(detectors) + len(unavailable) == 16, "pretrained and released are four each"
    assert {"Astro-SCRAPPY (as published)", "Astro-SCRAPPY (fair)"} <= {
        DetectorRecord.of(detector).name for detector in detectors
    }
    assert {"released_att_deepcr", "checkpoint"} <= {entry["detector"] for entry in unavailable}


def test_every_checkpoint_of_an_evaluation_is_recorded_by_its_hash(tmp_path):
    paths = [a_checkpoint(tmp_path / r / "checkpoints" / "best.ckpt", seed=n) for n, r in enumerate("ab")]
    found = build_detectors.hashes(f"{tmp_path}/*/checkpoints/best.ckpt")
    assert list(found) == paths
    assert len(set(found.values())) == 2
    assert build_detectors.hashes(f"{tmp_path}/*/none.ckpt") == build_detectors.hashes(None) == {}


def test_checkpoints_of_different_data_need_a_choice_of_data(tmp_path):
    paths = [a_checkpoint(tmp_path / r / "checkpoints" / "best.ckpt", data={"name": r}) for r in "ab"]
    assert build_detectors.data_node_of(paths[0]) == {"name": "a"}
    with pytest.raises(ValueError, match=r"a/.* and .*b/.* different data: give data=NAME"):
        build_detectors.data_node_of(paths)


def test_checkpoints_of_a_sweep_are_scored_on_their_common_test_set(tmp_path):
    def part(seed: int) -> dict:
        return {"name": "decam", "root": "data/decam", "seed": seed, "transforms": ["flips"] * seed}

    for kind in (
        part,
        lambda seed: {"name": "general", "parts": {"one": part(seed)}, "shares": {"one": seed}},
        lambda seed: part(0) | {"name": "gates", "also": {"lco": part(seed)}},
    ):
        folder = tmp_path / kind(0)["name"]
        paths = [
            a_checkpoint(folder / f"seed={seed}" / "checkpoints" / "best.ckpt", seed=seed, data=kind(seed))
            for seed in (0, 1)
        ]
        assert build_detectors.data_node_of(paths) == kind(0)


def test_other_frames_in_a_further_test_set_are_other_data(tmp_path):
    paths = []
    for seed in (0, 1):
        frames = {"_target_": "cosmicgate.data.sources.simulated.SimulatedScience", "seed": seed}
        data = {"name": "decam", "also": {"sky": {"science": frames}}}
        paths.append(a_checkpoint(tmp_path / str(seed) / "checkpoints" / "best.ckpt", data=data))
    with pytest.raises(ValueError, match="different data"):
        build_detectors.data_node_of(paths)


def test_frames_of_the_training_are_not_tested_when_files_were_added(tmp_path, caplog):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    build_detectors.check_untrained(path, [Path("a-1"), Path("c-3")])
    splits = {"train": ["a-1", "t-0"], "validation": [f"b-{2:016}"], "test": ["c-3", "d-4", "t-9"]}
    record = tmp_path / "run" / "provenance.json"
    record.write_text(json.dumps({"splits": splits, "skies": {"a-1": "sky of a", "t-0": "sky of t"}}))
    (tmp_path / "a-7").mkdir()
    (tmp_path / "a-7" / "facts.json").write_text('{"sky_sha256": "sky of a"}')
    build_detectors.check_untrained(path, [Path("c-3"), Path("d-4"), Path("t-9"), Path("other-5")])
    assert not caplog.messages
    for frame in (tmp_path / "a-7", Path(f"b-{2:016}")):  # with another hash, if its dark is another one
        wanted = f"was trained on {frame.name[0]}, which is now a test frame: files were added"
        with pytest.raises(ValueError, match=wanted):
            build_detectors.check_untrained(path, [Path("c-3"), frame])
    build_detectors.check_untrained(path, [Path("c-8"), Path("d-4"), Path("t-9")], own_data=False)
    build_detectors.check_untrained(f"{tmp_path}/*/none.ckpt", [Path("a-1")])
    assert not caplog.messages
    build_detectors.check_untrained(path, [Path("c-8"), Path("d-4"), Path("t-9")])
    assert "the test frames are not those of this training" in caplog.messages[0]


def test_frames_of_another_night_with_the_same_names_can_be_tested(tmp_path, caplog):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    record, frame = tmp_path / "run" / "provenance.json", tmp_path / f"light_001-{1:016}"
    frame.mkdir()
    (frame / "facts.json").write_text('{"sky_sha256": "second night"}')
    splits = {"train": [f"light_001-{0:016}"], "validation": [], "test": []}
    record.write_text(json.dumps({"splits": splits, "skies": {f"light_001-{0:016}": "first night"}}))
    build_detectors.check_untrained(path, [frame])
    assert not caplog.messages
    record.write_text(json.dumps({"splits": splits, "inputs": {f"light_001-{0:016}": "other"}}))  # an earlier version
    build_detectors.check_untrained(path, [frame])
    assert "was trained on a frame called light_001, as a test frame is; if it is the same, " in caplog.messages[0]
    record.write_text(json.dumps({"splits": splits, "inputs": {f"light_001-{0:016}": tree_hash(frame)}}))
    with pytest.raises(ValueError, match="was trained on light_001, which is now a test frame"):
        build_detectors.check_untrained(path, [frame])
