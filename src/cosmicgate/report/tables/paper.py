"""Make the paper's tables: scores (1 and 2), parameters (3), seconds (4); and those of hits and of differences."""

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
    Table,
    cell,
    difference_cell,
    number,
    paper_name,
    published,
    recalls,
    span,
)

# The paper's Table 3, and the configuration switches that give its numbers (tests/commands/test_paper_tables.py).
PARAMETERS = {"deepCR": 467_233, "Att deepCR": 472_887, "Cosmic-CoNN": 465_953, "Att Cosmic-CoNN": 471_219}
SWITCHES = {
    "deepCR": "none needed",
    "Att deepCR": "none has it; model.gate_norm=true: 472,695",
    "Cosmic-CoNN": "model.norm_affine=false",
    "Att Cosmic-CoNN": "model.norm_affine=false",
}
# The paper's Table 4: seconds for a frame of this shape on an Intel i3 at 2.3 GHz.
SHAPE = [4096, 2048]
SECONDS = {
    "MaxiMask": 250.9,
    "deepCR": 25.0,
    "Att deepCR": 27.2,
    "Cosmic-CoNN": 26.0,
    "Att Cosmic-CoNN": 26.7,
    "Astro-SCRAPPY": 16.2,
}
NO_DIFFERENCE = {"difference": None, "interval": None, "above_zero": None}  # of a score that an old file lacks


def score_tables(members: Sequence[Row], convention: Convention) -> list[Table]:
    """Make Tables 1 and 2 of a test set under one convention of positives; none if its hits are not known."""
    if not members[0]["pixels"]:
        return []
    caption = f"Truth: {CONVENTIONS[convention]}. {_about_intervals(members)}"
    published_scores = [published(row) if convention == "dilated" else {} for row in members]
    if any(published_scores):
        caption += " Published: Bhavanam et al. 2022, on the authors' own real test data, not the same frames."

    def columns(scores: Mapping[str, str]) -> dict[str, list[str]]:
        made = {}
        for key, head in scores.items():
            made[head] = [cell(row, convention, key) for row in members]
            if any(published_scores) and key not in AREA | LOW_FPR:
                made[f"{head}, published"] = [number(row.get(key), UNITS[key][0]) for row in published_scores]
        return made

    along = columns(PER_CENT | AREA | LOW_FPR)
    masks = {"Threshold": [number(row["threshold"], "g") for row in members]} | columns(MASK_SCORES)
    where = f"{convention} truth: {set_name(members[0])}"
    return [
        _table(f"Table 1. Along the curves, {where}", caption, members, along),
        _table(f"Table 2. Masks at the threshold, {where}", caption, members, masks),
    ]


def hit_table(members: Sequence[Row]) -> Table:
    """Make the table of hits found in a test set, of all hits and by length, and of stars and hot pixels masked."""
    known = {key for row in members for key, value in row["per_hit"].items() if value is not None}
    scores = {key: head for key, head in (FEW_FALSE | MASKED).items() if key in known}
    if members[0]["pixels"]:  # otherwise the hits of the test set are not known
        scores = PER_HIT | scores
    columns = {head: [cell(row, "per_hit", key) for row in members] for key, head in scores.items()}
    found = [recalls(row, "by_length") for row in members]
    classes = [entry for row in members for entry in row["per_hit"].get("by_length", ())]
    for name, hits in {span(entry): entry["hits"] for entry in classes if members[0]["pixels"]}.items():
        columns[f"{name} px, of {hits:,}"] = [number(one.get(name), ".1f", 100) for one in found]
    caption = "A hit is found when half of its core is in the mask. By length: hits found (%), of the number above."
    caption = f"{caption} {_about_intervals(members)}"
    return _table(f"Hits one by one: {set_name(members[0])}", caption, members, columns)


def _table(
    title: str, caption: str, entries: Sequence[Mapping[str, Any]], columns: Mapping[str, Sequence[str]]
) -> Table:
    """Make a table of detectors from its columns of numbers: head -> a cell for each entry."""
    shown = titles(entry["detector"] for entry in entries)
    texts = [(shown[entry["detector"]], entry["detector"].trained_on or "—") for entry in entries]
    lines = [[*text, *cells] for text, *cells in zip(texts, *columns.values(), strict=True)]
    return Table(title, caption, ["Detector", "Trained on", *columns], lines)


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
            "fraction of the bootstrap samples above zero."
        )
        title = f"Differences, {convention} truth: {set_name(entries[0])}"
        tables.append(Table(title, caption, heads, lines, texts=1))
    return tables


def _about_intervals(members: Sequence[Row]) -> str:
    """Describe what the intervals of a table are, for its caption."""
    frames: int = members[0].get("fields") or members[0]["frames"]  # number of units that are resampled
    samples = max(row.get("intervals", {}).get("draws", 0) for row in members)
    if not samples:
        return "No intervals: they need several frames."
    what = "fields (the frames of one share their sky)" if "fields" in members[0] else "frames"
    few = "; with so few they are rough" if frames < 10 else ""
    mean = any("spread" in row for row in members)
    seeds = " Those of a mean include the scatter of the seeds (Student's t)." if mean else ""
    return f"In brackets 95 % intervals, by bootstrap over {frames} {what}, {samples:,} samples{few}.{seeds}"


def parameter_tables(counted: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make Table 3; no table if no network was counted."""
    lines = [
        [name, SWITCHES.get(name, "—"), f"{entry['parameters']:,}", number(PARAMETERS.get(name), ",")]
        for entry in counted
        for name in [entry["network"]]
    ]
    caption = "As conf/model builds them, and as Bhavanam et al. 2022 print them."
    heads = ["Network", "Switches that give the paper's number", "Parameters", "In the paper"]
    return [Table("Table 3. Parameters of the networks", caption, heads, lines)] if lines else []


def seconds_tables(measured: Sequence[Mapping[str, Any]]) -> list[Table]:
    """Make Table 4 for each frame shape and machine."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for entry in measured:
        groups.setdefault((*entry["shape"], entry["machine"]), []).append(entry)
    tables = []
    for (height, width, machine), members in groups.items():
        known = [SECONDS.get(paper_name(e["detector"])) if e["shape"] == SHAPE else None for e in members]
        columns = {
            "Seconds": [f"{entry['seconds']:.3g}" for entry in members],
            "CPU seconds": [f"{entry['cpu_seconds']:.3g}" for entry in members],
            "Runs": [str(entry["runs"]) for entry in members],
            "In the paper": [number(seconds, ".1f") for seconds in known],
        }
        caption = (
            f"From the image to the mask at one threshold, after a warm-up, fastest of the runs; {machine}. Seconds "
            "well above CPU seconds mean that the machine was busy. In the paper: an Intel i3 at 2.3 GHz."
        )
        title = f"Table 4. Seconds of one frame of {height} x {width} pixels"
        tables.append(_table(title, caption, members, columns))
    return tables
