"""Test the figures of masks, feature maps and attention for a test set."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import image as png

from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.evaluation.run import compare
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.fits.frames import Frame
from cosmicgate.models import UNet
from cosmicgate.report.figures import mask_figures
from cosmicgate.report.figures.feature_maps import feature_maps
from cosmicgate.report.figures.frames import draw
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks
from helpers.networks import gated_network


@pytest.fixture
def drawn(monkeypatch) -> list:
    """Record the masks and the title of each figure of masks that is drawn."""
    calls, figure = [], mask_figures.masks_figure
    monkeypatch.setattr("cosmicgate.report.figures.frames.masks_figure", lambda *a: calls.append(a[2:]) or figure(*a))
    return calls


@pytest.mark.slow
def test_a_frame_of_each_band_is_drawn(make_test_set, tmp_path, drawn):
    test_set, detectors = make_test_set(5, bands="gr"), [BrightnessLogits(), BrightnessMasks()]
    results = compare(detectors, [test_set], tmp_path / "frames")
    seen = list(detectors[0].seen)
    made = draw(detectors, [test_set], tmp_path)
    assert [path.name for path in made] == ["masks_decam_g.png", "masks_decam_r.png"]
    assert [list(masks) for masks, _ in drawn] == [["deepCR", "LACosmic"]] * 2
    assert "g band" in drawn[0][1]
    assert "simulated); truth dilated 3x3" in drawn[0][1]
    assert detectors[0].seen == seen, "cached masks are used"
    failed = [{"test_set": "decam", "detector": DetectorRecord.of(detectors[1]), "reason": "no ink"}]
    draw(detectors, [test_set], tmp_path, failed)
    assert list(drawn[-1][0]) == ["deepCR"]
    assert results["rows"]


def test_figures_say_which_masks_are_dilated_and_whether_the_truth_is(make_test_set, tmp_path, drawn):
    test_set, detectors = make_test_set(1), [BrightnessLogits(), BrightnessMasks(dilate_masks=True)]
    draw(detectors, [test_set], tmp_path)
    assert list(drawn[0][0]) == ["deepCR", "LACosmic, dilated 3x3"]
    facts = test_set.folders[0] / "facts.json"
    facts.write_text(json.dumps(json.loads(facts.read_text()) | {"dilated": False}))
    draw(detectors, [test_set], tmp_path)
    assert list(drawn[1][0]) == ["deepCR", "LACosmic"]
    assert "truth not dilated" in drawn[1][1]


@pytest.mark.slow
def test_feature_maps_are_drawn_for_the_named_networks(make_test_set, tmp_path, caplog):
    network = NetworkDetector(Predictor(UNet(channels=4).eval(), tile=64), "deepCR", None, "x")
    other = replace(network, model="Other")
    made = draw([network, other], [make_test_set(1)], tmp_path, [], masks=False, maps=["deepCR", "Missing"])
    assert [path.name for path in made] == ["features_decam_deepCR.png"]
    assert "draw_feature_maps: no network here is called 'Missing'; there are deepCR, Other" in caplog.text


@pytest.mark.parametrize(("tile", "halo"), [(64, 0), (64, 24), (None, 0)])
def test_feature_maps_equal_the_activations_of_the_network(tile, halo):
    gated = gated_network("batch")
    frame = Frame(np.random.default_rng(0).normal(100, 5, (50, 63)).astype(np.float32), 4.0, 7.0, 4e4, 90.0)
    detector = NetworkDetector(Predictor(gated, tile, halo), "Att deepCR", None, "x")
    maps = feature_maps(detector, frame)
    assert {name: found.shape for name, found in maps.layers.items()} == {
        "encoder 1": (16, 50, 63),
        "encoder 2": (32, 25, 32),
        "encoder 3": (64, 13, 16),
        "gated skip 2": (32, 25, 32),
        "decoder 2": (32, 25, 32),
        "gated skip 1": (16, 50, 63),
        "decoder 1": (16, 50, 63),
    }
    for level, attention in maps.attention.items():
        assert np.allclose(maps.layers[f"gated skip {level}"], maps.layers[f"encoder {level}"] * attention, atol=1e-6)
    with torch.inference_mode():
        logits = gated.head(torch.from_numpy(maps.layers["decoder 1"])[None])[0, 0]
    assert torch.allclose(logits, detector.detect(frame).logits, atol=1e-5)
    assert not any(module._forward_hooks for module in gated.modules())


@pytest.mark.slow
def test_feature_maps_are_drawn_for_networks_only(make_test_set, tmp_path):
    plain = NetworkDetector(Predictor(UNet(channels=4).eval(), tile=64), "deepCR", None, "x")
    gated = NetworkDetector(Predictor(gated_network("batch")), "Att deepCR", None, "y")  # without tiles
    made = draw([plain, BrightnessLogits("Other"), gated], [make_test_set(1)], tmp_path, masks=False, maps=True)
    names = ["features_decam_deepCR.png", "features_decam_Att-deepCR.png", "attention_decam_Att-deepCR.png"]
    assert [path.name for path in made] == names
    for path in made:
        assert np.ptp(png.imread(path)[..., :3]) > 0.9, f"{path.name} is blank"
