"""``cosmicgate mask`` compares the frames of a night; a stopped run resumes and writes the same masks."""

import json
import os

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.masking import batch, compare_frames
from cosmicgate.masking.compare_frames import MEASUREMENTS_FOLDER, find_static_pixels, kept_measurement, measure_file
from cosmicgate.masking.options import MaskOptions
from helpers.mask_command import read_mask, run
from helpers.night_frames import simulate_night

NIGHT = simulate_night(frames=6, shape=(96, 112), stars=30, dither=10.0, fwhm=2.5, seed=1)


def write_night(folder, frames=NIGHT.frames, **cards):
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        header = fits.Header({"INSTRUME": "cam", "EXPTIME": 30.0} | cards)
        fits.writeto(folder / f"{number}.fits", frame, header)
    return folder


@pytest.fixture
def night(tmp_path):
    return write_night(tmp_path / "night")


def masks_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*_crmask.fits")}


@pytest.fixture
def measured_files(monkeypatch):
    """The names of the files that are measured."""
    names = []
    measured = compare_frames._measured
    monkeypatch.setattr(
        compare_frames, "_measured", lambda source, options: names.append(source.name) or measured(source, options)
    )
    return names


def test_static_pixels_are_named_and_counted_and_are_no_hits(night, model, tmp_path):
    done = run("mask", night, "-m", model, "--json", tmp_path / "s.json")
    assert done.exit_code == 0, done.output
    found = read_mask(night / "0_crmask.fits", "CRSTATIC")
    assert (found & NIGHT.static).sum() > 25
    assert not (found & ~NIGHT.static).any()
    summary = json.loads((tmp_path / "s.json").read_text())
    assert summary["static"] is True
    assert {row["static"] for row in summary["files"]} == {int(found.sum())}
    assert summary["static_pixels"] == 6 * found.sum()
    assert f"{found.sum()} static, " in done.output
    assert f"static pixels: {found.sum()} (" in done.output
    header = fits.getheader(night / "0_crmask.fits", "CRSTATIC")
    assert header["CRSTATPX"] == found.sum()
    for number in range(6):
        mask = read_mask(night / f"{number}_crmask.fits")
        assert not (mask & found).any()
        assert fits.getheader(night / f"{number}_crmask.fits", "CRMASK")["CRGOOD"] == found.size - found.sum()
        assert np.array_equal(read_mask(night / f"{number}_crmask.fits", "CRSTATIC"), found)


def test_a_file_alone_does_not_replace_a_mask_that_names_the_static_pixels_of_its_night(night, model):
    run("mask", night, "-m", model)
    before = (night / "0_crmask.fits").read_bytes()
    alone = run("mask", night / "0.fits", "-m", model)
    assert alone.exit_code == 1
    assert "names static pixels, which only five frames of the detector or more show: mask these" in alone.output
    assert (night / "0_crmask.fits").read_bytes() == before
    assert run("mask", night / "0.fits", "-m", model, "--no-static").exit_code == 0
    with fits.open(night / "0_crmask.fits") as hdus:
        assert "CRSTATIC" not in hdus


def test_without_the_comparison_static_pixels_are_hits_and_there_is_no_plane(night, model):
    assert run("mask", night, "-m", model, "--no-static").exit_code == 0
    assert not (night / MEASUREMENTS_FOLDER).exists()
    with fits.open(night / "0_crmask.fits") as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "CRMASK"]
        assert (hdus["CRMASK"].data.astype(bool) & NIGHT.static).any()


def test_four_frames_of_a_detector_are_not_compared(tmp_path, model):
    write_night(tmp_path / "night", NIGHT.frames[:4])
    write_night(tmp_path / "night" / "other", NIGHT.frames[4:], INSTRUME="other")
    done = run("mask", tmp_path / "night", "--recursive", "-m", model)
    assert done.exit_code == 0, done.output
    assert "not searched for, as no detector took 5 different frames or more" in done.output
    with fits.open(tmp_path / "night" / "0_crmask.fits") as hdus:
        assert "CRSTATIC" not in hdus


def test_the_images_of_each_detector_of_a_file_are_compared_with_their_own(tmp_path, model):
    other = simulate_night(frames=6, shape=(96, 112), stars=30, dither=10.0, fwhm=2.5, seed=2)
    for number, pair in enumerate(zip(NIGHT.frames, other.frames, strict=True)):
        images = [fits.ImageHDU(one, name=f"CCD{n}") for n, one in enumerate(pair)]
        fits.HDUList([fits.PrimaryHDU(), *images]).writeto(tmp_path / f"{number}.fits")
    assert run("mask", tmp_path, "-m", model).exit_code == 0
    for name, static in (("CCD0", NIGHT.static), ("CCD1", other.static)):
        found = read_mask(tmp_path / "3_crmask.fits", f"{name}_CRSTATIC")
        assert (found & static).sum() > 25
        assert not (found & ~static).any()


