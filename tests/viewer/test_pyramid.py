"""The tiles of an image are its pixels, and at coarser levels the means of its blocks."""

import numpy as np
import pytest

from cosmicgate.viewer.pyramid import TILE, Pyramid, block_mean


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(100, 5, (700, 1030)).astype(np.float32)


def test_the_tiles_of_the_finest_level_are_the_image(image):
    pyramid = Pyramid(image)
    rows = [np.hstack([pyramid.tile(0, row, column) for column in range(5)]) for row in range(3)]
    assert np.array_equal(np.vstack(rows), image)


def test_a_coarser_level_averages_blocks_and_the_coarsest_is_one_tile(image):
    pyramid = Pyramid(image)
    assert pyramid.depth == 3
    assert pyramid.tile(2, 0, 0)[3, 5] == pytest.approx(image[12:16, 20:24].mean(), rel=1e-6)
    assert pyramid.tile(3, 0, 0).shape == (88, 129)
    assert max(pyramid.tile(3, 0, 0).shape) <= TILE


def test_a_block_is_averaged_over_its_finite_pixels():
    image = np.float32([[1, np.nan, np.nan], [3, np.inf, np.nan], [5, 7, 9]])
    assert np.array_equal(block_mean(image), np.float32([[2, np.nan], [6, 9]]), equal_nan=True)


@pytest.mark.parametrize("tile", [(0, 3, 0), (0, 0, 5), (-1, 0, 0), (4, 0, 0), (0, -1, 0), (1, 2, 0)])
def test_a_tile_that_does_not_exist_is_refused(image, tile):
    with pytest.raises(IndexError, match="there is no tile"):
        Pyramid(image).tile(*tile)
