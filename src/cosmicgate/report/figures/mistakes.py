"""Draw cut-outs of what a detector does wrong on real frames: missed hits, false objects, masked stars."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.background import snr_map
from cosmicgate.data.cache import LabelledFrame
from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.evaluation.hits import EIGHT_NEIGHBOURS, FOUND_FRACTION, false_objects
from cosmicgate.report.figures.mask_figures import LOOK, MASK_COLOURS, show_panel, verdicts
from cosmicgate.report.figures.stretch import stretch

SIDE = 25  # side of a cut-out, pixels
WIDTH = 7.2  # of the figure, inches
COLUMNS, LINES = 14, 2  # cut-outs beside each other; lines of each kind
KINDS = {"missed": "hits missed", "false": "false objects", "stars": "star cores masked"}


class CutOut(NamedTuple):
    """The signal-to-noise ratio of an object, its image and what the detector does there, RGB (SIDE, SIDE, 3) each."""

    snr: float
    image: NDArray[np.float64]
    mask: NDArray[np.float64]


def mistakes_figure(frames: Iterable[tuple[LabelledFrame, NDArray[np.bool_]]], title: str) -> Figure:
    """Draw the brightest missed hits, false objects and masked stars of a detector, and say how many there are.

    Parameters
    ----------
    frames : iterable of (LabelledFrame, ndarray (H, W) of bool)
        Each frame with the mask of the detector; only one is in memory at a time.
    title : str
        Detector, test set and its data origin.
    """
    found: dict[str, list[CutOut]] = {kind: [] for kind in KINDS}
    number, known = dict.fromkeys(KINDS, 0), {"missed": 0, "stars": 0}
    for labelled, mask in frames:
        image, truth, facts = np.array(labelled.image), np.array(labelled.truth), labelled.facts
        snr = snr_map(image, facts["gain"], facts["read_noise"])
        for kind, places in _places(truth, mask, snr, facts.get("stars"), known).items():
            number[kind] += len(places)
            shown = np.where(truth == IGNORED, np.uint8(SKY), truth) if kind == "stars" else truth
            brightest = sorted(places, key=lambda place: -snr[place])[: COLUMNS * LINES]
            found[kind] += [_cut_out(image, shown, mask, place, float(snr[place])) for place in brightest]
            found[kind] = sorted(found[kind], key=lambda one: -one.snr)[: COLUMNS * LINES]
    heads = {
        kind: f"{number[kind]}{f' of {known[kind]}' if kind in known else ''} {text}" for kind, text in KINDS.items()
    }
    return _figure({heads[kind]: cut_outs for kind, cut_outs in found.items()}, title)


def _places(
    truth: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    snr: NDArray[np.float32],
    stars: Mapping[str, Sequence[int]] | None,
    known: dict[str, int],
) -> dict[str, list[tuple[int, ...]]]:
    """List row and column of the brightest pixel of each mistake in a frame, and count its hits and stars in known."""
    labels, hits = ndimage.label(truth == CORE, EIGHT_NEIGHBOURS)
    index = np.arange(1, hits + 1)
    share = ndimage.mean(mask, labels, index) if hits else np.zeros(0)
    missed = index[np.asarray(share) < FOUND_FRACTION]
    false = false_objects(truth, mask)
    cores = list(zip(stars["row"], stars["column"], strict=True)) if stars else []
    known["missed"] += hits
    known["stars"] += len(cores)
    return {
        "missed": ndimage.maximum_position(snr, labels, missed) if missed.size else [],
        "false": ndimage.maximum_position(snr, false, np.arange(1, false.max(initial=0) + 1)) if false.any() else [],
        "stars": [place for place in cores if mask[place]],
    }


def _cut_out(
    image: NDArray[np.float32], truth: NDArray[np.uint8], mask: NDArray[np.bool_], place: tuple[int, ...], snr: float
) -> CutOut:
    """Cut out the surroundings of a pixel; beyond the edge of the frame they are ignored."""
    half = SIDE // 2
    around = tuple(slice(max(0, at - half), at + half + 1) for at in place)
    pad = [
        (max(0, half - at), max(0, at + half + 1 - side)) for at, side in zip(place, image.shape, strict=True)
    ]  # pixels that are missing before and after
    pixels, marks = np.pad(image[around], pad, constant_values=np.nan), np.pad(truth[around], pad, constant_values=255)
    colours = np.array([to_rgb(colour) for colour in MASK_COLOURS.values()])
    return CutOut(snr, stretch(pixels), colours[verdicts(marks, np.pad(mask[around], pad))])


def _figure(rows: Mapping[str, Sequence[CutOut]], title: str) -> Figure:
    """Show the cut-outs of each kind under a heading, the image of each above its mask."""
    sheets = [_sheet(cut_outs) for cut_outs in rows.values()]
    heights = [sheet.shape[0] for sheet in sheets]
    with style.context(["default", LOOK, {"axes.grid": False}]):
        scale = WIDTH / sheets[0].shape[1]
        figure = Figure(figsize=(WIDTH, scale * sum(heights) + 0.3 * len(rows) + 0.4), layout="constrained")
        panels = figure.subplots(len(rows), 1, height_ratios=heights)
        for axes, sheet, text in zip(panels, sheets, rows, strict=True):
            show_panel(axes, sheet, text)
            axes.spines[:].set_visible(False)
        figure.suptitle(title, fontsize=9, fontweight="bold")
    return figure


def _sheet(cut_outs: Sequence[CutOut]) -> NDArray[np.float64]:
    """Arrange cut-outs in lines: RGB (H, W, 3)."""
    lines = -(-len(cut_outs) // COLUMNS)
    sheet = np.ones((max(lines * (2 * SIDE + 4), 1), COLUMNS * (SIDE + 1), 3))
    for number, one in enumerate(cut_outs):
        line, column = divmod(number, COLUMNS)
        y, x = line * (2 * SIDE + 4), column * (SIDE + 1)
        sheet[y : y + SIDE, x : x + SIDE] = one.image
        sheet[y + SIDE + 1 : y + 2 * SIDE + 1, x : x + SIDE] = one.mask
    return sheet
