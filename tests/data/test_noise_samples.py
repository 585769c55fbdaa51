"""Copies of a frame are recognised by its noise, and other exposures of the same stars are not taken for copies."""

import numpy as np
import pytest

from cosmicgate.data.noise_samples import SAME_FRAME_CORRELATION, noise_correlations, noise_sample


def crowded(rng, stars, shift=0.0, side=128):
    """Simulate an exposure (side, side) of stars that are the same whatever ``rng``."""
    field = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    light = np.full((side, side), 400.0)
    for (row, column), flux in zip(
        field.uniform(0, side, (stars, 2)) + shift, field.uniform(200, 3000, stars), strict=True
    ):
        light += flux * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2)
    return (rng.poisson(light) + rng.normal(0, 8, light.shape)).astype(np.float32)


@pytest.mark.parametrize("stars", [0, 300])
def test_only_copies_of_a_frame_share_its_noise_however_many_stars_all_exposures_share(stars):
    rng = np.random.default_rng(1)
    one, other = crowded(rng, stars), crowded(rng, stars, shift=0.15)
    flat = np.linspace(0.8, 1.2, one.shape[1], dtype=np.float32) * rng.normal(1, 0.01, one.shape)
    reduced = ((one - 20) / flat).astype(np.float32)
    reduced[60:64] = np.nan
    samples = np.stack([noise_sample(image) for image in (other, reduced)])
    different, same = noise_correlations(samples, noise_sample(one))
    assert different < 0.4
    assert same > 0.9 > SAME_FRAME_CORRELATION


@pytest.mark.parametrize("image", [np.zeros((8, 8)), np.full((20, 20), np.nan), np.zeros((3, 1))])
def test_a_frame_without_noise_has_no_sample(image):
    assert not noise_sample(image.astype(np.float32)).any()
