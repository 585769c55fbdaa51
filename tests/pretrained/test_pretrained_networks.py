"""Test the pretrained networks: their model cards, their masks of a simulated image, and the cascade."""

import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData

import cosmicgate
from cosmicgate.cli.mask import describe_cascade_loss
from cosmicgate.detectors.network import load_pretrained_detector
from cosmicgate.io.fits.frames import Frame
from cosmicgate.pretrained.card import WEIGHTS_FOLDER, read_card, read_weights
from cosmicgate.pretrained.domain_check import domain_features, warn_if_out_of_domain
from cosmicgate.pretrained.registry import find_weights, pretrained_names
from helpers.mask_command import run
from helpers.repository import ROOT


def sky(shape=(200, 240)) -> np.ndarray:
    """Simulate a sky (H, W) of 1000 +- 10 ADU with a star of 4 px FWHM and a hit of six pixels in a line."""
    image = np.random.default_rng(0).normal(1000, 10, shape)
    rows, columns = np.indices(shape)
    image += 4000 * np.exp(-((rows - 120) ** 2 + (columns - 60) ** 2) / (2 * (4 / 2.355) ** 2))
    for step in range(6):
        image[40 + step, 100 + step // 2] += 400
    return image


STAR, HIT = (slice(110, 131), slice(50, 71)), (np.arange(40, 46), 100 + np.arange(6) // 2)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_card_records_training_data_command_scores_and_calibration(name):
    card = read_card(find_weights(name))
    assert card.name == name
    assert card.licence == "BSD-3-Clause"
    assert card.trained_on
    assert card.command.startswith(("make pretrained", "python train.py"))
    assert card.machine
    assert card.data_hash
    assert card.scores
    assert read_weights(find_weights(name), card.sha256)
    assert find_weights(name).stat().st_size < 3e6
    rates, thresholds = zip(*card.calibration, strict=True)
    assert list(rates) == sorted(rates)
    assert list(thresholds) == sorted(set(thresholds), reverse=True), "each rate has another threshold"


def test_an_unknown_name_gets_an_error_that_lists_the_networks():
    assert "general" in pretrained_names()
    with pytest.raises(FileNotFoundError, match=r"no network 'genral': expected one of .*general"):
        cosmicgate.load("genral")
    assert not list(WEIGHTS_FOLDER.glob("*.ckpt"))


@pytest.mark.parametrize("fast", [False, True], ids=["whole image", "cascade"])
def test_the_general_network_finds_the_hit_and_spares_the_star(fast):
    found = cosmicgate.load(check=False, fast=fast).mask(sky())
    assert found[HIT].mean() >= 0.8
    assert not found[STAR].any()
    assert found.sum() < 15


@pytest.mark.parametrize("name", pretrained_names())
def test_white_noise_is_within_the_training_domain(name):
    card = read_card(find_weights(name))
    for seed in range(3):
        image = np.random.default_rng(seed).normal(1000, 10, (512, 512)).astype(np.float32)
        assert not warn_if_out_of_domain(domain_features(image, np.zeros(image.shape, bool)), card.ranges)


def test_counts_of_any_scale_and_level_give_the_same_probabilities():
    detector = cosmicgate.load(check=False)
    expected = detector.probability(sky())
    assert np.allclose(detector.probability(7 * sky() - 6900), expected, atol=2e-3)
    assert np.allclose(detector.probability(sky().astype(">f4")), expected, atol=2e-3)


def test_a_lower_false_positive_rate_gives_fewer_pixels():
    detector = cosmicgate.load(check=False)
    few, many = (detector.mask(sky(), fpr=fpr) for fpr in (1e-4, 1e-2))
    assert few.sum() < many.sum()
    assert not (few & ~many).any()


def test_clean_replaces_hits_in_a_ccddata_and_keeps_the_rest():
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


def test_an_image_unlike_the_training_gets_a_warning_with_the_reason():
    from scipy.ndimage import gaussian_filter

    resampled = gaussian_filter(np.random.default_rng(1).normal(1000, 10, (256, 256)), 1.5)
    with pytest.warns(UserWarning, match=r"correlation of neighbouring sky pixels: .* training range"):
        cosmicgate.load().mask(resampled)


def test_the_python_code_of_the_readme_masks_an_image():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names = {"image": sky()}
    exec(code.replace("cosmicgate.load(", "cosmicgate.load(check=False, "), names)
    assert names["hits"][HIT].mean() >= 0.8
    assert names["cleaned"][HIT].max() < 1050


def test_the_detector_of_an_evaluation_gives_the_mask_of_the_masker():
    frame = Frame(sky().astype(np.float32), gain=1.0, read_noise=5.0, saturation=6e4, exptime=90.0)
    for fast in (False, True):
        row = load_pretrained_detector("general", cascade=fast)
        assert row.variant == ("cascade" if fast else "pretrained")
        found = row.detect(frame).logits.numpy() >= 0
        assert np.array_equal(found, cosmicgate.load(check=False, fast=fast).mask(sky()))
    assert load_pretrained_detector("general").cache_key != load_pretrained_detector("general", cascade=True).cache_key


def test_fast_prints_an_upper_bound_on_the_missed_hits(tmp_path):
    fits.writeto(tmp_path / "a.fits", sky().astype(np.float32))
    done = run("mask", tmp_path / "a.fits", "--fast")
    assert done.exit_code == 0, done.output
    cascade = read_card(find_weights("general")).cascade
    assert f"of {cascade['hits']} hits" in done.output
    assert f"at most {100 * cascade['bound']:.2g} %" in done.output
    assert "at its threshold of 0.5" in done.output
    assert fits.getheader(tmp_path / "a_crmask.fits", 1)["CRSCREEN"]


def test_the_bound_of_the_cascade_names_thresholds_that_were_not_measured():
    detector = cosmicgate.load(check=False, fast=True)
    least = min(detector.card.threshold, detector.threshold(fpr=1e-4))
    for threshold in (0.9, 0.5, least):
        assert "not measured" not in describe_cascade_loss(detector, threshold)
    lower = detector.threshold(fpr=1e-3)
    expected = f"below {least:.3g}, such as {lower:.3g}, were not measured with the coarse stage"
    assert describe_cascade_loss(detector, lower).endswith(expected)
    uncalibrated = replace(detector, card=replace(detector.card, calibration=[]))
    assert "below 0.5, such as 0.4" in describe_cascade_loss(uncalibrated, 0.4)


def test_a_cascade_in_python_warns_of_thresholds_that_were_not_measured():
    detector = cosmicgate.load(check=False, fast=True)
    for call in (detector.mask, partial(cosmicgate.detect_cosmics, model=detector)):
        with pytest.warns(UserWarning, match=r"fast=True: thresholds below .* were not measured with the coarse stage"):
            call(sky(), fpr=1e-2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            call(sky())
            call(sky(), fpr=1e-4)


def test_a_folder_named_like_a_pretrained_network_does_not_hide_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "general").mkdir()
    assert cosmicgate.load("general", check=False).card.name == "general"
    with pytest.raises(FileNotFoundError, match=r"general/checkpoints/best\.ckpt"):
        cosmicgate.load(tmp_path / "general")
