"""Who comes first, under each convention of what is a hit: the order of the detectors, and where it changes."""

from collections.abc import Sequence
from typing import NamedTuple

from cosmicgate.report.results import Row, by_test_set, heading, label
from cosmicgate.report.tables import UNITS, Table, number


class Judge(NamedTuple):
    """A score by which detectors are put in order."""

    part: str  # of a row: a convention, or per_hit
    key: str
    head: str
    highest_first: bool = True


JUDGES = (
    Judge("dilated", "tpr_at_fpr_0.01pct", "TPR at FPR 0.01 %, dilated (%)"),
    Judge("core", "tpr_at_fpr_0.01pct", "TPR at FPR 0.01 %, core (%)"),
    Judge("dilated", "f1", "F1, dilated"),
    Judge("core", "f1", "F1, core"),
    Judge("per_hit", "recall", "Hits found (%)"),
    Judge("per_hit", "false_per_megapixel", "False per megapixel", highest_first=False),
)
PAIRS = ((0, 1, "TPR"), (2, 3, "F1"))  # of judges: the same score under both conventions


def ranking_tables(rows: Sequence[Row]) -> list[Table]:
    """Return a table for each test set with more than one detector: each score with its place behind it."""
    return [_ranking(members) for members in by_test_set(rows) if len(members) > 1]


def places(members: Sequence[Row], judge: Judge) -> list[int | None]:
    """Return the place of each row, 1 for the best; equal scores share one, a score that is not known has none."""
    values = [row[judge.part][judge.key] for row in members]
    known = [value for value in values if value is not None]
    better = [
        [k for k in known if (k > v if judge.highest_first else k < v)] if v is not None else None for v in values
    ]
    return [None if ahead is None else 1 + len(ahead) for ahead in better]


def _ranking(members: Sequence[Row]) -> Table:
    ranks = [places(members, judge) for judge in JUDGES]
    lines = []
    for number_of_row, row in enumerate(members):
        cells = [_placed(row, judge, rank[number_of_row]) for judge, rank in zip(JUDGES, ranks, strict=True)]
        lines.append([row["detector"], row["trained_on"] or "—", *cells])
    changes = [_changes(members, ranks[a], ranks[b], name) for a, b, name in PAIRS]
    caption = f"{heading(members[0])}. In brackets the place among these rows. {' '.join(changes)}"
    title = f"Places under both conventions: {members[0]['test_set']} ({members[0]['provenance']})"
    return Table(title, caption, ["Detector", "Trained on", *(judge.head for judge in JUDGES)], lines)


def _placed(row: Row, judge: Judge, place: int | None) -> str:
    form, factor = UNITS[judge.key]
    text = number(row[judge.part][judge.key], form, factor)
    return text if place is None else f"{text} ({place})"


def _changes(members: Sequence[Row], dilated: Sequence[int | None], core: Sequence[int | None], score: str) -> str:
    """Say which rows have another place in the core convention than in the dilated one."""
    moved = [
        f"{label(row, members)} {before} to {after}"
        for row, before, after in zip(members, dilated, core, strict=True)
        if before is not None and after is not None and before != after
    ]
    return f"From dilated to core by {score}: {'; '.join(moved) if moved else 'no place changes'}."
