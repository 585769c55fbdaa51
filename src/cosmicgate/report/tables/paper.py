"""Make the tables of one test set: the paper's Tables 1 and 2, hits, and differences between detectors."""

from collections.abc import Mapping, Sequence
from typing import Any

from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import titles
from cosmicgate.report.results import (
    AREA,
    CONVENTIONS,
    FEW_FALSE,
    LOW_FPR,
    MASK_SCORES,
    MASKED,
    PER_CENT,
    PER_HIT,
    Row,
    set_name,
)
from cosmicgate.report.tables.cells import (
    UNITS,
    cell,
    difference_cell,
    number,
    published,
    recalls,
    span,
)
from cosmicgate.report.tables.table import Table

Column = tuple[str, Sequence[str]]  # head and cells
NO_DIFFERENCE = {"difference": None, "interval": None, "above_zero": None}  # of a score that an old file lacks


def score_tables(members: Sequence[Row], convention: Convention) -> list[Table]:
    """Make Tables 1 and 2 of a test set under one convention of positives; none if its hits are not known."""
    if not members[0]["pixels"]:
        return []
    caption = f"Truth: {CONVENTIONS[convention]}. {_about_intervals(members)}"
    known = [published(row) if convention == "dilated" else {} for row in members]
    if any(known):
        caption += " Published: Bhavanam et al. 2022, on the authors' own real test data, not the same frames."

    def columns(scores: Mapping[str, str]) -> list[Column]:
        made: list[Column] = []
        for key, head in scores.items():
            made.append((head, [cell(row, convention, key) for row in members]))
            if any(known) and key not in AREA | LOW_FPR:
                made.append((f"{head}, published", [number(row.get(key), UNITS[key][0]) for row in known]))
        return made

    thresholds = ("Threshold", [number(row["threshold"], "g") for row in members])
    where = f"{convention} truth: {set_name(members[0])}"
    return [
        _table(f"Table 1. Along the curves, {where}", caption, members, columns(PER_CENT | AREA | LOW_FPR)),
        _table(f"Table 2. Masks at the threshold, {where}", caption, members, [thresholds, *columns(MASK_SCORES)]),
    ]


def hit_table(members: Sequence[Row]) -> Table:
    """Make the table of hits found in a test set, of all hits and by length, and of stars and hot pixels masked."""
    known = {key for row in members for key, value in row["per_hit"].items() if value is not None}
    scores = {key: head for key, head in (FEW_FALSE | MASKED).items() if key in known}
    if members[0]["pixels"]:  # otherwise the hits of the test set are not known
        scores = PER_HIT | scores
    columns = [(head, [cell(row, "per_hit", key) for row in members]) for key, head in scores.items()]
    found = [recalls(row, "by_length") for row in members]
    classes = [entry for row in members for entry in row["per_hit"].get("by_length", ())]
    hits = {span(entry): entry["hits"] for entry in classes if members[0]["pixels"]}
    for name, total in hits.items():
        columns.append((f"{name} px, of {total:,}", [number(one.get(name), ".1f", 100) for one in found]))
    caption = "A hit is found when half of its core is in the mask. By length: hits found (%), of the number above."
    caption = f"{caption} {_about_intervals(members)}"
    return _table(f"Hits one by one: {set_name(members[0])}", caption, members, columns)


def _table(title: str, caption: str, members: Sequence[Row], columns: Sequence[Column]) -> Table:
    """Make a table of detectors from its columns of numbers."""
    shown = titles(row["detector"] for row in members)
    who = [(shown[row["detector"]], row["detector"].trained_on or "—") for row in members]
    lines = zip(who, *(cells for _, cells in columns), strict=True)
    heads = ["Detector", "Trained on", *(head for head, _ in columns)]
    return Table(title, caption, heads, [[*who, *cells] for who, *cells in lines])


def difference_tables(entries: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make a table for each convention from the differences on a test set; a row is a score, a column a pair."""
    shown = titles(entry[side] for entry in entries for side in "ab")
    heads = ["Score"]
    for entry in entries:
        trained = dict.fromkeys(entry[side].trained_on or "nothing" for side in "ab")
        heads.append(f"{shown[entry['a']]} - {shown[entry['b']]} (trained on {' and '.join(trained)})")
    tables = []
    for convention, meaning in CONVENTIONS.items() if entries else ():
        scores = {convention: PER_CENT | AREA | MASK_SCORES, "per_hit": PER_HIT | FEW_FALSE | MASKED}
        lines = [
            [head, *(difference_cell(entry[part].get(key, NO_DIFFERENCE), key) for entry in entries)]
            for part, names in scores.items()
            for key, head in names.items()
            if any(key in entry[part] for entry in entries)
        ]
        caption = (
            f"Truth: {meaning}. First minus second on the same {entries[0]['frames']} frames, its 95 % interval by "
            "paired bootstrap over frames or their fields (for means, over seeds as well), and in round brackets the "
            "fraction of the draws above zero."
        )
        title = f"Differences, {convention} truth: {set_name(entries[0])}"
        tables.append(Table(title, caption, heads, lines, texts=1))
    return tables


def _about_intervals(members: Sequence[Row]) -> str:
    frames: int = members[0].get("fields") or members[0]["frames"]  # number of units that are resampled
    draws = max(row.get("intervals", {}).get("draws", 0) for row in members)
    if not draws:
        return "No intervals: they need several frames."
    what = "fields (the frames of one share their sky)" if "fields" in members[0] else "frames"
    few = "; with so few they are rough" if frames < 10 else ""
    mean = any("spread" in row for row in members)
    seeds = " Those of a mean include the scatter of the seeds (Student's t)." if mean else ""
    return f"In brackets 95 % intervals, by bootstrap over {frames} {what}, {draws:,} draws{few}.{seeds}"
