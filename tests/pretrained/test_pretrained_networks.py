"""The networks that come with the package are what their cards say, and find what they are for."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.cli.mask import bound
from cosmicgate.detectors.network import pretrained
from cosmicgate.io.fits.frames import Frame
from cosmicgate.pretrained.card import FOLDER, find, names, read_card, read_weights
from cosmicgate.pretrained.domain_check import domain_features, warn_if_far
from helpers.repository import ROOT


def sky(shape=(200, 240)) -> np.ndarray:
    """A sky of 1000 +- 10 counts with a star of 4 px and a hit of six pixels in a line; ADU."""
    image = np.random.default_rng(0).normal(1000, 10, shape)
    rows, columns = np.indices(shape)
    image += 4000 * np.exp(-((rows - 120) ** 2 + (columns - 60) ** 2) / (2 * (4 / 2.355) ** 2))
    for step in range(6):
        image[40 + step, 100 + step // 2] += 400
    return image


STAR, HIT = (slice(110, 131), slice(50, 71)), (np.arange(40, 46), 100 + np.arange(6) // 2)


@pytest.mark.parametrize("name", names())
def test_a_card_says_what_was_trained_on_what_by_which_command(name):
    card = read_card(find(name))
    assert card.name == name
    assert card.licence == "BSD-3-Clause"
    assert card.trained_on
    assert card.command.startswith("python train.py")
    assert card.machine
    assert card.data_hash
    assert card.scores
    assert read_weights(find(name), card.sha256)
    assert find(name).stat().st_size < 3e6
    rates, thresholds = zip(*card.calibration, strict=True)
    assert list(rates) == sorted(rates)
    assert list(thresholds) == sorted(set(thresholds), reverse=True), "two rates have two thresholds"


def test_the_general_network_is_pretrained_and_unknown_names_are_told_of_it():
    assert "general" in names()
    with pytest.raises(FileNotFoundError, match=r"no network 'genral': expected one of .*general"):
        cosmicgate.load("genral")
    assert not list(FOLDER.glob("*.ckpt"))


@pytest.mark.parametrize("fast", [False, True], ids=["whole", "fast"])
def test_it_finds_the_hit_and_spares_the_star(fast):
    found = cosmicgate.load(check=False, fast=fast).mask(sky())
    assert found[HIT].mean() >= 0.8
    assert not found[STAR].any()
    assert found.sum() < 15


@pytest.mark.parametrize("name", names())
def test_an_ordinary_sky_of_white_noise_is_not_called_unlike_the_training(name):
    card = read_card(find(name))
    for seed in range(3):
        image = np.random.default_rng(seed).normal(1000, 10, (512, 512)).astype(np.float32)
        assert not warn_if_far(domain_features(image, np.zeros(image.shape, bool)), card.ranges, name)


def test_counts_of_any_scale_and_level_give_the_same_probabilities():
    detector = cosmicgate.load(check=False)
    expected = detector.probability(sky())
    assert np.allclose(detector.probability(7 * sky() - 6900), expected, atol=2e-3)
    assert np.allclose(detector.probability(sky().astype(">f4")), expected, atol=2e-3)


def test_a_lower_rate_of_false_alarms_means_fewer_pixels():
    detector = cosmicgate.load(check=False)
    few, many = (detector.mask(sky(), fpr=fpr) for fpr in (1e-4, 1e-2))
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_a_pipeline_gets_its_ccd_back_without_hits_and_with_all_else():
    ccd = CCDData(sky(), unit="adu", meta={"OBJECT": "field"})
    ccd.mask = np.zeros(ccd.shape, bool)
    ccd.mask[5, 5] = True
    done = cosmicgate.load(check=False).clean(ccd, grow=1)
    assert done.mask[5, 5]
    assert done.mask[HIT].all()
    assert done.data[HIT].max() < 1050
    assert np.array_equal(done.data[~done.mask], ccd.data[~done.mask])
    assert done.header["OBJECT"] == "field"
    assert done.header["CRMODEL"] == "general"
    assert done.unit == ccd.unit


def test_an_image_unlike_the_training_is_told_with_the_reason():
    from scipy.ndimage import gaussian_filter

    resampled = gaussian_filter(np.random.default_rng(1).normal(1000, 10, (256, 256)), 1.5)
    with pytest.warns(UserWarning, match=r"correlation of neighbouring sky pixels .* general learned from"):
        cosmicgate.load().mask(resampled)


def test_the_readme_masks_an_image():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    known = {"image": sky()}
    exec(code.replace("cosmicgate.load(", "cosmicgate.load(check=False, "), known)
    assert known["hits"][HIT].mean() >= 0.8
    assert known["cleaned"][HIT].max() < 1050


def test_importing_the_package_does_not_wait_for_torch():
    told = "import sys, cosmicgate; assert cosmicgate.__version__; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", told], check=True)


def test_as_a_row_of_tables_it_marks_what_it_marks_in_python():
    frame = Frame(sky().astype(np.float32), gain=1.0, read_noise=5.0, saturation=6e4, exptime=90.0)
    for fast in (False, True):
        row = pretrained("general", cascade=fast)
        assert row.variant == ("cascade" if fast else "pretrained")
        found = row.detect(frame).logits.numpy() >= 0
        assert np.array_equal(found, cosmicgate.load(check=False, fast=fast).mask(sky()))
    assert pretrained("general").identity != pretrained("general", cascade=True).identity


def test_the_fast_command_prints_a_bound_on_what_it_may_miss(tmp_path):
    fits.writeto(tmp_path / "a.fits", sky().astype(np.float32))
    done = CliRunner().invoke(app, ["mask", str(tmp_path / "a.fits"), "--fast"])
    assert done.exit_code == 0, done.output
    cascade = read_card(find("general")).cascade
    assert f"of {cascade['hits']} hits" in done.output
    assert f"at most {100 * cascade['bound']:.2g} %" in done.output
    assert "at its threshold of 0.5" in done.output
    assert fits.getheader(tmp_path / "a_crmask.fits", 1)["CRSCREEN"]


def test_what_the_cascade_may_miss_is_said_for_the_thresholds_it_was_measured_at():
    detector = cosmicgate.load(check=False, fast=True)
    least = min(detector.card.threshold, detector.threshold(fpr=1e-4))
    for threshold in (0.9, 0.5, least):
        assert "not measured" not in bound(detector, threshold)
    lower = detector.threshold(fpr=1e-3)
    words = f"below {least:.3g}, such as {lower:.3g}, were not measured with the coarse stage"
    assert bound(detector, lower).endswith(words)
    uncalibrated = replace(detector, card=replace(detector.card, calibration=[]))
    assert "below 0.5, such as 0.4" in bound(uncalibrated, 0.4)


def test_a_folder_that_is_called_like_a_pretrained_network_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general").mkdir()
    assert cosmicgate.load("general", check=False).card.name == "general"
    with pytest.raises(FileNotFoundError, match=r"general/checkpoints/best\.ckpt"):
        cosmicgate.load(tmp_path / "general")


def test_loading_brings_nothing_of_training_into_memory():
    there = "print(*{'pytorch_lightning', 'wandb'} & set(sys.modules))"
    told = f"import sys, cosmicgate; cosmicgate.load(check=False); {there}"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
