"""Format a table as Markdown or plain text."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A table: ``texts`` columns of text, then columns of numbers, which may have an interval behind them."""

    title: str
    caption: str
    heads: Sequence[str]
    lines: Sequence[Sequence[str]]
    texts: int = 2


def markdown(table: Table) -> str:
    """Format a table as Markdown."""
    rule = ["---"] * table.texts + ["---:"] * (len(table.heads) - table.texts)
    lines = [" | ".join(cell.replace("|", r"\|") for cell in line) for line in (table.heads, rule, *table.lines)]
    return "\n".join([f"### {table.title}", "", table.caption, "", *(f"| {line} |" for line in lines), ""])


def plain_text(table: Table) -> list[str]:
    """Format a table as lines for a terminal, with aligned columns."""
    rows = [table.heads, *table.lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    pad = [str.ljust if column < table.texts else str.rjust for column in range(len(widths))]
    lines = ["  ".join(p(text, w) for p, text, w in zip(pad, row, widths, strict=True)).rstrip() for row in rows]
    return [f"{table.title}; {table.caption}", *lines]
