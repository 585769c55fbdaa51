"""From a camera's own exposures to a network by one command, which says why it cannot, and resumes."""

import ast
import errno
import inspect
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import cosmicgate
from cosmicgate.adaptation.labels import _static_pixels, without_static
from cosmicgate.adaptation.plan import Request, make_plan
from cosmicgate.adaptation.training import averaged
from cosmicgate.config import build
from cosmicgate.data.labelled_exposures import PEDESTAL
from cosmicgate.data.labelling.multi_exposure import read_exposure
from cosmicgate.data.lco.io import IGNORE_STATIC, MaskedSequence, read_sequence
from cosmicgate.data.sources.footprints import stamps
from cosmicgate.detectors.network import load_checkpoint_detector, load_pretrained_detector, weights_sha256_of
from cosmicgate.inference.cascade import Cascade
from cosmicgate.io.atomic import sha256_of
from cosmicgate.io.fits.frames import write_frame
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.io.fits.images import select_image
from cosmicgate.pretrained.card import COARSE, read_card, save_model, serialize
from cosmicgate.pretrained.checkpoint import data_config
from cosmicgate.pretrained.load import model_file
from cosmicgate.pretrained.registry import load_pretrained
from cosmicgate.release import default_threshold
from cosmicgate.training.run_lock import GUARD_LOCK
from cosmicgate.viewer.labels import HIT, MANUAL_UNKNOWN, NO_HIT, Labels, labels_path, write_labels
from helpers.field_exposures import write_field
from helpers.full_disk import full_disk
from helpers.killed_training import KILL_VARIABLE
from helpers.mask_command import read_mask, run
from helpers.repository import ROOT
from helpers.simulated_frames import dark_frame, tracks
from helpers.tiny_model import NETWORK, tiny_model, tiny_network

SMALL = {
    "trainer.max_epochs": 1,
    "data.windows.size": 32,
    "data.windows.count": 32,
    "data.validation_windows.size": 32,
    "data.validation_windows.count": 16,
    "data.density": 1500,
}


def settings(**more):
    return [f"{key}={value}" for key, value in (SMALL | {key.replace("__", "."): more[key] for key in more}).items()]


def options(**more):
    return [word for one in settings(**more) for word in ("--set", one)]


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A network with a cascade, whose coarse stage is the network itself."""
    folder = tmp_path_factory.mktemp("start")
    coarse = {COARSE + key: value for key, value in tiny_network().state_dict().items()}
    content, sha256 = serialize(tiny_network().state_dict() | coarse)
    parts = {key: getattr(Cascade, key) for key in ("cell", "margin")}
    about = {"network": NETWORK, "command": "", "data": "", "settings": parts | {"threshold": 0.0, "halo": 16}}
    card = read_card(tiny_model(folder, ring=False, cascade=about))
    return save_model(type(card)(**(vars(card) | {"sha256": sha256})), content, folder)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Three fields of three exposures each."""
    folder = tmp_path_factory.mktemp("night")
    for number in range(3):
        write_field(folder, f"field{number}", number, pointing=(150 + number, 2))
    return folder


@pytest.fixture(scope="module")
def adapted(night, start, tmp_path_factory):
    """The command, and the folder that it made."""
    folder = tmp_path_factory.mktemp("out") / "my_camera"
    words = ["adapt", night, "-o", folder, "--start", start, *options()]
    return words, run(*words), folder


@pytest.mark.slow
def test_one_command_leads_from_exposures_to_a_network_that_masks(adapted, night, tmp_path):
    _, done, folder = adapted
    assert done.exit_code == 0, done.output
    assert "found 9 exposures of 3 field(s)" in done.output
    frame = night / "field1-0.fits"
    assert run("mask", frame, "-m", folder, "-o", tmp_path).exit_code == 0
    found = cosmicgate.load(folder, check=False).mask(fits.getdata(frame))
    assert np.array_equal(read_mask(tmp_path / "field1-0_crmask.fits"), found)
    assert found.any()


@pytest.mark.slow
def test_it_says_what_was_found_what_is_missing_and_what_is_held_out(adapted):
    _, done, folder = adapted
    page = (folder / "report.html").read_text()
    for text in (
        *("field0-r-60s: 3 exposures of 60 s, filter r, 96 x 112 px, sky 151", "gain: 2 electrons per count"),
        *("read noise: 8 electrons, from the headers", "missing: darks", "held out for test: 3 exposure(s): field"),
    ):
        assert text in done.output
        assert text in page


@pytest.mark.slow
def test_the_card_has_scores_before_and_after_on_exposures_held_out(adapted):
    card = read_card(model_file(adapted[2]))
    assert card.name == "my_camera"
    assert card.trained_on.startswith(("my_camera, real, from Tiny", "nothing"))
    assert card.calibrated_on == "my_camera, real: exposures held out for validation, sky pixels"
    rates, thresholds = zip(*card.calibration, strict=True)
    assert list(thresholds) == sorted(thresholds, reverse=True)
    assert len(rates) >= 2
    scores = {(one["network"], one["data"], one["provenance"], one["metric"]) for one in card.scores}
    for when in ("before", "after"):
        assert (when, "my_camera", "real", "tpr_at_fpr_0.01pct") in scores
        assert (when, "my_camera_added_hits", "semi-real", "f1") in scores


