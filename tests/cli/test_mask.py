"""Test ``cosmicgate mask``, ``models``, ``info`` and ``show``: files, messages, exit codes, interruptions."""

import errno
import gzip
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from matplotlib.image import imread
from typer.testing import CliRunner

import cosmicgate
from cosmicgate.cli import app
from cosmicgate.cli.show import RED, draw, image_and_hits
from cosmicgate.masking.compare_frames import MEASUREMENTS_FOLDER
from helpers.checkpoints import FAULTY_CHECKPOINTS, write_checkpoint
from helpers.full_disk import full_disk
from helpers.mask_command import SELF_SIGNAL, SHAPE, output_text, read_mask, run, start_process
from helpers.repository import ROOT
from helpers.tiny_model import hit, sky, tiny_model


@pytest.fixture
def night(tmp_path):
    """Write three frames; return their folder."""
    (tmp_path / "night").mkdir()
    for number in range(3):
        fits.writeto(tmp_path / "night" / f"{number}.fits", sky(SHAPE, number))
    return tmp_path / "night"


# ------------------------------------------------------------------------------------------------- cosmicgate mask


def test_inputs_whose_masks_would_have_one_name_are_refused(night, model):
    (night / "0.fits.gz").write_bytes(gzip.compress((night / "0.fits").read_bytes()))
    done = run("mask", night, "-m", model, "-o", night / "masks")
    assert done.exit_code == 2
    assert "leave one out, or give each a folder of its own with -o" in output_text(done)


def test_the_advice_for_outputs_of_one_name_keeps_all_masks(tmp_path, model):
    for name in ("night1", "night2"):
        (tmp_path / name).mkdir()
        fits.writeto(tmp_path / name / "a.fits", sky(SHAPE))
    done = run("mask", tmp_path / "night1", tmp_path / "night2", "-m", model, "-o", tmp_path / "masks")
    assert done.exit_code == 2
    assert "give each folder one of its own with -o, or mask their common folder with --recursive" in output_text(done)
    done = run("mask", tmp_path, "--recursive", "-m", model, "-o", tmp_path / "masks")
    assert done.exit_code == 0
    assert len(list((tmp_path / "masks").rglob("a_crmask.fits"))) == 2


@pytest.mark.parametrize("kind", [[], ["--append"], ["--clean"]])
def test_an_output_that_would_not_be_gzipped_cannot_be_named_gz(night, model, kind):
    done = run("mask", night / "0.fits", "-m", model, *kind, "-o", night / "m.fits.gz")
    assert done.exit_code == 2
    assert "cannot be gzipped" in output_text(done)


def test_an_overscan_is_not_searched_and_the_output_says_so(tmp_path, model):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE), fits.Header({"BIASSEC": "[1:8,1:40]"}))
    done = run("mask", tmp_path / "a.fits", "-m", model)
    assert done.exit_code == 0
    assert "its overscan (BIASSEC = '[1:8,1:40]') is not searched" in output_text(done)


@pytest.mark.parametrize("word", ["TRIMSEC", "DATASEC"])
def test_what_lies_outside_the_data_is_overscan_unless_it_is_most_of_the_image(tmp_path, model, word):
    sections = {"a": (f"[5:{SHAPE[1] - 3},1:{SHAPE[0]}]", 7), "amplifier": (f"[1:{SHAPE[1] // 2},1:{SHAPE[0]}]", 0)}
    for name, (text, _) in sections.items():
        fits.writeto(tmp_path / f"{name}.fits", sky(SHAPE), fits.Header({word: text}))
    done = run("mask", tmp_path, "-m", model)
    assert f"its overscan (outside {word} = '{sections['a'][0]}') is not searched" in output_text(done)
    for name, (_, columns) in sections.items():
        searched = fits.getheader(tmp_path / f"{name}_crmask.fits", "CRMASK")["CRGOOD"]
        assert searched == SHAPE[0] * (SHAPE[1] - columns)


def test_a_mask_of_many_bad_pixels_is_reported_and_no_mask_searches_them(tmp_path, model):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(sky(SHAPE), name="SCI"), fits.ImageHDU(hit(SHAPE).astype(int), name="DQ")]
    hdus[2].data[20:] = 1
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    done = run("mask", tmp_path / "a.fits", "-m", model)
    assert "the mask DQ marks 5" in output_text(done)
    assert not read_mask(tmp_path / "a_crmask.fits", "SCI_CRMASK").any()
    assert run("mask", tmp_path / "a.fits", "-m", model, "--no-mask").exit_code == 0
    np.testing.assert_array_equal(read_mask(tmp_path / "a_crmask.fits", "SCI_CRMASK"), hit(SHAPE))


