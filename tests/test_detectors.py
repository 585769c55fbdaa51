"""Each system of the paper gives what its authors' program gives, under its own conventions, whatever image it gets."""

import importlib
import warnings
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from types import SimpleNamespace

import astroscrappy
import numpy as np
import pytest
import torch
import yaml
from astropy.io import fits
from conftest import ROOT, TINY
from hydra import compose, initialize_config_dir
from torch import nn

from cosmicgate.config import Evaluate, build, checked
from cosmicgate.data.clean import dilate
from cosmicgate.data.fits.frames import Frame, read_frame, write_frame
from cosmicgate.detectors import NEVER, Detection, Unavailable, published, seen
from cosmicgate.detectors.classical import AstroScrappy, LACosmic, saturated_stars
from cosmicgate.detectors.inputs import bridged, packaged, usable
from cosmicgate.detectors.network import Network
from cosmicgate.detectors.published import Published, package_logits
from cosmicgate.models import UNet

CONFIGS = sorted(p.stem for p in (ROOT / "conf" / "detector").glob("*.yaml"))
CLASSICAL = ("astroscrappy", "lacosmic")
PACKAGED = ("cosmic_conn_lco", "deepcr_decam")
RELEASED = ("released_deepcr", "released_att_deepcr", "released_cosmic_conn", "released_att_cosmic_conn")


def a_field():
    """Sky, a star and three hits (ADU), the same to the last digit on every machine."""
    y, x = np.mgrid[:96, :128]
    image = 300.0 + (7 * y * y + 13 * x * y + 5 * x) % 61 - 30
    image += 8000 / (1 + ((y - 60) ** 2 + (x - 90) ** 2) / 6.0) ** 2.5
    for step in range(14):
        image[20 + step // 2, 30 + step] += 900
    image[70, 20] += 1500
    image[40:43, 100] += 400
    return image.astype(np.float32)


def a_frame(image=None, **fields):
    image = a_field() if image is None else image
    known = {"gain": 4.0, "read_noise": 6.5, "saturation": 45_000.0, "exptime": 90.0, "name": "field"}
    return Frame(image=image, **(known | fields))


def configured(name, *overrides):
    """Build the detectors of a config file as the command does; skip those that miss a package."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("evaluate", [f"detector={name}", *overrides])
    try:
        return {key: build(node) for key, node in cfg.detector.items()}
    except Exception as error:
        cause = error.__cause__ or error
        if not isinstance(cause, Unavailable):
            raise
        pytest.skip(str(cause))


def detector(name, *overrides):
    return configured(name, *overrides)[name]


def original(module):
    """Import a package whose results ours are compared with; skip where it cannot be."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own affair
        try:
            return importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"the original is not here: {error}")


def probabilities(detector, frame):
    return detector.detect(frame).logits.sigmoid().numpy()


# Configs


@pytest.mark.parametrize("name", CONFIGS)
def test_every_detector_config_passes_the_check(name):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        checked(compose("evaluate", [f"detector={name}"]), Evaluate)


@pytest.mark.parametrize("name", ["astroscrappy", "lacosmic", "astroscrappy_tuned"])
def test_masks_of_classical_detectors_are_dilated_where_the_truth_is(name):
    found, frame = replace(detector(name), sweep=()), a_frame()
    plain = seen(found, frame, dilated=False).masks[found.threshold]
    assert plain.any()
    assert np.array_equal(seen(found, frame, dilated=True).masks[found.threshold], dilate(plain) & ~frame.bad)


@pytest.mark.parametrize(("name", "is_grown"), [("cosmic_conn_lco", True), ("deepcr_decam", False)])
def test_only_the_pretrained_cosmic_conn_is_dilated_among_networks(name, is_grown):
    found = detector(name)
    plain, mask = (seen(found, a_frame(), d).logits.sigmoid().numpy() >= found.threshold for d in (False, True))
    assert plain.any()
    assert np.array_equal(mask, dilate(plain) if is_grown else plain)


