"""Planes and images come back from the text that a page gets."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cosmicgate.viewer.runs import from_runs, pixels_to_text, runs_from_text, to_runs, to_text

PLANES = arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 3))


@given(PLANES)
def test_a_plane_comes_back_from_its_runs(plane):
    assert np.array_equal(from_runs(runs_from_text(to_text(to_runs(plane))), plane.shape, 3), plane)


@pytest.mark.parametrize("runs", [[[0, 0, 1]], [[11, 2, 1]], [[0, 1, 4]], [[0, 1, 0]], [[4294967295, 1, 1]]])
def test_runs_outside_of_the_image_or_of_other_codes_are_refused(runs):
    with pytest.raises(ValueError, match=r"expected runs of pixels of an image \(3, 4\)"):
        from_runs(np.array(runs, np.uint32), (3, 4), 3)


@pytest.mark.parametrize("text", [None, 3, "AAAA", "no base64!"])
def test_text_that_holds_no_runs_is_refused(text):
    with pytest.raises(ValueError, match=r"expected runs|base64|padding"):
        runs_from_text(text)


def test_pixels_of_a_page_without_a_server_are_rounded_by_a_fiftieth():
    image = np.float32([[100, 101, 250, -3000], [6e4, np.nan, np.inf, 100.1]])
    found = pixels_to_text(image, 100.0, 5.0)
    both = np.frombuffer(zlib.decompress(base64.b64decode(found["data"])), np.uint8).reshape(2, -1)
    numbers = np.ascontiguousarray(both.T).view("<i2").reshape(image.shape)
    values = 100 + 5 * np.sinh(found["step"] * numbers)
    finite = np.isfinite(image)
    assert np.abs(values - image)[finite] == pytest.approx(0, abs=0.02 * 6e4)
    assert (np.abs(values - image)[finite] <= 0.0101 * np.hypot(5, image[finite] - 100)).all()
    assert (numbers[~finite] == -32768).all()