def test_a_second_run_leaves_finished_masks_alone(night, model, tmp_path):
    first = run("mask", night, "-m", model, "--json", tmp_path / "s.json")
    assert first.exit_code == 0, first.output
    summary = json.loads((tmp_path / "s.json").read_text())
    assert [Path(row["file"]).name for row in summary["files"]] == ["0.fits", "1.fits", "2.fits"]
    assert {row["status"] for row in summary["files"]} == {"done"}
    assert (summary["done"], summary["failed"], summary["hits"]) == (3, 0, 12)
    assert summary["megapixels"] == pytest.approx(3 * 40 * 56 / 1e6)
    for number in range(3):
        np.testing.assert_array_equal(read_mask(night / f"{number}_crmask.fits"), hit(SHAPE))
        assert f"{number}.fits: 4 pixels hit (0.179 %)" in first.output
    before = {path: path.stat().st_mtime_ns for path in night.iterdir()}
    again = run("mask", night, "-m", model, "--json", tmp_path / "again.json")
    assert again.exit_code == 0
    assert again.output.count("up to date") == 3
    counts = ("images", "megapixels", "hits", "fraction", "static")
    finished = json.loads((tmp_path / "again.json").read_text())
    assert {row["status"] for row in finished["files"]} == {"finished"}
    for one, other in zip(summary["files"], finished["files"], strict=True):
        assert [one[key] for key in counts] == [other[key] for key in counts]
    assert {path: path.stat().st_mtime_ns for path in night.iterdir()} == before


@pytest.mark.parametrize("kind", [[], ["--append"]], ids=["mask", "append"])
def test_masks_of_another_image_of_the_file_are_not_lost(tmp_path, model, kind):
    hdus = [fits.ImageHDU(sky(SHAPE, number), name="SCI", ver=number) for number in (1, 2)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "a.fits")
    command = ("mask", tmp_path / "a.fits", "-m", model, *kind)
    assert run(*command, "--ext", "SCI,1").exit_code == 0
    other = run(*command, "--ext", "SCI,2")
    assert other.exit_code == 1
    assert "has masks of other images of the file (HDU 1), which would be lost: name all images" in other.output
    assert run(*command, "--ext", "SCI,2", "--overwrite").exit_code == 0
    assert run(*command).exit_code == 0, "both"


@pytest.mark.parametrize("kind", [[], ["--append"]], ids=["mask", "append"])
def test_masks_of_another_file_of_the_same_name_are_replaced_with_a_warning(night, model, tmp_path, kind):
    (tmp_path / "other").mkdir()
    fits.writeto(tmp_path / "other" / "0.fits", sky(SHAPE, 7))
    out = ("-m", model, "-o", tmp_path / "masks", "--json", tmp_path / "s.json", *kind)
    for more in ([], ["--grow", "1"]):
        assert "replaces" not in run("mask", night / "0.fits", *out, *more).stderr
    done = run("mask", tmp_path / "other", *out)
    assert done.exit_code == 0, done.output
    output = tmp_path / "masks" / ("0_crmasked.fits" if kind else "0_crmask.fits")
    text = f"{output} replaces the masks of another file of this name, or of an earlier version of it"
    assert f"warning: {tmp_path / 'other' / '0.fits'}: {text}" in done.stderr.splitlines()
    assert json.loads((tmp_path / "s.json").read_text())["files"][0]["warnings"] == [text]


def test_a_bad_file_is_named_and_the_others_are_masked(night, model, tmp_path):
    (night / "1.fits").write_bytes((night / "1.fits").read_bytes()[:4000])
    (night / "2.fits").write_text("no FITS")
    done = run("mask", night, night / "nowhere.fits", "-m", model, "--json", tmp_path / "s.json", "--quiet")
    assert done.exit_code == 1
    assert done.stdout == ""
    errors = done.stderr.splitlines()
    assert [error.split(":")[0] for error in errors] == ["error"] * 3
    for name, error in zip(("1.fits", "2.fits", "nowhere.fits"), errors, strict=True):
        assert name in error
    summary = json.loads((tmp_path / "s.json").read_text())
    assert [row["status"] for row in summary["files"]] == ["done", "failed", "failed", "failed"]
    assert (night / "0_crmask.fits").exists()
    assert len(list(night.iterdir())) == 4


