"""Draw cut-outs of what a detector does wrong on real frames: missed hits, false objects, masked stars."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.background import snr_map
from cosmicgate.data.cache import LabelledFrame
from cosmicgate.data.pixel_labels import CORE, IGNORED, KERNEL_3X3, SKY
from cosmicgate.evaluation.hits import FOUND_FRACTION, false_objects
from cosmicgate.report.figures.mask_figures import IMAGES, MASK_COLOURS, WIDTH, classify_pixels, show_panel
from cosmicgate.report.stretch import stretch

SIDE = 25  # side of a cut-out, pixels
COLUMNS, ROWS = 14, 2  # of cut-outs of each kind
ERRORS = {"missed": "hits missed", "false": "false objects", "stars": "star cores masked"}
CutOut = NDArray[np.float64]  # RGB (2 SIDE + 4, SIDE + 1, 3): image, its mask below, white margins


def errors_figure(frames: Iterable[tuple[LabelledFrame, NDArray[np.bool_]]], title: str) -> Figure:
    """Draw the brightest missed hits, false objects and masked stars of a detector, and say how many there are.

    ``frames`` yields each frame with the mask (H, W) of the detector; only one is in memory at a time.
    """
    found: dict[str, list[tuple[float, CutOut]]] = {kind: [] for kind in ERRORS}  # signal-to-noise ratio, cut-out
    number, totals = dict.fromkeys(ERRORS, 0), {"missed": 0, "stars": 0}
    for labelled, mask in frames:
        image, truth, facts = np.array(labelled.image), np.array(labelled.truth), labelled.facts
        snr = snr_map(image, facts["gain"], facts["read_noise"])
        for kind, places in _places(truth, mask, snr, facts.get("stars"), totals).items():
            number[kind] += len(places)
            shown = np.where(truth == IGNORED, np.uint8(SKY), truth) if kind == "stars" else truth
            brightest = sorted(places, key=lambda place: -snr[place])[: COLUMNS * ROWS]
            found[kind] += [(float(snr[place]), _cut_out(image, shown, mask, place)) for place in brightest]
            found[kind] = sorted(found[kind], key=lambda one: -one[0])[: COLUMNS * ROWS]
    with style.context(IMAGES):
        sheets = [_sheet([cut_out for _, cut_out in found[kind]]) for kind in ERRORS]
        heights = [sheet.shape[0] for sheet in sheets]
        scale = WIDTH / sheets[0].shape[1]
        figure = Figure(figsize=(WIDTH, scale * sum(heights) + 0.3 * len(ERRORS) + 0.4), layout="constrained")
        panels = figure.subplots(len(ERRORS), 1, height_ratios=heights)
        for axes, sheet, (kind, text) in zip(panels, sheets, ERRORS.items(), strict=True):
            show_panel(axes, sheet, f"{number[kind]}{f' of {totals[kind]}' if kind in totals else ''} {text}")
            axes.spines[:].set_visible(False)
        figure.suptitle(title)
    return figure


def _places(
    truth: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    snr: NDArray[np.float32],
    stars: Mapping[str, Sequence[int]] | None,
    totals: dict[str, int],
) -> dict[str, list[tuple[int, ...]]]:
    """List row and column of the brightest pixel of each error in a frame, and count its hits and stars in totals."""
    labels, hits = ndimage.label(truth == CORE, KERNEL_3X3)
    index = np.arange(1, hits + 1)
    share = ndimage.mean(mask, labels, index) if hits else np.zeros(0)
    missed = index[np.asarray(share) < FOUND_FRACTION]
    false = false_objects(truth, mask)
    cores = list(zip(stars["row"], stars["column"], strict=True)) if stars else []
    totals["missed"] += hits
    totals["stars"] += len(cores)
    return {
        "missed": ndimage.maximum_position(snr, labels, missed) if missed.size else [],
        "false": ndimage.maximum_position(snr, false, np.arange(1, false.max(initial=0) + 1)) if false.any() else [],
        "stars": [place for place in cores if mask[place]],
    }


def _cut_out(
    image: NDArray[np.float32], truth: NDArray[np.uint8], mask: NDArray[np.bool_], place: tuple[int, ...]
) -> CutOut:
    """Draw the surroundings of a pixel; beyond the edge of the frame they are ignored."""
    half = SIDE // 2
    around = tuple(slice(max(0, at - half), at + half + 1) for at in place)
    # Numbers of pixels that are missing before and after.
    pad = [(max(0, half - at), max(0, at + half + 1 - side)) for at, side in zip(place, image.shape, strict=True)]
    pixels = np.pad(image[around], pad, constant_values=np.nan)
    marks = np.pad(truth[around], pad, constant_values=IGNORED)
    colours = np.array([to_rgb(colour) for colour in MASK_COLOURS.values()])
    classes = colours[classify_pixels(marks, np.pad(mask[around], pad))]
    above, below = (((0, margin), (0, 1), (0, 0)) for margin in (1, 3))
    return np.vstack([np.pad(stretch(pixels), above, constant_values=1), np.pad(classes, below, constant_values=1)])


def _sheet(cut_outs: Sequence[CutOut]) -> NDArray[np.float64]:
    """Arrange cut-outs in rows: RGB (H, W, 3)."""
    if not cut_outs:
        return np.ones((1, COLUMNS * (SIDE + 1), 3))
    blank = np.ones_like(cut_outs[0])
    padded = [*cut_outs, *[blank] * (-len(cut_outs) % COLUMNS)]
    return np.vstack([np.hstack(padded[start : start + COLUMNS]) for start in range(0, len(padded), COLUMNS)])
