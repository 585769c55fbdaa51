"""Each loss is what its paper says, at values that can be reckoned by hand; weights follow the light."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from cosmicgate.losses import Dice, Focal, MedianWeight

LOGITS = torch.tensor([2.0, -1.0, 0.5, -3.0])
TARGET = torch.tensor([1.0, 0.0, 0.0, 1.0])


def test_focal_without_focus_is_binary_cross_entropy():
    assert Focal(gamma=0)(LOGITS, TARGET) == pytest.approx(F.binary_cross_entropy_with_logits(LOGITS, TARGET).item())


def test_focal_counts_a_pixel_by_how_wrong_it_is():
    p = LOGITS.sigmoid()
    right = torch.where(TARGET > 0, p, 1 - p)
    expected = (2 * torch.where(TARGET > 0, 0.7, 0.3) * (1 - right) ** 2 * -right.log()).mean()
    assert Focal(gamma=2, hits=0.7)(LOGITS, TARGET) == pytest.approx(expected.item(), rel=1e-5)


def test_focal_of_a_certain_and_right_answer_has_a_finite_gradient():
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    Focal()(logits, torch.tensor([1.0, 0.0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_dice_is_zero_for_a_perfect_and_one_for_a_wrong_mask():
    sure = 50 * (2 * TARGET.repeat(5000) - 1)
    assert Dice(entropy=0)(sure, TARGET.repeat(5000)) == pytest.approx(0, abs=1e-3)
    assert Dice(entropy=0)(-sure, TARGET.repeat(5000)) == pytest.approx(1, abs=1e-3)


def test_a_batch_without_hits_teaches_dice_by_its_entropy():
    logits = torch.zeros(100, requires_grad=True)
    Dice(entropy=1.0)(logits, torch.zeros(100)).backward()
    assert (logits.grad > 0).all()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: Focal(gamma=-1), "gamma=-1"),
        (lambda: Focal(hits=1), "hits=1"),
        (lambda: Dice(entropy=-1), "-1"),
        (lambda: MedianWeight(low=0), "low=0"),
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
    weights = MedianWeight(low=0.1, full=10)(image)
    assert weights.shape == image.shape
    assert (weights[0, 0, 25:35, 25:35] == 1).all()
    assert weights[1].mean() == pytest.approx(0.12, abs=0.04)
    assert weights.min() >= 0.1


def test_a_hit_of_a_few_pixels_does_not_weigh_its_surroundings():
    image = a_sky()
    image[0, 0, 30, 25:33] += 5000
    assert MedianWeight()(image)[0, 0, 28:33, 25:33].max() < 0.5
