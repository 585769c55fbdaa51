"""The tables of a report in Markdown, LaTeX and CSV: the paper's two, hits one by one, and differences.

A table has one test set, of one provenance, and one convention of what is a hit.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cosmicgate.results import (
    AREA,
    CONVENTIONS,
    OF_MASK,
    PER_CENT,
    PER_HIT,
    TEST_SET,
    Row,
    by_test_set,
    heading,
    interval_of,
)
from cosmicgate.truth import Convention

# Score -> its format and the factor to its unit: the paper's, per cent in Table 1 and fractions in Table 2.
UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(PER_CENT, (".2f", 100)),
    **dict.fromkeys((*AREA, *OF_MASK), (".4f", 1)),
    "recall": (".2f", 100),
    "false_per_megapixel": (".2f", 1),
}
# Endings of a title that leave its detector the paper's: its own weights, one of several seeds.
OF_THE_PAPER = r" \(released\)$|, seed \d+$|, mean of \d+ seeds$"
OF_A_CLASS = r"(.+)_(0m4|1m0|2m0|other)"  # a test set of one class of telescopes


@dataclass(frozen=True)
class Table:
    """A table of text: ``texts`` columns of words, then columns of numbers."""

    title: str
    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 2


def tables_of(rows: Sequence[Row], convention: Convention) -> list[Table]:
    """Return Tables 1 and 2 of each test set."""
    return [make(members, convention) for members in by_test_set(rows) for make in (_table_1, _table_2)]


def hit_tables(rows: Sequence[Row]) -> list[Table]:
    """Return Table 3 of each test set: hits one by one, all and by length."""
    return [_table_3(members) for members in by_test_set(rows)]


def _table_1(members: Sequence[Row], convention: Convention) -> Table:
    heads, columns = _columns(members, convention, PER_CENT)
    lines = [[*_who(row), *(column(row) for column in columns)] for row in members]
    for line, row in zip(lines, members, strict=True):
        line += [_cell(row, convention, key) for key in AREA]
    title = f"Table 1. Along the curves, {convention} truth: {_where(members[0])}"
    return Table(title, _caption(members, convention), ["Detector", "Trained on", *heads, *AREA.values()], lines)


def _table_2(members: Sequence[Row], convention: Convention) -> Table:
    heads, columns = _columns(members, convention, OF_MASK)
    lines = [[*_who(row), number(row["threshold"], "g"), *(column(row) for column in columns)] for row in members]
    title = f"Table 2. Masks at the threshold, {convention} truth: {_where(members[0])}"
    return Table(title, _caption(members, convention), ["Detector", "Trained on", "Threshold", *heads], lines)


def _table_3(members: Sequence[Row]) -> Table:
    classes: Sequence[Any] = next((r["per_hit"]["by_length"] for r in members if r["per_hit"].get("by_length")), ())
    heads = [f"{span(entry)} px, of {entry['hits']:,}" for entry in classes]
    lines = []
    for row in members:
        cells = [*_who(row), *(_cell(row, "per_hit", key) for key in PER_HIT)]
        found = row["per_hit"].get("by_length") or [{}] * len(classes)
        cells += [number(e["found"] / e["hits"] if e.get("hits") else None, ".1f", 100) for e in found]
        lines.append(cells)
    caption = "A hit is found when half of its core is. By length: hits found (%); the heads say of how many. "
    title = f"Table 3. Hits one by one: {_where(members[0])}"
    heads = ["Detector", "Trained on", *PER_HIT.values(), *heads]
    return Table(title, f"{heading(members[0])}. {caption}{_about_intervals(members)}", heads, lines)


def class_tables(rows: Sequence[Row]) -> list[Table]:
    """Return one table for the test sets that are one data set by class of telescope (``lco_0m4``, ``lco_1m0``)."""
    groups: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for row in rows:
        if named := re.fullmatch(OF_A_CLASS, row["test_set"]):
            groups.setdefault((named[1], row["provenance"]), []).append((named[2], row))
    tables = []
    for (name, provenance), members in groups.items():
        if len({telescope for telescope, _ in members}) < 2:
            continue
        scores = PER_CENT | OF_MASK
        lines = [
            [telescope, *_who(row), *(_cell(row, "dilated", key) for key in scores)]
            for telescope, row in sorted(members, key=lambda member: member[0])
        ]
        sizes = "; ".join(dict.fromkeys(heading(row) for _, row in sorted(members, key=lambda member: member[0])))
        caption = f"{sizes}. In brackets 95 % intervals, by drawing the frames again."
        heads = ["Class", "Detector", "Trained on", *scores.values()]
        tables.append(Table(f"Table 4. By class of telescope: {name} ({provenance})", caption, heads, lines, texts=3))
    return tables


def difference_tables(differences: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Return a table for each test set and convention: a row for each score, a column for each pair."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in differences:
        groups.setdefault((entry["test_set"], entry["provenance"], entry["frames"]), []).append(entry)
    tables = []
    for (name, provenance, frames), entries in groups.items():
        for convention, meaning in CONVENTIONS.items():
            scores = {convention: PER_CENT | AREA | OF_MASK, "per_hit": PER_HIT}
            lines = [
                [head, *(_difference(entry[part][key], key) for entry in entries)]
                for part, heads in scores.items()
                for key, head in heads.items()
            ]
            caption = (
                f"{name} ({provenance}): {frames} frames. Truth: {meaning}. First minus second on the same frames, its "
                "95 % interval by paired bootstrap over frames, and the part of the draws above zero."
            )
            title = f"Differences, {convention} truth: {name} ({provenance})"
            tables.append(Table(title, caption, ["Score", *(_pair(entry) for entry in entries)], lines, texts=1))
    return tables


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    rule = ["---"] * table.texts + ["---:"] * (len(table.heads) - table.texts)
    lines = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in (table.heads, rule, *table.lines)]
    lines = [f"| {line} |" for line in lines]
    return "\n".join([f"### {table.title}", "", table.caption, "", *lines, ""])


def latex(table: Table) -> str:
    """Return a table in LaTeX, for the packages booktabs and graphicx; one wider than the line is scaled to it."""
    columns = "l" * table.texts + "r" * (len(table.heads) - table.texts)
    title = re.sub(r"^Table \d+\. ", "", table.title)  # LaTeX numbers them itself
    heads, *lines = (" & ".join(_escaped(cell) for cell in line) + r" \\" for line in (table.heads, *table.lines))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"\caption{{{_escaped(f'{title}. {table.caption}')}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            *(r"\toprule", heads, r"\midrule", *lines, r"\bottomrule"),
            *(r"\end{tabular}}", r"\end{table}", ""),
        ]
    )


def scores_csv(rows: Sequence[Row]) -> str:
    """Return every score of every row at full precision, one to a line, in fractions; empty: not known."""
    names = (*TEST_SET, "detector", "trained_on", "threshold")
    lines = [[*names, "convention", "score", "value", "low", "high", "published"]]
    for row in rows:
        lines += [[*(row[name] for name in names), *score] for score in _scores(row)]
    return _csv(lines)


def _scores(row: Row) -> Iterator[list[Any]]:
    for part in (*CONVENTIONS, "per_hit"):
        for key, value in row[part].items():
            if key not in UNITS:
                continue
            known = published(row).get(key) if part == "dilated" else None
            known = round(known / UNITS[key][1], 6) if known is not None else None
            yield [part, key, value, *(interval_of(row, part, key) or (None, None)), known]
    for key, unit in (("by_length", "length {} px"), ("by_snr", "peak SNR {}")):
        for entry in row["per_hit"].get(key, ()):
            value = entry["found"] / entry["hits"] if entry["hits"] else None
            low_high = entry.get("interval") or (None, None)
            yield ["per_hit", f"recall, {unit.format(span(entry))}", value, *low_high, None]


def differences_csv(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return every difference at full precision, one to a line."""
    names = ("test_set", "provenance", "frames", "a", "b")
    lines: list[list[Any]] = [[*names, "convention", "score", "difference", "low", "high", "above_zero"]]
    for entry in differences:
        for part in (*CONVENTIONS, "per_hit"):
            for key, d in entry[part].items():
                numbers = (d["difference"], *(d["interval"] or (None, None)), d["above_zero"])
                lines.append([*(entry[name] for name in names), part, key, *numbers])
    return _csv(lines)


