"""Several data sets are trained on together, each as often as it is told, and tested apart."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.mixture import Mixture, MixtureDataset
from cosmicgate.data.patches import CropSampler
from cosmicgate.data.sources.random_cameras import RandomDarks, RandomScience
from helpers.repository import ROOT

CONF = ROOT / "conf"
FRAMES = {"train": 2, "validation": 1, "test": 1}


def part(root, name: str, seed: int) -> DecamData:
    return DecamData(
        RandomScience(FRAMES, (96, 96), seed),
        RandomDarks(FRAMES, (96, 96), seed),
        PhysicalRecipe(ring=False, clean=None),
        str(root),
        CropSampler(64, 8),
        patch=96,
        name=name,
    )


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Mixture:
    root = tmp_path_factory.mktemp("mixture")
    made = Mixture({"a": part(root, "a", 0), "b": part(root, "b", 1)}, {"a": 0.8, "b": 0.2}, count=400, num_workers=0)
    made.prepare_data()
    made.setup("fit")
    return made


def source(mixture: Mixture, image: torch.Tensor) -> str:
    """Which part a crop is of: its first row is in one of that part's frames."""
    row = image[0, 0].numpy()
    for name, part in mixture.parts.items():
        for frame in part.train.frames:
            pixels = np.asarray(frame.image)
            for y, x in np.argwhere(pixels == row[0]):
                if np.array_equal(pixels[y, x : x + row.size], row):
                    return name
    raise AssertionError("a crop of no frame")


def test_patches_come_from_each_part_by_its_share(mixture):
    drawn = [source(mixture, mixture.train[0, index]["image"]) for index in range(400)]
    assert 0.72 < drawn.count("a") / 400 < 0.88


def test_a_patch_depends_on_seed_epoch_and_index_alone(mixture):
    assert torch.equal(mixture.train[1, 7]["image"], mixture.train[1, 7]["image"])
    assert not torch.equal(mixture.train[1, 7]["image"], mixture.train[2, 7]["image"])
    with pytest.raises(IndexError, match="patch 400 of 400"):
        mixture.train[0, 400]


class Numbered:
    """Patches that are their own keys."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> tuple[str, int, int]:
        return self.name, *key


def test_an_epoch_has_no_patch_twice_unless_a_part_is_asked_for_more_than_it_has():
    mixed = MixtureDataset(
        [Numbered("large", 1000), Numbered("enough", 400), Numbered("small", 50)], [0.4, 0.3, 0.3], 1000, 0
    )
    epochs = [[mixed[epoch, index] for index in range(1000)] for epoch in range(8)]
    for patches in epochs:
        often = {name: Counter(p for p in patches if p[0] == name) for name in ("large", "enough", "small")}
        assert set(often["large"].values()) == set(often["enough"].values()) == {1}
        assert len(often["small"]) == 50
        assert max(often["small"].values()) - min(often["small"].values()) <= 1
    seen = {index for patches in epochs for name, _, index in patches if name == "large"}
    assert len(seen) > 950  # what one epoch leaves out another one has


def test_a_part_that_is_asked_for_more_than_it_has_is_named(mixture, caplog):
    mixture.setup("fit")
    assert "data.parts.a: an epoch takes about 320 patches of its 8: some come twice" in caplog.text
    assert "data.parts.b: an epoch takes about 80 patches of its 8" in caplog.text
    caplog.clear()
    Mixture(mixture.parts, {"a": 0.5, "b": 0.5}, count=16).setup("fit")
    assert not caplog.text


@pytest.mark.parametrize("name", ["general", "general_cascade"])
def test_no_crop_of_a_pretrained_network_comes_twice_in_an_epoch(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"pretrained={name}", "real=nowhere"])
    for part in cfg.data.parts.values():
        assert part.windows.count >= cfg.data.count


def test_validation_sees_every_part_once_and_the_test_keeps_them_apart(mixture):
    assert sum(len(batch["image"]) for batch in mixture.val_dataloader()) == 2
    assert [(s.name, len(s.folders)) for s in mixture.test_sets()] == [("a", 1), ("b", 1)]
    assert len(mixture.split("train")) == 4
    assert len(mixture.folders()) == 8
    assert mixture.provenance == "simulated"


@pytest.mark.parametrize("shares", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}])
def test_shares_that_do_not_add_up_are_refused_with_their_values(shares, tmp_path):
    parts = {"a": part(tmp_path, "a", 0), "b": part(tmp_path, "b", 1)}
    with pytest.raises(ValueError, match=r"expected a share of each of \['a', 'b'\], 1 in all, got"):
        Mixture(parts, shares, count=10)


def test_shares_that_add_up_to_what_a_person_writes_are_enough(tmp_path):
    parts = {name: part(tmp_path, name, seed) for seed, name in enumerate("abc")}
    made = Mixture(parts, dict.fromkeys("abc", 0.3333333), count=10)
    assert sum(made.shares) == pytest.approx(1, abs=1e-12)


@pytest.mark.slow
def test_held_out_frames_are_of_seeds_that_no_training_has_and_are_scored_in_one_evaluation(command, tmp_path):
    held_out = OmegaConf.load(CONF / "data" / "held_out.yaml")
    seeds = {part[kind].seed for part in held_out.parts.values() for kind in ("science", "darks")}
    for file in CONF.rglob("*.yaml"):
        if file.stem != "held_out":
            assert not seeds & {int(n) for n in re.findall(r"seed: (\d+)", file.read_text())}, file
    few = ("frames={test:1}", "shape=[256,256]")
    told = [
        f"data.parts.{part}.{kind}.{what}" for part in held_out.parts for kind in ("science", "darks") for what in few
    ]
    told += [f"data.parts.{part}.root={tmp_path}/held_out" for part in held_out.parts] + [
        "data.parts.decam.science.bands=[g]"
    ]
    told += ["detector=pretrained", "picture=false", f"hydra.run.dir={tmp_path}/run"]
    done = command("evaluate.py", "data=held_out", *told)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["test_set"] for row in rows] == ["decam_held_out", "cameras_held_out"]
    assert all(row["frames"] == 1 for row in rows)