@pytest.mark.slow
@pytest.mark.parametrize("card", ["CCDCHIP", "CCDID", "EXTVER", "AMPNAME"])
def test_files_of_two_chips_of_a_camera_are_not_compared_with_each_other(tmp_path, model, card):
    other = simulate_night(frames=6, shape=(96, 112), stars=30, dither=10.0, fwhm=2.5, seed=2)
    for chip, night in enumerate((NIGHT, other), 1):
        for number, frame in enumerate(night.frames):
            image = fits.ImageHDU(frame, fits.Header({"INSTRUME": "acs", "EXTNAME": "SCI", card: chip}))
            fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / f"{chip}-{number}.fits")
    assert run("mask", tmp_path, "-m", model).exit_code == 0
    for chip, night in enumerate((NIGHT, other), 1):
        found = read_mask(tmp_path / f"{chip}-3_crmask.fits", "SCI_CRSTATIC")
        assert (found & night.static).sum() > 25
        assert not (found & ~night.static).any()


def test_a_second_run_measures_nothing_and_a_new_frame_is_the_only_one_measured(night, model, measured_files):
    run("mask", night, "-m", model)
    assert len(measured_files) == 6
    again = run("mask", night, "-m", model)
    assert again.output.count("up to date") == 6
    assert len(measured_files) == 6
    fits.writeto(
        night / "6.fits", simulate_night(7, shape=(96, 112), seed=1).frames[6], fits.Header({"INSTRUME": "cam"})
    )
    run("mask", night, "-m", model)
    assert measured_files[6:] == ["6.fits"]


def test_static_pixels_are_found_where_measurements_cannot_be_kept(night, model, tmp_path, temporary):
    run("mask", night, "-m", model, "-o", tmp_path / "masks")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / MEASUREMENTS_FOLDER).touch()  # as unusable as a folder of another user
    done = run("mask", night, "-m", model, "-o", tmp_path / "other")
    assert done.exit_code == 0, done.output
    assert "in 6 frames" in done.output
    assert masks_in(tmp_path / "other") == masks_in(tmp_path / "masks")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("moved", [False, True])
def test_the_measurements_of_another_night_of_the_same_names_sizes_and_times_are_not_used(tmp_path, moved):
    frames = [write_night(tmp_path / f"night{number}", NIGHT.frames[number : number + 1]) for number in (1, 2)]
    one, two = (folder / "0.fits" for folder in frames)
    for path in (one, two):
        os.utime(path, (0, 0))
    target = tmp_path / "masks" / "0_crmask.fits"
    kept = measure_file(one, target, MaskOptions(), tmp_path)
    if moved:
        two = two.replace(one)
    assert kept_measurement(two, target, MaskOptions()) is None
    assert measure_file(two, target, MaskOptions(), tmp_path) != kept
    assert kept.exists() != moved, "only a measurement of the same path is replaced"


def test_a_measurement_is_replaced_and_never_removed_while_another_run_may_read_it(night, tmp_path, monkeypatch):
    options, present = MaskOptions(), []
    kept = measure_file(night / "0.fits", night / "0_crmask.fits", options, night)
    write = compare_frames.atomic_write
    monkeypatch.setattr(
        compare_frames, "atomic_write", lambda path, content: (present.append(path.is_file()), write(path, content))
    )
    assert measure_file(night / "0.fits", night / "0_crmask.fits", options, night) == kept
    assert present == [True]
    fits.setval(night / "0.fits", "OBJECT", value="M31")
    assert measure_file(night / "0.fits", night / "0_crmask.fits", options, night) != kept
    assert not kept.exists()


def test_a_measurement_that_another_run_removes_is_left_out(night, monkeypatch):
    files = [night / f"{number}.fits" for number in range(6)]
    measured = {file: measure_file(file, file.with_suffix(".mask"), MaskOptions(), night) for file in files}
    compare = compare_frames.find_static

    def removing(members):
        measured[files[0]].unlink(missing_ok=True)
        return compare(members)

    monkeypatch.setattr(compare_frames, "find_static", removing)
    static = find_static_pixels(measured)
    assert static.maps[0].frames == 5
    assert not static.maps_for_file(files[0])
    assert all(static.maps_for_file(file) for file in files[1:])


