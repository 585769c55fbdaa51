"""Every score and every difference at full precision, as CSV."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cosmicgate.report.results import CONVENTIONS, TEST_SET, Row, interval_of
from cosmicgate.report.tables.cells import UNITS, published, span


def scores_csv(rows: Sequence[Row]) -> str:
    """Return every score of every row at full precision, one to a line, in fractions; empty: not known."""
    names = (*TEST_SET, "detector", "trained_on", "threshold")
    lines = [[*names, "convention", "score", "value", "low", "high", "published"]]
    for row in rows:
        lines += [[*(row[name] for name in names), *score] for score in _scores(row)]
    return _csv(lines)


def _scores(row: Row) -> Iterator[list[Any]]:
    for part in (*CONVENTIONS, "per_hit"):
        for key, value in row[part].items():
            if key not in UNITS:
                continue
            known = published(row).get(key) if part == "dilated" else None
            known = round(known / UNITS[key][1], 6) if known is not None else None
            yield [part, key, value, *(interval_of(row, part, key) or (None, None)), known]
    for key, unit in (("by_length", "length {} px"), ("by_snr", "peak SNR {}")):
        for entry in row["per_hit"].get(key, ()):
            value = entry["found"] / entry["hits"] if entry["hits"] else None
            low_high = entry.get("interval") or (None, None)
            yield ["per_hit", f"recall, {unit.format(span(entry))}", value, *low_high, None]


def differences_csv(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return every difference at full precision, one to a line."""
    names = ("test_set", "provenance", "frames", "a", "b")
    lines: list[list[Any]] = [[*names, "convention", "score", "difference", "low", "high", "above_zero"]]
    for entry in differences:
        for part in (*CONVENTIONS, "per_hit"):
            for key, d in entry[part].items():
                numbers = (d["difference"], *(d["interval"] or (None, None)), d["above_zero"])
                lines.append([*(entry[name] for name in names), part, key, *numbers])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
