"""Each loss is what its paper says, at values that can be reckoned by hand; weights follow the light; blocks."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.training.losses import BackgroundPixelWeight, DiceBCELoss, FocalLoss
from cosmicgate.training.module import Segmentation, block_max

LOGITS = torch.tensor([2.0, -1.0, 0.5, -3.0])
TARGET = torch.tensor([1.0, 0.0, 0.0, 1.0])


def test_focal_without_focus_is_binary_cross_entropy():
    assert FocalLoss(gamma=0)(LOGITS, TARGET) == pytest.approx(
        F.binary_cross_entropy_with_logits(LOGITS, TARGET).item()
    )


def test_focal_counts_a_pixel_by_how_wrong_it_is():
    p = LOGITS.sigmoid()
    right = torch.where(TARGET > 0, p, 1 - p)
    expected = (2 * torch.where(TARGET > 0, 0.7, 0.3) * (1 - right) ** 2 * -right.log()).mean()
    assert FocalLoss(gamma=2, hits=0.7)(LOGITS, TARGET) == pytest.approx(expected.item(), rel=1e-5)


def test_focal_of_a_certain_and_right_answer_has_a_finite_gradient():
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    FocalLoss()(logits, torch.tensor([1.0, 0.0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_dice_is_zero_for_a_perfect_and_one_for_a_wrong_mask():
    sure = 50 * (2 * TARGET.repeat(5000) - 1)
    assert DiceBCELoss(entropy=0)(sure, TARGET.repeat(5000)) == pytest.approx(0, abs=1e-3)
    assert DiceBCELoss(entropy=0)(-sure, TARGET.repeat(5000)) == pytest.approx(1, abs=1e-3)


def test_a_batch_without_hits_teaches_dice_by_its_entropy():
    logits = torch.zeros(100, requires_grad=True)
    DiceBCELoss(entropy=1.0)(logits, torch.zeros(100)).backward()
    assert (logits.grad > 0).all()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: FocalLoss(gamma=-1), "gamma=-1"),
        (lambda: FocalLoss(hits=1), "hits=1"),
        (lambda: DiceBCELoss(entropy=-1), "-1"),
        (lambda: BackgroundPixelWeight(low=0), "low=0"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(make, named):
    with pytest.raises(ValueError, match=named):
        make()


def a_sky(size=64):
    return 200 + 5 * torch.randn(2, 1, size, size, generator=torch.Generator().manual_seed(0))


def test_empty_sky_weighs_little_and_a_star_fully():
    image = a_sky()
    image[0, 0, 20:40, 20:40] += 1000
    weights = BackgroundPixelWeight(low=0.1, full=10)(image)
    assert weights.shape == image.shape
    assert (weights[0, 0, 25:35, 25:35] == 1).all()
    assert weights[1].mean() == pytest.approx(0.12, abs=0.04)
    assert weights.min() >= 0.1


def test_a_hit_of_a_few_pixels_does_not_weigh_its_surroundings():
    image = a_sky()
    image[0, 0, 30, 25:33] += 5000
    assert BackgroundPixelWeight()(image)[0, 0, 28:33, 25:33].max() < 0.5


@pytest.mark.parametrize(
    ("pixels", "judged"),
    [
        ([SKY, SKY, SKY, SKY], SKY),
        ([SKY, CORE, SKY, SKY], CORE),
        ([RING, SKY, SKY, SKY], CORE),
        ([SKY, SKY, IGNORED, SKY], IGNORED),
        ([IGNORED, SKY, SKY, CORE], CORE),
    ],
)
def test_a_square_is_hit_if_a_pixel_is_and_else_says_nothing_if_a_pixel_does(pixels, judged):
    truth = torch.tensor(pixels, dtype=torch.uint8).view(1, 1, 2, 2)
    logits = torch.tensor([-3.0, 1.0, 0.0, -9.0]).view(1, 1, 2, 2)
    highest, found = block_max(logits, truth, 2)
    assert highest.tolist() == [[[[1.0]]]]
    assert found.tolist() == [[[[judged]]]]
    assert found.dtype == truth.dtype


def test_blocks_at_the_edge_of_an_image_are_judged_by_what_there_is_of_them():
    truth = torch.zeros(1, 1, 5, 7, dtype=torch.uint8)
    truth[..., 4, 6] = CORE
    highest, judged = block_max(torch.arange(35.0).view(1, 1, 5, 7), truth, 4)
    assert judged[0, 0].tolist() == [[SKY, SKY], [SKY, CORE]]
    assert highest[0, 0].tolist() == [[24.0, 27.0], [31.0, 34.0]]


def a_training(**told):
    return Segmentation(torch.nn.Conv2d(1, 1, 1), torch.nn.BCEWithLogitsLoss(), lambda _: None, lambda _: None, **told)


def test_the_loss_of_blocks_asks_for_one_pixel_of_a_hit_and_for_no_pixel_of_the_sky():
    truth = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    truth[..., 1:4, 1:4] = CORE
    batch = {"image": torch.zeros(1, 1, 8, 8), "truth": truth}
    one, none, wrong = (torch.full((1, 1, 8, 8), -20.0) for _ in range(3))
    one[..., 2, 2] = wrong[..., 6, 6] = 20.0
    losses = [a_training(block_size=4)._loss(logits, batch).item() for logits in (one, none, wrong)]
    assert losses == pytest.approx([0, 5, 10], abs=1e-4)
    assert a_training()._loss(one, batch).item() > 2


@pytest.mark.parametrize("told", [{"block_size": 0}, {"block_size": 4, "weigh": BackgroundPixelWeight()}])
def test_blocks_that_cannot_be_judged_are_refused(told):
    with pytest.raises(ValueError, match=f"block_size from 1 px on, and no weigh .*, got {told['block_size']}"):
        a_training(**told)
