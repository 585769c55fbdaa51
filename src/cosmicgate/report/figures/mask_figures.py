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
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.evaluation.hits import EIGHT_NEIGHBOURS
from cosmicgate.io.atomic import atomic_write
from cosmicgate.report.figures.stretch import stretch

# Colours differ in lightness as well as in hue, for greyscale print and colour-blind readers.
MASK_COLOURS = {
    "core, found": "#909090",
    "ring, found": "#D0D0D0",
    "core, missed": "#A0002A",
    "ring, missed": "#EE8CDC",
    "false": "#F0501E",
    "ignored": "#CFE3F5",
}
DPI = 300
LOOK = {
    "font.size": 9,
    "axes.titlesize": 9,
    "legend.fontsize": 8.5,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "grid.color": "0.9",
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.dpi": DPI,
    "savefig.dpi": "figure",
}


def masks_figure(
    image: NDArray[np.floating[Any]],
    truth: NDArray[np.uint8],
    masks: Mapping[str, NDArray[np.bool_]],
    title: str,
    window: int = 256,
) -> Figure:
    """Draw an image, its truth and each detector's mask, every pixel as a square of whole PNG pixels.

    Parameters
    ----------
    image : ndarray (H, W)
        Image in any unit. It is stretched by asinh, scaled to the sky noise, and shown inverted (bright is dark).
    truth : ndarray (H, W), uint8
        SKY, CORE, RING or IGNORED of :mod:`cosmicgate.data.pixel_labels`.
    masks : mapping of str to ndarray (H, W), bool
        Detector -> predicted hit pixels.
    title : str
        Title above the panels; should name the frame and its data origin.
    window : int
        Side, in pixels, of the part shown of a larger image: the window with the most hits and mistakes of detectors
        (:func:`busiest`).

    Raises
    ------
    ValueError
        If truth or a mask differs in shape from the image.
    """
    for name, array in {"truth": truth, **masks}.items():
        if array.shape != image.shape:
            raise ValueError(f"{name} has the shape {array.shape}, expected the image's {image.shape}")
    cut = busiest([truth == CORE, *(_wrong(truth, mask) for mask in masks.values())], window)
    shown, marks = stretch(image[cut]), truth[cut]
    panels = {"image": shown, "truth": _verdict(marks, np.isin(marks, (CORE, RING)))}
    panels |= {name: _verdict(marks, mask[cut]) for name, mask in masks.items()}
    with style.context(["default", LOOK]):
        return _panels_figure(panels, title, ignored=bool((marks == IGNORED).any()))


def _wrong(truth: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark missed core pixels and sky pixels predicted as a hit (H, W)."""
    return np.asarray((mask & (truth == SKY)) | (~mask & (truth == CORE)))


def busiest(marks: Sequence[NDArray[np.bool_]], window: int) -> tuple[slice, slice]:
    """Find the window with the most connected components of ``marks`` (H, W), each counted at its first pixel.

    The components of each mask are weighted by the inverse of their number, so that a detector with thousands of
    mistakes has no more influence than one with few.
    """
    shape = marks[0].shape
    height, width = (min(window, side) for side in shape)
    sums = np.zeros((shape[0] + 1, shape[1] + 1))  # sums[i, j] weighs the components above i and left of j
    for mark in marks:
        labels = ndimage.label(mark, EIGHT_NEIGHBOURS)[0].ravel()
        pixels = np.flatnonzero(labels)
        first = pixels[np.unique(labels[pixels], return_index=True)[1]]
        sums[1:, 1:][np.unravel_index(first, shape)] += 1 / max(1, first.size)
    sums = sums.cumsum(0).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    y, x = (int(i) for i in np.unravel_index(inside.argmax(), inside.shape))
    return slice(y, y + height), slice(x, x + width)


def _verdict(truth: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Colour found, missed and false pixels by MASK_COLOURS, sky white: (H, W, 3)."""
    colours = {name: [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)] for name, code in MASK_COLOURS.items()}
    picture = np.ones((*truth.shape, 3))
    picture[mask] = colours["false"]
    for name, value in (("core", CORE), ("ring", RING)):
        picture[(truth == value) & mask] = colours[f"{name}, found"]
        picture[(truth == value) & ~mask] = colours[f"{name}, missed"]
    picture[truth == IGNORED] = colours["ignored"]
    return picture


def _panels_figure(panels: Mapping[str, NDArray[np.float64]], title: str, ignored: bool) -> Figure:
    """Lay out the panels (h, w, 3) in rows of at most five, names above, legend below; lengths in PNG pixels."""
    height, width = next(iter(panels.values())).shape[:2]
    scale = math.ceil(512 / max(height, width))
    wide, high, gap = scale * width, scale * height, 18
    columns = math.ceil(len(panels) / math.ceil(len(panels) / 5))
    names = [textwrap.fill(name, max(4, wide // 18)) for name in panels]
    size_x = columns * (wide + gap) + gap
    title = textwrap.fill(title, size_x // 20)
    heads = [_lines(names[i : i + columns]) for i in range(0, len(names), columns)]
    kinds = [name for name in MASK_COLOURS if ignored or name != "ignored"]
    keys = min(len(kinds), max(1, size_x // 330))
    foot = 24 + 44 * math.ceil(len(kinds) / keys)
    size_y = _lines([title]) + 10 + sum(heads) + len(heads) * (high + gap) + foot
    figure = Figure(figsize=(size_x / DPI, size_y / DPI))
    for number, (name, picture) in enumerate(zip(names, panels.values(), strict=True)):
        row, column = divmod(number, columns)
        x = gap + column * (wide + gap)
        y = foot + gap + (len(heads) - 1 - row) * (high + gap) + sum(heads[row + 1 :])
        figure.figimage(picture.repeat(scale, 0).repeat(scale, 1), x, y, origin="upper")
        box = ((x - 2) / size_x, (y - 2) / size_y), (wide + 4) / size_x, (high + 4) / size_y
        figure.add_artist(Rectangle(*box, fill=False, edgecolor="0.5", linewidth=0.5, transform=figure.transFigure))
        figure.text(x / size_x, (y + high + 12) / size_y, name, fontsize=8)
    figure.text(gap / size_x, 1 - gap / size_y, title, fontsize=9, fontweight="bold", va="top")
    patches = [Patch(facecolor=MASK_COLOURS[name], edgecolor="0.4", linewidth=0.5, label=name) for name in kinds]
    figure.legend(handles=patches, loc="lower center", ncols=keys, fontsize=8, frameon=False, borderaxespad=0.3)
    return figure


def _lines(texts: Sequence[str]) -> int:
    """Compute the height of the tallest of the texts, PNG pixels."""
    return 14 + 40 * (1 + max(text.count("\n") for text in texts))


def file_name(*parts: str) -> str:
    """Join parts by underscores, replacing characters unsuitable in file names by hyphens."""
    return re.sub(r"[^\w.,-]+", "-", "_".join(parts)).rstrip("-")


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG without metadata, so that the bytes are reproducible."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    atomic_write(path, picture.getvalue())
    return path
