"""Read ``results.json``; name its scores, its test sets and their sizes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import DetectorRecord, with_records

Row = dict[str, Any]  # one detector, a DetectorRecord, on one test set

CONVENTIONS: dict[Convention, str] = {
    "dilated": "core and dilation ring are positives (the paper's convention)",
    "core": "core pixels are positives, the dilation ring is left out",
}
DATA_ORIGINS = ("simulated", "semi-real", "real")
TEST_SET = ("test_set", "data_origin", "frames", "pixels", "hits")
KEYS = (*TEST_SET, "detector", "threshold", *CONVENTIONS, "per_hit")  # keys that every row has
PER_CENT = {
    "tpr_at_fpr_0.01pct": "TPR at FPR 0.01 % (%)",
    "tpr_at_fpr_0.1pct": "TPR at FPR 0.1 % (%)",
    "precision_at_tpr_95pct": "Precision at TPR 95 % (%)",
}
LOW_FPR = {"tpr_at_fpr_0.001pct": "TPR at FPR 0.001 % (%)"}  # not in the paper
AREA = {"roc_auc": "ROC AUC", "average_precision": "AP"}
MASK_SCORES = {"f1": "F1", "iou": "IoU", "fdr": "FDR"}
PER_HIT = {"recall": "Hits found (%)", "false_per_megapixel": "False hits per megapixel"}
FEW_FALSE = {
    "recall_at_10_false": "Hits found at 10 false per megapixel (%)",
    "recall_at_1_false": "Hits found at 1 false per megapixel (%)",
}
MASKED = {  # in test sets whose stars and hot pixels are known
    "stars_masked_per_1000": "Star cores masked per 1000",
    "hot_pixels_masked_per_megapixel": "Hot pixels masked per megapixel",
}
# Scores that every row has; each is a number, or null where it is not defined.
SCORES = {"dilated": (*PER_CENT, *MASK_SCORES), "core": (*PER_CENT, *MASK_SCORES), "per_hit": (*PER_HIT,)}
LISTS = ("rows", "differences", "failed", "unavailable", "parameters", "seconds")


def read_results(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the LISTS of a results file of this or an earlier version; one that it lacks is empty.

    Raise ValueError if the file is invalid, or if two of its rows are of one detector.
    """
    try:
        content = with_records(json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda _: None))
        rows: list[Row] = content["rows"]
        if not rows and not content.get("failed"):
            raise ValueError("expected at least one row, or one that failed")
        for number, row in enumerate(rows):
            if missing := [key for key in KEYS if key not in row]:
                raise ValueError(f"row {number} lacks {', '.join(missing)}")
            if row["data_origin"] not in DATA_ORIGINS:
                expected = ", ".join(DATA_ORIGINS)
                raise ValueError(f"row {number} has the data origin {row['data_origin']!r}, expected one of {expected}")
            if not isinstance(row["detector"], DetectorRecord):
                raise ValueError(f"row {number} has the detector {row['detector']!r}, expected an object")
            for part, key in ((part, key) for part, keys in SCORES.items() for key in keys):
                if not isinstance(value := row[part].get(key, "nothing"), int | float | None):
                    raise ValueError(f"row {number} has {part}.{key} = {value!r}, expected a number")
            if key_of_row(row) in map(key_of_row, rows[:number]):
                raise ValueError(f"two rows are of {row['detector'].name!r} on {heading(row)!r}")
    except (AttributeError, KeyError) as error:
        raise ValueError(f'{path} is not a results file: expected {{"rows": [...]}}') from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a results file: {error}") from error
    return {name: content.get(name, []) for name in LISTS}


def key_of_row(row: Row) -> tuple[Any, ...]:
    """Make the key that identifies a row: its test set and its detector."""
    return tuple(row[name] for name in (*TEST_SET, "detector"))


def by_test_set(rows: Sequence[Row]) -> list[list[Row]]:
    """Group the rows that were scored on the same pixels."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in TEST_SET), []).append(row)
    return list(groups.values())


def set_name(row: Mapping[str, Any]) -> str:
    """Format the test set of a row and its data origin."""
    return f"{row['test_set']} ({row['data_origin']})"


def heading(row: Row) -> str:
    """Format the test set of a row, its data origin and its size."""
    return f"{set_name(row)}: {row['frames']:,} frames, {row['pixels']:,} pixels, {row['hits']:,} hits"


def interval_of(row: Row, part: str, score: str) -> list[float] | None:
    """Look up the 95 % interval of a score; None if there is none."""
    found: list[float] | None = row.get("intervals", {}).get(part, {}).get(score)
    return found
