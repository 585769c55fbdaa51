"""Test the methods that replace hits, against other packages and by the photometry that they keep."""

from typing import get_args

import numpy as np
import pytest

import cosmicgate
from cosmicgate.masking.inpainting import Method

SHAPE = (60, 70)


@pytest.fixture
def holes():
    """Make an image with a gradient, and a mask with holes of many shapes, also at the borders."""
    rng = np.random.default_rng(0)
    image = rng.normal(100, 5, SHAPE) + np.arange(SHAPE[1])
    mask = rng.random(SHAPE) < 0.1
    mask[20:31, 20:40] = mask[0, :5] = mask[-3:, -3:] = mask[:, 50] = True
    return image, mask


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_maskfill_equals_the_package_of_its_authors(holes, dtype):
    maskfill = pytest.importorskip("maskfill", reason="maskfill of the extra dev is not installed")
    image, mask = holes[0].astype(dtype), holes[1]
    theirs, _ = maskfill.maskfill(image, mask)
    np.testing.assert_array_equal(cosmicgate.clean(image, mask, "maskfill"), theirs)


def test_maskfill_fills_from_the_edge_by_medians_and_smooths():
    image = np.zeros((9, 9))
    image[:, 5:] = 8.0
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    median = np.median([0, 0, 0, 0, 0, 8, 8, 8])
    mean = (5 * 0 + 3 * 8 + median) / 9
    assert cosmicgate.clean(image, mask, "maskfill")[4, 4] == pytest.approx(mean)


@pytest.mark.parametrize("method", get_args(Method))
def test_no_method_replaces_or_uses_bad_pixels(method):
    image = np.full(SHAPE, 100.0)
    mask, bad = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    bad[10:30, 10:30] = True
    image[bad] = 1e6
    mask[9, 8:14] = mask[20, 20] = mask[5, 5] = True  # beside bad pixels; among them; far from them
    cleaned = cosmicgate.clean(image, mask, method, bad=bad)
    np.testing.assert_array_equal(cleaned[bad], 1e6)
    np.testing.assert_allclose(cleaned[~bad], 100)
    alone = bad.copy()
    alone[20, 20] = False
    np.testing.assert_allclose(cosmicgate.clean(image, mask, method, bad=alone)[20, 20], 100)


@pytest.mark.parametrize("method", get_args(Method))
def test_every_method_keeps_a_linear_gradient_and_all_other_pixels(method):
    rows, columns = np.indices(SHAPE)
    image = (50 + rows + 2 * columns).astype(np.float64)
    mask = np.zeros(SHAPE, bool)
    mask[20:22, 30:33] = True
    cleaned = cosmicgate.clean(image, mask, method)
    np.testing.assert_allclose(cleaned, image, atol=2.5)
    np.testing.assert_array_equal(cleaned[~mask], image[~mask])


def test_maskfill_keeps_more_flux_of_a_star_under_a_hit_than_the_median():
    rows, columns = np.indices(SHAPE)
    star = 5000 * np.exp(-((rows - 30) ** 2 + (columns - 35) ** 2) / (2 * 1.3**2))
    mask = np.abs(rows - columns + 6) < 1  # a track beside the centre
    lost = {m: abs(cosmicgate.clean(star, mask, m).sum() - star.sum()) for m in ("median", "maskfill")}
    assert lost["maskfill"] < 0.8 * lost["median"]


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="unknown method 'magic': expected one of 'median', 'mean', 'idw', 'interp"):
        cosmicgate.clean(np.zeros(SHAPE), np.zeros(SHAPE, bool), "magic")


def test_an_image_without_a_good_pixel_is_not_returned_with_its_hits():
    image = np.full((16, 16), 100.0, np.float32)
    mask = np.zeros(image.shape, bool)
    mask[4, 4:8] = True
    with pytest.raises(ValueError, match="none of the 256 pixels is good: masked ones cannot be replaced"):
        cosmicgate.clean(image, mask, bad=~mask)
    assert np.array_equal(
        cosmicgate.clean(image, ~mask & mask, bad=np.ones(image.shape, bool)), image
    )  # nothing to replace
