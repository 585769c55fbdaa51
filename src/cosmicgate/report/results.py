"""``results.json`` read and checked: the rows that tables and figures show."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosmicgate.truth import Convention

Row = dict[str, Any]  # one detector on one test set

CONVENTIONS: dict[Convention, str] = {
    "dilated": "core and dilation ring count as hit (the paper's convention)",
    "core": "core pixels count as hit, the dilation ring is left out",
}
PROVENANCES = ("simulated", "semi-real", "real")
TEST_SET = ("test_set", "provenance", "frames", "pixels", "hits")
PER_CENT = {
    "tpr_at_fpr_0.01pct": "TPR at FPR 0.01 % (%)",
    "tpr_at_fpr_0.1pct": "TPR at FPR 0.1 % (%)",
    "precision_at_tpr_95pct": "Precision at TPR 95 % (%)",
}
AREA = {"roc_auc": "ROC AUC", "average_precision": "AP"}
OF_MASK = {"f1": "F1", "iou": "IoU", "fdr": "FDR"}
PER_HIT = {"recall": "Hits found (%)", "false_per_megapixel": "False per megapixel"}
CURVES = ("fpr", "tpr", "recall", "precision")
LISTS = ("rows", "differences", "failed", "unavailable")


def read_results(paths: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """Read results files and put them together: rows, differences, failed, unavailable, any of them empty.

    Raises
    ------
    ValueError
        Names the file and what it lacks, or two that disagree on one row.
    """
    merged: dict[str, list[dict[str, Any]]] = {name: [] for name in LISTS}
    seen: dict[tuple[Any, ...], tuple[Row, Path, int]] = {}
    for path in dict.fromkeys(paths):
        content = _read(path)
        for number, row in enumerate(content["rows"]):
            key = tuple(row[name] for name in (*TEST_SET, "detector", "trained_on"))
            if key not in seen:
                seen[key] = row, path, number
                merged["rows"].append(row)
                continue
            before, where, first = seen[key]
            if where == path or before != row:
                twice = f"row {first} of {where} and row {number} of {path}"
                raise ValueError(f"{twice} are both {row['detector']!r} on {heading(row)!r}")
        for name in LISTS[1:]:
            merged[name] += [entry for entry in content.get(name, []) if entry not in merged[name]]
    return merged


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None)
    except ValueError as error:
        raise ValueError(f"{path} is not a results file: it is no JSON ({error})") from error
    rows = content.get("rows") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f'{path} is not a results file: expected {{"rows": [...]}} with at least one row')
    for number, row in enumerate(rows):
        if fault := _fault(row):
            raise ValueError(f"{path} is not a results file: row {number} {fault}")
    return dict(content)


def _fault(row: object) -> str:
    """Say what is wrong with a row, or nothing."""
    if not isinstance(row, dict):
        return f"is {row!r}, expected an object"
    scores = (*PER_CENT, *AREA, *OF_MASK)
    parts = {"dilated": scores, "core": scores, "per_hit": tuple(PER_HIT)}
    if missing := [key for key in (*TEST_SET, "detector", "trained_on", "threshold", *parts) if key not in row]:
        return f"lacks {', '.join(missing)}"
    if row["provenance"] not in PROVENANCES:
        return f"has the provenance {row['provenance']!r}, expected one of {', '.join(PROVENANCES)}"
    numbers = {key: row[key] for key in ("frames", "pixels", "hits", "threshold")}
    for part, keys in parts.items():
        found = row[part] if isinstance(row[part], dict) else {}
        if missing := [key for key in keys if key not in found]:
            return f"({row['detector']}) lacks {', '.join(missing)} in {part!r}"
        numbers |= {f"{part}.{key}": found[key] for key in keys}
    for name, value in numbers.items():
        if not isinstance(value, int | float) and (value is not None or name in TEST_SET):
            return (
                f"({row['detector']}) has {name} = {value!r}, expected a number{'' if name in TEST_SET else ' or null'}"
            )
    if not isinstance(row.get("curves"), dict | None):
        return f"({row['detector']}) has curves that are {type(row['curves']).__name__}, expected an object or null"
    for convention, curves in (row.get("curves") or {}).items():
        lengths = {key: len(curves.get(key) or ()) for key in CURVES} if curves else {}
        if curves and not (lengths["fpr"] == lengths["tpr"] and lengths["recall"] == lengths["precision"]):
            return f"({row['detector']}) has {convention} curves of {lengths} points, expected pairs of equal length"
    return ""


def by_test_set(rows: Sequence[Row]) -> list[list[Row]]:
    """Return the rows that were scored on the same pixels, together."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in TEST_SET), []).append(row)
    return list(groups.values())


def heading(row: Row) -> str:
    """Return the test set, its provenance and its size."""
    frames, pixels, hits = (f"{row[key]:,}" for key in ("frames", "pixels", "hits"))
    return f"{row['test_set']} ({row['provenance']}): {frames} frames, {pixels} pixels, {hits} hits"


def label(row: Row, rows: Sequence[Row]) -> str:
    """Return the detector, and what it was trained on where the report has it trained on several things."""
    several = len({other["trained_on"] for other in rows if other["detector"] == row["detector"]}) > 1
    return f"{row['detector']} [{row['trained_on']}]" if several else str(row["detector"])


def interval_of(row: Row, part: str, score: str) -> list[float] | None:
    """Return the 95 % interval of a score, None if there is none."""
    found: list[float] | None = row.get("intervals", {}).get(part, {}).get(score)
    return found
