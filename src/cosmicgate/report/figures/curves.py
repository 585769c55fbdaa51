"""Draw ROC and precision-recall curves, recall by length and brightness of the hits, and training history."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import DetectorRecord, labels
from cosmicgate.report.figures.mask_figures import LOOK, file_name, save_figure
from cosmicgate.report.results import CONVENTIONS, Row, by_test_set, heading
from cosmicgate.report.tables import span

SWEPT = 64  # a curve of at most this many points comes from a sweep over settings, each of which gets a marker
# Okabe and Ito's palette without its yellow, which is hardly visible on white paper.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
CURVES = ("fpr", "tpr", "recall", "precision")


class Look(NamedTuple):
    """Legend label of a detector, and its index in the report, which determines colour, dashes and marker."""

    label: str
    place: int


def draw_curves(rows: Sequence[Row], folder: Path, convention: Convention = "dilated") -> list[Path]:
    """Draw a PNG for each test set, ``curves_<convention>_<test set>_<data origin>.png``.

    A detector has the same colour and dashes in all of them.
    """
    return _draw(
        rows, rows, folder, f"curves_{convention}", lambda members, looks: curves_figure(members, convention, looks)
    )


def draw_recall(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw a PNG for each test set with recall by class of hits, ``recall_<test set>_<data origin>.png``.

    A detector has the same colour and dashes as in the curves.
    """
    return _draw(rows, [row for row in rows if has_recall(row)], folder, "recall", recall_figure)


def has_recall(row: Row) -> bool:
    """Check whether a row has recall by length and by brightness of the hits."""
    return bool(row["per_hit"].get("by_length") and row["per_hit"].get("by_snr"))


def _draw(rows: Sequence[Row], shown: Sequence[Row], folder: Path, kind: str, figure: Any) -> list[Path]:
    looks = {
        record: Look(text, place) for place, (record, text) in enumerate(labels(r["detector"] for r in rows).items())
    }
    made: list[Path] = []
    for members in by_test_set(shown):
        path = folder / f"{file_name(kind, members[0]['test_set'], members[0]['data_origin'])}.png"
        if path in made:  # a test set of the same name with other frames
            path = path.with_stem(f"{path.stem}_{len(made)}")
        with style.context(["default", LOOK]):
            made.append(save_figure(figure(members, looks), path))
    return made


def curves_figure(members: Sequence[Row], convention: Convention, looks: Mapping[DetectorRecord, Look]) -> Figure:
    """Draw the four panels of one test set: ROC and precision-recall, wide and zoomed.

    Parameters
    ----------
    members : sequence of row
        Rows of one test set. One without curves appears in the legend only.
    convention : {"dilated", "core"}
        Positives: core and ring, or core alone.
    looks : mapping of DetectorRecord to Look
        Label and place in the whole report of each detector.
    """
    figure = Figure(figsize=(7.2, 7.4), layout="constrained")
    panels = figure.subplots(2, 2)
    handles = []
    for row in members:
        text, place = looks[row["detector"]]
        curves = (row.get("curves") or {}).get(convention) or {}
        if not curves.get("fpr"):
            handles.append(Line2D([], [], linestyle="none", label=f"{text} (no curve)"))
            continue
        look = _look(place)
        if len(curves["fpr"]) <= SWEPT:
            look |= dict(marker=MARKERS[place % len(MARKERS)], markerfacecolor="white", linewidth=0.8)
        points = {key: np.array(curves[key], float) for key in CURVES}  # null becomes NaN, a gap in the line
        for roc, pr in panels.T:
            handle = roc.plot(points["fpr"], points["tpr"], label=text, **look)[0]
            pr.plot(points["recall"], points["precision"], **look)
        handles.append(handle)
    low_tpr = _zoom([row[convention]["tpr_at_fpr_0.01pct"] for row in members], 0.5)
    low_precision = _zoom([row[convention]["precision_at_tpr_95pct"] for row in members], 0.8)
    _roc_axes(panels[0, 0], "ROC", (1e-6, 1), (0, 1.02))
    _roc_axes(panels[0, 1], "ROC, zoomed", (1e-5, 1e-2), (low_tpr, 1 + 0.02 * (1 - low_tpr)))
    _pr_axes(panels[1, 0], "Precision-recall", (0, 1.02), (0, 1.02))
    _pr_axes(panels[1, 1], "Precision-recall, zoomed", (0.8, 1.004), (low_precision, 1 + 0.02 * (1 - low_precision)))
    figure.suptitle(f"{heading(members[0])}\n{convention} truth: {CONVENTIONS[convention]}", fontsize=9)
    _legend(figure, handles)
    return figure


