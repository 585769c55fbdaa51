"""Draw an image with its truth and the masks of detectors; define the style that all figures share."""

import io
import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import CORE, IGNORED, KERNEL_3X3, RING, SKY
from cosmicgate.io.atomic import atomic_write
from cosmicgate.report.stretch import stretch

# What a mask says of a pixel; the code of each kind is its place. The colours differ in lightness as well as in hue,
# for greyscale print and colour-blind readers.
MASK_COLOURS = {
    "sky": "#FFFFFF",
    "core, found": "#909090",
    "ring, found": "#D0D0D0",
    "core, missed": "#A0002A",
    "ring, missed": "#EE8CDC",
    "false": "#F0501E",
    "ignored": "#CFE3F5",
}
MISSED, FALSE = (list(MASK_COLOURS).index(kind) for kind in ("core, missed", "false"))
WIDTH = 7.2  # inches, width of a figure
PANEL = 1.85  # width of a panel, inches
RC_PARAMS: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "lines.markersize": 4,
    "figure.dpi": 300,
    "figure.titlesize": 9,
    "savefig.dpi": "figure",
}
PLOTS: list[str | dict[str, Any]] = ["default", RC_PARAMS]  # matplotlib's styles of curves
IMAGES: list[str | dict[str, Any]] = [*PLOTS, {"axes.grid": False, "figure.titleweight": "bold"}]


def masks_figure(
    image: NDArray[np.floating[Any]],
    truth: NDArray[np.uint8],
    masks: Mapping[str, NDArray[np.bool_]],
    title: str,
    window: int = 256,
) -> Figure:
    """Draw an image (H, W), its truth and the mask of each detector, in rows of at most five panels.

    Of an image larger than ``window`` pixels the part with the most hits and errors is shown (:func:`busiest`),
    inverted: bright is dark. The title should name the frame and its data origin.

    Raise ValueError if truth or a mask differs in shape from the image.
    """
    for name, array in {"truth": truth, **masks}.items():
        if array.shape != image.shape:
            raise ValueError(f"{name} has the shape {array.shape}, expected the image's {image.shape}")
    wrong = [np.isin(classify_pixels(truth, mask), (MISSED, FALSE)) for mask in masks.values()]
    cut = busiest([truth == CORE, *wrong], window)
    marks = truth[cut]
    shown = {"truth": np.isin(marks, (CORE, RING))} | {name: mask[cut] for name, mask in masks.items()}
    rows = math.ceil((1 + len(shown)) / 5)
    columns = math.ceil((1 + len(shown)) / rows)
    height = PANEL * marks.shape[0] / marks.shape[1] + 0.3  # of a panel with its title, inches
    with style.context(IMAGES):
        figure = Figure(figsize=(PANEL * columns, height * rows + 0.8), layout="constrained")
        first, *others = figure.subplots(rows, columns, squeeze=False).flat
        show_panel(first, stretch(image[cut]), "image")
        colours = ListedColormap(list(MASK_COLOURS.values()))
        for panel, (name, mask) in zip(others, shown.items(), strict=False):
            show_panel(
                panel, classify_pixels(marks, mask), textwrap.fill(name, 28), cmap=colours, vmin=0, vmax=colours.N - 1
            )
        for empty in others[len(shown) :]:
            empty.set_visible(False)
        figure.suptitle(textwrap.fill(title, 28 * columns))
        keys = [Patch(fc=colour, ec="0.4", lw=0.5, label=kind) for kind, colour in MASK_COLOURS.items()][1:]  # no sky
        figure.legend(handles=keys, loc="outside lower center", ncols=columns, fontsize=8)
    return figure


