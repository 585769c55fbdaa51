"""Test that sky level and noise are measured on good pixels, for any fill value of bad ones and any quantisation."""

import numpy as np
import pytest
import torch

import cosmicgate
from cosmicgate.data.bad_pixels import interpolate_bad_pixels
from cosmicgate.inference.background_grid import BackgroundGrid
from cosmicgate.inference.frozen_group_norm import sample_patches
from cosmicgate.inference.tiling import tiled_logits
from cosmicgate.models.normalization import asinh_normalize, level_and_noise
from helpers.tiny_model import tiny_network

SIDE = 256
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
REGIONS = {
    "rows": (ROWS >= 100) & (ROWS < 160),
    "columns": (COLUMNS >= 90) & (COLUMNS < 180),
    "edge": COLUMNS >= SIDE - 40,
    "corner": (ROWS < 90) & (COLUMNS < 90),
    "disc": (ROWS - 128) ** 2 + (COLUMNS - 120) ** 2 < 60**2,
    "every other row": ROWS % 2 == 0,
    "scattered": np.random.default_rng(5).random((SIDE, SIDE)) < 0.5,
}


def noise(sigma: float = 10.0, level: float = 200.0, seed: int = 1) -> np.ndarray:
    """Simulate an image (H, W) of Gaussian noise."""
    return np.random.default_rng(seed).normal(level, sigma, (SIDE, SIDE)).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- bad pixels


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("fill", [np.nan, 0.0, 1e5])
def test_the_background_is_that_of_good_pixels_for_any_fill_value(region, fill):
    bad = REGIONS[region]
    filled, bad = interpolate_bad_pixels(np.where(bad, np.float32(fill), noise()), bad)
    levels = BackgroundGrid.of(torch.from_numpy(filled), torch.from_numpy(bad))
    assert levels.sigma.numpy() == pytest.approx(np.full((2, 2), 10.0), rel=0.05)
    assert levels.level.numpy() == pytest.approx(np.full((2, 2), 200.0), abs=0.6)


def test_blocks_with_few_good_pixels_use_the_background_of_their_neighbours():
    image = noise(5.0, 100.0).repeat(2, axis=1)
    image[:, SIDE:] = image[:, SIDE:] * 4
    bad = np.zeros(image.shape, bool)
    bad[:128, 128:384] = True
    levels = BackgroundGrid.of(torch.from_numpy(np.where(bad, 7, image).astype(np.float32)), torch.from_numpy(bad))
    assert levels.level[0].numpy() == pytest.approx([100, 175, 325, 400], abs=3)  # of the four neighbouring blocks
    assert levels.sigma[0].numpy() == pytest.approx([5, 8.75, 16.25, 20], rel=0.05)


def test_with_few_good_pixels_in_all_blocks_they_are_measured_together():
    bad = np.random.default_rng(0).random((SIDE, SIDE)) < 0.995
    levels = BackgroundGrid.of(torch.from_numpy(np.where(bad, 0, noise()).astype(np.float32)), torch.from_numpy(bad))
    assert levels.sigma.numpy() == pytest.approx(np.full((2, 2), 10.0), rel=0.15)


def test_patches_and_crops_are_normalised_by_their_good_pixels():
    bad = torch.from_numpy(REGIONS["rows"])
    image = torch.from_numpy(noise())
    disturbed = torch.where(bad, 200.0, image)
    expected, found = (asinh_normalize(one[None, None], bad[None, None])[0, 0] for one in (image, disturbed))
    assert torch.equal(expected[~bad], found[~bad])
    assert not torch.allclose(asinh_normalize(disturbed[None, None])[0, 0][~bad], expected[~bad], atol=0.02)
    network, first = tiny_network(), np.s_[None, None, :128, :128]
    tiled = tiled_logits(network, disturbed, tile=128, bad=bad)
    assert torch.allclose(tiled[:128, :128], network(disturbed[first], bad[first])[0, 0])


def test_statistics_of_group_norm_come_from_patches_of_good_pixels():
    image = torch.from_numpy(noise().repeat(4, axis=1))
    bad = torch.zeros(image.shape, dtype=torch.bool)
    bad[:, 300:] = True
    image[bad] = 0
    assert (sample_patches(image, bad=bad) != 0).float().mean() > 0.75


