"""Test that published networks give the probabilities of their packages, and that missing files are named."""

from dataclasses import replace
from importlib import metadata

import numpy as np
import pytest
import torch
from torch import nn

from cosmicgate.config import build
from cosmicgate.detectors import MissingDependency, published
from cosmicgate.detectors.classical import LACosmic
from cosmicgate.detectors.optional_packages import package_file
from cosmicgate.detectors.published import package_logits
from cosmicgate.io.fits.frames import read_frame
from cosmicgate.models import UNet
from helpers.configured_detectors import (
    PUBLISHED_PACKAGES,
    RELEASED,
    detector_of_config,
    detectors_of_config,
    field_image,
    import_original,
    make_frame,
    probabilities,
)
from helpers.hydra_config import composed_config
from helpers.repository import ROOT


class RecordingNetwork(nn.Module):
    """Return the image, and record its shape."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape[-2:]))
        return image


def test_each_tile_is_computed_alone_with_its_own_median_subtracted():
    image = torch.from_numpy(field_image()[:48, :64])
    image[:, 32:] += 1000
    network = RecordingNetwork()
    logits = package_logits(network, image, tile=32, multiple=16, sky="median")
    assert network.seen == [(32, 32), (32, 32), (16, 32), (16, 32)]
    for rows in (slice(0, 32), slice(32, 48)):
        for columns in (slice(0, 32), slice(32, 64)):
            piece = image[rows, columns]
            assert torch.equal(logits[rows, columns], piece - piece.median())
    assert torch.equal(package_logits(network, image, tile=32), image)


def test_tiles_at_the_edge_have_sides_of_a_multiple_and_cover_all_pixels():
    image = torch.from_numpy(field_image()[:41, :37])
    network = RecordingNetwork()
    assert torch.equal(package_logits(network, image, tile=32, multiple=16), image)
    assert network.seen == [(32, 32), (32, 5), (9, 32), (9, 5)]
    network.seen.clear()
    assert torch.equal(package_logits(network, image[:, :30], tile=64, multiple=16), image[:, :30])
    assert network.seen == [(41, 30), (32, 16)]


@pytest.fixture(params=["DECam", "LCO"])
def real_frame(request, real):
    """Read a DECam cutout and a part of an LCO frame wider than a tile, with sides that are no multiples of 16."""
    if request.param == "DECam":
        return read_frame(real("decam/cutouts/130105_065255_N15_375x280_V3.9.fits"))
    frame = read_frame(real("lco/0m4_tfn0m414-kb29-20160625-0060-e91like_banzai_test_frame.fits.fz"))
    return frame.cut(slice(300, 603), slice(0, 1101), name="part")


@pytest.mark.slow
def test_cosmic_conn_probabilities_equal_those_of_its_package(real_frame):
    theirs = import_original("cosmic_conn.inference_cr").init_model("ground_imaging")
    expected = theirs.detect_cr(real_frame.image.copy())
    found = probabilities(replace(detector_of_config("cosmic_conn_lco"), dilate_masks=False), real_frame)
    computed = np.zeros(expected.shape, bool)  # the package omits the last rows and columns
    computed[tuple(slice(0, n - n % 1024 % 16) for n in expected.shape)] = True
    assert not expected[~computed].any()
    assert np.abs(found - expected)[computed].max() <= 1e-6


@pytest.mark.slow
def test_deepcr_probabilities_equal_those_of_its_package(real_frame):
    theirs = import_original("deepCR").deepCR(mask="decam")
    fours = tuple(slice(0, n - n % 4) for n in real_frame.shape)  # the package pads other sizes with zeros
    frame = real_frame.cut(*fours, name="fours")
    found = probabilities(detector_of_config("deepcr_decam"), frame)
    assert np.abs(found - theirs.clean(frame.image, binary=False)).max() <= 1e-6


# Computed by the original packages, cosmic-conn 0.6.1 and deepcr 0.3.1 on torch 2.13.0, from field_image():
#   cosmic_conn.inference_cr.init_model("ground_imaging").detect_cr(field_image())[rows, columns]
#   deepCR.deepCR(mask="decam").clean(field_image(), binary=False)[rows, columns]
EXPECTED = {
    "cosmic_conn_lco": (
        [(20, 30), (20, 31), (21, 33), (23, 37), (26, 43), (70, 20), (41, 100), (60, 90)],
        [0.866209, 0.928672, 0.92889, 0.950655, 0.951123, 0.0107479, 0.997537, 1.37044e-06],
    ),
    "deepcr_decam": (
        [(19, 30), (20, 32), (20, 33), (21, 35), (22, 37), (25, 42), (60, 90), (5, 5)],
        [0.272263, 0.697071, 0.181766, 0.175142, 0.216799, 0.590004, 0.00156139, 0.000233384],
    ),
}


@pytest.mark.parametrize("name", PUBLISHED_PACKAGES)
def test_probabilities_equal_the_recorded_ones_of_the_package(name):
    pixels, expected = EXPECTED[name]
    found = probabilities(replace(detector_of_config(name), dilate_masks=False), make_frame())[
        tuple(np.transpose(pixels))
    ]
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_PACKAGES)
def test_the_original_package_is_not_imported(name, command):
    code = (
        "import sys; from hydra import compose, initialize_config_dir; from cosmicgate.config import build\n"
        f"with initialize_config_dir({str(ROOT / 'conf')!r}, version_base='1.3'):\n"
        f"    cfg = compose('evaluate', ['detector={name}'])\n"
        f"build(cfg.detector.{name}); print({{'cosmic_conn', 'deepCR', 'learned_models'}} & set(sys.modules))"
    )
    detector_of_config(name)
    done = command("-c", code)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_four_released_networks_are_separate_detectors(real):
    found = detectors_of_config("released", f"weights={real('weights')}")
    assert tuple(found) == RELEASED
    assert [one.model for one in found.values()] == ["deepCR", "Att deepCR", "Cosmic-CoNN", "Att Cosmic-CoNN"]
    assert {one.variant for one in found.values()} == {"released"}
    assert len({str(one.cache_key) for one in found.values()}) == 4
    for one in found.values():
        assert (one.threshold, one.predictor.tile, one.predictor.halo) == (0.5, 256, 0)
        assert probabilities(one, make_frame()).shape == (96, 128)


def test_the_identity_of_a_published_network_holds_its_weights_and_conventions(real):
    weights = real("weights")
    one = detectors_of_config("released", f"weights={weights}")["released_deepcr"]
    other = published.load_released_detector(UNet(), str(weights), "deepCR.pth", "another name", "DECam", tile=128)
    assert one.cache_key != other.cache_key
    assert one.cache_key[1] == other.cache_key[1]
    assert len(one.cache_key[1]) == 64


def test_a_missing_package_gets_an_error_that_says_what_to_install(monkeypatch):
    def not_found(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_found)
    sentence = (
        "LACosmic: the package lacosmic is not installed; to install it: pip install .*-r requirements-baselines.txt"
    )
    with pytest.raises(MissingDependency, match=f"^{sentence}$"):
        LACosmic()
    for name, package in zip(PUBLISHED_PACKAGES, ("cosmic-conn", "deepcr"), strict=True):
        cfg = composed_config(f"detector={name}", name="evaluate")
        with pytest.raises(Exception, match=f"the package {package} is not installed") as caught:
            build(cfg.detector[name])
        assert isinstance(caught.value.__cause__, MissingDependency)


def test_a_package_without_its_weights_gets_an_error_of_one_line():
    with pytest.raises(MissingDependency, match=r"^Somebody: numpy [\d.]+ has no file 'weights.pth'; .*baselines.txt$"):
        package_file("numpy", "weights.pth", "Somebody")


def test_released_networks_without_weights_say_what_to_give(tmp_path):
    with pytest.raises(MissingDependency, match=r"deepCR \(released\): give weights=DIR"):
        published.load_released_detector(UNet(), None, "deepCR.pth", "deepCR (released)", "DECam")
    with pytest.raises(MissingDependency, match=r"deepCR \(released\): no file 'deepCR.pth' in "):
        published.load_released_detector(UNet(), str(tmp_path), "deepCR.pth", "deepCR (released)", "DECam")


def test_invalid_files_of_weights_are_refused_by_name(tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"module.inc.conv.conv.9.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for file, message in (("torn", "torn.pth: not a readable"), ("list", "got a list"), ("other", "is not a name")):
        with pytest.raises(ValueError, match=message):
            published.load_released_detector(UNet(), str(tmp_path), f"{file}.pth", "deepCR (released)", "DECam")


@pytest.mark.parametrize(
    ("settings", "message"),
    [(dict(tile=100, multiple=16), "a tile of 100 px"), (dict(sky="mean"), "unknown sky 'mean'")],
)
def test_an_invalid_tile_or_sky_is_refused_with_its_value(settings, message):
    with pytest.raises(ValueError, match=message):
        published.load_published_detector(UNet(), "deepcr", "x", "deepcr", "deepCR", "DECam", **settings)
