"""The paper's two tables, hits one by one, classes of telescopes, and differences.

A table has one test set, of one provenance, and one convention of what is a hit.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cosmicgate.report.results import AREA, CONVENTIONS, OF_MASK, PER_CENT, PER_HIT, Row, by_test_set, heading
from cosmicgate.report.tables.cells import UNITS, cell, difference_cell, number, published, span
from cosmicgate.report.tables.table import Table
from cosmicgate.truth import Convention

OF_A_CLASS = r"(.+)_(0m4|1m0|2m0|other)"  # a test set of one class of telescopes


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
        line += [cell(row, convention, key) for key in AREA]
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
        cells = [*_who(row), *(cell(row, "per_hit", key) for key in PER_HIT)]
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
            [telescope, *_who(row), *(cell(row, "dilated", key) for key in scores)]
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
                [head, *(difference_cell(entry[part][key], key) for entry in entries)]
                for part, heads in scores.items()
                for key, head in heads.items()
            ]
            caption = (
                f"{name} ({provenance}): {frames} frames. Truth: {meaning}. First minus second on the same frames, its "
                "95 % interval by paired bootstrap over frames (of means, over seeds as well), and the part of the "
                "draws above zero."
            )
            title = f"Differences, {convention} truth: {name} ({provenance})"
            tables.append(Table(title, caption, ["Score", *(_pair(entry) for entry in entries)], lines, texts=1))
    return tables


def _columns(members: Sequence[Row], convention: Convention, scores: Mapping[str, str]) -> tuple[list[str], list[Any]]:
    """Return heads and functions of a row: each score and, if the paper has it of any row, the published one."""
    heads, columns = [], []
    for key, head in scores.items():
        heads.append(head)
        columns.append(lambda row, key=key: cell(row, convention, key))
        if convention == "dilated" and any(published(row) for row in members):
            heads.append("published")
            columns.append(lambda row, key=key: number(published(row).get(key), UNITS[key][0]))
    return heads, columns


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
        caption += " Published: Bhavanam et al. 2022, on the authors' own real test data, not the same frames."
    return caption


def _about_intervals(members: Sequence[Row]) -> str:
    frames, draws = members[0]["frames"], max(row.get("intervals", {}).get("draws", 0) for row in members)
    if not draws:
        return "No intervals: they need several frames."
    few = ": few, so they are rough" if frames < 10 else ""
    seeds = " Of a mean the seeds are drawn again as well." if any("spread" in row for row in members) else ""
    return f"In brackets 95 % intervals, by drawing the {frames} frames again {draws:,} times{few}.{seeds}"
