"""Results shown: Markdown and CSV tables, ROC and precision-recall figures, masks beside their truth.

Everything here is read from ``results.json``, or from the arrays that are handed in. No score is computed.
"""

import csv
import io
import json
import math
import re
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cosmicgate.files import write_whole
from cosmicgate.panels import LOOK, save_figure
from cosmicgate.truth import Convention

Row = dict[str, Any]  # one detector on one test set, as in results.json

CONVENTIONS: dict[Convention, str] = {
    "dilated": "core and dilation ring count as hit (the paper's convention)",
    "core": "core pixels count as hit, the dilation ring is left out",
}
PROVENANCES = ("simulated", "semi-real", "real")
TEST_SET = ("test_set", "provenance", "frames", "pixels", "hits")
PER_CENT = {
    "tpr_at_fpr_0.01pct": "TPR at FPR 0.01 % (%)",
    "tpr_at_fpr_0.1pct": "TPR at FPR 0.1 % (%)",
    "precision_at_tpr_95pct": "Precision at TPR 95 % (%)",
}
FRACTION = {"f1": "F1", "iou": "IoU", "fdr": "FDR", "roc_auc": "ROC AUC", "average_precision": "AP"}
PER_HIT = {"recall": "Hits found (%)", "false_per_megapixel": "False per megapixel"}
CURVES = ("fpr", "tpr", "recall", "precision")

SWEPT = 64  # a curve of at most so many points was swept setting by setting, and shows each of them
# Okabe and Ito's palette; its yellow is lost on white paper.
COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = "osD^vPX*"


def write_report(results_path: Path, folder: Path) -> list[Path]:
    """Write the tables and figures of a results file; the folder gets all of them or, on an error, none.

    Parameters
    ----------
    results_path : Path
        A ``results.json``.
    folder : Path
        Made if need be; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``tables.md``, ``tables.csv`` and ``curves_<convention>_<test set>_<provenance>.png``.

    Raises
    ------
    ValueError
        If the file is not such a file; says what is missing.
    """
    rows = read_rows(results_path)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as unfinished:
        made = write_tables({"rows": rows}, Path(unfinished))
        for convention in CONVENTIONS:
            made += draw_curves(rows, Path(unfinished, "curves"), convention)
        return [path.replace(folder / path.name) for path in made]


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a results file; a ValueError names the file and what it lacks."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except ValueError as error:
        raise ValueError(f"{path} is not a results file: it is no JSON ({error})") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f'{path} is not a results file: expected {{"rows": [...]}} with at least one row')
    seen: dict[tuple[Any, ...], int] = {}
    for number, row in enumerate(rows):
        if fault := _fault(row):
            raise ValueError(f"{path} is not a results file: row {number} {fault}")
        before = seen.setdefault(tuple(row[key] for key in (*TEST_SET, "detector", "trained_on")), number)
        if before != number:
            raise ValueError(f"{path}: rows {before} and {number} are both {row['detector']!r} on {_heading(row)!r}")
    return rows


def _fault(row: object) -> str:
    """Say what is wrong with a row, or nothing."""
    if not isinstance(row, dict):
        return f"is {row!r}, expected an object"
    parts = {"dilated": (*PER_CENT, *FRACTION), "core": (*PER_CENT, *FRACTION), "per_hit": tuple(PER_HIT)}
    if missing := [key for key in (*TEST_SET, "detector", "trained_on", "threshold", *parts) if key not in row]:
        return f"lacks {', '.join(missing)}"
    if row["provenance"] not in PROVENANCES:
        return f"has the provenance {row['provenance']!r}, expected one of {', '.join(PROVENANCES)}"
    numbers = {key: row[key] for key in ("frames", "pixels", "hits", "threshold")}
    for part, keys in parts.items():
        scores = row[part] if isinstance(row[part], dict) else {}
        if missing := [key for key in keys if key not in scores]:
            return f"({row['detector']}) lacks {', '.join(missing)} in {part!r}"
        numbers |= {f"{part}.{key}": scores[key] for key in keys}
    for name, value in numbers.items():
        if not isinstance(value, int | float) and (value is not None or name in TEST_SET):
            return (
                f"({row['detector']}) has {name} = {value!r}, expected a number{'' if name in TEST_SET else ' or null'}"
            )
    if not isinstance(row.get("curves"), dict | None):
        return f"({row['detector']}) has curves that are {type(row['curves']).__name__}, expected an object or null"
    for convention, curves in (row.get("curves") or {}).items():
        lengths = {key: len(curves.get(key) or ()) for key in CURVES} if curves else {}
        if curves and not (lengths["fpr"] == lengths["tpr"] > 0 and lengths["recall"] == lengths["precision"] > 0):
            return f"({row['detector']}) has {convention} curves of {lengths} points, expected pairs of equal length"
    return ""