def recall_figure(members: Sequence[Row], looks: Mapping[DetectorRecord, Look]) -> Figure:
    """Draw two panels of one test set: the fraction of hits found, by length and by peak signal-to-noise ratio.

    Error bars are 95 % intervals by bootstrap over frames; the tick label of each class has its number of hits.
    Parameters are those of :func:`curves_figure`.
    """
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    handles = []
    for number, row in enumerate(members):
        text, place = looks[row["detector"]]
        look = _look(place) | dict(marker=MARKERS[place % len(MARKERS)], linewidth=1.0)
        aside = 0.5 * ((number + 0.5) / len(members) - 0.5)  # offset, so that error bars do not overlap
        for axes, key in zip(panels, ("by_length", "by_snr"), strict=True):
            classes = row["per_hit"][key]
            recall = np.array([100 * c["found"] / c["hits"] if c["hits"] else math.nan for c in classes])
            x = np.arange(len(classes)) + aside
            handle = axes.plot(x, recall, label=text, markersize=3.5, **look)[0]
            limits = [100 * np.array(c.get("interval") or (math.nan, math.nan)) for c in classes]
            axes.vlines(x, *np.transpose(limits), color=look["color"], linewidth=0.8)
        handles.append(handle)
    for axes, key, name in zip(panels, ("by_length", "by_snr"), ("Length (px)", "Peak SNR"), strict=True):
        classes = members[0]["per_hit"][key]
        axes.set_xticks(range(len(classes)), [f"{span(c)}\n({c['hits']:,})" for c in classes], fontsize=7.5)
        axes.set(xlabel=f"{name}; in brackets: hits", ylim=(-2, 102))
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel("Hits found (%)")
    figure.suptitle(heading(members[0]), fontsize=9)
    _legend(figure, handles)
    return figure


def draw_history(trained: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], path: Path) -> Path:
    """Draw validation loss, and TPR at a false-positive rate of 0.01 %, by epoch into a PNG.

    ``trained`` maps run -> ``val/loss`` and ``val/tpr_at_fpr_0.01pct`` -> (epoch, value).
    """
    with style.context(["default", LOOK]):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        panels = figure.subplots(1, 2)
        handles = []
        for place, (name, history) in enumerate(trained.items()):
            look = _look(place) | dict(marker=MARKERS[place % len(MARKERS)], markersize=3, linewidth=1.0)
            for axes, key in zip(panels, ("val/loss", "val/tpr_at_fpr_0.01pct"), strict=True):
                epochs, values = np.array(history.get(key, ())).reshape(-1, 2).T
                line = axes.plot(epochs, values, label=name, **look)[0]
            handles.append(line)
        panels[0].set(xlabel="Epoch", ylabel="Validation loss", yscale="log")
        panels[1].set(xlabel="Epoch", ylabel="TPR at FPR 0.01 %, validation")
        _legend(figure, handles)
        return save_figure(figure, path)


def _look(place: int) -> dict[str, Any]:
    return dict(color=COLOURS[place % len(COLOURS)], linestyle=DASHES[place % len(DASHES)])


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    columns = int(7.2 / (0.7 + 0.065 * max(len(str(handle.get_label())) for handle in handles)))  # inches
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, max(1, columns)), handlelength=3.6, frameon=False
    )


def _roc_axes(axes: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set(xlabel="False-positive rate", ylabel="True-positive rate", xscale="log", xlim=x, ylim=y)
    _mark(axes, title, {1e-4: "0.01 %", 1e-3: "0.1 %"})


def _pr_axes(axes: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set(xlabel="Recall", ylabel="Precision", xlim=x, ylim=y)
    _mark(axes, title, {0.95: "95 %"})


def _mark(axes: Axes, title: str, rules: Mapping[float, str]) -> None:
    """Draw labelled vertical lines where the paper's tables read off the curves."""
    axes.set_title(title, loc="left", pad=14, fontweight="bold")
    for x, text in rules.items():
        axes.axvline(x, color="0.45", linewidth=0.8, zorder=1)
        axes.text(x, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)


def _zoom(scores: Sequence[float | None], otherwise: float) -> float:
    """Compute the lower end of a zoomed axis from the median score, so that a failing detector does not set it."""
    known = [score for score in scores if score is not None]
    return min(0.9, math.floor(10 * statistics.median(known)) / 10) if known else otherwise