def test_the_call_on_the_page_adapt_md_is_one_of_the_function():
    page = (ROOT / "docs" / "adapt.md").read_text()
    tree = ast.parse(page.split("```python\n")[1].split("```")[0])
    (call,) = (
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "cosmicgate.adapt"
    )
    words = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
    bound = inspect.signature(cosmicgate.adapt).bind(*map(ast.literal_eval, call.args), **words)
    assert {"gain", "read_noise"} <= set(bound.arguments)


@pytest.mark.slow
def test_a_held_out_field_is_not_trained_on(adapted):
    config = json.loads((adapted[2] / "training" / "provenance.json").read_text())["config"]
    fields = [set(one) for one in config["data"]["exposures"].values()]
    assert set.union(*fields) == {"field0-r-60s", "field1-r-60s", "field2-r-60s"}
    assert sum(len(one) for one in fields) == 3


@pytest.mark.slow
def test_the_adapted_weights_are_the_mean_of_those_before_and_after_the_training(adapted, start):
    _, _, folder = adapted
    before = load_pretrained(str(start))[0].state_dict()
    trained = load_checkpoint_detector(folder / "training").predictor.network
    mean = {key: (before[key] + value) / 2 for key, value in trained.state_dict().items() if value.is_floating_point()}
    trained.load_state_dict(trained.state_dict() | mean)
    rows = json.loads((folder / "training" / "results.json").read_text())["rows"]
    (weights,) = {row["detector"]["weights"] for row in rows if row["detector"]["variant"] != "before"}
    assert weights == weights_sha256_of(trained)


@pytest.mark.slow
def test_each_network_has_its_own_threshold_that_of_the_adapted_chosen_on_its_validation_exposures(adapted, start):
    _, _, folder = adapted
    rows = json.loads((folder / "training" / "results.json").read_text())["rows"]
    found = {row["detector"]["variant"]: row["threshold"] for row in rows}
    chosen = json.loads((folder / "training" / "threshold.json").read_text())
    assert found.pop("before") == read_card(start).threshold
    assert list(found.values()) == [chosen]
    data = build(data_config(folder / "training" / "checkpoints" / "best.ckpt"))
    averaged_network = averaged(
        load_pretrained_detector(str(start)), load_checkpoint_detector(folder / "training")
    ).predictor.network
    assert default_threshold(averaged_network, data) == chosen


@pytest.mark.slow
def test_the_cascade_is_tuned_for_the_network(adapted, night):
    image = fits.getdata(night / "field1-0.fits")
    fast, whole = (cosmicgate.load(adapted[2], check=False, fast=quick).probability(image) for quick in (True, False))
    searched = fast > 1e-9
    assert np.allclose(fast[searched], whole[searched], atol=1e-5)
    assert read_card(model_file(adapted[2])).cascade["hits"] > 0


@pytest.mark.slow
def test_the_same_command_again_has_nothing_to_do_and_another_is_refused(adapted):
    words, _, folder = adapted
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if not path.name.startswith(".")}
    again = run(*words)
    assert again.exit_code == 0, again.output
    assert "is finished, nothing to do" in again.output
    assert before == {path: path.stat().st_mtime_ns for path in before}
    other = run(*words, "--seed", "1")
    assert other.exit_code == 1
    assert "my_camera was started with other settings (seed is 1 and was 0): choose another folder" in other.output


def test_labels_only_stops_before_the_training_and_the_command_without_it_continues(
    night, start, tmp_path, monkeypatch
):
    words = ["adapt", *sorted(night.glob("field0-*.fits")), "-o", tmp_path / "mine", "--start", start]
    done = run(*words, "--labels-only")
    assert done.exit_code == 0, done.output
    assert "labelled field0-r-60s: " in done.output
    assert any(one.any() for one in read_sequence(tmp_path / "mine" / "labels" / "field0-r-60s_masks.fits").hits)
    assert {path.name for path in (tmp_path / "mine").iterdir() if path.name[0] != "."} == {"plan.json", "labels"}
    reached = []
    monkeypatch.setattr("cosmicgate.adaptation.run.train", lambda *_: reached.append(True) or interrupted())
    assert run(*words).exit_code == 130
    assert reached


def test_a_dry_run_in_python_gives_the_plan_and_writes_nothing(night, start, tmp_path):
    frames = sorted(night.glob("field0-*.fits"))
    plan = cosmicgate.adapt(frames, tmp_path / "mine", start=start, dry_run=True)
    assert plan.lines[0].startswith(f"found {len(frames)} exposures of 1 field")
    assert (plan.held_out, plan.is_better) == ({}, None)
    assert not (tmp_path / "mine").exists()