def table(rows: Sequence[Row], convention: Convention) -> str:
    """Return Markdown: a table for each test set, in the paper's units.

    TPR, precision and hits found in per cent with two decimals (Table 1 of Bhavanam et al. 2022), F1, IoU, FDR and
    the areas as fractions with four (Table 2); an em dash for what could not be computed.
    """
    heads = ["Detector", "Trained on", "Threshold", *PER_CENT.values(), *FRACTION.values(), *PER_HIT.values()]
    text = []
    for members in _test_sets(rows):
        text += [f"### {_heading(members[0])}", "", f"Truth: {CONVENTIONS[convention]}.", ""]
        text += [_line(heads), _line(["---"] * 2 + ["---:"] * (len(heads) - 2))]
        for row in members:
            scores, hits = row[convention], row["per_hit"]
            cells = [row["detector"], row["trained_on"] or "—", _number(row["threshold"], "g")]
            cells += [_number(scores[key], ".2f", 100) for key in PER_CENT]
            cells += [_number(scores[key], ".4f") for key in FRACTION]
            cells += [_number(hits["recall"], ".2f", 100), _number(hits["false_per_megapixel"], ".2f")]
            text.append(_line(cells))
        text.append("")
    return "\n".join(text)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Write every score of every row, at full precision, one to a line; what could not be computed is empty."""
    names = (*TEST_SET, "detector", "trained_on", "threshold")
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*names, "convention", "score", "value"])
    for row in rows:
        for part in (*CONVENTIONS, "per_hit"):
            lines.writerows([*(row[name] for name in names), part, *score] for score in row[part].items())
    write_whole(path, text.getvalue().encode())


def write_tables(results: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``tables.md`` and ``tables.csv``, both conventions in each, and return their paths."""
    rows = results["rows"]
    markdown = "# Results\n" + "".join(f"\n## {name} truth\n\n{table(rows, name)}" for name in CONVENTIONS)
    write_whole(folder / "tables.md", markdown.encode())
    write_csv(rows, folder / "tables.csv")
    return [folder / "tables.md", folder / "tables.csv"]


def draw_curves(rows: Sequence[Row], path_prefix: Path, convention: Convention = "dilated") -> list[Path]:
    """Draw one PNG for each test set, ``<path_prefix>_<convention>_<test set>_<provenance>.png``.

    A detector looks the same in all of them.
    """
    labels = [_label(row, rows) for row in rows]
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    made: list[Path] = []
    for members in _test_sets(rows):
        name = re.sub(r"[^\w.-]+", "-", "_".join([convention, members[0]["test_set"], members[0]["provenance"]]))
        path = path_prefix.with_name(f"{path_prefix.name}_{name}.png")
        if path in made:  # the same test set, of other frames
            path = path.with_stem(f"{path.stem}_{len(made)}")
        with style.context(["default", LOOK]):
            save_figure(curves_figure([(_label(row, rows), row) for row in members], convention, places), path)
        made.append(path)
    return made