@pytest.mark.parametrize(
    ("charset", "name", "shown"),
    [("utf-8", b"a\xff.fits", "a\\udcff.fits"), ("latin-1", "a\u03b1.fits".encode(), "a\\u03b1.fits")],
)
def test_a_file_name_that_the_output_cannot_show_is_escaped(night, model, tmp_path, charset, name, shown):
    odd = (night / "1.fits").rename(night / os.fsdecode(name))
    runner = CliRunner(charset=charset)
    done = runner.invoke(app, ["mask", str(night), "-m", str(model), "--json", str(tmp_path / "s.json")])
    assert done.exit_code == 0, done.output
    assert done.stdout.count("pixels hit") == 3
    assert f"{shown}: 4 pixels hit" in done.stdout
    assert str(odd) in {row["file"] for row in json.loads((tmp_path / "s.json").read_text())["files"]}
    regions = night / f"{odd.stem}.reg"
    for words in (["info", odd], ["show", odd, "--regions", regions]):
        said = runner.invoke(app, [str(word) for word in words])
        assert said.exit_code == 0, said.output
        assert shown.removesuffix(".fits") in said.stdout
    assert f"hits of {odd.name if charset == 'latin-1' else shown}" in regions.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["-m", "nowhere"], "no network 'nowhere'"),
        (["--fpr", "0.5"], "calibrated from 1e-05 to 0.01"),
        (["--fpr", "1e-3", "--threshold", "0.5"], "give one of them"),
        (["--threshold", "1.5"], "expected a probability between 0 and 1"),
        (["--grow", "-1"], "Invalid value for '--grow'"),
        (["--append", "--clean"], "--append"),
        (["--method", "maskfill"], "--method maskfill has an effect only with --clean"),
        (["--clean", "--method", "magic"], "--method magic: expected one of median, mean, idw, interpolate, maskfill"),
        (["--in-place", "-o", "x"], "--in-place"),
        (["-o", "one.fits"], "would be the output of"),
        (["-o", "one.fits"], "give a folder with -o"),
    ],
)
def test_invalid_arguments_get_a_message_and_exit_code_2(night, model, arguments, sentence):
    done = run("mask", night, *([] if "-m" in arguments else ["-m", model]), *arguments)
    assert done.exit_code == 2
    assert sentence in output_text(done)
    assert len(list(night.iterdir())) == 3


@pytest.mark.parametrize("wrong", FAULTY_CHECKPOINTS)
def test_mask_and_export_say_what_is_wrong_with_a_checkpoint(night, tmp_path, wrong):
    changes, sentence = FAULTY_CHECKPOINTS[wrong]
    path = write_checkpoint(tmp_path / "a.ckpt", **changes)
    for arguments in (("mask", night), ("export", "--onnx", tmp_path / "a.onnx")):
        done = run(*arguments, "-m", path)
        assert done.exit_code == 2, done.output
        assert sentence.replace(" ", "") in output_text(done).replace(" ", "")
    assert not (tmp_path / "a.onnx").exists()


def test_an_empty_folder_is_an_invalid_argument(tmp_path, model):
    done = run("mask", tmp_path, "-m", model)
    assert done.exit_code == 2
    assert "no FITS file in" in done.output
    fits.writeto(tmp_path / "a.fits", sky(SHAPE))
    run("mask", tmp_path / "a.fits", "-m", model)
    assert "only outputs of cosmicgate in" in output_text(run("mask", tmp_path / "a_crmask.fits", "-m", model))


def test_a_false_positive_rate_selects_the_threshold_of_the_model_card(night, model):
    assert run("mask", night / "0.fits", "-m", model, "--fpr", "1e-3", "--grow", "1").exit_code == 0
    header = fits.getheader(night / "0_crmask.fits", "CRMASK")
    assert (header["CRTHRESH"], header["CRFPR"], header["CRGROW"]) == (0.5, 1e-3, 1)


