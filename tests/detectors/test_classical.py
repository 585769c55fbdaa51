"""Test that Astro-SCRAPPY and LACosmic give the masks of their packages, with settings by telescope."""

import importlib
from dataclasses import replace
from importlib import metadata
from itertools import pairwise
from types import SimpleNamespace

import astroscrappy
import numpy as np
import pytest
import yaml

from cosmicgate.config import build
from cosmicgate.detectors import for_telescope
from cosmicgate.detectors.classical import AstroScrappy, mask_saturated_stars
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.report.tables.cells import published
from helpers.configured_detectors import CLASSICAL, detector_of_config, field_image, import_original, make_frame
from helpers.train_command import TINY


@pytest.fixture
def calls(monkeypatch):
    """Replace both packages; return the list of the settings with which they are called."""
    settings_of_calls = []

    def find_nothing(image, *_, **settings):
        settings_of_calls.append(settings)
        return np.zeros(image.shape, bool), image

    def clean(image, **settings):
        return find_nothing(image, **settings)[::-1]

    monkeypatch.setattr(astroscrappy, "detect_cosmics", find_nothing)
    monkeypatch.setitem(importlib.sys.modules, "lacosmic", SimpleNamespace(remove_cosmics=clean))
    installed = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.4.0" if name == "lacosmic" else installed(name))
    return settings_of_calls


@pytest.mark.parametrize("telescope", ["decam", "0m4", "1m0", "2m0", ""])
@pytest.mark.parametrize("name", CLASSICAL)
def test_the_published_settings_have_the_objlim_of_the_telescope(name, telescope, calls):
    detector_of_config(f"{name}_published").detect(make_frame(telescope=telescope))
    key = "objlim" if name == "astroscrappy" else "contrast"
    assert {call[key] for call in calls} == {{"0m4": 0.5, "1m0": 2.0, "2m0": 2.0}.get(telescope, 1.0)}


@pytest.mark.parametrize(("telescope", "sigclip"), [("decam", 3), ("0m4", 15), ("1m0", 15), ("2m0", 15), ("", 3)])
@pytest.mark.parametrize("name", CLASSICAL)
def test_the_published_sigclip_is_3_on_decam_and_15_on_lco(name, telescope, sigclip):
    found = detector_of_config(f"{name}_published")
    assert for_telescope(found.threshold, telescope, "threshold") == sigclip
    assert {1, 3, 15, 20} <= set(found.sweep)


@pytest.mark.parametrize("name", CLASSICAL)
def test_the_published_settings_use_default_noise_and_the_fair_ones_that_of_the_frame(name, calls):
    frame = make_frame(gain=4.0, read_noise=7.0, saturation=30_000.0)
    gain = "gain" if name == "astroscrappy" else "effective_gain"
    for row, expected in ((f"{name}_published", (1.0, 6.5)), (name, (4.0, 7.0))):
        calls.clear()
        detector_of_config(row).detect(frame)
        assert {(call[gain], call["readnoise"]) for call in calls} == {expected}
    if name == "astroscrappy":
        assert calls[0]["satlevel"] == 120_000
        detector_of_config(f"{name}_published").detect(frame)
        assert calls[-1]["satlevel"] == 65_536, "the default of the package"


@pytest.mark.parametrize("name", CLASSICAL)
def test_only_the_published_settings_are_compared_with_the_papers_scores(name):
    row = {"test_set": "decam", "data_origin": "real", "benchmark": "decam"}
    assert published(row | {"detector": DetectorRecord.of(detector_of_config(f"{name}_published"))})
    assert not published(row | {"detector": DetectorRecord.of(detector_of_config(name))})


def test_both_packages_get_the_same_settings_by_their_own_names(calls):
    frame = make_frame(gain=3.0, read_noise=7.0, saturation=30_000.0)
    for name in CLASSICAL:
        replace(detector_of_config(name), sigfrac=0.1, threshold=5.0, sweep=()).detect(frame)
    scrappy, lacosmic = calls
    assert {k: scrappy[k] for k in ("sigclip", "sigfrac", "niter")} == {"sigclip": 5.0, "sigfrac": 0.1, "niter": 4}
    assert {k: scrappy[k] for k in ("gain", "readnoise", "satlevel")} == dict(gain=3.0, readnoise=7.0, satlevel=90_000)
    assert (lacosmic["cr_threshold"], lacosmic["neighbor_threshold"], lacosmic["maxiter"]) == (5.0, 0.5, 4)
    assert (lacosmic["effective_gain"], lacosmic["readnoise"]) == (3.0, 7.0)


def test_a_telescope_without_a_setting_is_refused_by_name():
    with pytest.raises(ValueError, match="objlim: expected a value for '2m0' or for 'other'"):
        AstroScrappy(objlim={"0m4": 0.5}).detect(make_frame(telescope="2m0"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(objlim={"decam": 0.0}), "objlim is 0.0"),
        (dict(sweep=[3, -1]), "sweep is -1"),
        (dict(niter=0), "niter is 0"),
        (dict(threshold=float("nan")), "threshold is nan"),
    ],
)
def test_an_invalid_setting_is_refused_with_its_value(settings, message):
    with pytest.raises(ValueError, match=f"Astro-SCRAPPY: {message}, expected a number above 0"):
        AstroScrappy(**settings)


