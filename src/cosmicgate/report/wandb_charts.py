"""Make charts and images for W&B: curves, hits found by class, masks that can be switched on and off, weights.

``test/<test set>/roc``, ``.../pr``, ``.../recall_by_length`` and ``.../recall_by_snr`` are charts, ``.../masks`` are
images.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.cache import load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.detectors import Detector
from cosmicgate.evaluation.frame_results import cached_result, read_mask
from cosmicgate.extras import extra
from cosmicgate.io.run_files import BEST
from cosmicgate.report.figures.frames import busiest_frames
from cosmicgate.report.figures.mask_figures import MASK_COLOURS, busiest, classify_pixels
from cosmicgate.report.results import Row, set_name
from cosmicgate.report.stretch import stretch
from cosmicgate.report.tables.cells import recalls

with extra("wandb"):
    import wandb

WINDOW = 256  # side of an image, pixels
TRUTH = {CORE: "core", RING: "ring", IGNORED: "ignored"}
PIXEL_CLASSES = {code: kind for code, kind in enumerate(MASK_COLOURS) if kind != "sky"}


def roc_chart(fpr: Sequence[float | None], tpr: Sequence[float | None], title: str) -> Any:
    """Plot a ROC curve over the logarithm of the false-positive rate, as W&B's charts have no logarithmic axis."""
    known = [[x, y, math.log10(x)] for x, y in zip(fpr, tpr, strict=True) if x and y is not None]
    table = wandb.Table(columns=["fpr", "tpr", "log10_fpr"], data=known)
    return wandb.plot.line(table, "log10_fpr", "tpr", title=title)


def pr_chart(recall: Sequence[float | None], precision: Sequence[float | None], title: str) -> Any:
    """Plot a precision-recall curve."""
    pairs = zip(recall, precision, strict=True)
    known = [[x, y] for x, y in pairs if x is not None and y is not None and math.isfinite(y)]
    return wandb.plot.line(wandb.Table(columns=["recall", "precision"], data=known), "recall", "precision", title=title)


def overlay(
    image: NDArray[np.floating[Any]], truth: NDArray[np.uint8], mask: NDArray[np.bool_], caption: str
) -> wandb.Image:
    """Overlay truth (H, W), and what is right and wrong in a mask (H, W), on an image (H, W) in any unit."""
    masks = {
        "truth": {"mask_data": np.asarray(truth), "class_labels": TRUTH},
        "mask": {"mask_data": classify_pixels(truth, mask), "class_labels": PIXEL_CLASSES},
    }
    return wandb.Image(np.uint8(np.rint(255 * stretch(image))), masks=masks, caption=caption)


def charts(row: Row) -> dict[str, Any]:
    """Make the charts of a row, by their keys; curves follow the paper's convention."""
    where, title = f"test/{row['test_set']}", set_name(row)
    found = {}
    if curves := (row.get("curves") or {}).get("dilated"):
        found[f"{where}/roc"] = roc_chart(curves["fpr"], curves["tpr"], f"ROC, {title}")
        found[f"{where}/pr"] = pr_chart(curves["recall"], curves["precision"], f"Precision-recall, {title}")
    for what, label in (("length", "Length (px)"), ("snr", "Peak SNR")):
        if known := [[span, value] for span, value in recalls(row, f"by_{what}").items() if value is not None]:
            table = wandb.Table(columns=[label, "Hits found"], data=known)
            chart = wandb.plot.bar(table, label, "Hits found", title=f"Hits found by {label.lower()}, {title}")
            found[f"{where}/recall_by_{what}"] = chart
    return found


def overlays(detector: Detector, test_set: TestSet, cache: Path) -> list[wandb.Image]:
    """Overlay truth and mask on a window of one frame for each band: the busiest window of the busiest frame.

    ``cache`` is the folder of cached results, as in :func:`cosmicgate.evaluation.run.evaluate`.
    """
    shown = []
    for band, folder in busiest_frames(test_set).items():
        labelled, mask = load_labelled(folder), read_mask(cached_result(detector, folder, cache))
        truth = np.array(labelled.truth)
        cut = busiest([truth == CORE, mask & (truth == SKY)], WINDOW)
        caption = f"{labelled.facts['name']}, {band or 'no'} band, {test_set.data_origin}"
        shown.append(overlay(np.array(labelled.image[cut]), truth[cut], mask[cut], caption))
    return shown


def media(rows: Sequence[Row], detector: Detector | None, test_sets: Sequence[TestSet], cache: Path) -> dict[str, Any]:
    """Make the charts of the rows of a detector, and images if there is one; a mean of seeds has none."""
    shown = {key: chart for row in rows for key, chart in charts(row).items()}
    if detector is not None:
        scored = {row["test_set"] for row in rows}
        shown |= {f"test/{s.name}/masks": overlays(detector, s, cache) for s in test_sets if s.name in scored}
    return shown


def weights_artifact(name: str, run: Path, scores: Mapping[str, float]) -> wandb.Artifact:
    """Make an artifact of the best weights of a run, with their test scores as metadata."""
    artifact = wandb.Artifact(f"weights-{name}", type="model", metadata=dict(scores))
    artifact.add_file(str(run / BEST), name="best.ckpt")
    return artifact
