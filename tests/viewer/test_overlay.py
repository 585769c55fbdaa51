"""Exposures are laid over each other by their WCS if the stars agree with it, and otherwise by their stars."""

import sys

import numpy as np
import pytest

from cosmicgate.viewer.images import Images
from helpers.star_exposures import STARS, exposure, moved
from helpers.viewer import client


def laid(folder, masker, first, second):
    """Ask the server how the second exposure lies on the first, and the other way round."""
    paths = [exposure(folder / f"{name}.fits", **given) for name, given in (("a", first), ("b", second))]
    api = client(Images(paths, None, masker))
    return [api.get(f"/secret/api/{one}/overlay/{other}").json() for one, other in ((0, 1), (1, 0))]


def carried(answer, places):
    """Apply the transformation of an answer to positions (N, 2)."""
    a, b, c, d, e, f = answer["matrix"]
    x, y = np.asarray(places).T
    return np.column_stack([a * x + b * y + c, d * x + e * y + f])


@pytest.mark.parametrize(
    ("motion", "first", "second", "by"),
    [
        ((0.0, (7.3, -4.6)), (0.0, (0, 0)), (0.0, (7.3, -4.6)), "wcs"),
        ((8.0, (3.0, 2.0)), (0.0, (0, 0)), (8.0, (3.0, 2.0)), "wcs"),
        ((0.0, (8.4, 3.2)), (0.0, (0, 0)), (0.0, (0, 0)), "stars"),  # one nominal pointing
        ((8.0, (3.0, 2.0)), None, None, "stars"),
        ((180.0, (3.0, 2.0)), None, None, "stars"),  # a meridian flip
        ((8.0, (3.0, 2.0)), (0.0, (0, 0)), None, "stars"),
    ],
)
def test_stars_lie_on_each_other_after_shift_turn_and_flip(tmp_path, masker, motion, first, second, by):
    there = moved(STARS, *motion)
    forth, back = laid(tmp_path, masker, {"places": STARS, "wcs": first}, {"places": there, "wcs": second})
    assert (forth["by"], forth["reason"]) == (by, "")
    assert np.hypot(*(carried(forth, STARS) - there).T).max() < 0.3
    assert np.hypot(*(carried(back, there) - STARS).T).max() < 0.3


def test_exposures_of_another_shape_are_aligned_as_well(tmp_path, masker):
    forth, _ = laid(tmp_path, masker, {"places": STARS}, {"places": STARS + 20, "shape": (230, 260)})
    assert forth["by"] == "stars"
    assert np.allclose(carried(forth, STARS), STARS + 20, atol=0.3)


def test_exposures_of_other_fields_are_not_aligned_and_it_is_said_why(tmp_path, masker):
    other = np.random.default_rng(6).uniform(12, 168, (30, 2))
    pair = laid(tmp_path, masker, {"places": STARS, "wcs": (0, (0, 0))}, {"places": other, "wcs": (0, (9000, 0))})
    for answer in pair:
        assert (answer["by"], answer["matrix"]) == ("pixels", [1, 0, 0, 0, 1, 0])
        assert "a.fits and b.fits: they share no sky" in answer["reason"]


def test_a_wcs_that_too_few_stars_can_check_is_used_and_it_is_said(tmp_path, masker):
    few = STARS[:2]
    forth, _ = laid(tmp_path, masker, {"places": few, "wcs": (0, (0, 0))}, {"places": few + 5, "wcs": (0, (5, 5))})
    assert (forth["by"], forth["reason"]) == ("wcs", "too few stars to check it by")
    assert np.allclose(carried(forth, few), few + 5, atol=0.01)


def test_without_stars_and_wcs_exposures_lie_pixel_on_pixel(tmp_path, masker):
    forth, _ = laid(tmp_path, masker, {"places": []}, {"places": []})
    assert forth["by"] == "pixels"
    assert "a.fits: fewer than three stars are in it to align it by" in forth["reason"]


def test_a_package_that_is_missing_is_named_and_nothing_is_aligned(tmp_path, masker, monkeypatch):
    monkeypatch.setitem(sys.modules, "sep", None)
    forth, _ = laid(tmp_path, masker, {"places": STARS}, {"places": STARS})
    assert forth["by"] == "pixels"
    assert forth["reason"] == "the package sep is not installed: pip install '.[view]' in a clone of cosmicgate"