@pytest.mark.parametrize("in_place", [False, True])
def test_cleaning_writes_a_copy_and_changes_the_input_only_in_place(night, model, in_place):
    before = (night / "0.fits").read_bytes()
    done = run("mask", night / "0.fits", "-m", model, "--clean", *["--in-place"] * in_place)
    assert done.exit_code == 0, done.output
    assert ((night / "0.fits").read_bytes() == before) != in_place
    with fits.open(night / ("0.fits" if in_place else "0_crclean.fits"), checksum=True) as hdus:
        assert (hdus[0].data[hit(SHAPE)] < 150).all()
        np.testing.assert_array_equal(hdus["CRMASK"].data, hit(SHAPE))


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_an_image_that_changed_since_it_was_masked_in_place_is_named(tmp_path, model, clean, compressed):
    image = sky(SHAPE)
    image[5, 5] = np.nan
    hdus = [fits.PrimaryHDU(), fits.CompImageHDU(image) if compressed else fits.ImageHDU(image)]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    command = ("mask", tmp_path / "a.fits", "-m", model, "--in-place", *["--clean"] * clean)
    assert run(*command).exit_code == 0
    assert "up to date" in run(*command).output
    assert run("show", tmp_path / "a.fits").stderr == ""
    with fits.open(tmp_path / "a.fits", mode="update") as opened:
        opened[1].data = opened[1].data[:, ::-1].copy()
    done = run(*command)
    assert done.exit_code == 1
    assert "was changed since it was masked in place" in done.stderr
    assert "was changed since its mask was written" in run("show", tmp_path / "a.fits").stderr


@pytest.mark.parametrize(
    "words",
    [
        ("mask", "0.fits", "--json", "1.fits"),
        ("show", "0.fits", "-o", "1.fits"),
        ("show", "0.fits", "--regions", "1.fits.fz"),
        ("view", "0.fits", "--html", "1.fits"),
    ],
)
def test_a_fits_file_is_not_replaced_by_one_of_another_kind(night, model, monkeypatch, words):
    monkeypatch.chdir(night)
    before = {path.name: path.read_bytes() for path in night.iterdir()}
    done = run(*words, *["-m", model] * (words[0] != "show"))
    assert done.exit_code != 0
    assert "expected a name that is not that of a FITS file" in " ".join(done.output.replace("│", " ").split())
    assert {path.name: path.read_bytes() for path in night.iterdir()} == before


def test_an_output_path_through_a_folder_that_does_not_exist_is_that_of_the_input(night, model):
    before = (night / "0.fits").read_bytes()
    done = run("mask", night / "0.fits", "-m", model, "-o", night / "new" / ".." / "0.fits")
    assert done.exit_code == 1
    assert "the output would replace the input" in done.stderr
    assert (night / "0.fits").read_bytes() == before


@pytest.mark.parametrize("method", ["median", "maskfill"])
def test_the_cleaning_method_is_recorded_and_another_method_rewrites_the_copy(night, model, method):
    command = ("mask", night / "0.fits", "-m", model, "--clean", "--method", method)
    assert run(*command).exit_code == 0
    image = fits.getdata(night / "0.fits")
    cleaned, header = fits.getdata(night / "0_crclean.fits", header=True)
    np.testing.assert_array_equal(cleaned, cosmicgate.clean(image, hit(SHAPE), method))
    assert ("maskfill" in "".join(header["HISTORY"])) == (method == "maskfill")
    assert "up to date" in run(*command).output
    assert "up to date" not in run(*command[:-1], "mean").output
    np.testing.assert_array_equal(fits.getdata(night / "0_crclean.fits"), cosmicgate.clean(image, hit(SHAPE), "mean"))


def test_an_image_unlike_the_training_gets_a_warning_in_stderr_json_and_header(night, tmp_path):
    model = tiny_model(tmp_path / "model", ranges={"background": [1000.0, 2000.0]})
    done = run("mask", night / "0.fits", "-m", model, "--json", tmp_path / "s.json")
    assert done.exit_code == 0
    reason = "background (counts): 99.8, training range 1e+03 to 2e+03"
    assert reason in done.stderr
    assert reason in json.loads((tmp_path / "s.json").read_text())["files"][0]["warnings"][0]
    comments = "".join(fits.getheader(night / "0_crmask.fits", "CRMASK")["COMMENT"])
    assert reason in comments


# ------------------------------------------------------------------------------ cosmicgate models, info and show


def test_models_prints_the_card_of_a_network(model, monkeypatch):
    monkeypatch.setattr("cosmicgate.pretrained.registry.WEIGHTS_FOLDER", model.parent)
    assert "tiny" in run("models").stdout
    assert json.loads(run("models", "tiny").stdout)["name"] == "tiny"
    wrong = run("models", "tinny")
    assert wrong.exit_code == 2
    assert "no network 'tinny': expected one of tiny" in wrong.output