@cache
def _published() -> dict[str, dict[str, dict[str, float]]]:
    """Data set -> detector -> score -> value, in the paper's units."""
    text = resources.files("cosmicgate").joinpath("published.csv").read_text(encoding="utf-8")
    values: dict[str, dict[str, dict[str, float]]] = {}
    for line in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        scores = {key: float(value) for key, value in line.items() if key in UNITS and value}
        values.setdefault(line["data"], {})[line["detector"]] = scores
    return values


def published(row: Row) -> dict[str, float]:
    """Return the paper's scores of this detector on data of this name (``decam...``, ``lco_0m4...``), its units."""
    data = next((values for name, values in _published().items() if row["test_set"].startswith(name)), {})
    return data.get(row["detector"]) or data.get(re.sub(OF_THE_PAPER, "", row["detector"])) or {}


def _columns(members: Sequence[Row], convention: Convention, scores: Mapping[str, str]) -> tuple[list[str], list[Any]]:
    """Return heads and functions of a row: each score and, if the paper has it of any row, the published one."""
    heads, columns = [], []
    for key, head in scores.items():
        heads.append(head)
        columns.append(lambda row, key=key: _cell(row, convention, key))
        if convention == "dilated" and any(published(row) for row in members):
            heads.append("published")
            columns.append(lambda row, key=key: number(published(row).get(key), UNITS[key][0]))
    return heads, columns


