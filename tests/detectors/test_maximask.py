"""Test that MaxiMask in PyTorch gives the probabilities of the original.

COSMICGATE_MAXIMASK gives the file of the weights, COSMICGATE_MAXIMASK_PYTHON the Python of an environment with the
original (requirements-maximask.txt).
"""

import os
import runpy
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from astropy.io import fits
from torch import nn

from cosmicgate.config import Evaluate, build, validate
from cosmicgate.detectors import MissingDependency
from cosmicgate.detectors.maximask import MaxiMaskNet, load_maximask, maximask_logits, normalize, windows
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.evaluation.frame_results import mask_at
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.fits.frames import Frame
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

# Probabilities of MaxiMask 1.4.1 (TensorFlow 2.21) on scene(430, 610): in each of 4x4 parts the one nearest to 1/2,
# where an error is largest, and the number of pixels above 0.43. With scene(430, 610) written to scene.fits:
#   maximask scene.fits --proba_thresh False         -> the first plane of scene.mask.fits
PROBABILITIES = (
    (12, 35, 0.499262),
    (29, 191, 0.505775),
    (49, 437, 0.489265),
    (19, 584, 0.500677),
    (127, 147, 0.498481),
    (116, 272, 0.497047),
    (114, 389, 0.500165),
    (209, 545, 0.538227),
    (243, 24, 0.495908),
    (301, 301, 0.492840),
    (304, 414, 0.500013),
    (252, 601, 0.500079),
    (341, 134, 0.500132),
    (353, 227, 0.429630),
    (403, 439, 0.499855),
    (402, 566, 0.499983),
)
FLAGGED = 3332

# maximask_and_maxitrack.utils.image_norm(scene_with_defects())[0][100::233, 5::247], same version; its four corners.
NORMALISED = [
    [-24.697454, -1.072106, -0.494138, -0.427682, -0.063991],
    [-0.936023, 1.137767, 0.427164, 1.360627, 1.841895],
    [-0.371695, 277.89868, -1.85592, 0.631116, 1.09306],
    [0.88134, 1.29209, 1481.387, 1.153708, 98.30407],
]
CORNERS = [-24.846073, 2.408084, 1.043883, 3.799101]