def labels_figure(
    images: Sequence[NDArray[np.floating[Any]]], truths: Sequence[NDArray[np.uint8]], title: str, window: int = 128
) -> Figure:
    """Draw exposures of a field (H, W) beside each other, and the labels (H, W) of their pixels below.

    The part with the most labelled hits is shown, the same pixels of each exposure, as in :func:`masks_figure`.
    """
    cut = busiest([truth == CORE for truth in truths], window)
    marks = [truth[cut] for truth in truths]
    width = WIDTH / len(images)
    height = width * marks[0].shape[0] / marks[0].shape[1]
    with style.context(IMAGES):
        figure = Figure(figsize=(WIDTH, 2 * height + 0.9), layout="constrained")
        panels = figure.subplots(2, len(images), squeeze=False)
        colours = ListedColormap(list(MASK_COLOURS.values()))
        for number, (image, mark, column) in enumerate(zip(images, marks, panels.T, strict=True), 1):
            show_panel(column[0], stretch(image[cut]), f"exposure {number}")
            codes = classify_pixels(mark, np.isin(mark, (CORE, RING)))
            show_panel(column[1], codes, f"labels of exposure {number}", cmap=colours, vmin=0, vmax=colours.N - 1)
        figure.suptitle(textwrap.fill(title, 90))
        kinds = {"core": "core, found", "ring": "ring, found", "ignored": "ignored"}
        keys = [Patch(fc=MASK_COLOURS[kind], ec="0.4", lw=0.5, label=label) for label, kind in kinds.items()]
        figure.legend(handles=keys, loc="outside lower center", ncols=len(keys), fontsize=8)
    return figure


def show_panel(axes: Axes, values: NDArray[Any], title: str, **imshow_options: Any) -> AxesImage:
    """Show an image without ticks, pixels as squares, under a title; ``imshow_options`` go to ``Axes.imshow``."""
    axes.set_title(title, fontsize=7.5, pad=3)
    axes.set(xticks=[], yticks=[])
    return axes.imshow(values, interpolation="nearest", **imshow_options)


def busiest(marks: Sequence[NDArray[np.bool_]], window: int) -> tuple[slice, slice]:
    """Find the window with the most connected components of ``marks`` (H, W), each counted at its first pixel.

    Of several such windows it is one in their middle, so that a single hit is not at the edge.
    The components of each mask are weighted by the inverse of their number, so that a detector with thousands of
    errors has no more influence than one with few.
    """
    shape = marks[0].shape
    height, width = (min(window, side) for side in shape)
    sums = np.zeros((shape[0] + 1, shape[1] + 1))  # sums[i, j] weighs the components above i and left of j
    for mark in marks:
        labels = ndimage.label(mark, KERNEL_3X3)[0].ravel()
        pixels = np.flatnonzero(labels)
        first = pixels[np.unique(labels[pixels], return_index=True)[1]]
        sums[1:, 1:][np.unravel_index(first, shape)] += 1 / max(1, first.size)
    sums = sums.cumsum(0).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    best = inside > inside.max() - 1e-6  # sums are rounded
    y, x = (int(i) for i in np.unravel_index(best.argmax(), best.shape))
    x = _middle(best[y], x, width)
    y = _middle(best[:, x], y, height)
    return slice(y, y + height), slice(x, x + width)


def _middle(best: NDArray[np.bool_], first: int, window: int) -> int:
    """Choose the middle of the True values from ``first`` on, as if those at a border continued beyond it."""
    after = best[first:]
    last = first + (after.size if after.all() else int(after.argmin())) - 1
    low = first if first else last - window + 1
    high = last if last < best.size - 1 else first + window - 1
    return min(max((low + high) // 2, first), last)


def classify_pixels(truth: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Compare a mask (H, W) with the truth (H, W); give the code of a kind of MASK_COLOURS for each pixel."""
    core, ring = truth == CORE, truth == RING
    cases = [core & mask, ring & mask, core & ~mask, ring & ~mask, mask & (truth == SKY), truth == IGNORED]
    return np.select(cases, range(1, 7), 0).astype(np.uint8)


def file_name(*parts: str) -> str:
    """Join parts by underscores, replacing characters unsuitable in file names by hyphens."""
    return re.sub(r"[^\w.,-]+", "-", "_".join(parts)).rstrip("-")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG without metadata, so that the bytes are reproducible."""
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None})
    atomic_write(path, png.getvalue())
    return path
