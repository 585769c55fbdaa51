"""Alternatives to binary cross-entropy, for images of which one pixel in three thousand is hit.

A loss takes logits and targets (0 or 1), both 1-D, and returns a scalar; a pixel weight takes images and returns
weights of their shape.
"""

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor, nn

from cosmicgate.models.normalization import asinh_normalize, asinh_unstretch


class FocalLoss(nn.Module):
    """Binary cross-entropy weighted by ``(1 - p)^gamma``, where ``p`` is the probability of the true class.

    Parameters
    ----------
    gamma : float
        Focusing exponent: 0 is binary cross-entropy; the larger, the less well-classified pixels count.
    alpha : float
        Weight of a hit pixel; a sky pixel weighs ``1 - alpha``. Both are doubled: 0.5 weights all pixels by 1.

    References
    ----------
    Lin et al. 2017, "Focal Loss for Dense Object Detection".
    """

    def __init__(self, gamma: float = 2.0, alpha: float = 0.5) -> None:
        super().__init__()
        if gamma < 0 or not 0 < alpha < 1:
            raise ValueError(f"expected gamma >= 0 and alpha between 0 and 1, got gamma={gamma}, alpha={alpha}")
        self.gamma = gamma
        self.alpha = alpha

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the mean loss over the pixels."""
        entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        wrong = -torch.expm1(-entropy)  # 1 - p
        weight = torch.where(target > 0.5, self.alpha, 1 - self.alpha)
        return (2 * weight * wrong**self.gamma * entropy).mean()


class DiceBCELoss(nn.Module):
    """Soft Dice loss (1 - Dice coefficient) over a whole batch, plus binary cross-entropy.

    Parameters
    ----------
    bce_weight : float
        Weight of the cross-entropy, without which a batch without hits would teach the network nothing.

    References
    ----------
    Milletari et al. 2016, "V-Net".
    """

    def __init__(self, bce_weight: float = 1.0) -> None:
        super().__init__()
        if bce_weight < 0:
            raise ValueError(f"expected bce_weight >= 0, got {bce_weight}")
        self.bce_weight = bce_weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss of a batch, a scalar."""
        p = logits.sigmoid()
        dice = (2 * (p * target).sum() + 1) / ((p**2).sum() + target.sum() + 1)
        return 1 - dice + self.bce_weight * F.binary_cross_entropy_with_logits(logits, target)


class BackgroundPixelWeight(nn.Module):
    """Weight of sky pixels by local brightness: low for empty sky, 1 for stars and galaxies.

    Cosmic-CoNN takes the brightness from the median of three exposures; for a single exposure the median of 5x5 pixels
    takes its place, which a hit seldom dominates.

    Parameters
    ----------
    min_weight : float
        Weight of empty sky.
    full_weight_sigma : float
        Brightness, in sigma of the sky noise above the sky level, from which the weight is 1.

    References
    ----------
    Xu et al. 2023 (Cosmic-CoNN), the median-weighted loss.
    """

    def __init__(self, min_weight: float = 0.1, full_weight_sigma: float = 10.0) -> None:
        super().__init__()
        if not (0 < min_weight <= 1 and full_weight_sigma > 0):
            raise ValueError(
                "expected 0 < min_weight <= 1 and full_weight_sigma > 0, "
                f"got min_weight={min_weight}, full_weight_sigma={full_weight_sigma}"
            )
        self.min_weight = min_weight
        self.full_weight_sigma = full_weight_sigma

    def forward(self, image: Tensor) -> Tensor:
        """Compute weights (N, 1, H, W) in [min_weight, 1] of images (N, 1, H, W)."""
        excess = asinh_unstretch(asinh_normalize(image))  # sigma above the median
        around = F.pad(excess, (2, 2, 2, 2), mode="replicate")
        height, width = image.shape[-2:]
        windows = F.unfold(around, 5).view(len(image), 25, height, width)
        light = windows.median(dim=1, keepdim=True).values
        return self.min_weight + (1 - self.min_weight) * (light / self.full_weight_sigma).clamp(0, 1)
