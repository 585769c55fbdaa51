"""Objects of a list are not scored: cutouts with the pipeline's flags and what somebody found in them."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.sources import FlaggedCutouts
from cosmicgate.data.sources.ignored_objects import COLUMNS, LISTS, IgnoreList


def cutout(path: Path, shape: tuple[int, int] = (40, 30)) -> Path:
    """Write a cutout of DECam's layout: sky, a flagged hit at row 20 and column 10, a bad pixel in the corner."""
    rng = np.random.default_rng(0)
    header = fits.Header(dict(GAINA=4.0, RDNOISEA=6.0, SATURATA=40000.0, EXPTIME=90.0, FILTER="g", INSTRUME="DECam"))
    flags = np.zeros(shape, np.int16)
    flags[20, 10], flags[0, 0] = 5, 1
    science = fits.ImageHDU(rng.normal(500, 12, shape).astype(np.float32), header, name="SCI")
    fits.HDUList([fits.PrimaryHDU(), science, fits.ImageHDU(flags, name="DQ")]).writeto(path)
    return path


def listed(path: Path, *rows: str) -> str:
    """Write a list of ignored objects."""
    path.write_text("\n".join(["# a comment, with a comma", ",".join(COLUMNS), *rows]) + "\n")
    return str(path)


@pytest.fixture
def files(tmp_path):
    for name in ("a", "b"):
        cutout(tmp_path / f"{name}.fits")
    return str(tmp_path / "*.fits")


def test_listed_pixels_are_ignored_and_no_others(files, tmp_path):
    rows = ['a.fits,3,5,9,5,1.5,"a track, straight"', "a.fits,10,20,10,20,0,one pixel of the flagged hit"]
    name = listed(tmp_path / "list.csv", *rows)
    before, after = (
        {recipe.name: truth for recipe, truth in FlaggedCutouts(files, ignored=given).labelled()}
        for given in (None, name)
    )
    changed = np.argwhere(before["a"] != after["a"])
    assert before["a"][20, 10] == CORE
    expected = {(20, 10)} | {(row, column) for row in (4, 5, 6) for column in range(2, 11)}  # 1.5 px reach corners
    assert {tuple(place) for place in changed.tolist()} == expected
    assert np.all(after["a"][tuple(changed.T)] == IGNORED)
    assert after["a"][20, 11] == RING
    assert after["a"][30, 20] == SKY
    assert np.array_equal(before["b"], after["b"])


def test_a_list_makes_the_frames_anew_that_it_names_and_no_others(files, tmp_path):
    row = "a.fits,3,5,3,5,2,one sharp pixel"
    plain = {recipe.name: recipe.key for recipe, _ in FlaggedCutouts(files).labelled()}
    with_list = FlaggedCutouts(files, ignored=listed(tmp_path / "list.csv", row)).labelled()
    assert {recipe.name for recipe, _ in with_list if recipe.key != plain[recipe.name]} == {"a"}


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
def test_a_row_that_says_nothing_of_the_files_is_an_error_that_says_so(files, tmp_path, row, message):
    with pytest.raises(ValueError, match=message):
        FlaggedCutouts(files, ignored=listed(tmp_path / "list.csv", row)).labelled()


def test_a_list_that_is_not_there_or_has_other_columns_is_refused(files, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such list of ignored objects: 'mine.csv'"):
        FlaggedCutouts(files, ignored="mine.csv").labelled()
    (tmp_path / "other.csv").write_text("file,x,y\n")
    with pytest.raises(ValueError, match="expected the columns file, x0, y0, x1, y1, radius, reason, got"):
        FlaggedCutouts(files, ignored=str(tmp_path / "other.csv")).labelled()


@pytest.mark.parametrize("path", sorted(LISTS.glob("*.csv")), ids=lambda path: path.name)
def test_every_row_of_the_lists_of_the_package_has_a_reason(path):
    objects = IgnoreList.read(path.name).objects
    assert objects
    assert all(row.reason for row in objects)


def test_the_list_of_the_real_cutouts_leaves_their_five_flagged_hits_alone(real):
    cutouts = FlaggedCutouts(str(real("decam/cutouts") / "*.fits"), ignored="decam_cutouts.csv").labelled()
    assert sum(int((truth == CORE).sum()) for _, truth in cutouts) == 449
    named = {row.file.removesuffix(".fits") for row in IgnoreList.read("decam_cutouts.csv").objects}
    plain = {recipe.name: truth for recipe, truth in FlaggedCutouts(str(real("decam/cutouts") / "*.fits")).labelled()}
    assert {recipe.name for recipe, truth in cutouts if np.any(truth != plain[recipe.name])} == named
