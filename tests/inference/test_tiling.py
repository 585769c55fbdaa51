"""Test that tiles with a halo give the logits of the whole image, and tiles without one those of separate patches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosmicgate.inference.tiling import spans, tiled_logits
from helpers.networks import network, noise_image


@pytest.mark.parametrize("shape", [(160, 192), (161, 203), (97, 300), (40, 51)], ids=str)
def test_with_a_halo_of_24_px_batch_norm_gives_the_logits_of_the_whole_image(shape):
    net, image = network("batch"), noise_image(*shape)
    with torch.inference_mode():
        whole = net(image[None, None])[0, 0]
    assert torch.allclose(tiled_logits(net, image, tile=96, halo=24, batch=3), whole, atol=2e-5)
    if max(shape) > 96:
        assert not torch.allclose(tiled_logits(net, image, tile=96, halo=0), whole, atol=2e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_without_a_halo_tiles_are_separate_patches(norm):
    net, image = network(norm), noise_image(128, 192)
    patches = image.unfold(0, 64, 64).unfold(1, 64, 64).reshape(-1, 1, 64, 64)
    with torch.inference_mode():
        alone = net(patches).reshape(2, 3, 64, 64).permute(0, 2, 1, 3).reshape(128, 192)
    assert torch.allclose(tiled_logits(net, image, tile=64, batch=4), alone, atol=2e-5)


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_an_image_smaller_than_a_tile_is_computed_directly(norm):
    net, image = network(norm), noise_image(41, 51)
    with torch.inference_mode():
        assert torch.equal(tiled_logits(net, image, tile=256), net(image[None, None])[0, 0])


@given(st.integers(1, 3000), st.integers(2, 64), st.integers(0, 12))
def test_each_pixel_is_kept_once_and_a_halo_away_from_inner_edges(length, quarters, halo_quarters):
    tile, halo = 4 * quarters, 4 * min(halo_quarters, (quarters - 1) // 2)
    covered = spans(length, tile, halo)
    kept = [pixel for _, _, first, last in covered for pixel in range(first, last)]
    assert kept == list(range(length))
    for start, stop, first, last in covered:
        assert 0 <= start < stop <= length
        assert start % 4 == 0
        assert stop - start <= max(tile + 3, 0)
        assert start == 0 or first - start >= halo
        assert stop == length or stop - last >= halo


@pytest.mark.parametrize(("tile", "halo"), [(64, 32), (64, 2), (62, 0), (64, -4)])
def test_invalid_tiles_are_refused_with_their_values(tile, halo):
    with pytest.raises(ValueError, match=f"tile={tile}, halo={halo}"):
        tiled_logits(network("batch"), noise_image(64, 64), tile, halo)