def test_a_network_is_dilated_only_if_it_learned_from_a_truth_without_a_ring():
    nodes = [yaml.safe_load((ROOT / "conf" / "detector" / f"{n}.yaml").read_text()) for n in ("checkpoint", "released")]
    assert not any("grow" in node for group in nodes for node in group.values())
    above = torch.nn.Conv2d(1, 1, 1)  # logits that are positive where the image is above 105
    above.weight.data.fill_(1)
    above.bias.data.fill_(-105)
    image = np.full((9, 9), 100, np.float32)
    image[4, 4] = 110
    thin, frame = Network(above, "thin", None, None, grow=True), a_frame(image)
    assert (seen(thin, frame, dilated=True).logits > 0).sum() == 9
    assert (seen(thin, frame, dilated=False).logits > 0).sum() == 1
    assert (seen(replace(thin, grow=False), frame, dilated=True).logits > 0).sum() == 1


def test_growing_the_logits_dilates_the_mask_at_every_threshold():
    logits = torch.randn(40, 50, generator=torch.Generator().manual_seed(0))
    for threshold in np.linspace(-2, 2, 9):
        grown = Detection(logits).grown(np.zeros((40, 50), bool)).logits
        assert np.array_equal((grown >= threshold).numpy(), dilate((logits >= threshold).numpy()))


def test_bad_pixels_beside_a_hit_stay_out_of_a_grown_mask():
    logits, bad = torch.zeros(5, 5), np.zeros((5, 5), bool)
    logits[2, 2], logits[2, 3], bad[2, 3] = 5, NEVER, True
    grown = Detection(logits, {3.0: (logits > 1).numpy()}).grown(bad)
    assert grown.logits[2, 3] == NEVER
    assert grown.masks[3.0].sum() == (grown.logits > 1).sum() == 8


# Settings


@pytest.fixture
def calls(monkeypatch):
    """What the two libraries are asked; they answer that nothing is hit."""
    asked = []

    def answer(image, *_, **settings):
        asked.append(settings)
        return np.zeros(image.shape, bool), image

    def clean(image, **settings):
        return answer(image, **settings)[::-1]

    monkeypatch.setattr(astroscrappy, "detect_cosmics", answer)
    monkeypatch.setitem(importlib.sys.modules, "lacosmic", SimpleNamespace(remove_cosmics=clean))
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.4.0" if name == "lacosmic" else installed(name))
    return asked


@pytest.mark.parametrize("telescope", ["decam", "0m4", "1m0", "2m0", ""])
@pytest.mark.parametrize("name", CLASSICAL)
def test_objlim_is_the_telescopes(name, telescope, calls):
    detector(name).detect(a_frame(telescope=telescope))
    key = "objlim" if name == "astroscrappy" else "contrast"
    assert {call[key] for call in calls} == {{"0m4": 0.5, "1m0": 2.0, "2m0": 2.0}.get(telescope, 1.0)}


def test_both_packages_are_asked_for_the_same_thing_in_their_own_words(calls):
    frame = a_frame(gain=3.0, read_noise=7.0, saturation=30_000.0)
    for name in CLASSICAL:
        replace(detector(name), sweep=(5.0,)).detect(frame)
    scrappy, lacosmic = calls[1], calls[3]
    assert {k: scrappy[k] for k in ("sigclip", "sigfrac", "niter")} == {"sigclip": 5.0, "sigfrac": 0.1, "niter": 4}
    assert {k: scrappy[k] for k in ("gain", "readnoise", "satlevel")} == dict(gain=3.0, readnoise=7.0, satlevel=90_000)
    assert (lacosmic["cr_threshold"], lacosmic["neighbor_threshold"], lacosmic["maxiter"]) == (5.0, 0.5, 4)
    assert (lacosmic["effective_gain"], lacosmic["readnoise"]) == (3.0, 7.0)


def test_a_telescope_without_a_setting_is_refused_by_name():
    with pytest.raises(ValueError, match="objlim: expected a value for '2m0' or for 'other'"):
        AstroScrappy(objlim={"0m4": 0.5}).detect(a_frame(telescope="2m0"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(objlim={"decam": 0.0}), "objlim is 0.0"),
        (dict(sweep=[3, -1]), "sweep is -1"),
        (dict(niter=0), "niter is 0"),
        (dict(threshold=float("nan")), "threshold is nan"),
    ],
)
def test_an_impossible_setting_is_refused_with_its_value(settings, message):
    with pytest.raises(ValueError, match=f"Astro-SCRAPPY: {message}, expected a number above 0"):
        AstroScrappy(**settings)