def scene(height: int, width: int) -> np.ndarray:
    """Simulate a sky (H, W) with a gradient, stars, tracks and a crowded corner, ADU, the same on every machine."""
    random = np.random.RandomState(7)  # its stream is frozen, those of newer generators are not
    y, x = np.mgrid[:height, :width]
    image = 300 + 0.1 * x + 0.05 * y + random.normal(0, 12, (height, width))
    for _ in range(height * width // 4000):
        cy, cx, flux = random.uniform(0, height), random.uniform(0, width), 10 ** random.uniform(1.5, 4)
        cut = np.s_[max(0, int(cy) - 12) : int(cy) + 13, max(0, int(cx) - 12) : int(cx) + 13]
        image[cut] += flux * np.exp(-((y[cut] - cy) ** 2 + (x[cut] - cx) ** 2) / 6)
    add_tracks(image, random)
    image[-200:, -200:] += 2000 * random.uniform(size=(200, 200)) ** 8
    return np.round(image).astype(np.float32)


def add_tracks(image: np.ndarray, random: np.random.RandomState) -> None:
    """Add 30 straight tracks to an image (H, W) in place."""
    for _ in range(30):
        cy, cx, angle = random.uniform(0, image.shape[0]), random.uniform(0, image.shape[1]), random.uniform(0, np.pi)
        steps = np.arange(random.randint(4, 40))
        rows, columns = (cy + steps * np.sin(angle)).astype(int), (cx + steps * np.cos(angle)).astype(int)
        inside = (rows < image.shape[0]) & (columns >= 0) & (columns < image.shape[1])
        image[rows[inside], columns[inside]] += random.uniform(100, 3000)


def scene_with_defects() -> np.ndarray:
    """Simulate a scene with blank, NaN, extreme and offset pixels, which the background estimate has to tolerate."""
    image = scene(801, 1000)
    image[:200, :200] = 0
    image[300:310, 300:420] = np.nan
    image[400, 7], image[401, 8] = 1e9, -1e9
    image[600:800, 400:600] += 20000  # one mesh of the background, which is rejected
    return image


def frame(image: np.ndarray, bad: np.ndarray | None = None) -> Frame:
    known = {} if bad is None else {"bad": bad}
    return Frame(image=image, gain=4.0, read_noise=7.0, saturation=60000.0, exptime=90.0, **known)


@pytest.fixture(scope="module")
def weights() -> str:
    path = ROOT / composed_config("detector=maximask", name="evaluate").detector.maximask.weights
    if not path.is_file():
        pytest.skip(
            f"MaxiMask's weights are not at {path}: run scripts/convert_maximask.py, or set COSMICGATE_MAXIMASK"
        )
    return str(path)


def probabilities(weights: str, image: np.ndarray) -> np.ndarray:
    return load_maximask(weights).detect(frame(image)).logits.double().sigmoid().numpy()


@pytest.mark.slow
def test_probabilities_equal_those_of_the_original(weights):
    found = probabilities(weights, scene(430, 610))
    rows, columns, expected = map(np.array, zip(*PROBABILITIES, strict=True))
    np.testing.assert_allclose(found[rows, columns], expected, atol=1e-4)
    assert (found > 0.43).sum() == pytest.approx(FLAGGED, abs=3), "some probabilities are within 1e-6 of 0.43"


@pytest.mark.slow
def test_a_cutout_gives_most_of_the_hits_of_the_whole_frame(weights):
    image = scene(800, 800) + 3000
    image += np.random.RandomState(2).normal(0, 26, image.shape).astype(np.float32)
    cut = np.s_[150:400, 100:350]  # smaller than the original accepts
    whole = probabilities(weights, image)[cut] > 0.43
    alone = probabilities(weights, image[cut]) > 0.43
    assert (whole & alone).sum() > 0.8 * whole.sum() > 200


def test_the_background_normalisation_equals_that_of_the_original():
    found = normalize(scene_with_defects())
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[100::233, 5::247], NORMALISED, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[[0, 0, -1, -1], [0, -1, 0, -1]], CORNERS, rtol=1e-5, atol=1e-5)


def coadd_with_tracks(real) -> np.ndarray:
    """Make an exposure from a part of a real coadd, with the noise of a single exposure, and tracks."""
    with fits.open(real("decam/des_coadd_g.fits.fz")) as hdus:
        stars = next(hdu.data for hdu in hdus if hdu.data is not None and hdu.data.ndim == 2)[500:1123, 1000:1450]
    random = np.random.RandomState(1)
    image = random.poisson(4 * np.clip(stars / 10 + 300, 0, None)) / 4 + random.normal(0, 1.8, stars.shape)
    add_tracks(image, random)
    return image.astype(np.float32)


def padded_cutout(real) -> np.ndarray:
    """Read a real cutout with flagged hits, and pad it by reflection to a size that the original accepts."""
    image = fits.getdata(real("decam/cutouts") / "170316_062107_N2_251x245_V4.8.2.fits", "SCI").astype(np.float32)
    return np.pad(image, ((100, 99), (100, 105)), "symmetric")


@pytest.mark.slow
@pytest.mark.parametrize("image", [coadd_with_tracks, padded_cutout])
def test_probabilities_equal_those_of_the_original_on_real_images(image, weights, real, tmp_path):
    python = os.environ.get("COSMICGATE_MAXIMASK_PYTHON")
    if python is None:
        pytest.skip("COSMICGATE_MAXIMASK_PYTHON names no environment that holds the original")
    pixels = image(real)
    fits.writeto(tmp_path / "image.fits", pixels)
    module = "maximask_and_maxitrack.maximask.maximask"
    command = [python, "-m", module, str(tmp_path / "image.fits"), "--proba_thresh", "False"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    theirs = fits.getdata(tmp_path / "image.mask.fits")[0]
    assert (theirs > 0.43).sum() > 50, "the original finds hits"
    assert np.abs(probabilities(weights, pixels) - theirs).max() < 1e-4


@pytest.mark.parametrize("size", [401, 600, 803, 1000, 2048])
def test_each_pixel_is_taken_from_the_window_that_the_original_writes_last(size):
    written = np.full(size, -1)
    for start in [*range(0, size - 399, 200), size - 400]:
        first, last = 0 if start == 0 else start + 100, size if start == size - 400 else start + 300
        written[first:last] = start
    ours = np.full(size, -1)
    for start, part in windows(size):
        assert (ours[part] == -1).all()
        ours[part] = start
    np.testing.assert_array_equal(ours, written)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [(0, 300), (100, 300), (100, 103), (111, 400)], ids=str)
