"""Draw ROC and PR curves, recall by length and brightness of the hits, scores against speed, and training history."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import DetectorRecord, figure_titles
from cosmicgate.report.figures.mask_figures import PLOTS, WIDTH, file_name, save_figure
from cosmicgate.report.results import CONVENTIONS, Row, by_test_set, heading, interval_of
from cosmicgate.report.runs import HISTORY
from cosmicgate.report.tables.cells import span

SWEPT = 64  # a curve of at most this many points comes from a sweep over settings, each of which gets a marker
# Okabe and Ito's palette without its yellow, which is hardly visible on white paper.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"
ROC: dict[str, Any] = {"xlabel": "False-positive rate", "ylabel": "True-positive rate", "xscale": "log"}
PR: dict[str, Any] = {"xlabel": "Recall", "ylabel": "Precision"}
# False-positive rates and recall at which the paper's tables read off the curves.
FPR_LABELS, RECALL_LABELS = {1e-4: "0.01 %", 1e-3: "0.1 %"}, {0.95: "95 %"}
LineStyle = dict[str, Any]  # arguments of Axes.plot


def line_styles(names: Iterable[str]) -> list[LineStyle]:
    """Give each name a colour, dashes and a marker, by its place."""
    styles = zip(names, cycle(COLOURS), cycle(DASHES), cycle(MARKERS), strict=False)
    return [{"label": name, "color": colour, "linestyle": dash, "marker": mark} for name, colour, dash, mark in styles]


def draw_figures(rows: Sequence[Row], folder: Path, timed: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Path]]:
    """Draw the figures of each test set, in the order of :func:`~cosmicgate.report.results.by_test_set`.

    A detector has the same colour, dashes and marker in all of them. The figures of a test set are ``curves_dilated``
    and ``curves_core`` if its hits are known, ``recall`` if a row has recall by class of hits, and ``speed`` if
    detectors were ``timed`` (the list ``seconds`` of results), each mapped to its file
    ``<kind>_<test set>_<data origin>.png``.
    """
    seconds = {_without_training(entry["detector"]): entry["seconds"] for entry in timed}
    shown = figure_titles(row["detector"] for row in rows)
    styles = dict(zip(shown, line_styles(shown.values()), strict=True))
    made: list[dict[str, Path]] = []
    names: list[str] = []
    for members in by_test_set(rows):
        name = file_name(members[0]["test_set"], members[0]["data_origin"])
        names.append(name if name not in names else f"{name}_{len(names)}")  # one test set with other frames
        figures: dict[str, Figure] = {}
        if members[0]["pixels"]:  # otherwise the hits of the test set are not known
            with style.context(PLOTS):
                figures = {f"curves_{kind}": curves_figure(members, kind, styles) for kind in CONVENTIONS}
                if classified := [row for row in members if row["per_hit"].get("by_length")]:
                    figures["recall"] = recall_figure(classified, styles)
                if any(_without_training(row["detector"]) in seconds for row in members):
                    figures["speed"] = speed_figure(members, seconds, styles)
        made.append({kind: save_figure(figures[kind], folder / f"{kind}_{names[-1]}.png") for kind in figures})
    return made


def curves_figure(members: Sequence[Row], convention: Convention, styles: Mapping[DetectorRecord, LineStyle]) -> Figure:
    """Draw ROC and precision-recall of the rows of one test set, wide and zoomed; the legend lists all rows."""
    figure = Figure(figsize=(WIDTH, 7.4), layout="constrained")
    panels = figure.subplots(2, 2)
    for row in members:
        line_style = styles[row["detector"]]
        curves = (row.get("curves") or {}).get(convention) or {}
        if not curves.get("fpr"):
            panels[0, 0].plot([], [], linestyle="none", label=f"{line_style['label']} (no curve)")
            continue
        swept = len(curves["fpr"]) <= SWEPT
        line_style = line_style | ({"markerfacecolor": "white", "linewidth": 0.8} if swept else {"marker": ""})
        points = {key: np.array(values, float) for key, values in curves.items()}  # null becomes NaN, a gap in the line
        for roc, pr in panels.T:
            roc.plot(points["fpr"], points["tpr"], **line_style)
            pr.plot(points["recall"], points["precision"], **line_style)
    tpr = [row[convention]["tpr_at_fpr_0.01pct"] for row in members]
    precision = [row[convention]["precision_at_tpr_95pct"] for row in members]
    whole = (0, 1.02)
    _label(panels[0, 0], "ROC", FPR_LABELS, **ROC, xlim=(1e-6, 1), ylim=whole)
    _label(panels[0, 1], "ROC, zoomed", FPR_LABELS, **ROC, xlim=(1e-5, 1e-2), ylim=_zoom(tpr, 0.5))
    _label(panels[1, 0], "Precision-recall", RECALL_LABELS, **PR, xlim=whole, ylim=whole)
    _label(panels[1, 1], "Precision-recall, zoomed", RECALL_LABELS, **PR, xlim=(0.8, 1.004), ylim=_zoom(precision, 0.8))
    figure.suptitle(f"{heading(members[0])}\n{convention} truth: {CONVENTIONS[convention]}")
    _legend(figure, panels[0, 0])
    return figure


def recall_figure(members: Sequence[Row], styles: Mapping[DetectorRecord, LineStyle]) -> Figure:
    """Draw two panels of one test set: the fraction of hits found, by length and by peak signal-to-noise ratio.

    Error bars are 95 % intervals by bootstrap over frames; the tick label of each class has its number of hits.
    """
    figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, name in zip(panels, ("by_length", "by_snr"), ("Length (px)", "Peak SNR"), strict=True):
        for number, row in enumerate(members):
            classes, line_style = row["per_hit"][key], styles[row["detector"]]
            recall = [100 * c["found"] / c["hits"] if c["hits"] else math.nan for c in classes]
            x = np.arange(len(classes)) + 0.5 * ((number + 0.5) / len(members) - 0.5)  # error bars beside each other
            axes.plot(x, recall, **line_style)
            limits = [100 * np.array(c.get("interval") or (math.nan, math.nan)) for c in classes]
            axes.vlines(x, *np.transpose(limits), color=line_style["color"], linewidth=0.8)
        classes = members[0]["per_hit"][key]
        axes.set_xticks(range(len(classes)), [f"{span(c)}\n({c['hits']:,})" for c in classes], fontsize=7.5)
        axes.set(xlabel=f"{name}; in brackets: hits", xlim=(-0.5, len(classes) - 0.5), ylim=(-2, 102))
        axes.grid(axis="x", visible=False)
    panels[0].set_ylabel("Hits found (%)")
    figure.suptitle(heading(members[0]))
    _legend(figure, panels[0])
    return figure


def speed_figure(
    members: Sequence[Row], seconds: Mapping[DetectorRecord, float], styles: Mapping[DetectorRecord, LineStyle]
) -> Figure:
    """Draw two scores of the rows of one test set against the seconds that the detector takes for a frame.

    The scores are the core pixels found at a false-positive rate of 0.01 % and the hits found at the threshold, both
    with 95 % intervals. A detector without a score, or that was not timed, is left out of the panel. The detectors in
    ``seconds`` have no ``trained_on``, to which a row may add that it is not independent.
    """
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    panels = figure.subplots(1, 2)
    scores = (
        ("core", "tpr_at_fpr_0.01pct", "Core pixels found at FPR 0.01 % (%)"),
        ("per_hit", "recall", "Hits found (%)"),
    )
    for axes, (part, key, label) in zip(panels, scores, strict=True):
        for row in members:
            score, x = row[part].get(key), seconds.get(_without_training(row["detector"]))
            if x is None:
                continue
            point = styles[row["detector"]] | {"linestyle": "none"}
            axes.plot(x, math.nan if score is None else 100 * score, **point)  # NaN: in the legend only
            if limits := interval_of(row, part, key):
                axes.vlines(x, *(100 * limit for limit in limits), color=point["color"], linewidth=0.8)
        axes.set(xlabel="Seconds for one frame", ylabel=label, xscale="log")
        for ticks in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            ticks("{x:g}")
    figure.suptitle(heading(members[0]))
    _legend(figure, panels[0])
    return figure


def _without_training(record: DetectorRecord) -> DetectorRecord:
    return replace(record, trained_on=None)


def draw_history(trained: Mapping[str, Mapping[str, Mapping[int, float]]], path: Path) -> Path:
    """Draw each validation score of HISTORY by epoch into a PNG; ``trained`` maps run -> score -> epoch -> value."""
    with style.context(PLOTS):
        figure = Figure(figsize=(WIDTH, 3.8), layout="constrained")
        panels = figure.subplots(1, 2)
        for axes, (key, label) in zip(panels, HISTORY.items(), strict=True):
            for line_style, history in zip(line_styles(trained), trained.values(), strict=True):
                axes.plot([*history.get(key, {})], [*history.get(key, {}).values()], **line_style)
            axes.set(xlabel="Epoch", ylabel=label, yscale="log" if key == "val/loss" else "linear")
        _legend(figure, panels[0])
        return save_figure(figure, path)


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend of the lines of ``axes`` below all panels, in as many columns as its texts leave room for."""
    handles, texts = axes.get_legend_handles_labels()
    columns = int(WIDTH / (0.7 + 0.065 * max(map(len, texts))))  # inches
    figure.legend(handles, texts, loc="outside lower center", ncols=min(4, max(1, columns)), handlelength=3.6)


def _label(axes: Axes, title: str, rules: Mapping[float, str], **settings: Any) -> None:
    """Set title, labels and limits, and draw labelled vertical lines."""
    axes.set(**settings)
    axes.set_title(title, loc="left", pad=14, fontweight="bold")
    for x, text in rules.items():
        axes.axvline(x, color="0.45", linewidth=0.8, zorder=1)
        axes.text(x, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)


def _zoom(scores: Sequence[float | None], otherwise: float) -> tuple[float, float]:
    """Compute the limits of a zoomed axis from the median score, so that a failing detector does not set them."""
    known = [score for score in scores if score is not None]
    low = min(0.9, math.floor(10 * statistics.median(known)) / 10) if known else otherwise
    return low, 1 + 0.02 * (1 - low)
