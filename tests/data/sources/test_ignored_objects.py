"""Test that the objects of an ignore list are not scored, on cutouts with the flags of a pipeline."""

from pathlib import Path

import numpy as np
import pytest

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.sources import FlaggedCutouts
from cosmicgate.data.sources.ignored_objects import COLUMNS, LISTS, IgnoreList
from helpers.fits_files import write_cutout


def write_flagged_cutout(path: Path, shape: tuple[int, int] = (40, 30)) -> Path:
    """Write a cutout with a flagged hit at row 20 and column 10, and a bad pixel in the corner; return its path."""
    flags = np.zeros(shape, np.int16)
    flags[20, 10], flags[0, 0] = 5, 1
    image = np.random.default_rng(0).normal(500, 12, shape).astype(np.float32)
    write_cutout(path, flags, image=image, FILTER="g", INSTRUME="DECam")
    return path


def write_list(path: Path, *rows: str) -> str:
    """Write a list of ignored objects; return its path."""
    path.write_text("\n".join(["# a comment, with a comma", ",".join(COLUMNS), *rows]) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path):
    for name in ("a", "b"):
        write_flagged_cutout(tmp_path / f"{name}.fits")
    return str(tmp_path / "*.fits")


def truths(cutouts):
    """Make the truth (H, W) of each cutout, by its name."""
    return {lazy.name: lazy.build()[1] for lazy in cutouts.lazy_labelled_frames()}


def test_only_the_listed_pixels_are_ignored(files, tmp_path):
    rows = ['a.fits,3,5,9,5,1.5,"a track, straight"', "a.fits,10,20,10,20,0,one pixel of the flagged hit"]
    name = write_list(tmp_path / "list.csv", *rows)
    before, after = (truths(FlaggedCutouts(files, ignored=given)) for given in (None, name))
    changed = np.argwhere(before["a"] != after["a"])
    assert before["a"][20, 10] == CORE
    expected = {(20, 10)} | {
        (row, column) for row in (4, 5, 6) for column in range(2, 11)
    }  # a radius of 1.5 px includes diagonal neighbours
    assert {tuple(place) for place in changed.tolist()} == expected
    assert np.all(after["a"][tuple(changed.T)] == IGNORED)
    assert after["a"][20, 11] == RING
    assert after["a"][30, 20] == SKY
    assert np.array_equal(before["b"], after["b"])


def test_a_list_changes_the_cache_keys_of_its_frames_only(files, tmp_path):
    row = "a.fits,3,5,3,5,2,one sharp pixel"
    plain = {lazy.name: lazy.key for lazy in FlaggedCutouts(files).lazy_labelled_frames()}
    with_list = FlaggedCutouts(files, ignored=write_list(tmp_path / "list.csv", row)).lazy_labelled_frames()
    assert {lazy.name for lazy in with_list if lazy.key != plain[lazy.name]} == {"a"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("c.fits,3,5,3,5,2,", r"expected one of the 2 files \(a.fits, b.fits, ...\), got 'c.fits'"),
        ("a.fits,30,5,30,5,2,", r"\(30, 5\) to \(30, 5\) is outside of a.fits, 30 x 40 pixels"),
        ("a.fits,3,-1,3,5,2,", r"\(3, -1\) to \(3, 5\) is outside of a.fits"),
        ("a.fits,3,5,3,,2,", "expected five numbers in the row of 'a.fits'"),
        ("a.fits,3,5,3,nan,2,", "'a.fits': expected finite places"),
        ("a.fits,3,5,3,5,-2,", "a radius from 0"),
    ],
)
def test_a_row_that_matches_no_file_or_pixel_is_an_error(files, tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        FlaggedCutouts(files, ignored=write_list(tmp_path / "list.csv", row)).lazy_labelled_frames()


def test_a_missing_list_or_one_with_other_columns_is_refused(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such list of ignored objects: 'mine.csv'"):
        FlaggedCutouts(files, ignored="mine.csv").lazy_labelled_frames()
    (tmp_path / "other.csv").write_text("file,x,y\n")
    with pytest.raises(ValueError, match="expected the columns file, x0, y0, x1, y1, radius, reason, got"):
        FlaggedCutouts(files, ignored=str(tmp_path / "other.csv")).lazy_labelled_frames()


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.csv")), ids=lambda path: path.name)
def test_every_row_of_the_included_lists_has_a_reason(path):
    objects = IgnoreList.read(path.name).objects
    assert objects
    assert all(row.reason for row in objects)


@pytest.mark.slow
def test_the_list_of_the_real_cutouts_ignores_no_flagged_hit(real):
    files = str(real("decam/cutouts") / "*.fits")
    cutouts = truths(FlaggedCutouts(files, ignored="decam_cutouts.csv"))
    assert sum(int((truth == CORE).sum()) for truth in cutouts.values()) == 449
    named = {row.file.removesuffix(".fits") for row in IgnoreList.read("decam_cutouts.csv").objects}
    plain = truths(FlaggedCutouts(files))
    assert {name for name, truth in cutouts.items() if np.any(truth != plain[name])} == named
