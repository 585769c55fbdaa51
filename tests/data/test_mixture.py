"""Test the mixture of data sets: patches drawn by the share of each part, and a test set for each part."""

import json
import re
from collections import Counter

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from cosmicgate.config import build
from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.datamodule import DecamData
from cosmicgate.data.labelled_exposures import LabelledExposures
from cosmicgate.data.mixture import Mixture, MixtureDataset
from cosmicgate.data.patches import CropSampler
from cosmicgate.data.sources.random_cameras import RandomDarks, RandomScience
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

CONF = ROOT / "conf"
FRAMES = {"train": 2, "validation": 1, "test": 1}


def data_part(root, name: str, seed: int) -> DecamData:
    """Make a part of the mixture with frames of randomised cameras."""
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
    made = Mixture(
        {"a": data_part(root, "a", 0), "b": data_part(root, "b", 1)}, {"a": 0.8, "b": 0.2}, count=400, num_workers=0
    )
    made.prepare_data()
    made.setup("fit")
    return made


def test_a_mixture_without_parts_and_further_test_sets_without_names_are_refused(tmp_path):
    parts = {"a": data_part(tmp_path, "a", 0), "b": data_part(tmp_path, "b", 1)}
    with pytest.raises(ValueError, match=r"data\.leave_out names every part"):
        Mixture(parts, {"a": 0.5, "b": 0.5}, count=4, leave_out=["a", "b"])
    with pytest.raises(ValueError, match="extra_test_sets: expected names of data sets and the data sets, got a list"):
        DecamData(*(None,) * 3, str(tmp_path), None, extra_test_sets=[parts["a"]])


def part_of(mixture: Mixture, image: torch.Tensor) -> str:
    """Find the part from which a crop (1, H, W) was cut, by its first row."""
    row = image[0, 0].numpy()
    for name, data_part in mixture.parts.items():
        for frame in data_part.train.frames:
            pixels = np.asarray(frame.image)
            for y, x in np.argwhere(pixels == row[0]):
                if np.array_equal(pixels[y, x : x + row.size], row):
                    return name
    raise AssertionError("the crop is in no frame")


def test_patches_are_drawn_from_each_part_by_its_share(mixture):
    drawn = [part_of(mixture, mixture.train[0, index]["image"]) for index in range(400)]
    assert 0.72 < drawn.count("a") / 400 < 0.88


def test_a_patch_depends_on_seed_epoch_and_index_only(mixture):
    assert torch.equal(mixture.train[1, 7]["image"], mixture.train[1, 7]["image"])
    assert not torch.equal(mixture.train[1, 7]["image"], mixture.train[2, 7]["image"])
    with pytest.raises(IndexError, match="patch 400 of 400"):
        mixture.train[0, 400]


class Numbered:
    """Give a patch that is its own key."""

    def __init__(self, name: str, length: int) -> None:
        self.name, self.length = name, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, key: tuple[int, int]) -> tuple[str, int, int]:
        return self.name, *key


def test_an_epoch_repeats_patches_only_of_a_part_that_has_too_few():
    mixed = MixtureDataset(
        [Numbered("large", 1000), Numbered("enough", 400), Numbered("small", 50)], [0.4, 0.3, 0.3], 1000, 0
    )
    epochs = [[mixed[epoch, index] for index in range(1000)] for epoch in range(8)]
    for patches in epochs:
        repeats = {name: Counter(p for p in patches if p[0] == name) for name in ("large", "enough", "small")}
        assert set(repeats["large"].values()) == set(repeats["enough"].values()) == {1}
        assert len(repeats["small"]) == 50
        assert max(repeats["small"].values()) - min(repeats["small"].values()) <= 1
    seen = {index for patches in epochs for name, _, index in patches if name == "large"}
    assert len(seen) > 950  # later epochs use the patches that the first leaves out


def test_a_part_with_too_few_patches_is_named(mixture, caplog):
    mixture.setup("fit")
    assert "data.parts.a: an epoch takes about 320 patches of its 8: some come twice" in caplog.text
    assert "data.parts.b: an epoch takes about 80 patches of its 8" in caplog.text
    caplog.clear()
    Mixture(mixture.parts, {"a": 0.5, "b": 0.5}, count=16).setup("fit")
    assert not caplog.text


@pytest.mark.parametrize("name", ["general", "general_cascade"])
def test_the_pretrained_configs_repeat_no_crop_in_an_epoch(name):
    data = composed_config(f"pretrained={name}", "real=nowhere").data
    for each in data.parts.values():
        assert each.windows.count >= data.count