@pytest.mark.slow
def test_a_network_that_is_not_better_is_not_kept(night, tmp_path):
    frames = sorted(night.glob("field0-*.fits"))
    start = tiny_model(tmp_path / "start", ring=False)
    adaptation = cosmicgate.adapt(
        frames, tmp_path / "mine", start=start, settings=settings(module__optimizer__lr=0.0), gain=2.5
    )
    assert adaptation.is_better is False
    assert adaptation.average_precision[0] >= adaptation.average_precision[1]
    assert sorted(adaptation.held_out) == ["test", "validation"]
    assert f"held out for test: {len(adaptation.held_out['test'])} exposure(s)" in "\n".join(adaptation.lines)
    same = settings(module__optimizer__lr=0.0)
    assert cosmicgate.adapt(frames, tmp_path / "mine", start=start, settings=same, gain=2.5) == adaptation
    masker = adaptation.masker
    assert read_card(model_file(tmp_path / "mine")).trained_on == "nothing"
    weights, before = masker.network.state_dict(), load_pretrained(start)[0].state_dict()
    assert all(np.array_equal(weights[key], before[key]) for key in before)
    page = (tmp_path / "mine" / "report.html").read_text()
    assert "no better, so Tiny is kept" in page
    assert "--fast: not available, as tiny has no coarse stage" in page
    assert "gain: 2.5 electrons per count, as given" in page
    with pytest.raises(ValueError, match="no coarse stage"):
        cosmicgate.load(tmp_path / "mine", fast=True)


# ------------------------------------------------------------------------------- one image of several, static pixels


def interrupted(*_):
    """Stop before the training."""
    raise KeyboardInterrupt


def as_second_image(paths, name="CCD2", first_name="CCD1"):
    """Put the image of each file behind another one, as in the files of a mosaic camera."""
    for path in paths:
        image, header = fits.getdata(path, header=True)
        first = fits.ImageHDU(np.zeros_like(image) + 7, name=first_name)
        fits.HDUList([fits.PrimaryHDU(), first, fits.ImageHDU(image, header, name=name)]).writeto(path, overwrite=True)


@pytest.mark.slow
def test_hits_of_a_folder_of_darks_are_added_to_the_exposures(night, start, adapted, tmp_path):
    (tmp_path / "darks").mkdir()
    for number in range(2):
        dark = dark_frame(np.roll(tracks(9000, (96, 112)), 40 * number, axis=0), seed=number, name=f"dark-{number}")
        write_frame(dark, tmp_path / "darks" / f"{number}.fits")
    folder = tmp_path / "out" / "my_camera"
    done = run("adapt", night, "-o", folder, "--start", start, "--darks", tmp_path / "darks", *options())
    assert done.exit_code == 0, done.output
    assert "2 dark(s)" in done.output

    def hits(of):
        return sum(len(stamps(table, 1, 0)) for table in (of / "hits").glob("*.fits"))

    assert hits(folder) > hits(adapted[2]) + 15


def add_level(paths, level):
    for path in paths:
        image, header = fits.getdata(path, header=True)
        fits.writeto(path, image + level, header, overwrite=True)