def test_info_describes_each_hdu(tmp_path):
    image = fits.ImageHDU(sky(SHAPE), fits.Header({"SATURATE": 4e4}), name="SCI")
    planes = [fits.ImageHDU(np.zeros(SHAPE, np.int16), name="DQ"), fits.ImageHDU(np.ones(SHAPE), name="IVAR")]
    fits.HDUList([fits.PrimaryHDU(), image, *planes]).writeto(tmp_path / "a.fits")
    lines = run("info", tmp_path / "a.fits").stdout.splitlines()
    assert "4 HDUs, 1 images" in lines[0]
    assert "image; saturated from 40000" in lines[2]
    assert "mask of SCI" in lines[3]
    assert "uncertainty of SCI (ivar)" in lines[4]
    missing = run("info", tmp_path / "b.fits")
    assert missing.exit_code == 1
    assert "error: no such FITS file" in missing.output


def test_show_outlines_the_hits(night, model):
    before = run("show", night / "0.fits")
    assert before.exit_code == 1
    assert "run cosmicgate mask first" in before.output
    run("mask", night / "0.fits", "-m", model)
    done = run("show", night / "0.fits", "-o", night / "a.png")
    assert done.exit_code == 0, done.output
    picture = imread(night / "a.png")[::-1]
    times = picture.shape[0] // SHAPE[0]
    assert picture.shape[:2] == tuple(times * side for side in SHAPE)
    red = (picture[..., 0] > 0.8) & (picture[..., 1] < 0.1)
    blocks = red.reshape(SHAPE[0], times, SHAPE[1], times).any(axis=(1, 3))
    row, column = np.argwhere(hit(SHAPE))[0]
    assert blocks[row - 1, column]
    assert not blocks[hit(SHAPE)].any()
    assert blocks.sum() < 40


@pytest.mark.parametrize("masks", ["night/masks", "masks"], ids=["inside the folder of the input", "beside it"])
def test_show_finds_masks_in_an_output_folder_or_names_the_option(night, model, tmp_path, masks, monkeypatch):
    path = night / "0.fits"
    assert run("mask", night, "-m", model, "-o", tmp_path / masks).exit_code == 0
    monkeypatch.chdir(tmp_path if masks == "masks" else "/")
    done = run("show", path, "-o", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'a.png'}: 4 of 2240 pixels are hit" in done.output
    (tmp_path / masks).rename(tmp_path / "masks of other nights")
    monkeypatch.chdir(night)
    missing = run("show", path)
    assert missing.exit_code == 1
    assert "run cosmicgate mask first, or name the file of its masks with --mask" in missing.stderr
    named = run("show", path, "--mask", tmp_path / "masks of other nights" / "0_crmask.fits")
    assert named.exit_code == 0, named.output


def test_show_finds_the_mask_in_the_current_folder(night, model, tmp_path, monkeypatch):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert run("mask", night / "0.fits", "-m", model, "-o", ".").exit_code == 0
    done = run("show", night / "0.fits", "-o", "a.png")
    assert done.exit_code == 0, done.output
    assert "4 of 2240 pixels are hit" in done.stdout
    (night / "0_crmask.png").mkdir()  # no picture can be written beside the file, as on a read-only disk
    done = run("show", night / "0.fits")
    assert done.exit_code == 1
    assert "0_crmask.png: Is a directory; -o writes it elsewhere" in done.stderr


def test_show_finds_the_mask_of_a_file_with_brackets_in_its_name(night, model):
    path = (night / "0.fits").rename(night / "M31 [oiii]*.fits")
    assert run("mask", path, "-m", model, "-o", night / "masks").exit_code == 0
    done = run("show", path)
    assert done.exit_code == 0, done.output
    assert "4 of 2240 pixels are hit" in done.stdout


def test_show_refuses_masks_of_another_image_and_masks_from_several_runs(night, model, tmp_path):
    for folder in ("one", "two"):
        assert run("mask", night / "0.fits", "-m", model, "-o", night / folder).exit_code == 0
    several = run("show", night / "0.fits")
    assert several.exit_code == 1
    assert "2 files have masks of it" in several.stderr
    assert "choose one with --mask" in several.stderr
    (night / "two" / "0_crmask.fits").unlink()
    fits.writeto(night / "0.fits", sky(SHAPE, 7), overwrite=True)
    other = run("show", night / "0.fits")
    assert other.exit_code == 1
    assert "with --mask" in other.stderr
    absent = run("show", night / "0.fits", "--mask", tmp_path / "nowhere.fits")
    assert "no such FITS file" in absent.stderr


