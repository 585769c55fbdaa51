"""Make the paper's tables of scores, and tables of hits, telescope classes and differences.

A table has one test set of one data origin, and one convention of which pixels are positives.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import titles
from cosmicgate.report.results import (
    AREA,
    CONVENTIONS,
    OF_MASK,
    PER_CENT,
    PER_HIT,
    Row,
    by_test_set,
    heading,
    set_name,
)
from cosmicgate.report.tables.cells import LOWER_IS_BETTER, UNITS, cell, difference_cell, number, published, span
from cosmicgate.report.tables.table import Cell, Table, with_best

TEST_SET_OF_CLASS = r"(.+)_(0m4|1m0|2m0|other)"  # name of a test set of one telescope class (aperture)
HEADS = ["Detector", "Trained on"]
Column = tuple[str, Sequence[str | Cell]]  # head and cells


def tables_of(rows: Sequence[Row], convention: Convention) -> list[Table]:
    """Make Tables 1 and 2 of each test set."""
    tables = []
    for members in by_test_set(rows):
        where, about = set_name(members[0]), heading(members[0])
        caption = f"Truth: {CONVENTIONS[convention]}. {_about_intervals(members)}"
        if convention == "dilated" and any(published(row) for row in members):
            caption += " Published: Bhavanam et al. 2022, on the authors' own real test data, not the same frames."
        thresholds = [("Threshold", [number(row["threshold"], "g") for row in members])]
        areas = [_scores(members, convention, key, head) for key, head in AREA.items()]
        for title, columns in (
            ("Table 1. Along the curves", [*_beside_published(members, convention, PER_CENT), *areas]),
            ("Table 2. Masks at the threshold", [*thresholds, *_beside_published(members, convention, OF_MASK)]),
        ):
            tables.append(_table(f"{title}, {convention} truth: {where}", caption, about, members, columns))
    return tables


def _table(title: str, caption: str, about: str, members: Sequence[Row], columns: Sequence[Column]) -> Table:
    """Make a table of detectors from its columns of numbers."""
    lines = zip(_who(members), *(cells for _, cells in columns), strict=True)
    heads = [*HEADS, *(head for head, _ in columns)]
    return Table(title, caption, heads, [[*who, *cells] for who, *cells in lines], about=about)


def _who(members: Sequence[Row]) -> list[list[str]]:
    """Format the first columns, title and training data, of each row."""
    shown = titles(row["detector"] for row in members)
    return [[shown[row["detector"]], row["detector"].trained_on or "—"] for row in members]


def _scores(members: Sequence[Row], part: str, key: str, head: str) -> Column:
    return head, with_best((cell(row, part, key) for row in members), key in LOWER_IS_BETTER)


def _beside_published(members: Sequence[Row], convention: Convention, scores: Mapping[str, str]) -> list[Column]:
    """Make the columns of scores, each followed by that of the published ones if there are any."""
    columns = []
    for key, head in scores.items():
        columns.append(_scores(members, convention, key, head))
        if convention == "dilated" and any(published(row) for row in members):
            known = [number(published(row).get(key), UNITS[key][0]) for row in members]
            columns.append((f"{head}, published", known))
    return columns


def hit_tables(rows: Sequence[Row]) -> list[Table]:
    """Make a table of hits found for each test set, of all hits and by length."""
    return [_hit_table(members) for members in by_test_set(rows)]


def _hit_table(members: Sequence[Row]) -> Table:
    recall, false_hits = ([cell(row, "per_hit", key) for row in members] for key in PER_HIT)
    # A detector that finds no hit is not the best by false ones.
    false_hits = [Cell(f.text, f.note) if found.rank == 0 else f for f, found in zip(false_hits, recall, strict=True)]
    columns: list[Column] = list(zip(PER_HIT.values(), (with_best(recall), with_best(false_hits, True)), strict=True))
    classes: Sequence[Any] = next((r["per_hit"]["by_length"] for r in members if r["per_hit"].get("by_length")), ())
    for place, entry in enumerate(classes):
        found = [(row["per_hit"].get("by_length") or [{}] * len(classes))[place] for row in members]
        texts = [number(e["found"] / e["hits"] if e.get("hits") else None, ".1f", 100) for e in found]
        cells = with_best(Cell(text, rank=float(text) if text != "—" else None) for text in texts)
        columns.append((f"{span(entry)} px, of {entry['hits']:,}", cells))
    caption = (
        "A hit is found when half of its core is in the mask. By length: hits found (%), of the number in the head. "
    )
    title = f"Hits one by one: {set_name(members[0])}"
    return _table(title, caption + _about_intervals(members), heading(members[0]), members, columns)


def class_tables(rows: Sequence[Row]) -> list[Table]:
    """Make one table for test sets that are one data set split by telescope class (``lco_0m4``, ``lco_1m0``)."""
    groups: dict[tuple[str, str], list[tuple[str, Row]]] = {}
    for row in rows:
        if named := re.fullmatch(TEST_SET_OF_CLASS, row["test_set"]):
            groups.setdefault((named[1], row["data_origin"]), []).append((named[2], row))
    tables = []
    for (name, data_origin), found in groups.items():
        if len({telescope for telescope, _ in found}) < 2:
            continue
        found = sorted(found, key=lambda member: member[0])
        members, scores = [row for _, row in found], PER_CENT | OF_MASK
        lines: list[list[str | Cell]] = [
            [telescope, *who, *(cell(row, "dilated", key) for key in scores)]
            for (telescope, row), who in zip(found, _who(members), strict=True)
        ]
        about = "; ".join(dict.fromkeys(heading(row) for row in members))
        caption = "In brackets 95 % intervals, by bootstrap over frames."
        title = f"By class of telescope: {name} ({data_origin})"
        tables.append(Table(title, caption, ["Class", *HEADS, *scores.values()], lines, texts=3, about=about))
    return tables


def difference_tables(differences: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make a table for each test set and convention, with a row for each score and a column for each pair."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for entry in differences:
        groups.setdefault((set_name(entry), entry["frames"]), []).append(entry)
    tables = []
    for (name, frames), entries in groups.items():
        shown = titles(entry[side] for entry in entries for side in "ab")
        heads = ["Score"]
        for entry in entries:
            trained = dict.fromkeys(entry[side].trained_on or "nothing" for side in "ab")
            heads.append(f"{shown[entry['a']]} - {shown[entry['b']]} (trained on {' and '.join(trained)})")
        for convention, meaning in CONVENTIONS.items():
            scores = {convention: PER_CENT | AREA | OF_MASK, "per_hit": PER_HIT}
            lines: list[list[str | Cell]] = [
                [head, *(difference_cell(entry[part][key], key) for entry in entries)]
                for part, names in scores.items()
                for key, head in names.items()
            ]
            caption = (
                f"Truth: {meaning}. First minus second on the same frames, its 95 % interval by paired bootstrap over "
                "frames or their fields (for means, over seeds as well), and the fraction of the draws above zero."
            )
            title = f"Differences, {convention} truth: {name}"
            tables.append(Table(title, caption, heads, lines, texts=1, about=f"{name}: {frames} frames"))
    return tables


def _about_intervals(members: Sequence[Row]) -> str:
    frames: int = members[0].get("fields") or members[0]["frames"]  # number of units that are resampled
    draws = max(row.get("intervals", {}).get("draws", 0) for row in members)
    if not draws:
        return "No intervals: they need several frames."
    what = "fields (the frames of one share their sky)" if "fields" in members[0] else "frames"
    few = "; with so few they are rough" if frames < 10 else ""
    seeds = (
        " Those of a mean include the scatter of the seeds (Student's t)."
        if any("spread" in r for r in members)
        else ""
    )
    return f"In brackets 95 % intervals, by bootstrap over {frames} {what}, {draws:,} draws{few}.{seeds}"