@pytest.mark.parametrize(("exptime", "in_exposures"), [(60.0, 1000), (300.0, 1000), (60.0, 0)])
def test_the_level_of_darks_is_subtracted_where_exposures_have_it(tmp_path, start, exptime, in_exposures, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    frames, raw = (write_field(tmp_path / name, "a", 0) for name in ("reduced", "raw"))
    add_level(raw, in_exposures)
    darks = write_field(tmp_path / "darks", "d", 1, stars=0, EXPTIME=exptime, IMAGETYP="DARK", exposures=2)
    for number, path in enumerate(darks):  # no light
        noise = np.random.default_rng(number).normal(1000, 4, fits.getdata(path).shape)
        fits.writeto(path, np.rint(noise).astype(np.int32), fits.getheader(path), overwrite=True)
    assert run("adapt", *frames, "-o", tmp_path / "one", "--start", start).exit_code == 130
    done = run("adapt", *raw, "-o", tmp_path / "two", "--start", start, "--darks", tmp_path / "darks")
    assert done.exit_code == 130, done.output
    assert ("they count as reduced, no dark is subtracted" in done.output) == (not in_exposures)
    one, two = (read_sequence(tmp_path / name / "labels" / "a-r-60s_masks.fits") for name in ("one", "two"))
    assert np.sum(one.hits) > 60
    assert np.sum(np.not_equal(one.hits, two.hits)) <= 0.1 * np.sum(one.hits)
    pedestal = two.exposures[0].header.get(PEDESTAL)
    assert pedestal == pytest.approx(1000, abs=1) if in_exposures else pedestal is None


@pytest.mark.slow
def test_one_sky_in_several_filters_counts_as_one_field_held_out(tmp_path, start):
    for number, band in enumerate("gri"):
        write_field(tmp_path / "night", band, number, FILTER=band)
    done = run("adapt", tmp_path / "night", "-o", tmp_path / "mine", "--start", start, "--labels-only")
    assert done.exit_code == 0, done.output
    assert "note: few fields: other exposures of the held-out sky are trained on, with the same stars" in done.output


def test_what_a_hot_pixel_leaks_into_its_neighbours_is_no_hit(tmp_path):
    exposure = read_exposure(write_field(tmp_path, "a", 0, exposures=1)[0])
    hits, static = np.zeros((2, *exposure.frame.shape), bool)
    hits[20, 20:23] = static[20, 21] = True  # a hot pixel and its neighbours
    hits[40, 20:27] = static[40, 23] = True  # a track across one
    hits[60, 20:22] = True
    labelled = MaskedSequence((exposure,), (hits,), (np.zeros(hits.shape, np.uint8),))
    found = without_static(labelled, [static], 2)
    assert [int(found.hits[0][row].sum()) for row in (20, 40, 60)] == [0, 6, 2]
    assert np.array_equal(found.ignore[0][20, 19:24] > 0, [0, 1, 1, 1, 0])
    assert np.array_equal(found.ignore[0] & IGNORE_STATIC > 0, static)


@pytest.mark.slow
@pytest.mark.parametrize("ext", ["ccd2", "2", "CCD2,1"])
def test_ext_selects_an_image_of_each_file(tmp_path, start, ext, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    frames, alone = (write_field(tmp_path / name, "a", 0) for name in ("frames", "alone"))
    as_second_image(frames)
    several = run("adapt", tmp_path / "frames", "-o", tmp_path / "mine", "--start", start)
    assert several.exit_code == 1
    assert "choose one with ext" in several.output
    assert run("adapt", *frames, "-o", tmp_path / "one", "--start", start, "--ext", ext).exit_code == 130
    assert run("adapt", *alone, "-o", tmp_path / "two", "--start", start).exit_code == 130
    one, two = (read_sequence(tmp_path / name / "labels" / "a-r-60s_masks.fits") for name in ("one", "two"))
    assert np.array_equal(one.hits, two.hits)
    assert np.any(one.hits)


def test_an_image_that_a_file_lacks_is_named(night, tmp_path):
    done = run("adapt", night, "-o", tmp_path / "mine", "--ext", "CCD9", "--dry-run")
    assert done.exit_code == 1
    assert "there is no HDU 'CCD9'" in done.output


@pytest.mark.slow
@pytest.mark.parametrize("static", [True, False])
def test_pixels_that_flicker_in_all_fields_are_no_hits(tmp_path, start, static, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    flickering = ((40, 50), (40, 51))
    paths = [
        path for number in range(3) for path in write_field(tmp_path / "n", f"f{number}", number, pointing=(number, 2))
    ]
    for path in paths[::2]:  # in one or two exposures of each field
        image, header = fits.getdata(path, header=True)
        image[40, 50:52] += 1500
        fits.writeto(path, image, header, overwrite=True)
    touched = np.zeros(image.shape, np.uint8)
    touched[40, 50] = HIT  # labelled by hand
    with open_fits(paths[1]) as hdus:
        place = select_image(paths[1], hdus)
    labels = Labels(touched == HIT, touched == MANUAL_UNKNOWN, touched)
    write_labels(labels_path(paths[1], None), paths[1], "", place, True, labels)
    done = run("adapt", *paths, "-o", tmp_path / "mine", "--start", start, *["--no-static"] * (not static))
    assert done.exit_code == 130, done.output
    assert ("static pixels: 2 (" in done.output) == static
    assert ("2 static pixels" in done.output) == static
    read = [read_sequence(tmp_path / "mine" / "labels" / f"f{number}-r-60s_masks.fits") for number in range(3)]
    hits = sum(int(one[where]) for sequence in read for one in sequence.hits for where in flickering)
    named = [bool(one[where] & IGNORE_STATIC) for sequence in read for one in sequence.ignore for where in flickering]
    assert read[0].hits[1][40, 50]
    assert hits == 1 or not static
    assert named.count(False) == 1 if static else named.count(False) > 1


def test_a_folder_a_night_is_no_detector_of_its_own(tmp_path):
    for number in range(2):
        write_field(tmp_path / f"night{number}", "a", number, pointing=(150 + number, 2))
    plan = make_plan(Request([str(tmp_path / "night0"), str(tmp_path / "night1")]))
    assert [one.frames for one in _static_pixels(plan, tmp_path / "labels").maps] == [6]


@pytest.mark.slow
def test_static_pixels_are_no_hits_beside_an_exposure_of_another_detector(tmp_path, start, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    paths = [
        path for number in range(3) for path in write_field(tmp_path / "n", f"f{number}", number, pointing=(number, 2))
    ]
    for number, path in enumerate(paths):
        image, header = fits.getdata(path, header=True)
        image[40, 50:52] += 1500 * (number % 2 == 0)  # of the second field in its second exposure alone
        if number == 3:
            header["DETSEC"] = "[101:212,1:96]"  # too few of this window to be compared
        fits.writeto(path, image, header, overwrite=True)
    done = run("adapt", *paths, "-o", tmp_path / "mine", "--start", start)
    assert done.exit_code == 130, done.output
    labels = read_sequence(tmp_path / "mine" / "labels" / "f1-r-60s_masks.fits")
    assert not any(one[40, 50] for one in labels.hits)
    assert [bool(one[40, 50] & IGNORE_STATIC) for one in labels.ignore] == [False, True, True]


# ------------------------------------------------------------------------------------------------------- interruptions


def test_labels_are_not_made_again_after_an_interruption(night, start, tmp_path, monkeypatch):
    words = ["adapt", *sorted(night.glob("field0-*.fits")), "-o", tmp_path / "mine", "--start", start, *options()]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cosmicgate.adaptation.run.train", interrupted)
        patched.setattr(sys, "argv", ["cosmicgate", *map(str, words)])
        stopped = run(*words)
    assert stopped.exit_code == 130
    assert "stopped; resume with: cosmicgate adapt" in stopped.output
    assert not list((tmp_path / "mine").glob("*.safetensors"))
    labels = {path: path.stat().st_mtime_ns for path in (tmp_path / "mine" / "labels").iterdir()}
    with monkeypatch.context() as patched:
        patched.setattr("cosmicgate.adaptation.run.train", interrupted)
        assert run(*words).exit_code == 130
    assert labels == {path: path.stat().st_mtime_ns for path in labels}
    assert len(labels) == 2


def test_pixels_labelled_by_hand_keep_these_labels(night, start, tmp_path, monkeypatch):
    frames, folder = sorted(night.glob("field0-*.fits")), tmp_path / "mine"
    words = ["adapt", *frames, "-o", folder, "--start", start, "--truth", tmp_path / "truth", *options()]
    touched = np.zeros(fits.getdata(frames[1]).shape, np.uint8)
    touched[40:42, 50], touched[60:90, 20:90], touched[90] = HIT, NO_HIT, MANUAL_UNKNOWN

    def write(save_id=""):
        with open_fits(frames[1]) as hdus:
            place = select_image(frames[1], hdus)
        labels = Labels(touched == HIT, touched == MANUAL_UNKNOWN, touched, save_id=save_id)
        return write_labels(labels_path(frames[1], tmp_path / "truth"), frames[1], "", place, True, labels)

    def interrupted(*_):
        raise KeyboardInterrupt

    saved = write()
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    assert run(*words).exit_code == 130
    found = read_sequence(folder / "labels" / "field0-r-60s_masks.fits")
    hits, ignore = found.hits[1], found.ignore[1]
    assert np.array_equal(hits[touched > 0], (touched == HIT)[touched > 0])
    assert not ignore[(touched == HIT) | (touched == NO_HIT)].any()
    assert (ignore[touched == MANUAL_UNKNOWN] > 0).all()
    assert found.hits[0].any(), "the other exposures keep their labels by comparison"
    write(saved)
    done = run(*words)
    assert done.exit_code == 1
    assert "manual labels were saved or changed after" in done.output


def test_labels_of_two_exposures_or_of_another_version_of_one_are_refused(tmp_path, start):
    nights = [write_field(tmp_path / f"n{number}", "a", number, pointing=(150 + number, 2)) for number in range(2)]
    path, truth = nights[0][1], tmp_path / "truth"
    with open_fits(path) as hdus:
        place = select_image(path, hdus)
    hits = np.zeros(place.shape, bool)
    hits[40:42, 50] = True
    labels = Labels(hits, ~hits, hits * np.uint8(HIT))
    write_labels(labels_path(path, truth), path, sha256_of(path), place, True, labels)

    def plan(*frames):
        return run("adapt", *frames, "-o", tmp_path / "mine", "--start", start, "--truth", truth, "--dry-run")

    done = plan(*nights[0])
    assert done.exit_code == 0, done.output
    both = plan(*nights[0], *nights[1])
    assert both.exit_code == 1
    assert f"{path} and {nights[1][1]} have the same file of labels, {labels_path(path, truth)}" in both.output
    fits.setval(path, "OBSERVER", value="somebody")
    changed = plan(*nights[0])
    assert changed.exit_code == 1
    assert f"{path}: the labels are of another version of this file, or of another file of this name" in changed.output


@pytest.mark.parametrize("alone", [True, False])
def test_labels_of_an_image_of_several_are_read_by_ext(tmp_path, start, alone, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    frames = write_field(tmp_path / "night", "a", 0)
    as_second_image(frames, first_name="WEIGHT" if alone else "CCD1")
    shape, saved = fits.getdata(frames[1], "CCD2").shape, {}
    for number, rows in ((1, slice(60, 62)), (2, slice(40, 42))):
        name = f"CCD{number}"
        with open_fits(frames[1]) as hdus:
            place = select_image(frames[1], hdus, number)
        touched = np.zeros(shape, np.uint8)
        touched[rows, 50] = HIT
        saved[name] = touched
        if name == "CCD2" or not alone:  # a file with one image of the sky has labels TRUTH, otherwise CCD2_TRUTH
            labels = Labels(touched == HIT, touched == MANUAL_UNKNOWN, touched)
            write_labels(labels_path(frames[1]), frames[1], "", place, alone, labels)
    words = ["adapt", *frames, "-o", tmp_path / "mine", "--start", start]
    done = run(*words, "--ext", "CCD2")
    assert done.exit_code == 130, done.output
    hits = read_sequence(tmp_path / "mine" / "labels" / "a-r-60s_masks.fits").hits[1]
    assert hits[saved["CCD2"] == HIT].all()
    assert not hits[saved["CCD1"] == HIT].any()
    assert "a-1: 2 pixels were labelled by hand" in (tmp_path / "mine" / "labels" / "a-r-60s.json").read_text()


# What is being written when the command is killed, in the order of the stages; "train 1": a batch of the second epoch.
STAGES = (
    *("plan.json 0", "3.npz 0", "*_masks.fits 0", "field0-r-60s.json 0", "validation-*.fits 0"),
    *("*-1-???????????????? 0", "provenance.json 0", "best.ckpt 0", "last.ckpt 0", "train 1", "*-*-*.npz 0"),
    *("masks_mine.png 0", "results.json 0", "calibration.json 0", "cascade.json 0", "report.html 0", "mine.json 0"),
)
# Files that are not made again.
KEPT = (
    "plan.json",
    "labels/static/*",
    "labels/*.json",
    "hits/*",
    "frames/*/*",
    "training/frames/*",
    "training/[cr]*.json",
)


def results_of(folder):
    """Read the results of an adaptation, without the path of its folder."""
    read = {}
    for name in ("mine.json", "labels/field0-r-60s.json", "training/results.json", "training/metrics.csv"):
        read[name] = (folder / name).read_text().replace(str(folder), "FOLDER")
    sequence = read_sequence(folder / "labels" / "field0-r-60s_masks.fits")
    labels = [one.tobytes() for one in (*sequence.hits, *sequence.ignore)]
    return read | {"labels": labels, "weights": (folder / "mine.safetensors").read_bytes()}


@pytest.mark.slow
def test_an_adaptation_killed_at_every_stage_equals_one_that_was_not(start, tmp_path, command):
    write_field(tmp_path / "night", "field0", 0, exposures=5)
    more = options(trainer__max_epochs=2, callbacks__kill___target_="helpers.killed_training.KillAt")
    program = "from cosmicgate.cli import app\nfrom helpers.killed_training import send_signal_before_rename\n"
    (tmp_path / "program.py").write_text(f"{program}send_signal_before_rename()\napp()\n")
    whole, killed = (tmp_path / name / "mine" for name in ("whole", "killed"))

    def adapt(folder, at="", code=0):
        words = ("adapt", tmp_path / "night", "-o", folder, "--start", start, *more)
        process = command.start("program.py", *map(str, words), cwd=tmp_path, **{KILL_VARIABLE: at})
        out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"{at}: {out}{err}"

    adapt(whole)
    kept = {}
    for stage in STAGES:
        adapt(killed, f"SIGKILL {stage}", -9)
        finished = [path for pattern in KEPT for path in killed.glob(pattern) if "/." not in str(path)]
        kept |= {path: path.stat().st_mtime_ns for path in finished}
    adapt(killed)
    assert results_of(killed) == results_of(whole)
    assert len(kept) > 60
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what was finished is not made again"
    hidden = {path.name for path in killed.rglob(".*")}
    assert hidden <= {GUARD_LOCK}, "no temporary file, no lock"


# ------------------------------------------------------------------------------------------------------------ refusals


def two_exposures(folder):
    write_field(folder, "a", 0, exposures=2)
    return [], "expected 3 exposures or more of a field, got 2 (a-0.fits, a-1.fits)"


def two_shapes(folder):
    write_field(folder, "a", 0)
    write_field(folder, "b", 1, shape=(96, 96), pointing=(10, 2))
    return [], "expected frames of one camera, with one shape, got 96 x 96 and 96 x 112 px"


def two_shapes_in_a_group(folder):
    write_field(folder, "a", 0)
    write_field(folder, "b", 1, shape=(96, 96))
    return ["--group", "folder"], "expected exposures of one shape, got 96 x 112 and 96 x 96 px"


def two_filters_in_a_group(folder):
    write_field(folder, "a", 0)
    write_field(folder, "b", 1, exposures=1, FILTER="g")
    return ["--group", "folder"], "expected exposures in one filter, got 'g' and 'r'"


def two_times_in_a_group(folder):
    write_field(folder, "a", 0)
    write_field(folder, "b", 1, exposures=1, EXPTIME=30.0)
    return ["--group", "folder"], "expected exposures of one time, got 30 and 60 s"


def no_stars(folder):
    write_field(folder, "a", 0, stars=0)
    return [], "no exposure shows 3 stars, by which the exposures could be aligned"


def trails(folder):
    write_field(folder, "a", 0, length=5.0)
    return [], "the stars of all exposures are trailed"


def a_frame_given_twice(folder):
    first = write_field(folder, "a", 0)[0]
    (folder / "copies").mkdir()
    shutil.copy(first, folder / "copies" / "z.fits")
    return [
        folder / "copies"
    ], f"{first} and {folder / 'copies' / 'z.fits'}: their pixels are the same: a frame is given"


def a_path_given_twice(folder):
    return [write_field(folder, "a", 0)[0]], "a-0.fits is given twice"


def another_file(content, name="z.fits"):
    """Add a file that is no exposure."""

    def given(folder, content=content):
        first = write_field(folder, "a", 0)[0]
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is None:
            (folder / name).write_bytes(first.read_bytes()[:11520])
        else:
            fits.writeto(folder / name, content, fits.getheader(first))
        return [], f"{name}: {REASONS[content if isinstance(content, bytes) else np.shape(content)]}"

    return given


REASONS = {
    b"": "not a complete FITS file (it is empty)",
    b"no FITS": "not a complete FITS file (it does not begin with SIMPLE",
    (): "not a complete FITS file (34368 bytes of HDU 0 are missing)",
    (5, 96, 112): "",
    (96, 112, 3): "",
    (112,): "",
}


def a_dark(folder):
    write_field(folder, "a", 0, IMAGETYP="DARK")
    return [], "its IMAGETYP is dark: expected exposures of the sky; give each dark, or their folder, with --darks"


def a_dark_by_obstype(folder):
    write_field(folder, "a", 0, OBSTYPE="DARK")
    return [], "its OBSTYPE is dark: expected exposures of the sky; give each dark, or their folder, with --darks"


def a_bias_without_a_kind(folder):
    write_field(folder, "a", 0, EXPTIME=0.0)
    return [], "a-r-0s: expected exposures of some seconds, got 0 s"


def a_dark_given_twice(folder):
    write_field(folder, "a", 0)
    first = write_field(folder / "darks", "d", 1, exposures=1)[0]
    shutil.copy(first, folder / "darks" / "e.fits")
    return ["--darks", folder / "darks"], f"{first} and {folder / 'darks' / 'e.fits'}: their pixels are the same"


def a_folder_without_labels(folder):
    write_field(folder, "a", 0)
    return ["--truth", folder / "none"], "none: expected labels of the exposures, such as a-"


def a_light_as_dark(folder):
    write_field(folder, "a", 0)
    path = write_field(folder / "darks", "d", 1, exposures=1, IMAGETYP="Light Frame")[0]
    return ["--darks", folder / "darks"], f"{path}: its IMAGETYP is light frame: expected a dark"


def a_bias_in_the_level(folder):
    add_level(write_field(folder, "a", 0), 1000)
    return [], "a-r-60s: the sky noise is 0.43 times that expected from gain, read noise and sky level: give the darks"


def a_colour_mosaic(folder):
    write_field(folder, "a", 0, BAYERPAT="RGGB")
    return [], "a-0.fits: a colour mosaic (BAYERPAT = 'RGGB'): expected exposures in one filter"


def an_x_trans_mosaic(folder):
    write_field(folder, "a", 0, BAYERPAT="X-TRANS")
    return [], "a-0.fits: a colour mosaic (larger than 2x2 pixels): expected exposures in one filter"


def no_gain(folder):
    write_field(folder, "a", 0, GAIN=None)
    return [], "the header lacks gain"


def no_frames(folder):
    folder.mkdir()
    return [], "expected exposures, found no FITS file"


@pytest.mark.parametrize(
    "given",
    [
        *(two_exposures, two_shapes, two_shapes_in_a_group, no_stars, trails, a_frame_given_twice, a_path_given_twice),
        *(two_filters_in_a_group, two_times_in_a_group),
        *(a_dark_by_obstype, a_bias_without_a_kind, a_dark_given_twice, a_folder_without_labels),
        *(a_light_as_dark, a_bias_in_the_level, a_colour_mosaic, an_x_trans_mosaic),
        *(a_dark, no_gain, no_frames, another_file(b""), another_file(b"no FITS"), another_file(None)),
        *(another_file(np.zeros(shape, np.float32)) for shape in ((5, 96, 112), (96, 112, 3), (112,))),
    ],
)
def test_exposures_that_cannot_be_used_are_refused_in_a_sentence(given, tmp_path):
    more, sentence = given(tmp_path / "night")
    done = run("adapt", tmp_path / "night", *more, "-o", tmp_path / "mine", "--dry-run")
    assert done.exit_code == 1
    assert sentence in done.output
    assert done.output.count("error: ") == 1
    assert not (tmp_path / "mine").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--set", "trainer.epochs=3"], "trainer.epochs: unknown key"),
        (["--set", "epochs"], "epochs: expected KEY=VALUE"),
        (["--align", "guess"], "align='guess': expected one of auto, wcs, stars"),
        (["--thickness", "20"], "thickness=20.0, pixel_size=None: expected both, in micrometres, or neither"),
        (["--start", "nobody"], "no network 'nobody'"),
        (["--seed", "-1"], "seed=-1: expected a whole number from 0 on"),
        (["--set", "a=[1"], "a=[1: expected KEY=VALUE"),
        (["--set", "trainer=3"], "trainer: got 3, expected a node"),
        (["--set", "callbacks.best=null"], "callbacks.best: got None, expected a node"),
        (["--set", "trainer.max_epochs=0"], "trainer.max_epochs: got 0, expected 1 or more"),
        (["--set", "trainer.max_epochs=-2"], "You passed in -2"),
        (["--set", "module.optimizer.lr=-1"], "Invalid learning rate: -1"),
        (["--set", "data.batch_size=0"], "batch_size=0, num_workers=0: expected 1 patch or more"),
        (["--set", "data.windows.count=0"], "size=128, count=0: expected crops of 1 px or more, and 1 crop or more"),
        (["--set", "data.windows.on_hits=3"], "on_hits=3: expected a fraction"),
        (["--set", "data.density=-5"], "injections_per_exposure=2, density=-5: expected numbers from 0 on"),
    ],
)
def test_a_wrong_setting_is_refused_before_any_work(night, words, sentence, tmp_path):
    done = run("adapt", night, "-o", tmp_path / "mine", *words)
    assert done.exit_code == 1
    assert sentence in done.output
    assert not (tmp_path / "mine" / "plan.json").exists()


def test_exposures_of_different_sky_are_refused(tmp_path):
    for number in range(3):
        write_field(tmp_path / "night", f"f{number}", number, exposures=1, pointing=(150 + number, 2))
    done = run("adapt", tmp_path / "night", "-o", tmp_path / "mine", "--group", "FILTER")
    assert done.exit_code == 1
    assert "no field could be compared: r: f0-0 and f1-0: they share no sky" in done.output
    assert not list((tmp_path / "mine").glob("*.safetensors"))


def test_different_fields_without_a_wcs_are_refused_by_their_stars(tmp_path):
    missing = dict.fromkeys(("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2"))
    for number in range(3):
        write_field(tmp_path / "night", f"f{number}", number, exposures=1, **missing, OBJECT="field")
    done = run("adapt", tmp_path / "night", "-o", tmp_path / "mine")
    assert done.exit_code == 1
    assert "no field could be compared: field-r-60s: f0-0: its header has no solved WCS, and " in done.output


@pytest.mark.slow
def test_a_full_disk_is_reported_at_every_stage_and_the_same_command_resumes(night, start, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    words = ["adapt", *sorted(night.glob("field0-*.fits")), "-o", folder, "--start", start, *options()]

    def stopped_before(stage):
        with monkeypatch.context() as patched:
            patched.setattr(f"cosmicgate.adaptation.run.{stage}", interrupted)
            done = run(*words)
        assert done.exit_code == 130, done.output

    def refused(size, name):
        with full_disk(size):
            done = run(*words)
        assert done.exit_code == 1, done.output
        assert done.output.count("error: ") == 1
        assert os.strerror(errno.EFBIG) in done.output or "is the disk full?" in done.output  # from NumPy
        assert name in done.output.partition("error: ")[2]
        assert {path.name for path in folder.rglob(".*")} <= {GUARD_LOCK}, "no temporary file, no lock"

    refused(1500, "plan.json")
    refused(12_000, "field0-r-60s_masks.fits")
    stopped_before("train")  # the labels are larger than what follows
    refused(40_000, str(folder / "frames" / "field0-r-60s-"))
    refused(70_000, "best.ckpt")
    stopped_before("package_network")


def test_a_field_that_cannot_be_compared_is_left_out_and_named(tmp_path):
    write_field(tmp_path, "good", 0)
    write_field(tmp_path, "few", 1, exposures=2, pointing=(10, 2))
    done = run("adapt", tmp_path, "-o", tmp_path / "mine", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "left out: few-r-60s: expected 3 exposures or more of a field, got 2" in done.output


def test_a_folder_with_other_files_is_not_used(night, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = run("adapt", night, "-o", tmp_path)
    assert done.exit_code == 1
    assert "has other files in it: choose another folder" in done.output


def test_a_path_that_cannot_be_the_folder_is_refused(night, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name, sentence in (("file", "is a file: expected a folder"), ("general", "a network of the package is called")):
        done = run("adapt", night, "-o", tmp_path / name)
        assert done.exit_code == 1
        assert sentence in done.output


def test_a_folder_started_with_other_settings_is_refused_and_the_difference_named(start, tmp_path, monkeypatch):
    monkeypatch.setattr("cosmicgate.adaptation.run.train", interrupted)
    write_field(tmp_path / "night", "a", 0)
    network = Path(shutil.copytree(start.parent, tmp_path / "start")) / start.name
    words = ["adapt", tmp_path / "night", "-o", tmp_path / "mine", "--start", network, *options()]
    assert run(*words).exit_code == 130

    def refused(*more):
        done = run(*words, *more)
        assert done.exit_code == 1, done.output
        return done.output

    assert "(gain is 3.0 and was None)" in refused("--gain", "3")
    assert "(settings is ['threshold=0.4'] and was [])" in refused("--set", "threshold=0.4")
    added = write_field(tmp_path / "more", "b", 1)[0]
    shutil.copy(added, tmp_path / "night")
    assert f"{tmp_path / 'night' / added.name} was added after" in refused()
    (tmp_path / "night" / added.name).unlink()
    content, sha256 = serialize(tiny_network().state_dict())
    save_model(replace(read_card(network), sha256=sha256, cascade=None), content, network.parent)
    assert f"the network {network} has changed since" in refused()
    save_model(replace(read_card(network), name="mine"), content, tmp_path / "mine")
    done = run(*words)
    assert done.exit_code == 0, done.output
    assert "is finished, nothing to do" in done.output, "a finished adaptation needs its initial network no more"


def test_a_missing_extra_is_named(night, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("cosmicgate.adaptation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "astroalign", None)
    done = run("adapt", night, "-o", tmp_path / "mine")
    assert done.exit_code == 2
    assert "the package astroalign is not installed: pip install '.[label]' in a clone of cosmicgate" in done.output