def test_show_warns_of_a_mask_of_an_earlier_version_of_the_file(night, model):
    path = night / "0.fits"
    assert run("mask", path, "-m", model).exit_code == 0
    assert run("show", path).stderr == ""
    fits.writeto(path, sky(SHAPE, 7), overwrite=True)
    done = run("show", path)
    assert done.exit_code == 0, done.output
    mask = night / "0_crmask.fits"
    assert done.stderr == f"warning: {path}: the mask in {mask} is of another version of this file\n"


def test_show_writes_a_box_around_each_hit_for_ds9(night, model, tmp_path):
    run("mask", night / "0.fits", "-m", model)
    done = run("show", night / "0.fits", "-o", tmp_path / "a.png", "--regions", tmp_path / "a.reg")
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'a.reg'}: 2 hits" in done.output
    lines = (tmp_path / "a.reg").read_text().splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1"
    assert "image" in lines
    inside = np.zeros(SHAPE, bool)
    for line in (line for line in lines if line.startswith("box(")):
        x, y, width, height, angle = map(float, re.findall(r"[-\d.]+", line))
        assert (width, height, angle) == (2, 2, 0)
        left, bottom = x - width / 2 + 0.5, y - height / 2 + 0.5  # centre of the first pixel, counted from 1
        assert (left % 1, bottom % 1) == (0, 0)
        inside[int(bottom) - 1 : int(bottom + height) - 1, int(left) - 1 : int(left + width) - 1] = True
    assert inside.sum() == 8
    assert inside[hit(SHAPE)].all()


@pytest.mark.parametrize("append", [False, True])
def test_show_draws_the_hits_of_each_image_among_images_of_one_name(tmp_path, model, append):
    path = tmp_path / "a.fits"
    amplifiers = [sky(SHAPE, seed) for seed in range(3)]
    amplifiers[1][5, 6], amplifiers[2][7, 8] = 900, 900
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(one, name="SCI") for one in amplifiers)]).writeto(path)
    assert run("mask", path, "-m", model, *["--append"] * append).exit_code == 0
    for number, image in enumerate(amplifiers, start=1):
        masked = tmp_path / "a_crmasked.fits" if append else path
        shown, hits, _ = image_and_hits(masked, None, str(number), [])
        np.testing.assert_array_equal(shown, image)
        np.testing.assert_array_equal(hits, image > 500)
        assert run("show", masked, "--ext", str(number)).exit_code == 0
    assert len(list(tmp_path.glob("*.png"))) == 3, "one picture for each image"
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(one, name="SCI") for one in amplifiers[:2])]).writeto(
        tmp_path / "b.fits"
    )
    run("mask", tmp_path / "b.fits", "-m", model)
    other = run("show", path, "--mask", tmp_path / "b_crmask.fits", "--ext", "3")
    assert other.exit_code == 1
    assert "b_crmask.fits: it has no mask SCI_CRMASK of SCI" in other.output


def test_show_names_the_picture_of_an_image_with_a_slash_in_its_name(tmp_path, model):
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *(fits.ImageHDU(sky(SHAPE), name=f"CCD {n}/2") for n in (1, 2))]).writeto(path)
    run("mask", path, "-m", model)
    assert run("show", path, "--ext", "1").exit_code == 0
    assert (tmp_path / "a_crmask.CCD_1_2.png").is_file()


def test_a_long_and_narrow_image_is_downsampled_along_its_long_side_only_and_keeps_its_hits(tmp_path):
    hits = np.zeros((9, 12_001), bool)
    hits[8, 12_000] = hits[0, 5000] = True
    draw(np.random.default_rng(0).normal(100, 5, hits.shape).astype(np.float32), hits, tmp_path / "a.png")
    picture = imread(tmp_path / "a.png")[::-1, :, :3]
    assert picture.shape[:2] == (9, 3001)
    red = np.abs(picture - RED).max(axis=2) < 0.02
    assert sorted(map(tuple, np.argwhere(red).tolist())) == [(0, 1249), (0, 1251), (1, 1250), (7, 3000), (8, 2999)]


# ------------------------------------------------------------------------------------- errors and interruptions