def test_every_setting_and_the_version_are_in_the_identity_and_the_title_is_not():
    plain = AstroScrappy()
    others = [dict(objlim=2.0), dict(sigfrac=0.3), dict(sweep=(3.0,)), dict(grow=False), dict(niter=1)]
    assert all(replace(plain, **other).identity != plain.identity for other in others)
    assert replace(plain, title="another").identity == plain.identity
    assert metadata.version("astroscrappy") in plain.identity


# The sweep


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_point_of_the_sweep_is_the_librarys_own_answer(name):
    found, frame = replace(detector(name), sweep=(3.0, 6.0), grow=False), a_frame()
    masks = found.detect(frame).masks
    for sigclip in (3.0, 6.0):
        if name == "astroscrappy":
            noise = dict(gain=4.0, readnoise=6.5, satlevel=180_000.0)
            theirs, _ = astroscrappy.detect_cosmics(a_field(), sigclip=sigclip, sigfrac=0.1, objlim=1.0, **noise)
        else:
            noise = dict(effective_gain=4.0, readnoise=6.5)
            _, theirs = original("lacosmic").remove_cosmics(a_field(), 1.0, sigclip, 0.1 * sigclip, **noise)
        assert theirs.any()
        assert np.array_equal(masks[sigclip], theirs)


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_sweep_runs_from_many_pixels_to_few_and_holds_the_threshold(name):
    found, frame = detector(name), a_frame(a_field()[10:50, 20:70])
    masks = found.detect(frame).masks
    assert tuple(masks) == tuple(float(point) for point in found.sweep)
    assert min(masks) <= 2 < 20 == max(masks)
    areas = [int(mask.sum()) for mask in masks.values()]
    assert areas[0] > areas[-1] > 0
    assert all(later <= 1.01 * earlier for earlier, later in pairwise(areas))
    alone = replace(found, sweep=()).detect(frame).masks
    assert list(alone) == [found.threshold]
    assert np.array_equal(alone[found.threshold], masks[found.threshold])


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_hits_are_found(name):
    mask = replace(detector(name), sweep=(6.0,)).detect(a_frame()).masks[6.0]
    assert mask[70, 20]
    assert mask[20:27, 30:44][np.arange(14) // 2, np.arange(14)].all()


def test_lacosmic_leaves_saturated_stars_alone_and_finds_a_saturated_hit():
    image = a_field()
    image[55:66, 85:96] = 45_000.0
    image[70, 20] = 45_000.0
    stars = saturated_stars(image, 45_000.0)
    assert stars[55:66, 85:96].all()
    assert not stars[70, 20]
    mask = replace(detector("lacosmic"), sweep=(), grow=False).detect(a_frame(image)).masks[3.0]
    assert not mask[55:66, 85:96].any()
    assert mask[70, 20]


# Whatever image


@pytest.mark.parametrize(
    "image",
    [
        a_field().astype(np.uint16),
        a_field().astype(">f4"),
        a_field().astype("<f8"),
        a_field().astype(">i2"),
        np.asfortranarray(a_field()),
        np.flip(np.flip(a_field()).copy()),
    ],
    ids=["uint16", "big-endian", "float64", "big-endian int16", "column by column", "backwards"],
)
def test_an_image_of_any_type_order_and_layout_becomes_the_one_that_libraries_take(image):
    image.setflags(write=False)
    ready, bad = usable(image, np.zeros(image.shape, bool))
    assert ready.dtype == np.float32
    assert ready.dtype.isnative
    assert ready.flags.c_contiguous
    assert ready.flags.writeable
    assert not bad.any()
    assert np.array_equal(ready, a_field().astype(image.dtype).astype(np.float32))


def test_a_bad_column_is_bridged_from_its_good_neighbours_for_networks():
    image = np.add.outer(np.zeros(6), np.arange(8.0) * 10).astype(np.float32)
    bad = np.zeros(image.shape, bool)
    bad[:, 3:5] = bad[0, 0] = bad[5, 7] = bad[2] = True
    spoiled = np.where(bad, 1e5, image)
    ready, marked = bridged(spoiled, bad)
    assert np.array_equal(marked, bad)
    np.testing.assert_allclose(ready[[1, 3, 4]], image[[1, 3, 4]])
    assert (ready[0, 0], ready[5, 7]) == (10, 60)  # at an edge, the nearest good one
    assert (ready[2] == np.median(image[~bad])).all()  # a dead row
    assert spoiled[0, 0] == 1e5


def test_a_known_hot_column_leaves_no_hits_beside_it(real):
    found = configured("released", f"weights={real('weights')}")["released_deepcr"]
    image = np.random.default_rng(0).normal(200, 8, (128, 128)).astype(np.float32)
    image[40:, 60] = 500
    bad = np.zeros(image.shape, bool)
    bad[40:, 60] = True
    assert (found.detect(a_frame(image)).logits.numpy() > 0).any()
    assert not (found.detect(a_frame(image, bad=bad)).logits.numpy() > 0).any()


def test_an_image_without_a_good_pixel_is_refused():
    with pytest.raises(ValueError, match="expected an image with a good pixel, got 12 bad ones"):
        usable(np.full((3, 4), np.nan, np.float32), np.zeros((3, 4), bool))


def every_detector():
    torch.manual_seed(0)
    network = UNet(channels=8).eval()
    ours = Network(network, "ours", None, "ours", tile=64)
    theirs = Published(network, "theirs", None, "theirs", tile=64, sky="median", grow=True)
    return [AstroScrappy(sweep=()), ours, theirs]


def answers(detector, frame):
    detection = detector.detect(frame)
    return np.stack([*detection.masks.values()]) if detection.masks else detection.logits.numpy()


@pytest.mark.parametrize("number", range(4))
def test_no_detector_changes_its_image_and_none_finds_a_hit_in_a_bad_pixel(number):
    detectors = [*every_detector(), LACosmic(sweep=())] if number == 3 and original("lacosmic") else every_detector()
    image, bad = a_field(), np.zeros((96, 128), bool)
    image[10, 10:14] = [np.nan, np.inf, -np.inf, np.nan]
    image[70, 20] = np.nan
    bad[20, 30] = True
    frame = a_frame(image.copy(), bad=bad.copy())
    frame.image.setflags(write=False)
    found = answers(detectors[number], frame)
    assert np.array_equal(frame.image, image, equal_nan=True)
    assert np.array_equal(frame.bad, bad)
    assert np.isfinite(found).all()
    for y, x in ((10, 10), (10, 11), (70, 20), (20, 30)):
        assert np.all(found[..., y, x] <= (0 if found.dtype == bool else -30))
    far = np.s_[..., 30:60, 110:]
    clean = answers(detectors[number], a_frame(bad=bad))
    if not isinstance(detectors[number], Published):  # its median may move by a pixel's rank
        assert np.array_equal(found[far], clean[far])


@pytest.mark.parametrize("stored", ["uint16", ">f4", "<f8", "int16"])
def test_a_fits_file_of_any_type_gives_the_same_hits(stored, tmp_path):
    image = np.round(a_field()).astype(stored)
    header = fits.Header(dict(GAIN=4.0, RDNOISE=6.5, SATURATE=45_000.0, EXPTIME=90.0))
    fits.PrimaryHDU(image, header).writeto(tmp_path / "image.fits")
    frame = read_frame(tmp_path / "image.fits")
    for one in every_detector():
        assert np.array_equal(answers(one, frame), answers(one, a_frame(np.round(a_field()))))


# The telescope


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
def test_the_telescope_is_read_from_the_header_or_the_files_name(name, header, telescope, tmp_path):
    known = dict(GAIN=4.0, RDNOISE=6.5, SATURATE=45_000.0, EXPTIME=90.0)
    fits.PrimaryHDU(a_field(), fits.Header(known | header)).writeto(tmp_path / name)
    assert read_frame(tmp_path / name).telescope == telescope


@pytest.mark.parametrize("telescope", ["decam", "1m0", ""])
def test_the_telescope_survives_writing_and_reading(telescope, tmp_path):
    write_frame(a_frame(telescope=telescope), tmp_path / "frame.fits")
    assert read_frame(tmp_path / "frame.fits").telescope == telescope


# Published networks


class Recorder(nn.Module):
    """A network that says what it is shown, and remembers it."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape[-2:]))
        return image


def test_tiles_lie_side_by_side_and_lose_their_own_median():
    image = torch.from_numpy(a_field()[:48, :64])
    image[:, 32:] += 1000
    network = Recorder()
    logits = package_logits(network, image, tile=32, multiple=16, sky="median")
    assert network.seen == [(32, 32), (32, 32), (16, 32), (16, 32)]
    for rows in (slice(0, 32), slice(32, 48)):
        for columns in (slice(0, 32), slice(32, 64)):
            piece = image[rows, columns]
            assert torch.equal(logits[rows, columns], piece - piece.median())
    assert torch.equal(package_logits(network, image, tile=32), image)


def test_a_tile_at_the_edge_is_cut_to_a_multiple_and_nothing_is_left_out():
    image = torch.from_numpy(a_field()[:41, :37])
    network = Recorder()
    assert torch.equal(package_logits(network, image, tile=32, multiple=16), image)
    assert network.seen == [(32, 32), (32, 5), (9, 32), (9, 5)]
    network.seen.clear()
    assert torch.equal(package_logits(network, image[:, :30], tile=64, multiple=16), image[:, :30])
    assert network.seen == [(41, 30), (32, 16)]


@pytest.fixture(params=["DECam", "LCO"])
def a_real_frame(request, real):
    """A cutout of DECam, a part of an LCO frame that is wider than a tile; neither with sides that tiles like."""
    if request.param == "DECam":
        return read_frame(real("decam/cutouts/130105_065255_N15_375x280_V3.9.fits"))
    frame = read_frame(real("lco/0m4_tfn0m414-kb29-20160625-0060-e91like_banzai_test_frame.fits.fz"))
    return frame.cut(slice(300, 603), slice(0, 1101), name="part")


def test_cosmic_conn_gives_the_probabilities_of_its_package(a_real_frame):
    theirs = original("cosmic_conn.inference_cr").init_model("ground_imaging")
    wanted = theirs.detect_cr(a_real_frame.image.copy())
    found = probabilities(replace(detector("cosmic_conn_lco"), grow=False), a_real_frame)
    searched = np.zeros(wanted.shape, bool)  # the package leaves out the last rows and columns
    searched[tuple(slice(0, n - n % 1024 % 16) for n in wanted.shape)] = True
    assert not wanted[~searched].any()
    assert np.abs(found - wanted)[searched].max() <= 1e-6


def test_deepcr_gives_the_probabilities_of_its_package(a_real_frame):
    theirs = original("deepCR").deepCR(mask="decam")
    fours = tuple(slice(0, n - n % 4) for n in a_real_frame.shape)  # the package fills up the others with zeros
    frame = a_real_frame.cut(*fours, name="fours")
    found = probabilities(detector("deepcr_decam"), frame)
    assert np.abs(found - theirs.clean(frame.image, binary=False)).max() <= 1e-6


# Made by the original packages, cosmic-conn 0.6.1 and deepcr 0.3.1 on torch 2.13.0, from a_field() above:
#   cosmic_conn.inference_cr.init_model("ground_imaging").detect_cr(a_field())[rows, columns]
#   deepCR.deepCR(mask="decam").clean(a_field(), binary=False)[rows, columns]
GOLDEN = {
    "cosmic_conn_lco": (
        [(20, 30), (20, 31), (21, 33), (23, 37), (26, 43), (70, 20), (41, 100), (60, 90)],
        [0.866209, 0.928672, 0.92889, 0.950655, 0.951123, 0.0107479, 0.997537, 1.37044e-06],
    ),
    "deepcr_decam": (
        [(19, 30), (20, 32), (20, 33), (21, 35), (22, 37), (25, 42), (60, 90), (5, 5)],
        [0.272263, 0.697071, 0.181766, 0.175142, 0.216799, 0.590004, 0.00156139, 0.000233384],
    ),
}


@pytest.mark.parametrize("name", PACKAGED)
def test_the_probabilities_are_those_that_the_package_once_gave(name):
    pixels, wanted = GOLDEN[name]
    found = probabilities(replace(detector(name), grow=False), a_frame())[tuple(np.transpose(pixels))]
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("name", PACKAGED)
def test_the_package_itself_is_never_imported(name, command):
    code = (
        "import sys; from hydra import compose, initialize_config_dir; from cosmicgate.config import build\n"
        f"with initialize_config_dir({str(ROOT / 'conf')!r}, version_base='1.3'):\n"
        f"    cfg = compose('evaluate', ['detector={name}'])\n"
        f"build(cfg.detector.{name}); print({{'cosmic_conn', 'deepCR', 'learned_models'}} & set(sys.modules))"
    )
    detector(name)
    done = command("-c", code)
    assert done.stdout.strip() == "set()", done.stderr


def test_the_four_released_networks_are_rows_of_their_own(real):
    found = configured("released", f"weights={real('weights')}")
    assert tuple(found) == RELEASED
    titles = ["deepCR (released)", "Att deepCR (released)", "Cosmic-CoNN (released)", "Att Cosmic-CoNN (released)"]
    assert [one.title for one in found.values()] == titles
    assert len({str(one.identity) for one in found.values()}) == 4
    for one in found.values():
        assert (one.threshold, one.tile, one.halo) == (0.5, 256, 0)
        assert probabilities(one, a_frame()).shape == (96, 128)


def test_the_identity_of_a_published_network_holds_its_weights_and_conventions(real):
    weights = real("weights")
    one = configured("released", f"weights={weights}")["released_deepcr"]
    other = published.released(UNet(), str(weights), "deepCR.pth", "another title", "DECam", tile=128)
    assert one.identity != other.identity
    assert one.identity[1] == other.identity[1]
    assert len(one.identity[1]) == 64


# What is missing


def test_a_missing_package_is_one_sentence_that_says_what_to_install(monkeypatch):
    def nothing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nothing)
    sentence = (
        "LACosmic: the package lacosmic is not installed; to install it: pip install .*-r requirements-baselines.txt"
    )
    with pytest.raises(Unavailable, match=f"^{sentence}$"):
        LACosmic()
    for name, package in zip(PACKAGED, ("cosmic-conn", "deepcr"), strict=True):
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose("evaluate", [f"detector={name}"])
        with pytest.raises(Exception, match=f"the package {package} is not installed") as caught:
            build(cfg.detector[name])
        assert isinstance(caught.value.__cause__, Unavailable)


def test_a_package_without_its_weights_is_one_sentence_too():
    with pytest.raises(Unavailable, match=r"^Somebody: numpy [\d.]+ has no file 'weights.pth'; .*baselines.txt$"):
        packaged("numpy", "weights.pth", "Somebody")


def test_released_networks_without_their_folder_say_what_to_give(tmp_path):
    with pytest.raises(Unavailable, match=r"deepCR \(released\): give weights=DIR"):
        published.released(UNet(), None, "deepCR.pth", "deepCR (released)", "DECam")
    with pytest.raises(Unavailable, match=r"deepCR \(released\): no file 'deepCR.pth' in "):
        published.released(UNet(), str(tmp_path), "deepCR.pth", "deepCR (released)", "DECam")


def test_files_that_are_no_such_weights_are_refused_with_their_name(tmp_path):
    (tmp_path / "torn.pth").write_bytes(b"PK\x03\x04 torn")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"module.inc.conv.conv.9.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for file, message in (("torn", "torn.pth: not a readable"), ("list", "got a list"), ("other", "is not a name")):
        with pytest.raises(ValueError, match=message):
            published.released(UNet(), str(tmp_path), f"{file}.pth", "deepCR (released)", "DECam")


@pytest.mark.parametrize(
    ("settings", "message"),
    [(dict(tile=100, multiple=16), "a tile of 100 px"), (dict(sky="mean"), "unknown sky 'mean'")],
)
def test_an_impossible_convention_is_refused_with_its_value(settings, message):
    with pytest.raises(ValueError, match=message):
        published.load(UNet(), "deepcr", "x", "deepcr", "deepCR", "DECam", **settings)


# The user's commands


@pytest.mark.slow
def test_the_tuned_settings_are_the_best_of_the_grid_and_make_a_detector(command, tmp_path):
    grid = ["--sigclip", "4", "8", "--sigfrac", "0.1", "0.5", "--objlim", "1", "4"]
    config = tmp_path / "astroscrappy_tuned.yaml"
    done = command("scripts/tune_classical.py", "astroscrappy", str(config), *TINY, f"data.root={command.data}", *grid)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    scores = [float(row[3]) for row in rows]
    assert len(rows) == 8
    assert scores == sorted(scores, reverse=True)
    tuned = build(yaml.safe_load(config.read_text())["astroscrappy_tuned"])
    assert [tuned.threshold, tuned.sigfrac, tuned.objlim] == [float(value) for value in rows[0][:3]]
    assert tuned.title == "Astro-SCRAPPY (tuned)"
