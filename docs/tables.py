"""Write the tables of the documentation from the scores in docs/results: ``make docs-tables``.

A page marks where a table goes, and which file it is made of::

    <!-- scores: real_sky.csv -->
    <!-- end -->

What stands between the two lines is replaced. ``scores`` and ``hits`` (found, by length) read a report's
``tables.csv``, ``differences`` its ``differences.csv``; a file with several test sets makes a table of each.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.report import results
from cosmicgate.report.results import Row
from cosmicgate.report.tables import read_scores

DOCS = Path(__file__).parent
MARKED = re.compile(r"(?P<begin><!-- (?P<kind>scores|hits|differences): (?P<file>\S+) -->\n).*?(?=<!-- end -->)", re.S)
COLUMNS = {  # convention and score: head, factor, decimals, whether the interval is shown
    ("dilated", "tpr_at_fpr_0.01pct"): ("TPR, dilated (%)", 100, 1, True),
    ("core", "tpr_at_fpr_0.01pct"): ("TPR, core (%)", 100, 1, True),
    ("dilated", "f1"): ("F1, dilated", 1, 3, True),
    ("core", "f1"): ("F1, core", 1, 3, False),
    ("per_hit", "recall"): ("Hits found (%)", 100, 1, False),
    ("per_hit", "false_per_megapixel"): ("False hits / Mpx", 1, 1, False),
}
TEST_SETS = {
    "cameras": "randomised cameras",
    "cameras_sealed": "held-out randomised cameras",
    "cameras_sharp": "undersampled stars",
    "cameras_smeared": "trailed and defocused stars",
    "decam_sealed": "held-out DECam",
    "decam_semireal": "DECam coadd",
    "decam_trained": "DECam, both recipes of hits",
    "real_lco0m4": "LCO 0.4 m frames",
    "real_sky": "DECam exposures",
    "real_sky_lco": "LCO exposures",
}
TEXTS = ("Detector", "Trained on", "First minus second", "Test set")
Line = dict[str, str]


def updated(page: str) -> str:
    """Replace the tables of a page, given and returned as Markdown."""

    def table(found: re.Match[str]) -> str:
        file = found["file"]
        made = KINDS[found["kind"]](DOCS / "results" / file)
        return f"{found['begin']}\n{made}\nAll scores: [{file}](results/{file})\n\n"

    return MARKED.sub(table, page)


def scores(file: Path) -> str:
    """Format the main scores of every detector, a table for each test set."""
    return by_test_set(read_scores(file), COLUMNS)


def hits(file: Path) -> str:
    """Format the percentage of hits found by their length, a table for each test set."""
    rows = read_scores(file)
    lengths = dict.fromkeys(key for row in rows for key in row["per_hit"] if key.startswith("recall, length"))
    heads = {key: f"{key.removeprefix('recall, length ')} (%)" for key in lengths}
    return by_test_set(rows, {("per_hit", key): (head, 100, 1, True) for key, head in heads.items()})


def by_test_set(rows: Sequence[Row], columns: Mapping[tuple[str, str], tuple[str, float, int, bool]]) -> str:
    """Format a caption and a table for each test set; what all detectors were trained on goes into the caption."""
    parts = []
    for group in results.by_test_set(rows):
        about, shown = group[0], titles(row["detector"] for row in group)
        training = {record.trained_on for record in shown}
        caption = f"**{TEST_SETS.get(about['test_set'], about['test_set'])}**, {about['data_origin']}: "
        caption += f"{about['frames']} frames, {about['pixels'] / 1e6:.1f} megapixels, {about['hits']} hits"
        caption += f"; trained on {training.pop()}" if len(training) == 1 else ""
        lines = [["Detector", *(head for head, *_ in columns.values()), *(["Trained on"] if training else [])]]
        for row in group:
            cells = []
            for (part, key), (_, scale, digits, with_interval) in columns.items():
                ends = row["intervals"].get(part, {}).get(key, ()) if with_interval else ()
                cells.append(cell(row.get(part, {}).get(key), ends, scale, digits))
            lines.append([shown[row["detector"]], *cells, *([row["detector"].trained_on or "—"] if training else [])])
        parts.append(f"{caption}.\n\n{markdown(lines)}")
    return "\n".join(parts)


def differences(file: Path) -> str:
    """Format the differences between pairs of detectors, a table for each origin of the data."""
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    shown = titles(record(row, side) for row in rows for side in "ab")
    tables: dict[str, dict[tuple[str, str], dict[tuple[str, str], Line]]] = {}
    for row in rows:
        pair = f"{shown[record(row, 'a')]} - {shown[record(row, 'b')]}"
        found = tables.setdefault(row.get("data_origin") or row["provenance"], {})
        found.setdefault((pair, row["test_set"]), {})[row["convention"], row["score"]] = row
    parts = []
    for origin, pairs in tables.items():
        heads = (head.replace("(%)", "(points)") for head, *_ in COLUMNS.values())
        lines = [["First minus second", "Test set", *heads]]
        for (pair, name), found in pairs.items():
            cells = []
            for key, (_, scale, digits, _) in COLUMNS.items():
                row = found.get(key, {})
                value = float(row["difference"]) if row.get("difference") else None
                ends = [float(row[end]) for end in ("low", "high") if row.get(end)]
                cells.append(cell(value, ends, scale, digits + (key[0] != "per_hit" and scale == 100), "+"))
            lines.append([pair, TEST_SETS.get(name, name), *cells])
        parts.append(f"Differences, {origin}.\n\n{markdown(lines)}")
    return "\n".join(parts)


def record(row: Line, side: str) -> DetectorRecord:
    """Read one of the two detectors of a difference, also of version 0.1.3, which wrote titles."""
    if side in row:
        return DetectorRecord.from_title(row[side])
    seed, seeds = (int(row[f"{side}_{name}"]) if row[f"{side}_{name}"] else None for name in ("seed", "seeds"))
    return DetectorRecord(row[f"{side}_model"], row[f"{side}_variant"], seed, seeds, row[f"{side}_trained_on"] or None)


def cell(value: float | None, ends: Sequence[float], scale: float, digits: int, sign: str = "") -> str:
    """Format a score and its interval; a dash where it is not defined."""
    if value is None:
        return "—"
    texts = [f"{scale * number:{sign}.{digits}f}" for number in (value, *ends)]
    texts = [text if float(text) else text.lstrip("+-") for text in texts]
    return f"{texts[0]} [{', '.join(texts[1:])}]" if ends else texts[0]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Format a table, its columns of text to the left and those of numbers to the right."""
    ruler = ["---" if head in TEXTS else "---:" for head in lines[0]]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], ruler, *lines[1:]))


KINDS = {"scores": scores, "hits": hits, "differences": differences}


def main() -> None:
    """Rewrite the pages whose tables differ from the files."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if (new := updated(text)) != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
