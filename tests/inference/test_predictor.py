"""Test the predictor that computes the logits of an image with bad pixels, in evaluations and in the masker."""

import pickle
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import cosmicgate
from cosmicgate.detectors.network import NetworkDetector, load_pretrained_detector
from cosmicgate.detectors.published import package_logits
from cosmicgate.inference import Predictor
from cosmicgate.inference.cascade import NO_HIT_LOGIT, Cascade
from cosmicgate.io.fits.frames import Frame
from cosmicgate.models import UNet
from cosmicgate.pretrained.registry import pretrained_names


def field(*shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Simulate an image (H, W) of noise with bright pixels, counts, and its bad pixels (H, W)."""
    random = np.random.default_rng(sum(shape))
    image = random.normal(1000, 10, shape).astype(np.float32)
    image[random.random(shape) < 0.005] += 500
    bad = random.random(shape) < 0.02
    bad[shape[0] // 2], bad[:, shape[1] // 2] = True, True
    image[bad] = 6e4
    image[3, 3] = np.nan
    return image, bad


def make_frame(image: np.ndarray, bad: np.ndarray) -> Frame:
    return Frame(image, gain=1.0, read_noise=5.0, saturation=6e4, exptime=90.0, bad=bad)


def unscaled_network(norm: str = "batch") -> UNet:
    """Build a network that takes raw counts, without normalising the sky."""
    torch.manual_seed(0)
    return UNet(channels=8, norm=norm).eval()


@pytest.mark.parametrize("shape", [(9, 130), (97, 61)], ids=str)
@pytest.mark.parametrize(("name", "cascade"), [("general", True), *((name, False) for name in pretrained_names())])
def test_detector_and_masker_give_identical_logits(name, cascade, shape):
    image, bad = field(*shape)
    logits = load_pretrained_detector(name, cascade=cascade).detect(make_frame(image, bad)).logits
    bad_or_nan = bad | ~np.isfinite(image)
    assert (logits[torch.from_numpy(bad_or_nan)] == NO_HIT_LOGIT).all()
    probability = cosmicgate.load(name, check=False, fast=cascade).probability(image, bad)
    np.testing.assert_array_equal(probability, np.where(bad_or_nan, 0, logits.sigmoid().numpy()))


@pytest.mark.parametrize("factor", [1e-42, 1e36])
def test_images_beyond_the_range_of_float32_are_normalised_correctly(factor):
    image, bad = field(60, 70)
    network = load_pretrained_detector("general").predictor
    expected = network.logits(image, bad)
    found = network.logits(image.astype(np.float64) * factor, bad)
    assert torch.allclose(found.sigmoid(), expected.sigmoid(), atol=2e-3)


@pytest.mark.parametrize("tile", [None, 64])
def test_an_extreme_pixel_gives_no_nan_elsewhere(tile):
    """Check that counts are clipped, as otherwise the logits around such a pixel are NaN."""
    image, bad = np.zeros((64, 70), np.float32), np.zeros((64, 70), bool)
    image[30, 40] = 3e38
    network = unscaled_network()
    network.encoder[0].conv1.weight.data *= 20
    detector = NetworkDetector(Predictor(network, tile), "raw", None, "raw")
    assert detector.detect(make_frame(image, bad)).logits.isfinite().all()


def test_the_image_and_the_bad_pixels_are_not_changed():
    image, bad = field(40, 50)
    before = image.copy(), bad.copy()
    image.flags.writeable = bad.flags.writeable = False
    for predictor in (
        Predictor(unscaled_network()),
        Predictor(unscaled_network("group")),
        load_pretrained_detector("general").predictor,
    ):
        predictor.logits(image, bad)
        np.testing.assert_array_equal(image, before[0])
        np.testing.assert_array_equal(bad, before[1])


def test_nan_logits_are_an_error_unless_the_pixel_is_bad():
    class Broken(torch.nn.Conv2d):
        def forward(self, image):
            return torch.where(image > 50, torch.nan, 0 * super().forward(image))

    image, bad = np.zeros((20, 30), np.float32), np.zeros((20, 30), bool)
    predictor = Predictor(Broken(1, 1, 1))
    image[4, 5] = 100
    with pytest.raises(ValueError, match="the network returned NaN for this image: are its weights damaged"):
        predictor.logits(image, bad)
    bad[4, 5] = True
    assert predictor.logits(image, bad).isfinite().all()


def test_incompatible_settings_are_refused():
    network = unscaled_network()
    cascade, procedure = Cascade(network, 0.0), partial(package_logits, tile=64)
    for settings, sentence in (
        (dict(tile=64, cascade=cascade), "tile and cascade: expected one of them"),
        (dict(cascade=cascade, procedure=procedure), "cascade and procedure: expected one of them"),
        (dict(precision="half"), "unknown precision 'half': expected one of float32, bfloat16, float16"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Predictor(network, **settings)


def test_a_copy_for_another_device_or_process_gives_the_same_logits():
    image, bad = field(60, 70)
    first = load_pretrained_detector("general", cascade=True).predictor
    for other in (first.to("cpu"), pickle.loads(pickle.dumps(first))):
        assert other.network is not first.network
        assert other.cascade.network is not first.cascade.network
        assert torch.equal(other.logits(image, bad), first.logits(image, bad))
    assert replace(first, cascade=None).to("cpu").cascade is None


def test_a_published_network_is_computed_by_its_own_procedure():
    procedure = partial(package_logits, tile=32, multiple=16, sky="median")
    detector = NetworkDetector(Predictor(unscaled_network(), procedure=procedure), "theirs", None, "theirs")
    image, bad = field(50, 60)
    logits = detector.detect(make_frame(image, bad)).logits
    prepared, bad_or_nan = detector.predictor.prepare(image, bad)
    expected = package_logits(detector.predictor.network, torch.from_numpy(prepared), 32, 16, "median")
    assert torch.equal(logits, expected.masked_fill(torch.from_numpy(bad_or_nan), NO_HIT_LOGIT))
    assert len(detector.weights) == 64
