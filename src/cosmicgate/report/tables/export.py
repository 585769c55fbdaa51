"""Write scores and differences at full precision as CSV, a line for each; docs/tables.py reads them."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.report.results import CONVENTIONS, TEST_SET, Row, interval_of
from cosmicgate.report.tables.cells import UNITS, published, span

RECORD = tuple(field.name for field in fields(DetectorRecord))


def scores_csv(rows: Sequence[Row]) -> str:
    """Format every score of every row as CSV, one per line, as fractions at full precision; empty if undefined."""
    heads = [*TEST_SET, *RECORD, "threshold", "convention", "score", "value", "low", "high", "published"]
    lines = (
        [*(row[name] for name in TEST_SET), *asdict(row["detector"]).values(), row["threshold"], *score]
        for row in rows
        for score in _scores(row)
    )
    return _csv(heads, lines)


def _scores(row: Row) -> Iterator[list[Any]]:
    for part in (*CONVENTIONS, "per_hit"):
        for key in (key for key in row[part] if key in UNITS):
            published_score = published(row).get(key) if part == "dilated" else None
            published_score = round(published_score / UNITS[key][1], 6) if published_score is not None else None
            yield [part, key, row[part][key], *(interval_of(row, part, key) or (None, None)), published_score]
    for key, unit in (("by_length", "length {} px"), ("by_snr", "peak SNR {}")):
        for entry in row["per_hit"].get(key, ()):
            value = entry["found"] / entry["hits"] if entry["hits"] else None
            low_high = entry.get("interval") or (None, None)
            yield ["per_hit", f"recall, {unit.format(span(entry))}", value, *low_high, None]
    for entry in row["per_hit"].get("stars_by_snr", ()):
        value = 1000 * entry["masked"] / entry["stars"] if entry["stars"] else None
        ends = [1000 * end for end in entry["interval"]] if entry["interval"] else (None, None)
        yield ["per_hit", f"stars_masked_per_1000, peak SNR {span(entry)}", value, *ends, None]


def differences_csv(differences: Sequence[Mapping[str, Any]]) -> str:
    """Format every difference as CSV, one per line, at full precision."""
    sides = [f"{side}_{field}" for side in "ab" for field in RECORD]
    heads = [*TEST_SET, *sides, "convention", "score", "difference", "low", "high", "above_zero"]
    lines = []
    for entry in differences:
        first = [*(entry.get(name) for name in TEST_SET), *asdict(entry["a"]).values(), *asdict(entry["b"]).values()]
        for part in (*CONVENTIONS, "per_hit"):
            for key, d in entry[part].items():
                lines.append([*first, part, key, d["difference"], *(d["interval"] or (None, None)), d["above_zero"]])
    return _csv(heads, lines)


def _csv(heads: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([heads, *lines])
    return text.getvalue()