def curves_figure(members: Sequence[tuple[str, Row]], convention: Convention, places: Mapping[str, int]) -> Figure:
    """Return the four panels of one test set: ROC and precision-recall, wide and zoomed.

    Parameters
    ----------
    members : sequence of (str, row)
        Label in the legend, and row; all of one test set. A row without curves is in the legend only.
    convention : {"dilated", "core"}
        Which truth.
    places : mapping of str to int
        Label -> its place in the whole report, which decides on colour, dashes and marker.
    """
    rows = [row for _, row in members]
    figure = Figure(figsize=(7.2, 7.4), layout="constrained")
    panels = figure.subplots(2, 2)
    handles = []
    for label, row in members:
        curves = (row.get("curves") or {}).get(convention)
        if not curves:
            handles.append(Line2D([], [], linestyle="none", label=f"{label} (no curve)"))
            continue
        place = places[label]
        look: dict[str, Any] = dict(color=COLOURS[place % len(COLOURS)], linestyle=DASHES[place % len(DASHES)])
        if len(curves["fpr"]) <= SWEPT:
            look |= dict(marker=MARKERS[place % len(MARKERS)], markerfacecolor="white", linewidth=0.8)
        points = {key: np.array(curves[key], float) for key in CURVES}  # null becomes NaN, a gap in the line
        for roc, pr in panels.T:
            handle = roc.plot(points["fpr"], points["tpr"], label=label, **look)[0]
            pr.plot(points["recall"], points["precision"], **look)
        handles.append(handle)
    low_tpr = _zoom([row[convention]["tpr_at_fpr_0.01pct"] for row in rows], 0.5)
    low_precision = _zoom([row[convention]["precision_at_tpr_95pct"] for row in rows], 0.8)
    _roc_axes(panels[0, 0], "ROC", (1e-6, 1), (0, 1.02))
    _roc_axes(panels[0, 1], "ROC, zoomed", (1e-5, 1e-2), (low_tpr, 1 + 0.02 * (1 - low_tpr)))
    _pr_axes(panels[1, 0], "Precision-recall", (0, 1.02), (0, 1.02))
    _pr_axes(panels[1, 1], "Precision-recall, zoomed", (0.8, 1.004), (low_precision, 1 + 0.02 * (1 - low_precision)))
    figure.suptitle(f"{_heading(rows[0])}\n{convention} truth: {CONVENTIONS[convention]}", fontsize=9)
    columns = int(7.2 / (0.7 + 0.065 * max(len(str(handle.get_label())) for handle in handles)))  # inches
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(4, max(1, columns)), handlelength=3.6, frameon=False
    )
    return figure


def _roc_axes(axes: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set(xlabel="False-positive rate", ylabel="True-positive rate", xscale="log", xlim=x, ylim=y)
    _mark(axes, title, {1e-4: "0.01 %", 1e-3: "0.1 %"})


def _pr_axes(axes: Axes, title: str, x: tuple[float, float], y: tuple[float, float]) -> None:
    axes.set(xlabel="Recall", ylabel="Precision", xlim=x, ylim=y)
    _mark(axes, title, {0.95: "95 %"})


def _mark(axes: Axes, title: str, rules: Mapping[float, str]) -> None:
    """Mark, with names above the frame, where the published numbers are read off."""
    axes.set_title(title, loc="left", pad=14, fontweight="bold")
    for x, text in rules.items():
        axes.axvline(x, color="0.45", linewidth=0.8, zorder=1)
        axes.text(x, 1.01, text, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=7.5)


def _zoom(scores: Sequence[float | None], otherwise: float) -> float:
    """Lower end of a zoomed axis: the median, so that one detector which fails does not flatten the others."""
    known = [score for score in scores if score is not None]
    return min(0.9, math.floor(10 * statistics.median(known)) / 10) if known else otherwise


def _test_sets(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows that were scored on the same pixels, together."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in TEST_SET), []).append(row)
    return list(groups.values())


def _heading(row: Row) -> str:
    frames, pixels, hits = (f"{row[key]:,}" for key in ("frames", "pixels", "hits"))
    return f"{row['test_set']} ({row['provenance']}): {frames} frames, {pixels} pixels, {hits} hits"


def _label(row: Row, rows: Sequence[Row]) -> str:
    """The detector, and what it was trained on where the report has it trained on several things."""
    several = len({other["trained_on"] for other in rows if other["detector"] == row["detector"]}) > 1
    return f"{row['detector']} [{row['trained_on']}]" if several else str(row["detector"])


def _number(value: float | None, form: str, factor: float = 1) -> str:
    return "—" if value is None else format(factor * value, form)


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell).replace("|", r"\|") for cell in cells) + " |"
