"""What is not here is left out and named; each checkpoint is a row of its own."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from test_config import composed

from cosmicgate.config import ConfigError, Evaluate, Train, checked
from cosmicgate.detectors import Unavailable
from cosmicgate.evaluation import lineup
from cosmicgate.models import UNet


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


NODE = {"checkpoint": {"_target_": "cosmicgate.detectors.network.load", "path": "?"}}


GONE = {"_target_": "test_lineup.gone"}


LACKS = "the package gone is not installed; to install it: pip install gone"


def gone():
    raise Unavailable(LACKS)


def test_what_is_not_installed_is_left_out_and_named(tmp_path):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    detectors, unavailable = lineup.line_up({"gone": GONE} | NODE, path)
    assert [d.title for d in detectors] == ["deepCR"]
    assert unavailable == [{"detector": "gone", "reason": LACKS}]
    with pytest.raises(ValueError, match="no detector: gone: the package gone"):
        lineup.line_up({"gone": GONE}, None)
    _, unavailable = lineup.line_up(NODE | {"other": NODE["checkpoint"] | {"path": path}}, f"{tmp_path}/*/nothing.ckpt")
    assert "no file matches" in unavailable[0]["reason"]


def test_several_checkpoints_are_several_rows_of_different_names(tmp_path):
    for run, config in {
        "a": dict(title="Att deepCR"),
        "b": dict(title="deepCR", seed=0),
        "c": dict(title="deepCR", seed=1),
        "d": dict(title="deepCR", seed=1),
        "e": dict(title="deepCR", trained_on="lco"),
    }.items():
        a_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt", **config)
    detectors, _ = lineup.line_up(NODE, f"{tmp_path}/*/checkpoints/best.ckpt")
    assert [d.title for d in detectors] == [
        "Att deepCR",
        "deepCR, seed 0",
        "deepCR, seed 1, c",
        "deepCR, seed 1, d",
        "deepCR",
    ]
    assert lineup.line_up(NODE, [f"{tmp_path}/{run}/checkpoints/best.ckpt" for run in "ab"])[0][1].title == "deepCR"


def test_rows_that_would_have_one_title_are_told_apart_before_anything_is_scored(tmp_path):
    for sweep in "ab":
        a_checkpoint(tmp_path / sweep / "run" / "checkpoints" / "best.ckpt", title="deepCR, seed 0")
    titles = [d.title for d in lineup.line_up(NODE, f"{tmp_path}/*/run/checkpoints/best.ckpt")[0]]
    assert len(set(titles)) == 2
    path = str(tmp_path / "a" / "run" / "checkpoints" / "best.ckpt")
    detectors, _ = lineup.line_up(NODE | {"mine": NODE["checkpoint"] | {"path": path}}, path)
    assert [d.title for d in detectors] == ["deepCR, seed 0", "deepCR, seed 0, mine"]


@pytest.mark.parametrize("threshold", [43.0, 0.0, 1.0])
def test_a_threshold_that_is_no_probability_is_refused_before_anything_is_scored(tmp_path, threshold):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    with pytest.raises(Exception, match=f"threshold = {threshold}: expected a probability between 0 and 1"):
        lineup.line_up({"checkpoint": NODE["checkpoint"] | {"threshold": threshold}}, path)
    with pytest.raises(ConfigError, match=f"threshold: got {threshold}, expected a probability"):
        checked(composed(f"threshold={threshold}"), Train)


def test_the_experiment_of_the_papers_tables_has_every_row():
    cfg = checked(composed("experiment=paper_tables", "real=nowhere", name="evaluate"), Evaluate)
    config = OmegaConf.to_container(cfg, resolve=True)
    detectors, unavailable = lineup.line_up(config["detector"], config["checkpoint"])
    assert len(config["detector"]) == len(detectors) + len(unavailable) == 12, "released are four"
    assert "Astro-SCRAPPY" in [detector.title for detector in detectors]
    assert {"released_att_deepcr", "checkpoint"} <= {entry["detector"] for entry in unavailable}


def test_every_checkpoint_of_an_evaluation_is_on_record_by_its_hash(tmp_path):
    paths = [a_checkpoint(tmp_path / r / "checkpoints" / "best.ckpt", seed=n) for n, r in enumerate("ab")]
    found = lineup.hashes(f"{tmp_path}/*/checkpoints/best.ckpt")
    assert list(found) == paths
    assert len(set(found.values())) == 2
    assert lineup.hashes(f"{tmp_path}/*/none.ckpt") == lineup.hashes(None) == {}


def test_checkpoints_of_different_data_need_data_to_be_named(tmp_path):
    paths = [a_checkpoint(tmp_path / r / "checkpoints" / "best.ckpt", data={"name": r}) for r in "ab"]
    assert lineup.data_of(paths[0]) == {"name": "a"}
    with pytest.raises(ValueError, match=r"a/.* and .*b/.* different data: give data=NAME"):
        lineup.data_of(paths)


def test_checkpoints_of_a_sweep_are_scored_on_the_test_that_they_share(tmp_path):
    def part(seed: int) -> dict:
        return {"name": "decam", "root": "data/decam", "seed": seed, "transforms": ["flips"] * seed}

    for kind in (part, lambda seed: {"name": "general", "parts": {"one": part(seed)}, "shares": {"one": seed}}):
        folder = tmp_path / kind(0)["name"]
        paths = [
            a_checkpoint(folder / f"seed={seed}" / "checkpoints" / "best.ckpt", seed=seed, data=kind(seed))
            for seed in (0, 1)
        ]
        assert lineup.data_of(paths) == kind(0)
