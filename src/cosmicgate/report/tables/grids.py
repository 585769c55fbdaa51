"""Tables for the page of a report: their cells apart into value and bracket, and the best of each column known."""

from collections.abc import Sequence
from dataclasses import dataclass

from cosmicgate.report.results import OF_MASK, PER_HIT
from cosmicgate.report.tables import Table

SMALL_IS_GOOD = (OF_MASK["fdr"], PER_HIT["false_per_megapixel"])  # heads of columns
PUBLISHED = "published"


@dataclass(frozen=True)
class Cell:
    """A cell of a table: a value, what stands behind it in brackets, and whether it is the best of its column."""

    value: str
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table of the page: ``texts`` columns of words, the first of which names the row, then columns of numbers."""

    title: str
    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[Cell]]
    texts: int


def grid_of(table: Table, about: str, marked: bool = True) -> Grid:
    """Return a table for the page, where ``about`` stands above it; ``marked``: the best value of each column is."""
    heads = [f"{table.heads[n - 1]}, {PUBLISHED}" if head == PUBLISHED else head for n, head in enumerate(table.heads)]
    best = {(n, column) for column in range(table.texts, len(heads)) for n in _best(table, column) if marked}
    lines = []
    for n, line in enumerate(table.lines):
        parts = [text.partition(" ") if column >= table.texts else (text, "", "") for column, text in enumerate(line)]
        lines.append([Cell(value, note, (n, column) in best) for column, (value, _, note) in enumerate(parts)])
    return Grid(table.title, table.caption.removeprefix(f"{about}. "), heads, lines, table.texts)


def _best(table: Table, column: int) -> list[int]:
    """Return the lines with the best value of a column; none if there is nothing to compare.

    A detector that finds no hit is not the best at making no false ones.
    """
    head, heads = table.heads[column], list(table.heads)
    if head in (PUBLISHED, "Threshold"):
        return []
    found = heads.index(PER_HIT["recall"]) if PER_HIT["recall"] in heads else None
    lines = [(n, line) for n, line in enumerate(table.lines) if found is None or not line[found].startswith("0.00")]
    values = {n: float(line[column].split()[0]) for n, line in lines if line[column] != "—"}
    if len(values) < 2 or len(set(values.values())) == 1:
        return []
    best = min(values.values()) if head in SMALL_IS_GOOD else max(values.values())
    return [n for n, value in values.items() if value == best]