def test_part_of_a_window_has_the_logits_of_the_whole_window(rows):
    torch.manual_seed(1)
    network = MaxiMaskNet().eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # large enough for the outermost pixel in reach to matter
            nn.init.kaiming_normal_(layer.weight)
    window = 3 * torch.randn(1, 1, 400, 400)
    with torch.inference_mode():
        whole = network(window)
        part = network(window, slice(*rows), slice(100, 300))
    assert whole.std() > 0.1
    torch.testing.assert_close(part, whole[..., slice(*rows), 100:300], atol=1e-5, rtol=1e-4)


class BrightnessNetwork(nn.Module):
    """Replace the network: give probability 0.93 above 20 sigma, 0.95 above 40, and 1e-6 elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, image, rows, columns):
        part = image[..., rows, columns]
        probability = torch.where(part > 40, 0.95, torch.where(part > 20, 0.93, 1e-6))
        return probability.logit() + self.shift


def brightness_detector() -> NetworkDetector:
    predictor = Predictor(BrightnessNetwork(), procedure=partial(maximask_logits, prior=0.0005))
    return NetworkDetector(predictor, "stand-in", None, "stand-in")


@pytest.mark.parametrize("shape", [(90, 310), (400, 401), (610, 500)], ids=str)
def test_the_prior_is_applied_and_the_mask_is_not_dilated(shape):
    random = np.random.default_rng(3)
    image = random.normal(300, 10, shape).astype(np.float32)
    hit, fainter, broken = (40, 250), (50, 120), (70, 30)
    image[hit], image[fainter], image[broken] = 1300, 600, 1300
    bad = np.zeros(shape, bool)
    bad[broken] = True
    detection = brightness_detector().detect(frame(image, bad))
    assert detection.logits.shape == shape
    # At a prior of 0.0005 instead of 0.010, probabilities of 0.93 and 0.95 become 0.397 and 0.485.
    assert detection.logits[fainter].sigmoid() == pytest.approx(0.397, abs=1e-3)
    assert detection.logits[hit].sigmoid() == pytest.approx(0.485, abs=1e-3)
    mask = mask_at(detection, 0.43)
    assert np.argwhere(mask).tolist() == [list(hit)], "no neighbour, no fainter and no bad pixel"


def test_the_image_is_not_changed():
    image = scene(210, 230)
    before = image.copy()
    image.flags.writeable = False
    brightness_detector().detect(frame(image))
    np.testing.assert_array_equal(image, before)


def test_missing_weights_are_a_missing_dependency_with_an_error_of_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("COSMICGATE_MAXIMASK", str(tmp_path / "none.pt"))
    cfg = validate(composed_config("detector=maximask", name="evaluate"), Evaluate)
    with pytest.raises(Exception, match=r"none\.pt.*scripts/convert_maximask\.py") as caught:
        build(cfg.detector.maximask)
    assert isinstance(caught.value.__cause__ or caught.value, MissingDependency)
    assert "\n" not in str(caught.value.__cause__ or caught.value)


def test_invalid_weights_are_refused(tmp_path):
    torch.save({"head.weight": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt: not the weights of MaxiMask"):
        load_maximask(str(tmp_path / "other.pt"))
    with pytest.raises(ValueError, match=r"0\.0 and 0\.43"):
        load_maximask(str(tmp_path / "other.pt"), prior=0.0)


def test_weights_of_another_version_are_not_converted(tmp_path, monkeypatch):
    file = tmp_path / "maximask/model/variables/variables.data-00000-of-00001"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(100))
    script, out = str(ROOT / "scripts/convert_maximask.py"), tmp_path / "out.pt"
    monkeypatch.setattr(sys, "argv", [script, "--package", str(tmp_path), "--out", str(out)])
    with pytest.raises(SystemExit, match=r"is not that of MaxiMask 1\.4\.1"):
        runpy.run_path(script, run_name="__main__")
    assert not out.exists()