def test_validation_covers_every_part_and_each_part_is_a_test_set(mixture):
    assert sum(len(batch["image"]) for batch in mixture.val_dataloader()) == 2
    assert [(s.name, len(s.folders)) for s in mixture.test_sets()] == [("a", 1), ("b", 1)]
    assert len(mixture.split("train")) == 4
    assert len(mixture.folders()) == 8
    assert mixture.data_origin == "simulated"


def test_a_part_that_is_left_out_is_not_used_and_the_others_take_its_share(mixture):
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    made = Mixture({**mixture.parts, "c": None}, shares, count=10, leave_out=["c"])
    assert list(made.parts) == ["a", "b"]
    assert made.shares == pytest.approx([0.625, 0.375])
    with pytest.raises(ValueError, match=r"data\.leave_out: no part is called 'd': expected some of a, b, c"):
        Mixture({**mixture.parts, "c": None}, shares, count=10, leave_out=["d"])


@pytest.mark.slow
def test_the_real_frames_that_are_missing_are_named_and_how_to_leave_them_out(tmp_path):
    data = build(composed_config("pretrained=general", f"real={tmp_path}").data)
    with pytest.raises(FileNotFoundError, match=r"lco0m4/\*\.fits\.fz.*real=DIR.*data\.leave_out=\[lco0m4\]"):
        _ = data.data_origin
    without = build(composed_config("pretrained=general", f"real={tmp_path}", "data.leave_out=[lco0m4,arcsat]").data)
    assert without.data_origin == "simulated and semi-real"


@pytest.mark.slow
def test_a_training_names_the_cameras_of_its_real_frames_and_reads_none_of_a_camera_left_out(real):
    folder = real("lco0m4").parent
    real("arcsat")
    both = build(composed_config("pretrained=general", f"real={folder}").data)
    assert both.data_origin == "simulated and semi-real and real: lco0m4 (kb97), arcsat (dcam-spare)"
    data = build(composed_config("pretrained=general", f"real={folder}", "data.leave_out=[arcsat]").data)
    assert data.data_origin == "simulated and semi-real and real: lco0m4 (kb97)"
    assert "arcsat" not in data.parts
    assert "arcsat" not in str([part.frames for part in data.parts.values() if isinstance(part, LabelledExposures)])


@pytest.mark.parametrize("shares", [{"a": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 1.0, "b": 0.0}])
def test_shares_that_do_not_add_up_are_refused_with_their_values(shares, tmp_path):
    parts = {"a": data_part(tmp_path, "a", 0), "b": data_part(tmp_path, "b", 1)}
    with pytest.raises(ValueError, match=r"expected a share of each of \['a', 'b'\], 1 in all, got"):
        Mixture(parts, shares, count=10)


def test_shares_may_add_up_to_one_with_rounding_errors(tmp_path):
    parts = {name: data_part(tmp_path, name, seed) for seed, name in enumerate("abc")}
    made = Mixture(parts, dict.fromkeys("abc", 0.3333333), count=10)
    assert sum(made.shares) == pytest.approx(1, abs=1e-12)


@pytest.mark.slow
def test_held_out_frames_have_seeds_of_their_own_and_are_scored_in_one_evaluation(command, tmp_path):
    held_out = OmegaConf.load(CONF / "data" / "held_out.yaml")
    seeds = {data_part[kind].seed for data_part in held_out.parts.values() for kind in ("science", "darks")}
    for file in CONF.rglob("*.yaml"):
        if file.stem != "held_out":
            assert not seeds & {int(n) for n in re.findall(r"seed: (\d+)", file.read_text())}, file
    few = ("frames={test:1}", "shape=[256,256]")
    overrides = [
        f"data.parts.{data_part}.{kind}.{what}"
        for data_part in held_out.parts
        for kind in ("science", "darks")
        for what in few
    ]
    overrides += [f"data.parts.{data_part}.root={tmp_path}/held_out" for data_part in held_out.parts] + [
        "data.parts.decam.science.bands=[g]"
    ]
    overrides += ["detector=pretrained", "draw_masks=false", f"hydra.run.dir={tmp_path}/run"]
    done = command("evaluate.py", "data=held_out", *overrides)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["rows"]
    assert [row["test_set"] for row in rows] == ["decam_held_out", "cameras_held_out"]
    assert all(row["frames"] == 1 for row in rows)
