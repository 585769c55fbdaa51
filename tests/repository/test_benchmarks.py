"""Test that every benchmark runs and prints its table."""

import re

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.cache import save_labelled
from cosmicgate.data.labelling.write_truth_planes import write_plane
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.io.fits.frames import Frame
from helpers.mask_command import run
from helpers.night_frames import simulate_night
from helpers.repository import ROOT
from helpers.train_command import TINY

QUICK = {
    "cleaning": ("--scenes", "5", "--rounds", "5"),
    "domain_check": ("--side", "64"),
    "masking": ("--shape", "128", "128", "--rounds", "1", "--no-memory"),
    "metric": ("--side", "64", "--repeats", "1"),
    "mosaics": ("--frames", "1", "--side", "128"),
    "calibration": ("--mirror", "10", "100"),
    "cascade": ("--shape", "128", "128", "--rounds", "1", "--steps", "-1", "0", "1"),
    "static_pixels": (),
    "simulation": ("--repeats", "1", "--bands", "g", "--shape", "128", "128"),
    "training": ("--steps", "1", "--rounds", "1", "--loader", "0.1", *TINY, "data.windows.count=64"),
}
SMALL = ("model=deepcr", "model.channels=4", "model.depth=2", "model.scaling=robust")


def masked_night(folder, model):
    """Write frames with truth planes and their masks; return the two folders."""
    night = simulate_night(frames=12, shape=(96, 112), stars=30, fwhm=2.5)
    (folder / "night").mkdir()
    for number, (frame, hits) in enumerate(zip(night.frames, night.hits, strict=True)):
        fits.writeto(folder / "night" / f"{number}.fits", frame)
        write_plane(
            folder / "night" / "truth" / f"{number}_truth.fits", hits.astype("u1"), folder / "night" / f"{number}.fits"
        )
    assert run("mask", folder / "night", "-m", model, "-o", folder / "masks", "--no-static").exit_code == 0
    return [str(folder / "night"), str(folder / "masks"), "--first", "6"]


def labelled_frames(folder):
    """Write labelled frames with hits; return the option that names them."""
    night = simulate_night(frames=2, shape=(96, 112), stars=30, fwhm=2.5)
    for number, (image, hits) in enumerate(zip(night.frames, night.hits, strict=True)):
        frame = Frame(np.float32(image), gain=1.0, read_noise=5.0, saturation=6e4, exptime=60.0)
        truth = np.where(hits, CORE, SKY).astype(np.uint8)
        save_labelled(frame, truth, {"name": str(number)}, folder / "labelled" / str(number))
    return ["--set", "night", *map(str, sorted((folder / "labelled").iterdir()))]


@pytest.mark.slow  # each imports torch or GalSim
@pytest.mark.parametrize("script", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_every_benchmark_prints_its_table(command, script, tmp_path, model):
    arguments = [*QUICK[script]]
    if script == "static_pixels":
        arguments += masked_night(tmp_path, model)
    if script in ("calibration", "domain_check"):
        arguments += ["--model", str(model), *labelled_frames(tmp_path)]
    if script == "training":
        arguments += [f"data.root={command.data}"]
    if script == "masking":
        command.train(tmp_path / "run", *SMALL)
        arguments += ["--model", str(tmp_path / "run")]
    done = command(f"benchmarks/{script}.py", *arguments)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    heads = {number + step for number, line in enumerate(lines) if line.startswith("|---") for step in (-1, 0)}
    table = [line for number, line in enumerate(lines) if line.startswith("|") and number not in heads]
    assert len(table) > 2
    assert all(re.search(r"\| [+-]?\d", line) for line in table), "every row has a number"
    assert "nan" not in "".join(table)
