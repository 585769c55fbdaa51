"""Test what all detectors share: valid configs, dilation, preparation of images, bad pixels, the telescope."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits

from cosmicgate.config import ConfigError, Evaluate, validate
from cosmicgate.data.background import dilate
from cosmicgate.data.bad_pixels import interpolate_bad_pixels, to_native_float32
from cosmicgate.detectors import NO_HIT_LOGIT, Detection, detect_for_truth
from cosmicgate.detectors.classical import AstroScrappy, LACosmic
from cosmicgate.detectors.network import NetworkDetector
from cosmicgate.detectors.published import package_logits
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.fits.frames import read_frame, write_frame
from cosmicgate.models import UNet
from helpers.configured_detectors import (
    detector_of_config,
    detectors_of_config,
    field_image,
    import_original,
    make_frame,
)
from helpers.hydra_config import composed_config
from helpers.repository import ROOT

CONFIGS = sorted(p.stem for p in (ROOT / "conf" / "detector").glob("*.yaml"))
NEEDED = {"adapted": ["detector.adapted.name=my_camera"]}  # values that only the user knows


# ----------------------------------------------------------------------------------------------- configs and dilation


@pytest.mark.parametrize("name", CONFIGS)
def test_every_detector_config_is_valid(name):
    validate(composed_config(f"detector={name}", *NEEDED.get(name, []), name="evaluate"), Evaluate)


def test_an_adapted_detector_asks_for_the_network():
    with pytest.raises(ConfigError, match=r"^detector\.adapted\.name: needs a value"):
        validate(composed_config("detector=adapted", name="evaluate"), Evaluate)


@pytest.mark.parametrize("name", ["astroscrappy", "lacosmic", "astroscrappy_published"])
def test_masks_of_classical_detectors_are_dilated_if_the_truth_is(name):
    found, frame = replace(detector_of_config(name), threshold=5.0, sweep=()), make_frame()
    plain = detect_for_truth(found, frame, dilated=False).masks[5.0]
    assert plain.any()
    assert np.array_equal(detect_for_truth(found, frame, dilated=True).masks[5.0], dilate(plain) & ~frame.bad)


@pytest.mark.parametrize(("name", "is_grown"), [("cosmic_conn_lco", True), ("deepcr_decam", False)])
def test_of_the_published_networks_only_cosmic_conn_is_dilated(name, is_grown):
    found = detector_of_config(name)
    plain, mask = (
        detect_for_truth(found, make_frame(), d).logits.sigmoid().numpy() >= found.threshold for d in (False, True)
    )
    assert plain.any()
    assert np.array_equal(mask, dilate(plain) if is_grown else plain)


def test_masks_of_a_network_are_dilated_only_if_it_was_trained_without_a_ring():
    nodes = [yaml.safe_load((ROOT / "conf" / "detector" / f"{n}.yaml").read_text()) for n in ("checkpoint", "released")]
    assert not any("dilate_masks" in node for group in nodes for node in group.values())
    above = torch.nn.Conv2d(1, 1, 1)  # logits that are positive where the image is above 105
    above.weight.data.fill_(1)
    above.bias.data.fill_(-105)
    image = np.full((9, 9), 100, np.float32)
    image[4, 4] = 110
    thin, frame = NetworkDetector(Predictor(above), "thin", None, None, dilate_masks=True), make_frame(image)
    assert (detect_for_truth(thin, frame, dilated=True).logits > 0).sum() == 9
    assert (detect_for_truth(thin, frame, dilated=False).logits > 0).sum() == 1
    assert (detect_for_truth(replace(thin, dilate_masks=False), frame, dilated=True).logits > 0).sum() == 1


def test_dilated_logits_give_the_dilated_mask_at_every_threshold():
    logits = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    for threshold in np.linspace(-2, 2, 9):
        grown = Detection(logits).dilated(np.zeros((40, 50), bool)).logits
        assert np.array_equal((grown >= threshold).numpy(), dilate((logits >= threshold).numpy()))


def test_a_dilated_mask_leaves_out_bad_pixels():
    logits, bad = torch.zeros(5, 5), np.zeros((5, 5), bool)
    logits[2, 2], logits[2, 3], bad[2, 3] = 5, NO_HIT_LOGIT, True
    grown = Detection(logits, {3.0: (logits > 1).numpy()}).dilated(bad)
    assert grown.logits[2, 3] == NO_HIT_LOGIT
    assert grown.masks[3.0].sum() == (grown.logits > 1).sum() == 8


# ---------------------------------------------------------------------------------------- images of any type and layout


@pytest.mark.parametrize(
    "image",
    [
        field_image().astype(np.uint16),
        field_image().astype(">f4"),
        field_image().astype("<f8"),
        field_image().astype(">i2"),
        np.asfortranarray(field_image()),
        np.flip(np.flip(field_image()).copy()),
    ],
    ids=["uint16", "big-endian", "float64", "big-endian int16", "Fortran order", "reversed"],
)
def test_images_of_any_type_byte_order_and_layout_become_native_float32(image):
    image.setflags(write=False)
    ready, bad = to_native_float32(image, np.zeros(image.shape, bool))
    assert ready.dtype == np.float32
    assert ready.dtype.isnative
    assert ready.flags.c_contiguous
    assert ready.flags.writeable
    assert not bad.any()
    assert np.array_equal(ready, field_image().astype(image.dtype).astype(np.float32))


def test_a_bad_column_is_interpolated_from_its_good_neighbours_for_networks():
    image = np.add.outer(np.zeros(6), np.arange(8.0) * 10).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:, 3:5] = bad[0, 0] = bad[5, 7] = bad[2] = True
    spoiled = np.where(bad, 1e5, image)
    ready, marked = interpolate_bad_pixels(spoiled, bad)
    assert np.array_equal(marked, bad)
    np.testing.assert_allclose(ready[[1, 3, 4]], image[[1, 3, 4]])
    assert (ready[0, 0], ready[5, 7]) == (10, 60)  # at an edge, the nearest good pixel
    assert (ready[2] == np.median(image[~bad])).all()  # a row without a good pixel
    assert spoiled[0, 0] == 1e5


@pytest.mark.parametrize("blank", [0, 1, 40])
def test_rows_without_a_good_pixel_get_the_median_computed_once(blank, monkeypatch):
    image, median, calls = field_image(), np.median, []
    bad = np.zeros(image.shape, bool)
    bad[:blank] = bad[:, 7] = True
    monkeypatch.setattr(np, "median", lambda *a, **k: (calls.append(a), median(*a, **k))[1])
    ready, _ = interpolate_bad_pixels(image, bad)
    assert len(calls) == (blank > 0)
    assert (ready[:blank] == median(image[~bad])).all()
    np.testing.assert_allclose(ready[blank:, 7], (image[blank:, 6] + image[blank:, 8]) / 2)


def test_a_masked_hot_column_causes_no_hits_beside_it(real):
    found = detectors_of_config("released", f"weights={real('weights')}")["released_deepcr"]
    image = np.random.default_rng(0).normal(200, 8, (128, 128)).astype(np.float32)
    image[40:, 60] = 500
    bad = np.zeros(image.shape, bool)
    bad[40:, 60] = True
    assert (found.detect(make_frame(image)).logits.numpy() > 0).any()
    assert not (found.detect(make_frame(image, bad=bad)).logits.numpy() > 0).any()


def test_an_image_without_a_good_pixel_is_refused():
    with pytest.raises(ValueError, match="all 12 pixels are bad or not finite: there is nothing to search"):
        to_native_float32(np.full((3, 4), np.nan, np.float32), np.zeros((3, 4), bool))


def detectors():
    """Build a classical detector, a network of ours and one of a published package."""
    torch.manual_seed(0)
    network = UNet(channels=8).eval()
    ours = NetworkDetector(Predictor(network, tile=64), "ours", None, "ours")
    procedure = partial(package_logits, tile=64, sky="median")
    theirs = NetworkDetector(Predictor(network, procedure=procedure), "theirs", None, "theirs", dilate_masks=True)
    return [AstroScrappy(sweep=()), ours, theirs]


def masks_or_logits(detector, frame):
    """Return the masks (N, H, W) of a detector, or its logits (H, W)."""
    detection = detector.detect(frame)
    return np.stack([*detection.masks.values()]) if detection.masks else detection.logits.numpy()


@pytest.mark.parametrize("number", range(4))
def test_detectors_change_no_image_and_find_no_hit_in_bad_pixels(number):
    every = [*detectors(), LACosmic(sweep=())] if number == 3 and import_original("lacosmic") else detectors()
    image, bad = field_image(), np.zeros((96, 128), bool)
    image[10, 10:14] = [np.nan, np.inf, -np.inf, np.nan]
    image[70, 20] = np.nan
    bad[20, 30] = True
    frame = make_frame(image.copy(), bad=bad.copy())
    frame.image.setflags(write=False)
    found = masks_or_logits(every[number], frame)
    assert np.array_equal(frame.image, image, equal_nan=True)
    assert np.array_equal(frame.bad, bad)
    assert np.isfinite(found).all()
    for y, x in ((10, 10), (10, 11), (70, 20), (20, 30)):
        assert np.all(found[..., y, x] <= (0 if found.dtype == bool else -30))
    far = np.s_[..., 30:60, 110:]
    clean = masks_or_logits(every[number], make_frame(bad=bad))
    if every[number].model != "theirs":  # bad pixels change the median that it subtracts
        assert np.array_equal(found[far], clean[far])


@pytest.mark.parametrize("stored", ["uint16", ">f4", "<f8", "int16"])
def test_images_of_any_fits_type_give_the_same_hits(stored, tmp_path):
    image = np.round(field_image()).astype(stored)
    header = fits.Header(dict(GAIN=4.0, RDNOISE=6.5, SATURATE=45_000.0, EXPTIME=90.0))
    fits.PrimaryHDU(image, header).writeto(tmp_path / "image.fits")
    frame = read_frame(tmp_path / "image.fits")
    for one in detectors():
        assert np.array_equal(masks_or_logits(one, frame), masks_or_logits(one, make_frame(np.round(field_image()))))


# ------------------------------------------------------------------------------------------------------- telescope


@pytest.mark.parametrize(
    ("name", "header", "telescope"),
    [
        ("c4d_130105_065255_ooi_g_v1.fits", {"INSTRUME": "DECam"}, "decam"),
        ("anything.fits", {"TELID": "0m4a"}, "0m4"),
        ("coj0m403-kb24-20190101-0147-e91_3frms_masks.fits", {}, "0m4"),
        ("lsc1m005-fl15-20170614-0130-e91.fits", {"INSTRUME": "fl15"}, "1m0"),
        ("ogg2m001-fs02-20190101-0147-e91.fits", {"TELID": "2m0a"}, "2m0"),
        ("anything.fits", {"TELID": "wht", "INSTRUME": "kb24"}, ""),
        ("m1m000-1.fits", {}, ""),
    ],
)
def test_the_telescope_is_read_from_the_header_or_the_file_name(name, header, telescope, tmp_path):
    known = dict(GAIN=4.0, RDNOISE=6.5, SATURATE=45_000.0, EXPTIME=90.0)
    fits.PrimaryHDU(field_image(), fits.Header(known | header)).writeto(tmp_path / name)
    assert read_frame(tmp_path / name).telescope == telescope


@pytest.mark.parametrize("telescope", ["decam", "1m0", ""])
def test_the_telescope_survives_writing_and_reading(telescope, tmp_path):
    write_frame(make_frame(telescope=telescope), tmp_path / "frame.fits")
    assert read_frame(tmp_path / "frame.fits").telescope == telescope
