"""Make media for W&B: curves, bar charts, and images with masks that can be switched on and off."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import wandb
from numpy.typing import NDArray

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.report.figures.stretch import stretch

FOUND, MISSED, FALSE = 1, 2, 3
VERDICTS = {FOUND: "found", MISSED: "missed", FALSE: "false"}
TRUTH = {CORE: "core", RING: "ring", IGNORED: "ignored"}


def roc_chart(fpr: Sequence[float | None], tpr: Sequence[float | None], title: str) -> Any:
    """Plot a ROC curve over the logarithm of the false-positive rate, as W&B's charts have no logarithmic axis."""
    known = [(x, y) for x, y in zip(fpr, tpr, strict=True) if x is not None and y is not None and x > 0]
    table = wandb.Table(columns=["fpr", "tpr", "log10_fpr"], data=[[x, y, math.log10(x)] for x, y in known])
    return wandb.plot.line(table, "log10_fpr", "tpr", title=title)


def pr_chart(recall: Sequence[float | None], precision: Sequence[float | None], title: str) -> Any:
    """Plot a precision-recall curve."""
    pairs = zip(recall, precision, strict=True)
    known = [[x, y] for x, y in pairs if x is not None and y is not None and math.isfinite(y)]
    return wandb.plot.line(wandb.Table(columns=["recall", "precision"], data=known), "recall", "precision", title=title)


def bars(values: dict[str, float], label: str, value: str, title: str) -> Any:
    """Plot a bar for each class of hits."""
    table = wandb.Table(columns=[label, value], data=[list(pair) for pair in values.items()])
    return wandb.plot.bar(table, label, value, title=title)


def overlay(
    image: NDArray[np.floating[Any]], truth: NDArray[np.uint8], mask: NDArray[np.bool_], caption: str
) -> wandb.Image:
    """Overlay truth (H, W) and found, missed and false pixels of a mask (H, W) on an image (H, W) in any unit."""
    hit = (truth == CORE) | (truth == RING)
    verdict = np.zeros(truth.shape, np.uint8)
    for code, pixels in ((FOUND, hit & mask), (MISSED, hit & ~mask), (FALSE, mask & (truth == SKY))):
        verdict[pixels] = code
    masks = {
        "truth": {"mask_data": np.asarray(truth), "class_labels": TRUTH},
        "mask": {"mask_data": verdict, "class_labels": VERDICTS},
    }
    return wandb.Image(np.uint8(np.rint(255 * stretch(image))), masks=masks, caption=caption)
