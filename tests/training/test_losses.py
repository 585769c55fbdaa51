"""Test the losses against values computed by hand, the weights of background pixels, and losses of blocks."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.training.losses import BackgroundPixelWeight, DiceBCELoss, FocalLoss
from cosmicgate.training.module import Segmentation, block_max

LOGITS = torch.tensor([2.0, -1.0, 0.5, -3.0])
TARGET = torch.tensor([1.0, 0.0, 0.0, 1.0])


def test_focal_loss_with_gamma_zero_is_binary_cross_entropy():
    assert FocalLoss(gamma=0)(LOGITS, TARGET) == pytest.approx(
        F.binary_cross_entropy_with_logits(LOGITS, TARGET).item()
    )


def test_focal_loss_weighs_pixels_by_their_error():
    p = LOGITS.sigmoid()
    probability_of_truth = torch.where(TARGET > 0, p, 1 - p)
    expected = (
        2 * torch.where(TARGET > 0, 0.7, 0.3) * (1 - probability_of_truth) ** 2 * -probability_of_truth.log()
    ).mean()
    assert FocalLoss(gamma=2, alpha=0.7)(LOGITS, TARGET) == pytest.approx(expected.item(), rel=1e-5)


def test_focal_loss_of_a_confident_correct_logit_has_a_finite_gradient():
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    FocalLoss()(logits, torch.tensor([1.0, 0.0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_dice_loss_is_zero_for_a_perfect_and_one_for_a_wrong_mask():
    confident = 50 * (2 * TARGET.repeat(5000) - 1)
    assert DiceBCELoss(bce_weight=0)(confident, TARGET.repeat(5000)) == pytest.approx(0, abs=1e-3)
    assert DiceBCELoss(bce_weight=0)(-confident, TARGET.repeat(5000)) == pytest.approx(1, abs=1e-3)


def test_dice_loss_without_hits_has_the_gradient_of_its_cross_entropy():
    logits = torch.zeros(100, requires_grad=True)
    DiceBCELoss(bce_weight=1.0)(logits, torch.zeros(100)).backward()
    assert (logits.grad > 0).all()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FocalLoss(gamma=-1), "gamma=-1"),
        (lambda: FocalLoss(alpha=1), "alpha=1"),
        (lambda: DiceBCELoss(bce_weight=-1), "-1"),
        (lambda: BackgroundPixelWeight(min_weight=0), "min_weight=0"),
    ],
)
def test_invalid_settings_are_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def sky_batch(size=64):
    """Simulate two images (2, 1, H, W) of empty sky."""
    return 200 + 5 * torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_empty_sky_has_a_low_weight_and_a_star_the_full_weight():
    image = sky_batch()
    image[0, 0, 20:40, 20:40] += 1000
    weights = BackgroundPixelWeight(min_weight=0.1, full_weight_sigma=10)(image)
    assert weights.shape == image.shape
    assert (weights[0, 0, 25:35, 25:35] == 1).all()
    assert weights[1].mean() == pytest.approx(0.12, abs=0.04)
    assert weights.min() >= 0.1


def test_a_small_hit_does_not_raise_the_weights_around_it():
    image = sky_batch()
    image[0, 0, 30, 25:33] += 5000
    assert BackgroundPixelWeight()(image)[0, 0, 28:33, 25:33].max() < 0.5


@pytest.mark.parametrize(
    ("pixels", "label"),
    [
        ([SKY, SKY, SKY, SKY], SKY),
        ([SKY, CORE, SKY, SKY], CORE),
        ([RING, SKY, SKY, SKY], CORE),
        ([SKY, SKY, IGNORED, SKY], IGNORED),
        ([IGNORED, SKY, SKY, CORE], CORE),
    ],
)
def test_a_block_is_hit_if_one_pixel_is_and_otherwise_ignored_if_one_pixel_is(pixels, label):
    truth = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 2, 2)
    logits = torch.tensor([-3.0, 1.0, 0.0, -9.0]).view(1, 1, 2, 2)
    highest, found = block_max(logits, truth, 2)
    assert highest.tolist() == [[[[1.0]]]]
    assert found.tolist() == [[[[label]]]]
    assert found.dtype == truth.dtype


def test_blocks_at_the_edge_of_an_image_may_be_incomplete():
    truth = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    truth[..., 4, 6] = CORE
    highest, label = block_max(torch.arange(35.0).view(1, 1, 5, 7), truth, 4)
    assert label[0, 0].tolist() == [[SKY, SKY], [SKY, CORE]]
    assert highest[0, 0].tolist() == [[24.0, 27.0], [31.0, 34.0]]


def segmentation_module(**settings):
    """Build a training module around a trivial network."""
    return Segmentation(
        torch.nn.Conv2d(1, 1, 1), torch.nn.BCEWithLogitsLoss(), lambda _: None, lambda _: None, **settings
    )


def test_the_loss_of_blocks_needs_one_pixel_of_a_hit_and_no_pixel_of_the_sky():
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    truth[..., 1:4, 1:4] = CORE
    batch = {"image": torch.zeros(1, 1, 8, 8), "truth": truth}
    one, none, wrong = (torch.full((1, 1, 8, 8), -20.0) for _ in range(3))
    one[..., 2, 2] = wrong[..., 6, 6] = 20.0
    losses = [segmentation_module(block_size=4)._loss(logits, batch).item() for logits in (one, none, wrong)]
    assert losses == pytest.approx([0, 5, 10], abs=1e-4)
    assert segmentation_module()._loss(one, batch).item() > 2


@pytest.mark.parametrize("settings", [{"block_size": 0}, {"block_size": 4, "pixel_weight": BackgroundPixelWeight()}])
def test_invalid_block_sizes_are_refused(settings):
    with pytest.raises(
        ValueError, match=rf"block_size={settings['block_size']}: expected 1 px or more, and no pixel_weight"
    ):
        segmentation_module(**settings)