def _cell(row: Row, part: str, key: str) -> str:
    """A score and, behind it, its interval: 97.69 [97.10, 98.04]."""
    form, factor = UNITS[key]
    limits = interval_of(row, part, key)
    text = number(row[part][key], form, factor)
    return text if limits is None else f"{text} [{', '.join(number(limit, form, factor) for limit in limits)}]"


def _difference(entry: Mapping[str, Any], key: str) -> str:
    form, factor = UNITS[key]
    text = number(entry["difference"], "+" + form, factor)
    if entry["interval"]:
        text += f" [{', '.join(number(limit, '+' + form, factor) for limit in entry['interval'])}]"
    return text if entry["above_zero"] is None else f"{text}, {100 * entry['above_zero']:.0f} %"


def _pair(entry: Mapping[str, Any]) -> str:
    trained = list(dict.fromkeys(str(t or "nothing") for t in entry["trained_on"]))
    return f"{entry['a']} - {entry['b']} (trained on {' and '.join(trained)})"


def _who(row: Row) -> list[str]:
    return [row["detector"], row["trained_on"] or "—"]


def _where(row: Row) -> str:
    return f"{row['test_set']} ({row['provenance']})"


def _caption(members: Sequence[Row], convention: Convention) -> str:
    caption = f"{heading(members[0])}. Truth: {CONVENTIONS[convention]}. {_about_intervals(members)}"
    if convention == "dilated" and any(published(row) for row in members):
        caption += " Published: Bhavanam et al. 2022, on the authors' own test data, not the same frames."
    return caption


def _about_intervals(members: Sequence[Row]) -> str:
    frames, draws = members[0]["frames"], max(row.get("intervals", {}).get("draws", 0) for row in members)
    if not draws:
        return "No intervals: they need several frames."
    few = ": few, so they are rough" if frames < 10 else ""
    return f"In brackets 95 % intervals, by drawing the {frames} frames again {draws:,} times{few}."


def span(entry: Mapping[str, Any]) -> str:
    """Return a class of hits as text: 1-2, <5, >20."""
    start, end = entry["from"], entry["to"]
    if start is None:
        return f"<{end:g}"
    return f"≥{start:g}" if end is None else f"{start:g}-{end:g}"


def number(value: float | None, form: str, factor: float = 1) -> str:
    """Return a number as text, a dash for what could not be computed."""
    return "—" if value is None else format(factor * value, form)


def _escaped(text: str) -> str:
    text = re.sub(r"([%&#_{}$])", r"\\\1", text).replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}")
    text = text.replace("—", "---").replace("≥", r"$\geq$").replace("<", "$<$")
    return re.sub(r"(^|[\s\[])([+-])(?=\d)", r"\1$\2$", text)


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