@contextmanager
def without_root():
    """Give up the rights of root for a while, if the tests have them."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder(model):
    """Make a folder that every user may read, with a frame and the model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        for path in (model, model.with_suffix(".json")):
            (folder / path.name).write_bytes(path.read_bytes())
        fits.writeto(folder / "0.fits", sky(SHAPE))
        yield folder


def test_an_output_that_cannot_be_written_is_refused_before_the_search(night, model, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    searched = []
    monkeypatch.setattr("cosmicgate.masking.pipeline.detect", lambda *_: searched.append(1))
    done = run("mask", night / "0.fits", "-m", model, "-o", tmp_path / "file" / "new" / "masks")
    assert done.exit_code == 1
    assert "0.fits: Not a directory" in done.stderr
    assert searched == []
    done = run("mask", night, "-m", model, "-o", tmp_path / "file")
    assert done.exit_code == 2
    assert "is a file: expected a folder" in output_text(done)


def test_the_hits_of_a_mask_that_is_not_written_are_in_no_total(night, model, tmp_path, monkeypatch):
    def full(job, *_):
        if job.source.name == "1.fits":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(job.output))

    monkeypatch.setattr("cosmicgate.masking.pipeline.write", full)
    assert run("mask", night, "-m", model, "--json", tmp_path / "s.json").exit_code == 1
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["done"], summary["failed"], summary["hits"]) == (2, 1, 8)
    assert summary["megapixels"] == pytest.approx(2 * 40 * 56 / 1e6)
    assert summary["files"][1] | {"seconds": 0} == {
        "file": str(night / "1.fits"), "output": str(night / "1_crmask.fits"), "status": "failed", "images": 0,
        "megapixels": 0.0, "hits": 0, "fraction": 0.0, "static": None, "seconds": 0, "warnings": [],
        "error": f"{night / '1.fits'}: No space left on device ({night / '1_crmask.fits'})",
    }  # fmt: skip


def test_a_folder_without_write_permission_is_reported(open_folder):
    with without_root():
        open_folder.chmod(0o555) if os.geteuid() == open_folder.stat().st_uid else None
        done = run("mask", open_folder / "0.fits", "-m", open_folder / "tiny.safetensors")
    assert done.exit_code == 1
    assert "0.fits: Permission denied" in done.stderr
    assert "Traceback" not in done.output


def test_a_file_without_read_permission_is_named(open_folder):
    (open_folder / "0.fits").chmod(0)
    with without_root():
        done = run("mask", open_folder / "0.fits", "-m", open_folder / "tiny.safetensors")
    assert done.exit_code == 1
    assert f"error: {open_folder / '0.fits'}: Permission denied" in done.stderr


def test_a_full_disk_is_reported_and_leaves_no_partial_file(night, model, tmp_path):
    with full_disk(5000):
        done = run("mask", night / "0.fits", "-m", model, "--clean", "--in-place")
    assert done.exit_code == 1
    assert f"0.fits: {os.strerror(errno.EFBIG)}" in done.stderr
    assert len(list(night.iterdir())) == 3
    np.testing.assert_array_equal(fits.getdata(night / "0.fits"), sky(SHAPE, 0))


@pytest.mark.slow
def test_help_and_info_do_not_import_torch(tmp_path):
    fits.writeto(tmp_path / "a.fits", sky(SHAPE))
    code = "from cosmicgate.cli import app; app(standalone_mode=False); sys.exit('torch' in sys.modules)"
    for arguments in (("mask", "--help"), ("info", tmp_path / "a.fits")):
        out, err = (started := start_process(*arguments, code=code)).communicate()
        assert started.returncode == 0, err
        assert out