@pytest.mark.parametrize("how", ["dense", "fast"])
@pytest.mark.parametrize("region", ["rows", "disc", "corner"])
def test_noise_beside_bad_regions_gives_no_hits_and_hits_there_are_found(how, region):
    masker, bad = cosmicgate.load(fast=how == "fast"), REGIONS[region]
    image = np.where(bad, np.nan, noise())
    assert not masker.mask(image).any()
    places = [(98, 50), (98, 200), (162, 20), (30, 100), (190, 130), (60, 70), (230, 230)]
    for row, column in places:
        image[row, column : column + 3] += 300
    found = masker.mask(image)
    for row, column in places:
        good = ~bad[row, column : column + 3]
        assert found[row, column : column + 3][good].all()


# ---------------------------------------------------------------------------------------------------- quantised values


@pytest.mark.parametrize("step", [1.0, 1.7, 0.5, 0.03, 1 / 3])
@pytest.mark.parametrize("sigma", [0.4, 0.6, 0.74, 0.8, 1.0, 1.5, 1.9, 2.2, 2.3, 3.0, 6.0, 15.0, 60.0])
def test_the_noise_of_quantised_values_is_correct_for_any_step(step, sigma):
    rng = np.random.default_rng(0)
    means = 1000 + np.linspace(0, 0.9, 8)[:, None]
    values = np.rint(rng.normal(means, sigma, (8, 16384))) * step
    level, noise_of = level_and_noise(torch.from_numpy(values.astype(np.float32)))
    expected = np.sqrt(sigma**2 + 1 / 12) * step
    assert noise_of.numpy() == pytest.approx(np.full(8, expected), rel=0.04)
    assert level.numpy() == pytest.approx(means[:, 0] * step, abs=0.05 * expected)


def test_interpolated_values_and_stars_do_not_hide_the_quantisation():
    rng = np.random.default_rng(0)
    values = np.rint(rng.normal(100.3, 1.9, (4, 16384)))
    values[:, ::100] += rng.uniform(-0.5, 0.5, values[:, ::100].shape)  # interpolated by a pipeline
    values[:, 7::20] += np.rint(rng.exponential(50, values[:, 7::20].shape))
    level, sigma = level_and_noise(torch.from_numpy(values.astype(np.float32)))
    true = np.hypot(1.9, 1 / np.sqrt(12))
    assert (sigma / true).numpy() == pytest.approx(np.full(4, 1.09), abs=0.05)  # the effect of 5 % of pixels in sources
    assert (level - 100.3).numpy() == pytest.approx(np.full(4, 0.06 * 1.9), abs=0.06)


def test_noise_of_finely_quantised_values_is_the_plain_mad():
    rng = np.random.default_rng(0)
    for values in (rng.normal(0, 3, (4, 16384)), np.rint(rng.normal(3000, 120, (4, 16384)))):
        pixels = torch.from_numpy(values.astype(np.float32))
        median = pixels.median(dim=1).values
        mad = (pixels - median[:, None]).abs().median(dim=1).values
        level, sigma = level_and_noise(pixels)
        assert torch.equal(level, median)
        assert torch.equal(sigma, 1.4826 * mad)


def test_gaps_filled_with_the_sky_level_are_not_measured():
    values = np.random.default_rng(0).normal(0, 3, (1, 16384)).astype(np.float32)
    values[:, :6000] = 0
    assert level_and_noise(torch.from_numpy(values))[1].item() == pytest.approx(3, rel=0.05)


def test_rounding_is_normalised_without_dither():
    """Check that a rounded image is normalised by the noise that it had before, plus that of the rounding."""
    image = np.random.default_rng(0).normal(300.4, 1.8, (128, 128))
    rounded = asinh_normalize(torch.from_numpy(np.rint(image).astype(np.float32))[None, None])
    expected = np.arcsinh((np.rint(image) - 300.4) / 3 / np.hypot(1.8, 1 / np.sqrt(12)))
    assert rounded[0, 0].numpy() == pytest.approx(expected, abs=0.03)
