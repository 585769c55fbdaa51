"""The text of a table's cells: scores in the paper's units, their intervals, and what the paper published."""

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from cosmicgate.report.results import AREA, OF_MASK, PER_CENT, Row, interval_of

# Score -> its format and the factor to its unit: the paper's, per cent in Table 1 and fractions in Table 2.
UNITS: dict[str, tuple[str, float]] = {
    **dict.fromkeys(PER_CENT, (".2f", 100)),
    **dict.fromkeys((*AREA, *OF_MASK), (".4f", 1)),
    "recall": (".2f", 100),
    "false_per_megapixel": (".2f", 1),
}
# Endings of a title that leave its detector the paper's: its own weights, one of several seeds.
OF_THE_PAPER = r" \(released\)$|, seed \d+$|, mean of \d+ seeds$"


@cache
def _published() -> dict[str, dict[str, dict[str, float]]]:
    """Data set -> detector -> score -> value, in the paper's units."""
    text = resources.files("cosmicgate.report.tables").joinpath("published.csv").read_text(encoding="utf-8")
    values: dict[str, dict[str, dict[str, float]]] = {}
    for line in csv.DictReader(line for line in text.splitlines() if not line.startswith("#")):
        scores = {key: float(value) for key, value in line.items() if key in UNITS and value}
        values.setdefault(line["data"], {})[line["detector"]] = scores
    return values


def published(row: Row) -> dict[str, float]:
    """Return the paper's scores of this detector on data of this name (``decam...``, ``lco_0m4...``), its units."""
    data = next((values for name, values in _published().items() if row["test_set"].startswith(name)), {})
    return data.get(row["detector"]) or data.get(re.sub(OF_THE_PAPER, "", row["detector"])) or {}


def cell(row: Row, part: str, key: str) -> str:
    """A score and, behind it, its interval and of a mean the lowest and the highest seed: 97.69 [97.10, 98.04]."""
    form, factor = UNITS[key]
    limits, ends = interval_of(row, part, key), row.get("spread", {}).get(part, {}).get(key)
    text = number(row[part][key], form, factor)
    if row[part][key] is None:
        return text
    if limits is not None:
        text += f" [{', '.join(number(limit, form, factor) for limit in limits)}]"
    if ends is None:
        return text
    seeds = f"seeds {' to '.join(number(end, form, factor) for end in ends)}"
    return f"{text} ({seeds})" if limits is None else f"{text}, {seeds}"


def difference_cell(entry: Mapping[str, Any], key: str) -> str:
    """A difference, its interval and how often it was above zero: +0.0120 [+0.0021, +0.0219], 99 %."""
    form, factor = UNITS[key]
    text = number(entry["difference"], "+" + form, factor)
    if entry["interval"]:
        text += f" [{', '.join(number(limit, '+' + form, factor) for limit in entry['interval'])}]"
    return text if entry["above_zero"] is None else f"{text}, {100 * entry['above_zero']:.0f} %"


def span(entry: Mapping[str, Any]) -> str:
    """Return a class of hits as text: 1-2, <5, >20."""
    start, end = entry["from"], entry["to"]
    if start is None:
        return f"<{end:g}"
    return f"≥{start:g}" if end is None else f"{start:g}-{end:g}"


def number(value: float | None, form: str, factor: float = 1) -> str:
    """Return a number as text, a dash for what could not be computed."""
    return "—" if value is None else format(factor * value, form)