@pytest.mark.slow
def test_a_killed_run_leaves_no_partial_mask_and_resumes(night, model):
    killed = start_process("mask", night, "-m", model, code=SELF_SIGNAL.format(signal="SIGKILL"))
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    names = sorted(path.name for path in night.iterdir())
    assert [name for name in names if not name.startswith(".")] == ["0.fits", "0_crmask.fits", "1.fits", "2.fits"]
    assert len(names) == 5, "it was not killed while it wrote a file"
    again = run("mask", night, "-m", model)
    assert again.exit_code == 0
    assert again.output.count("up to date") == 1
    np.testing.assert_array_equal(read_mask(night / "1_crmask.fits"), hit(SHAPE))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_cleans_up_and_says_how_to_resume(night, model, name, tmp_path):
    stopped = start_process(
        "mask", night, "-m", model, "--json", tmp_path / "s.json", code=SELF_SIGNAL.format(signal=name)
    )
    _, err = stopped.communicate()
    assert stopped.returncode == 130
    assert err.splitlines() == ["stopped; the same command resumes where it stopped"]
    assert sorted(path.name for path in night.iterdir()) == ["0.fits", "0_crmask.fits", "1.fits", "2.fits"]
    summary = json.loads((tmp_path / "s.json").read_text())
    assert (summary["stopped"], summary["done"], summary["not_reached"]) == (True, 1, 2)


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_of_a_command(night, model, tmp_path):
    for number in range(3, 20):
        fits.writeto(night / f"{number}.fits", sky((500, 500), number))
    stopped = start_process("mask", night, "-m", model, "-o", tmp_path / "two", "--jobs", 2)
    while not (tmp_path / "two" / "10_crmask.fits").exists() and stopped.poll() is None:
        time.sleep(0.02)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "two").glob(".*")] == [MEASUREMENTS_FOLDER]
    assert not _children(stopped)


@pytest.mark.slow
@pytest.mark.parametrize("wait", [0.2, 1.0])
def test_ctrl_c_while_the_processes_start_prints_one_line(night, model, wait):
    """A terminal sends Ctrl-C to all processes of a command, in any order; these import their modules for seconds."""
    stopped = start_process("mask", night, "-m", model, "--jobs", 2)
    while not (started := re.findall(r"(\d+) .*spawn_main", _children(stopped))) and stopped.poll() is None:
        time.sleep(0.02)
    time.sleep(wait)
    for process in started:
        with suppress(ProcessLookupError):
            os.kill(int(process), signal.SIGINT)
    time.sleep(0.2)
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    if stopped.returncode != 0:  # else all was masked before
        assert stopped.returncode == 130
        assert err.splitlines() == ["stopped; the same command resumes where it stopped"]
    assert not _children(stopped)


def _children(process):
    """List number and command of the processes that a process has started."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(process.pid)]
    return subprocess.run(command, capture_output=True, text=True).stdout


# ------------------------------------------------------------------------------------------------------------ docs


@pytest.fixture
def masking_page(tmp_path, monkeypatch):
    """Write the files and install the network that docs/masking.md takes for granted; return the page's text."""
    folder = tmp_path / "weights"
    tiny_model(folder, "general")
    monkeypatch.setattr("cosmicgate.pretrained.registry.WEIGHTS_FOLDER", folder)
    monkeypatch.chdir(tmp_path)
    Path("night").mkdir()
    for path in ("night/a.fits", "night/b.fits", "a.fits"):
        fits.writeto(path, sky(SHAPE))
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(sky(SHAPE), name="SCI")]).writeto("a.fits.fz")
    return (ROOT / "docs" / "masking.md").read_text()


@pytest.mark.slow
def test_every_command_of_the_masking_page_runs_and_writes_its_files(masking_page):
    block = re.search(r"## The command\n+```\n(.*?)```", masking_page, re.DOTALL)[1]
    lines = [line.split("#")[0].split()[1:] for line in block.splitlines()]
    lines = [line for line in lines if line[0] != "view"]  # a server that runs until Ctrl-C: tests/cli/test_view.py
    assert len(lines) >= 6
    run("mask", "a.fits")
    for arguments in lines:  # --jobs has a test of its own; the tiny network has no cascade for --fast
        done = run(*("1" if one == "2" else one for one in arguments if one != "--fast"))
        assert done.exit_code == 0, (arguments, done.output)
    for path in ("night/a_crmask.fits", "masks/b_crmask.fits", "summary.json", "a_crclean.fits.fz", "a_crmask.png"):
        assert Path(path).exists(), (path, sorted(str(p) for p in Path().rglob("*")))
    for option in re.findall(r"`(--[a-z-]+)", masking_page):
        assert option in run("mask", "--help").stdout


def test_the_python_code_of_the_masking_page_runs(masking_page):
    blocks = re.findall(r"```python\n(.*?)```", masking_page, re.DOTALL)
    assert len(blocks) == 3
    names = {"frames": [sky(SHAPE, seed) for seed in range(5)]}
    for block in blocks:
        exec(block, names)  # the code exactly as the page prints it
    np.testing.assert_array_equal(names["ccd"].mask, hit(SHAPE))
    assert names["mask"].sum() == 28
    assert (names["cleaned"][hit(SHAPE)] < 150).all()
