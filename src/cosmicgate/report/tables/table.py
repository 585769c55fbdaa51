"""Format a table as Markdown or plain text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    text : str
        Value as it is shown.
    note : str
        Text behind the value, such as its interval.
    rank : float or None
        Value by which the cells of its column are compared; None if it does not take part.
    best : bool
        Whether it has the best value of its column.
    """

    text: str
    note: str = ""
    rank: float | None = None
    best: bool = False

    def __str__(self) -> str:
        return f"{self.text} {self.note}" if self.note else self.text


@dataclass(frozen=True)
class Table:
    """A table: ``texts`` columns of text, then columns of numbers. ``about`` is the first sentence of its caption."""

    title: str
    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str | Cell]]
    texts: int = 2
    about: str = ""


def with_best(column: Iterable[Cell], lowest: bool = False) -> list[Cell]:
    """Mark the best of a column's cells; none if there is nothing to compare, or if all are equal."""
    cells = list(column)
    known = {cell.rank for cell in cells if cell.rank is not None}
    if len(known) < 2:
        return cells
    best = min(known) if lowest else max(known)
    return [replace(cell, best=cell.rank == best) for cell in cells]


def markdown(table: Table) -> str:
    """Format a table as Markdown."""
    caption = f"{table.about}. {table.caption}" if table.about else table.caption
    return "\n".join([f"### {table.title}", "", caption, "", *markdown_lines(table), ""])


def markdown_lines(table: Table) -> list[str]:
    """Format heads and lines of a table as Markdown, without title and caption."""
    rule = ["---"] * table.texts + ["---:"] * (len(table.heads) - table.texts)
    lines = [" | ".join(str(cell).replace("|", r"\|") for cell in line) for line in (table.heads, rule, *table.lines)]
    return [f"| {line} |" for line in lines]


def plain(table: Table) -> list[str]:
    """Format a table as lines for a terminal, with aligned columns."""
    rows = [[str(cell) for cell in line] for line in (table.heads, *table.lines)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = [str.ljust if column < table.texts else str.rjust for column in range(len(widths))]
    lines = ["  ".join(p(text, w) for p, text, w in zip(pad, row, widths, strict=True)).rstrip() for row in rows]
    return [f"{table.title}; {table.caption}", *lines]
