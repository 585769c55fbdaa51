"""Format tables and their cells: scores in the paper's units, their intervals, and the paper's published scores."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from cosmicgate.evaluation.operating_points import RATES
from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.report.results import AREA, FEW_FALSE, LOW_FPR, MASK_SCORES, MASKED, PER_CENT, Row, interval_of

# Score -> format and factor to the paper's unit: per cent in Table 1, fractions in Table 2.
UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys((*PER_CENT, *LOW_FPR, *FEW_FALSE, "recall"), (".2f", 100)),
    **dict.fromkeys((*AREA, *MASK_SCORES, *(f"threshold_at_{rate}_false" for rate in RATES)), (".4f", 1)),
    **dict.fromkeys((*MASKED, "false_per_megapixel"), (".2f", 1)),
}
# Variants that are compared with the paper's numbers of their model: its own settings or weights, trainings as in the
# paper, and the networks of this package.
COMPARABLE_VARIANTS = ("", "the paper's recipe", "as published", "released", "pretrained", "checkpoint")


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


@cache
def _published() -> dict[str, dict[str, dict[str, float]]]:
    """Read the paper's scores: data set -> detector -> score -> value, in the paper's units."""
    text = resources.files("cosmicgate.report.tables").joinpath("published.csv").read_text(encoding="utf-8")
    values: dict[str, dict[str, dict[str, float]]] = {}
    for line in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        scores = {key: float(value) for key, value in line.items() if key in UNITS and value}
        values.setdefault(line["data"], {})[line["detector"]] = scores
    return values


def paper_name(record: DetectorRecord) -> str:
    """Find the name under which the paper lists a detector, if it lists it."""
    return record.model if record.variant in COMPARABLE_VARIANTS else record.name


def published(row: Row) -> dict[str, float]:
    """Look up the paper's scores of a row's detector, in its units, if the row has the paper's data (``benchmark``).

    The name of a test set is not used, as a user's files may have any name.
    """
    return _published().get(row.get("benchmark", ""), {}).get(paper_name(row["detector"]), {})


def cell(row: Row, part: str, key: str) -> str:
    """Format a score and its interval, 97.69 [97.10, 98.04]; for a mean, also the lowest and the highest seed."""
    ends = row.get("spread", {}).get(part, {}).get(key)
    seeds = f"(seeds {' to '.join(number(end, *UNITS[key]) for end in ends)})" if ends else ""
    return _joined(row[part].get(key), interval_of(row, part, key), UNITS[key], seeds)


def difference_cell(entry: Mapping[str, Any], key: str) -> str:
    """Format a difference, its interval and the fraction of samples above zero: +0.0120 [+0.0021, +0.0219] (99 %)."""
    form, factor = UNITS[key]
    above = "" if entry["above_zero"] is None else f"({100 * entry['above_zero']:.0f} %)"
    return _joined(entry["difference"], entry["interval"], (f"+{form}", factor), above)


def _joined(value: float | None, interval: Sequence[float] | None, unit: tuple[str, float], note: str) -> str:
    limits = f"[{', '.join(number(limit, *unit) for limit in interval)}]" if interval else ""
    return " ".join(filter(None, (number(value, *unit), limits, note)))


def span(entry: Mapping[str, Any]) -> str:
    """Format the limits of a class of hits: 1-2, <5, ≥20."""
    start, end = entry["from"], entry["to"]
    if start is None:
        return f"<{end:g}"
    return f"≥{start:g}" if end is None else f"{start:g}-{end:g}"


def recalls(row: Row, part: str) -> dict[str, float | None]:
    """Compute the fraction of hits found in each class of ``by_length`` or ``by_snr``; None in one without hits."""
    classes = row["per_hit"].get(part, ())
    return {span(entry): entry["found"] / entry["hits"] if entry["hits"] else None for entry in classes}


def number(value: float | None, form: str, factor: float = 1) -> str:
    """Format a number, or a dash for None."""
    return "—" if value is None else format(factor * value, form)
