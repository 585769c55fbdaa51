"""Write scores and differences at full precision as CSV, and read scores back.

A line of ``tables.csv`` has the fields of a row and one of its scores.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cosmicgate.evaluation.records import DetectorRecord
from cosmicgate.report.results import CONVENTIONS, TEST_SET, Row, interval_of
from cosmicgate.report.tables.cells import UNITS, published, span

RECORD = tuple(field.name for field in fields(DetectorRecord))


def scores_csv(rows: Sequence[Row]) -> str:
    """Format every score of every row as CSV, one per line, as fractions at full precision; empty if undefined."""
    lines = [[*TEST_SET, *RECORD, "threshold", "convention", "score", "value", "low", "high", "published"]]
    for row in rows:
        about = [*(row[name] for name in TEST_SET), *asdict(row["detector"]).values(), row["threshold"]]
        lines += [[*about, *score] for score in _scores(row)]
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
    """Format every difference as CSV, one per line, at full precision."""
    names = [f"{side}_{field}" for side in "ab" for field in RECORD]
    lines: list[list[Any]] = [
        ["test_set", "data_origin", "frames", *names, "convention", "score", "difference", "low", "high", "above_zero"]
    ]
    for entry in differences:
        about = [entry[name] for name in ("test_set", "data_origin", "frames")]
        about += [value for side in "ab" for value in asdict(entry[side]).values()]
        for part in (*CONVENTIONS, "per_hit"):
            for key, d in entry[part].items():
                lines.append([*about, part, key, d["difference"], *(d["interval"] or (None, None)), d["above_zero"]])
    return _csv(lines)


def _csv(lines: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def read_scores(path: Path | str) -> list[Row]:
    """Read the rows of a ``tables.csv`` of this or an earlier version: test set, detector, scores and intervals.

    Raises
    ------
    ValueError
        If the file is not such a CSV.
    """
    rows: dict[tuple[Any, ...], Row] = {}
    with Path(path).open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            line.setdefault("data_origin", line.get("provenance", ""))
            if missing := [name for name in (*TEST_SET, "convention", "score", "value") if name not in line]:
                raise ValueError(f"{path} is not a CSV of scores: it has no column {', '.join(missing)}")
            about = {name: int(line[name]) if name in TEST_SET[2:] else line[name] for name in TEST_SET}
            record = _record(line)
            row = rows.setdefault((*about.values(), record), about | {"detector": record, "intervals": {}})
            part, key = line["convention"], line["score"]
            row.setdefault(part, {})[key] = float(line["value"]) if line["value"] else None
            if line["low"]:
                row["intervals"].setdefault(part, {})[key] = [float(line["low"]), float(line["high"])]
    return list(rows.values())


def _record(line: Mapping[str, str]) -> DetectorRecord:
    if "detector" in line:  # a file of version 0.1.3 or earlier
        return DetectorRecord.from_title(line["detector"], line["trained_on"] or None)
    seed, seeds = (int(line[name]) if line[name] else None for name in ("seed", "seeds"))
    return DetectorRecord(
        line["model"], line["variant"], seed, seeds, line["trained_on"] or None, line["weights"] or None
    )