def test_the_cache_key_holds_all_settings_and_the_version_but_no_names():
    plain = AstroScrappy()
    others = [dict(objlim=2.0), dict(sigfrac=0.3), dict(sweep=(3.0,)), dict(dilate_masks=False), dict(niter=1)]
    assert all(replace(plain, **other).cache_key != plain.cache_key for other in others)
    assert replace(plain, model="another", variant="fair", trained_on="x").cache_key == plain.cache_key
    assert metadata.version("astroscrappy") in plain.cache_key
    assert plain.cache_key[2]["grow"] is True, "results that earlier versions have cached are found"


@pytest.mark.parametrize("name", CLASSICAL)
def test_each_mask_of_a_sweep_is_that_of_the_package(name):
    found = replace(detector_of_config(name), sweep=(3.0, 6.0), sigfrac=0.1, objlim=1.0, dilate_masks=False)
    frame = make_frame()
    masks = found.detect(frame).masks
    for sigclip in (3.0, 6.0):
        if name == "astroscrappy":
            noise = dict(gain=4.0, readnoise=6.5, satlevel=180_000.0)
            theirs, _ = astroscrappy.detect_cosmics(field_image(), sigclip=sigclip, sigfrac=0.1, objlim=1.0, **noise)
        else:
            noise = dict(effective_gain=4.0, readnoise=6.5)
            _, theirs = import_original("lacosmic").remove_cosmics(field_image(), 1.0, sigclip, 0.1 * sigclip, **noise)
        assert theirs.any()
        assert np.array_equal(masks[sigclip], theirs)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_sweep_goes_from_many_pixels_to_few_and_includes_the_threshold(name):
    found, frame = detector_of_config(name), make_frame(field_image()[10:50, 20:70])
    masks = found.detect(frame).masks
    assert tuple(masks) == tuple(float(point) for point in found.sweep)
    assert min(masks) == 1
    assert max(masks) == 20
    areas = [int(mask.sum()) for mask in masks.values()]
    assert areas[0] > areas[-1] > 0
    assert all(later <= 1.01 * earlier for earlier, later in pairwise(areas))
    alone = replace(found, sweep=()).detect(frame).masks
    threshold = for_telescope(found.threshold, frame.telescope, "threshold")
    assert list(alone) == [threshold]
    assert np.array_equal(alone[threshold], masks[threshold])


@pytest.mark.parametrize("name", CLASSICAL)
def test_simulated_hits_are_found(name):
    mask = replace(detector_of_config(name), sweep=(6.0,)).detect(make_frame()).masks[6.0]
    assert mask[70, 20]
    assert mask[20:27, 30:44][np.arange(14) // 2, np.arange(14)].all()


def test_lacosmic_spares_saturated_stars_and_finds_a_saturated_hit():
    image = field_image()
    image[55:66, 85:96] = 45_000.0
    image[70, 20] = 45_000.0
    stars = mask_saturated_stars(image, 45_000.0)
    assert stars[55:66, 85:96].all()
    assert not stars[70, 20]
    mask = (
        replace(detector_of_config("lacosmic"), sweep=(), threshold=3.0, dilate_masks=False)
        .detect(make_frame(image))
        .masks[3.0]
    )
    assert not mask[55:66, 85:96].any()
    assert mask[70, 20]


@pytest.mark.slow
def test_tuning_writes_the_best_settings_of_the_grid_as_a_config(command, tmp_path):
    grid = ["--sigclip", "4", "8", "--sigfrac", "0.1", "0.5", "--objlim", "1", "4"]
    config = tmp_path / "astroscrappy.yaml"
    done = command("scripts/tune_classical.py", "astroscrappy", str(config), *TINY, f"data.root={command.data}", *grid)
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    scores = [float(row[3]) for row in rows]
    assert len(rows) == 8
    assert scores == sorted(scores, reverse=True)
    tuned = build(yaml.safe_load(config.read_text())["astroscrappy"])
    for telescope in ("decam", "other"):
        settings = [for_telescope(s, telescope, "it") for s in (tuned.threshold, tuned.sigfrac, tuned.objlim)]
        assert settings == [float(value) for value in rows[0][:3]]
    assert (tuned.model, tuned.variant) == ("Astro-SCRAPPY", "fair")
    lco = ("data=lco_simulated", "data.archive.sequences={1m0: 1}", "data.archive.shape=[128,128]")
    where = ("data.archive.seed=1", f"data.root={tmp_path}/lco")
    done = command("scripts/tune_classical.py", "astroscrappy", str(config), *lco, *where, *grid)
    assert done.returncode == 0, done.stderr
    both = build(yaml.safe_load(config.read_text())["astroscrappy"])
    assert both.threshold["decam"] == tuned.threshold["decam"], "settings of other telescopes are kept"
    assert {"decam", "other", "1m0"} <= set(both.threshold)
    assert "simulated" in config.read_text()