@pytest.mark.parametrize("stop_at", ["measure_file", "mask_file"])
def test_a_run_that_was_stopped_and_resumed_writes_the_masks_of_one_that_was_not(
    night, model, tmp_path, monkeypatch, stop_at, measured_files
):
    run("mask", night, "-m", model, "-o", tmp_path / "whole")
    whole, calls = getattr(batch, stop_at), []

    def stopping(source, *rest, **more):
        calls.append(source)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(source, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(batch, stop_at, stopping)
        assert run("mask", night, "-m", model, "-o", tmp_path / "stopped").exit_code == 130
    before = len(measured_files)
    assert before == (9 if stop_at == "measure_file" else 12)
    assert run("mask", night, "-m", model, "-o", tmp_path / "stopped").exit_code == 0
    assert len(measured_files) == 12
    assert masks_in(tmp_path / "stopped") == masks_in(tmp_path / "whole")
    assert len(masks_in(tmp_path / "whole")) == 6


def test_a_night_cleaned_in_place_in_two_runs_is_that_of_one(tmp_path, model, monkeypatch):
    one, two = write_night(tmp_path / "one"), write_night(tmp_path / "two")
    assert run("mask", one, "-m", model, "--in-place", "--clean").exit_code == 0
    whole, calls = batch.mask_file, []

    def stopping(source, *rest, **more):
        calls.append(source)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return whole(source, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(batch, "mask_file", stopping)
        assert run("mask", two, "-m", model, "--in-place", "--clean").exit_code == 130
    done = run("mask", two, "-m", model, "--in-place", "--clean")
    assert done.exit_code == 0, done.output
    assert done.output.count("up to date") == 3
    for number in range(6):
        assert (one / f"{number}.fits").read_bytes() == (two / f"{number}.fits").read_bytes()


@pytest.mark.parametrize("words", [(), ("--clean",)])
def test_files_masked_in_place_stay_finished_if_only_the_static_pixels_differ(night, model, words):
    command = ("mask", "-m", model, "--in-place", *words)
    assert run(*command, night).exit_code == 0
    before = {path.name: path.read_bytes() for path in night.glob("?.fits")}
    with fits.open(night / "0.fits") as hdus:
        assert "CRSTATIC" in [hdu.name for hdu in hdus]
    for given in ([night / "0.fits"], [night, "--no-static"]):
        done = run(*command, *given)
        assert done.exit_code == 0, done.output
        assert "up to date" in done.output
        assert "0.fits: its masks were made with other static pixels" in done.stderr
    again = run(*command, night)
    assert "other static pixels" not in again.stderr
    assert again.stdout.count("up to date") == 6
    assert {path.name: path.read_bytes() for path in night.glob("?.fits")} == before
    other = run(*command, night, "--grow", 1)
    assert other.exit_code == 1
    assert "it has masks by cosmicgate already, made with other settings" in other.stderr


def test_new_frames_of_a_night_masked_in_place_are_masked_and_the_others_stay(tmp_path, model):
    frames = [frame.copy() for frame in simulate_night(8, shape=(96, 112), seed=1).frames]
    for number in (0, 1, 6, 7):
        frames[number][50, 60] += 3000  # known to be static only by all frames together
    night = write_night(tmp_path / "night", frames[:6])
    assert run("mask", night, "-m", model, "--in-place").exit_code == 0
    before = {path.name: path.read_bytes() for path in night.glob("*.fits")}
    write_night(tmp_path / "later", frames)
    for name in ("6.fits", "7.fits"):
        (tmp_path / "later" / name).rename(night / name)
    done = run("mask", night, "-m", model, "--in-place")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("up to date") == 6
    assert done.stderr.count("its masks were made with other static pixels") == 6
    assert read_mask(night / "7.fits", "CRSTATIC")[50, 60]
    assert {name: (night / name).read_bytes() for name in before} == before


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_compared(night, model):
    (night / "6.fits").write_text("no FITS")
    done = run("mask", night, "-m", model)
    assert done.exit_code == 1
    assert done.stderr.count("error: ") == 1
    assert "6.fits" in done.stderr
    assert (read_mask(night / "5_crmask.fits", "CRSTATIC") & NIGHT.static).sum() > 25


@pytest.mark.slow
def test_several_processes_write_the_same_masks_as_one(night, model, tmp_path):
    (night / "6.fits").write_text("no FITS")
    for jobs, name in (1, "one"), (2, "two"):
        done = run("mask", night, "-m", model, "-o", tmp_path / name, "--jobs", jobs)
        assert done.exit_code == 1, done.output
        assert done.stdout.count("pixels hit") == 6
        assert done.stderr.count("error: ") == 1
        assert "6.fits" in done.stderr
    assert masks_in(tmp_path / "one") == masks_in(tmp_path / "two")
    with fits.open(tmp_path / "two" / "0_crmask.fits") as hdus:
        assert "CRSTATIC" in [hdu.name for hdu in hdus]
