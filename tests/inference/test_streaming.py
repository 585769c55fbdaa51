"""Test that logits computed row by row equal those of the whole image, and test normalisation and cascade."""

import numpy as np
import pytest
import torch

from cosmicgate.inference import cascade
from cosmicgate.inference.background_grid import MESH_SIZE, BackgroundGrid
from cosmicgate.inference.cascade import MAX_WINDOW_CELLS, NO_HIT_LOGIT, Cascade, cascade_logits, merge_cells
from cosmicgate.inference.frozen_group_norm import sample_patches, with_frozen_group_norm
from cosmicgate.inference.fuse_batch_norm import fuse_batch_norm
from cosmicgate.inference.predictor import Predictor
from cosmicgate.inference.streaming import streamed_logits
from cosmicgate.models import UNet
from cosmicgate.models.normalization import asinh_normalize, asinh_unstretch, level_and_noise
from helpers.networks import network, noise_image


def frame_logits(made: UNet, image: torch.Tensor, **how: object) -> torch.Tensor:
    return Predictor(made, **how).logits(image.numpy())


@torch.inference_mode()
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("rows", [1, 4, 16, 100])
def test_streamed_rows_give_the_logits_of_the_whole_image(depth, gate, rows):
    made, image = network(depth=depth, gate=gate), noise_image(61, 45)
    assert torch.allclose(streamed_logits(made, image, rows=rows), made(image[None, None])[0, 0], rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("scaling", ["none", "robust"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_the_image_is_not_changed_and_its_copy_is_overwritten_by_the_logits(scaling, norm):
    predictor, image = Predictor(network(norm, scaling)), noise_image(200, 139).numpy()
    before = image.copy()
    expected = predictor.logits(image)
    np.testing.assert_array_equal(image, before)
    prepared, bad = predictor.prepare(image)
    logits = predictor.logits_of_prepared(prepared, bad)
    assert logits.data_ptr() == torch.from_numpy(prepared).data_ptr()
    assert torch.equal(logits, expected)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(1, 1), (8, 8), (3, 200), (200, 3), (129, 131), (64, 64)], ids=str)
def test_images_of_any_shape_give_the_logits_of_the_whole_image(shape):
    made, image = network(), noise_image(*shape)
    assert torch.allclose(frame_logits(made, image), made(image[None, None])[0, 0], rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize(("gate", "shared"), [(True, False), (True, True), (False, True)])
def test_fused_batch_norm_gives_the_same_logits(gate, shared):
    made, image = network(gate=gate, shared=shared), noise_image(48, 52)[None, None]
    before = made(image)
    assert torch.allclose(fuse_batch_norm(made)(image), before, rtol=0, atol=1e-5)
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fuse_batch_norm(made).modules())
    assert torch.equal(made(image), before), "the original network is not changed"


def test_networks_that_cannot_be_fused_or_streamed_are_refused():
    with pytest.raises(ValueError, match=r"call network\.eval\(\) first"):
        fuse_batch_norm(network().train())
    with pytest.raises(ValueError, match="group norm depends on the whole image"):
        streamed_logits(network("group"), noise_image(16, 16))
    with pytest.raises(ValueError, match=r"expected an image \(H, W\), got \(1, 16, 16\)"):
        streamed_logits(network(), noise_image(16, 16)[None])


@torch.inference_mode()
@pytest.mark.parametrize(("precision", "within"), [("bfloat16", 0.02), ("float16", 0.003)])
def test_half_precision_changes_probabilities_little(precision, within):
    made, image = network(), noise_image(64, 64)
    exact, quick = frame_logits(made, image).sigmoid(), frame_logits(made, image, precision=precision).sigmoid()
    assert quick.dtype == torch.float32
    assert 0 < (quick - exact).abs().max() < within


@torch.inference_mode()
@pytest.mark.parametrize("shared", [True, False])
def test_group_norm_of_a_small_image_uses_its_own_statistics(shared):
    made, image = network("group", shared=shared), noise_image(100, 120)
    assert torch.allclose(frame_logits(made, image), made(image[None, None])[0, 0], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_frozen_group_norm_does_not_depend_on_tiles():
    made, image = network("group"), noise_image(300, 500)
    whole = with_frozen_group_norm(made, image).logits(image[None, None])[0, 0]
    for rows in (8, 64):
        by_rows = streamed_logits(with_frozen_group_norm(made, image), image, rows=rows)
        assert torch.allclose(by_rows, whole, rtol=0, atol=1e-4)
    assert (made(image[None, None])[0, 0] - whole).abs().max() > 1e-3, (
        "frozen and plain group norm must differ for this test"
    )


@torch.inference_mode()
def test_a_bright_star_does_not_change_frozen_statistics():
    made, image = network("group"), noise_image(512, 512)
    star = image.clone()
    star[:100, :100] += 1e4
    ours = [with_frozen_group_norm(made, one).encoder[0].norm1.running_mean for one in (image, star)]
    assert torch.allclose(*ours, atol=0.1)


def test_sampled_patches_are_few_and_cover_the_image():
    columns = torch.arange(1000.0).expand(700, -1)
    found = sample_patches(columns)
    assert found.shape[1:] == (128, 128)
    assert 8 < len(found) <= 24
    assert found.min() == 0
    assert found.max() == 999
    assert sample_patches(columns[:50, :60]).shape == (1, 50, 60)


@pytest.mark.parametrize("shape", [(3056, 3056), (3100, 2048), (1489, 2048), (4096, 2048), (1024, 1024)], ids=str)
def test_sampled_patches_cover_all_rows_and_columns_of_any_shape(shape):
    for axis in (0, 1):
        ramp = torch.arange(float(shape[axis]))
        image = (ramp if axis else ramp[:, None]).expand(shape)
        starts = {float(square.min()) for square in sample_patches(image)}
        parts = {int(4 * start / shape[axis]) for start in starts}
        assert parts == {0, 1, 2, 3}, f"axis {axis}: only {sorted(starts)}"


# ---------------------------------------------------------------------------------------- scaling


def test_sky_of_any_level_and_noise_is_normalised():
    rows, columns = torch.meshgrid(torch.arange(400.0), torch.arange(500.0), indexing="ij")
    noise_of = 2 + 0.02 * columns
    image = (
        1000
        + 0.02 * rows
        - 0.01 * columns
        + noise_of * torch.randn(400, 500, generator=torch.Generator().manual_seed(0))
    )
    scaled = asinh_unstretch(BackgroundGrid.of(image).scaled(image))
    inner = scaled[70:-70, 70:-70]  # where the background is interpolated between blocks
    assert abs(inner.mean()) < 0.02
    assert 0.9 < inner.std() < 1.1
    left, right = inner[:, :100].std(), inner[:, -100:].std()
    assert 0.93 < left / right < 1.07


def test_a_part_is_normalised_as_in_the_whole_image():
    image = noise_image(300, 400) * 7 + 40
    levels = BackgroundGrid.of(image)
    whole = levels.scaled(image)
    assert torch.allclose(levels.scaled(image[100:140, 37:90], 100, 37), whole[100:140, 37:90], atol=1e-6)


@pytest.mark.parametrize("shape", [(MESH_SIZE, MESH_SIZE), (40, 50), (1, 1)], ids=str)
def test_an_image_of_one_block_is_normalised_as_a_training_crop(shape):
    image = noise_image(*shape) * 7 + 40
    assert torch.allclose(BackgroundGrid.of(image).scaled(image), asinh_normalize(image[None, None])[0, 0], atol=1e-6)


def test_blocks_without_noise_do_not_affect_their_neighbours():
    sky = 1000 + 30 * torch.randn(512, 512, generator=torch.Generator().manual_seed(3))
    dead = sky.clone()
    dead[:, :256] = 0
    beside, alone = (BackgroundGrid.of(one).scaled(one)[:, 256:] for one in (dead, sky))
    assert torch.allclose(beside, alone, rtol=0, atol=0.1)
    assert torch.equal(BackgroundGrid.of(torch.full((300, 300), 7.0)).sigma.unique(), torch.ones(1))


@pytest.mark.parametrize("blank", [0.0, -9999.0, 1e30, -3.4e38], ids=str)
@pytest.mark.parametrize("width", [20, 100, 150, 260], ids=str)
def test_a_blank_border_does_not_affect_the_sky_beside_it(blank, width):
    sky = 1000 + 30 * torch.randn(512, 512, generator=torch.Generator().manual_seed(3))
    sky[:, :width] = blank
    scaled = BackgroundGrid.of(sky).scaled(sky)
    noise_beside = asinh_unstretch(scaled[:, width:])
    assert scaled.isfinite().all()
    assert 0.8 < noise_beside[:, :100].std() < 1.2
    assert abs(noise_beside[:, :100].median()) < 0.3


def test_zeros_of_a_sky_around_zero_are_measured():
    counts = torch.from_numpy(np.random.default_rng(0).normal(0, 0.8, (1, 4000)).round().astype(np.float32))
    level, sigma = level_and_noise(counts)
    assert abs(level) < 0.05
    assert sigma == pytest.approx(np.hypot(0.8, 1 / np.sqrt(12)), rel=0.03)


@pytest.mark.parametrize("rate", [0.03, 0.05, 0.1, 0.3])
def test_zeros_of_a_photon_counting_sky_are_not_a_blank_border(rate):
    counts = torch.from_numpy(np.random.default_rng(0).poisson(rate, (1, 4000)).astype(np.float32))
    level, sigma = level_and_noise(counts)
    assert level == 0
    assert sigma < 3 * np.sqrt(rate)


def test_cells_that_do_not_fit_the_pooling_are_refused():
    deep = UNet(5, 4).eval()
    with pytest.raises(ValueError, match="expected cell and halo to be multiples of 16, got 8, 24"):
        cascade_logits(deep, Cascade(deep, 0.0), torch.zeros(64, 64))


def test_noise_below_the_rounding_step_is_measured():
    pixels = torch.from_numpy(np.random.default_rng(0).normal(100, 0.4, (1, 4000)).round().astype(np.float32))
    level, sigma = level_and_noise(pixels)
    assert level == pytest.approx(100, abs=0.03)
    assert sigma == pytest.approx(np.hypot(0.4, 1 / np.sqrt(12)), rel=0.05)
    assert level_and_noise(torch.full((1, 50), 7.0))[1] == 0
    assert (asinh_normalize(torch.full((1, 1, 8, 8), 7.0)) == 0).all()


# ---------------------------------------------------------------------------------------- cascade


def brightness_cascade(threshold: float = 0.0, **form) -> Cascade:
    """Build a cascade whose coarse stage passes the image through, so that its candidates are bright pixels."""
    made = UNet(depth=1, channels=2, scaling="none").eval()
    for part in made.parameters():
        torch.nn.init.zeros_(part)
    block = made.encoder[0]
    for convolution, norm in ((block.conv1, block.norm1), (block.conv2, block.norm2)):
        torch.nn.init.ones_(norm.weight)
        convolution.weight.data[0, 0, 1, 1] = 1
    made.head.weight.data[0, 0] = 1
    return Cascade(made, threshold, **form)


@torch.inference_mode()
@pytest.mark.parametrize("shape", [(200, 301), (61, 45), (16, 16), (9, 130)], ids=str)
@pytest.mark.parametrize("scaling", ["none", "robust"])
def test_logits_in_candidate_cells_equal_those_of_the_whole_image(shape, scaling):
    made, image = network(scaling=scaling), noise_image(*shape)
    dense = frame_logits(made, image)
    logits = cascade_logits(made, brightness_cascade(3.0), image)
    seen = logits > NO_HIT_LOGIT
    first = image if scaling == "none" else BackgroundGrid.of(image).scaled(image)
    assert (first >= 3.1).any()
    assert seen[first >= 3.1].all()
    assert torch.allclose(logits[seen], dense[seen], rtol=0, atol=1e-5)
    everything = cascade_logits(made, brightness_cascade(-1.0), image)
    assert (everything > NO_HIT_LOGIT).all()
    assert torch.allclose(everything, dense, rtol=0, atol=1e-5)


@pytest.mark.parametrize("native", [True, False])
def test_only_the_coarse_stage_uses_bfloat16_and_only_if_it_is_fast(native, monkeypatch):
    dtypes = []

    def recorded(*given):
        dtypes.append(given[-1])
        return streamed_logits(*given)

    monkeypatch.setattr(cascade, "has_fast_bfloat16", lambda: native)
    monkeypatch.setattr(cascade, "streamed_logits", recorded)
    made, image = network(), noise_image(61, 45)
    logits = cascade_logits(made, brightness_cascade(3.0), image)
    seen = logits > NO_HIT_LOGIT
    assert dtypes == [torch.bfloat16 if native else torch.float32]
    assert seen[image > 4].all()
    assert torch.allclose(logits[seen], frame_logits(made, image)[seen], rtol=0, atol=1e-5)


@pytest.mark.parametrize("part", [0.02, 0.3, 1.0])
def test_windows_cover_every_candidate_cell_and_stay_small(part):
    cells = torch.rand(40, 33, generator=torch.Generator().manual_seed(1)) < part
    covered = torch.zeros_like(cells)
    for top, bottom, left, right in merge_cells(cells):
        assert 0 < bottom - top <= MAX_WINDOW_CELLS
        assert 0 < right - left <= MAX_WINDOW_CELLS
        covered[top:bottom, left:right] = True
    assert covered[cells].all()
    assert covered.sum() < 6 * cells.sum()


def test_without_candidates_no_pixel_gets_a_logit():
    logits = cascade_logits(network(), brightness_cascade(1e6), noise_image(64, 64))
    assert (logits == NO_HIT_LOGIT).all()


def test_a_cascade_with_group_norm_is_refused():
    with pytest.raises(ValueError, match="a cascade needs batch norm"):
        cascade_logits(network("group"), brightness_cascade(), noise_image(64, 64))
