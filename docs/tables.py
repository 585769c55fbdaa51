"""Write the tables of the documentation from the scores in docs/results: ``make docs-tables``.

A page marks where a table goes, and which file it is made of::

    <!-- scores: real_sky.csv -->
    <!-- end -->

What stands between the two lines is replaced. ``scores``, ``real`` (those of real frames), ``hits`` (found, by length)
and ``stars`` (masked, by brightness) read a report's ``tables.csv``, ``differences`` its ``differences.csv``; a file
with several test sets makes a table of each. ``seeds`` reads a folder of results that train.py kept (``keep_results``).
"""

import csv
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cosmicgate.evaluation.paired_seeds import seed_mean
from cosmicgate.evaluation.records import DetectorRecord, titles
from cosmicgate.evaluation.training_configs import first_difference, without_seed
from cosmicgate.pretrained.renamed_targets import with_current_targets
from cosmicgate.report.results import TEST_SET

DOCS = Path(__file__).parent
MARKED = re.compile(
    r"(?P<begin><!-- (?P<kind>scores|real|hits|stars|differences|seeds): (?P<file>\S+) -->\n).*?(?=<!-- end -->)", re.S
)


class Column(NamedTuple):
    """Column of a table: its head, the factor and the decimals of a score, and whether its interval is shown."""

    head: str
    factor: float
    decimals: int
    interval: bool = True


COLUMNS = {  # convention and score -> column
    ("dilated", "tpr_at_fpr_0.01pct"): Column("TPR, dilated (%)", 100, 1),
    ("core", "tpr_at_fpr_0.01pct"): Column("TPR, core (%)", 100, 1),
    ("dilated", "f1"): Column("F1, dilated", 1, 3),
    ("core", "f1"): Column("F1, core", 1, 3, interval=False),
    ("per_hit", "recall"): Column("Hits found (%)", 100, 1, interval=False),
    ("per_hit", "false_per_megapixel"): Column("False hits / Mpx", 1, 1, interval=False),
}
REAL_COLUMNS = {
    ("core", "tpr_at_fpr_0.001pct"): Column("TPR at FPR 0.001 %, core (%)", 100, 1, interval=False),
    ("core", "tpr_at_fpr_0.01pct"): Column("at 0.01 %", 100, 1),
    ("core", "tpr_at_fpr_0.1pct"): Column("at 0.1 %", 100, 1, interval=False),
    ("dilated", "f1"): Column("F1, dilated", 1, 3, interval=False),
    ("per_hit", "recall"): Column("Hits found (%)", 100, 1),
    ("per_hit", "false_per_megapixel"): Column("False hits / Mpx", 1, 1),
    ("per_hit", "recall_at_10_false"): Column("Found at 10 false / Mpx (%)", 100, 1, interval=False),
    ("per_hit", "recall_at_1_false"): Column("at 1 false / Mpx", 100, 1),
    ("per_hit", "stars_masked_per_1000"): Column("Star cores masked per 1000", 1, 1),
    ("per_hit", "hot_pixels_masked_per_megapixel"): Column("Hot pixels masked / Mpx", 1, 1, interval=False),
}
TEST_SETS = {  # name in the files -> title in the tables
    "adapted_arcsat": "ARCSAT 0.5 m, five exposures held out",
    "adapted_lco0m4": "LCO 0.4 m, two fields held out",
    "arcsat_held_out": "ARCSAT, frames not trained on",
    "arcsat_held_out_added_hits": "ARCSAT, the same with hits added",
    "camera_effects": "effects of real frames",
    "cameras": "randomised cameras",
    "cameras_held_out": "held-out randomised cameras",
    "cameras_sharp": "undersampled stars",
    "cameras_smeared": "trailed and defocused stars",
    "cutouts": "DECam cutouts with the pipeline's flags",
    "decam": "DECam",
    "decam_core": "DECam, physical recipe, hits without a ring",
    "decam_held_out": "held-out DECam",
    "decam_medium": "DECam, both recipes of hits",
    "decam_paper": "DECam, hits by the paper's recipe",
    "decam_paper_background": "DECam, hits three sigma of the background bright",
    "decam_paper_recipe": "DECam as in the paper",
    "decam_physical": "DECam, hits by the physical recipe",
    "decam_semireal": "DECam coadd",
    "decam_trained": "DECam, both recipes of hits",  # former name, in the cards of networks
    "lco0m4_held_out": "LCO 0.4 m, a field not trained on",
    "lco0m4_held_out_added_hits": "LCO 0.4 m, the same with hits added",
    "lco_0m4": "LCO data set, 0.4 m",
    "lco_1m0": "LCO data set, 1.0 m",
    "lco_2m0": "LCO data set, 2.0 m",
    "lco_simulated_0m4": "LCO 0.4 m sequences",
    "lco_simulated_1m0": "LCO 1.0 m sequences",
    "lco_simulated_2m0": "LCO 2.0 m sequences",
    "real_arcsat": "ARCSAT 0.5 m frames",
    "real_frames": "frames of your own",
    "real_lco0m4": "LCO 0.4 m frames",
    "real_m13": "M13",
    "real_sky": "DECam exposures",
    "real_sky_lco": "LCO exposures",
    "semireal_core": "DECam coadd, hits without a ring",
    "small_cameras": "12-bit cameras",
    "spectra": "spectra",
}
SEED_COLUMNS = {
    ("dilated", "tpr_at_fpr_0.01pct"): Column("TPR, dilated (%)", 100, 2),
    ("core", "tpr_at_fpr_0.01pct"): Column("TPR, core (%)", 100, 2),
    ("dilated", "f1"): Column("F1, dilated", 1, 4),
    ("per_hit", "recall"): Column("Hits found (%)", 100, 1),
}
GAINS = (
    "Gains from gates, {}. Detectable: the smallest true gain that so many seeds would show with a probability of 80 %."
)
PAIRS = (("Att deepCR", "deepCR"), ("Att Cosmic-CoNN", "Cosmic-CoNN"))  # each without gates second
TEXTS = ("Detector", "Trained on", "First minus second", "Test set")
Line = dict[str, str]
Scores = dict[tuple[str, str], Line]  # convention and score -> its line
Columns = Mapping[tuple[str, str], Column]
SeedRows = dict[str, dict[int, dict[str, dict[str, float]]]]  # model -> seed -> its row of results.json


def updated(page: str) -> str:
    """Replace the tables of a page, given and returned as Markdown."""

    def table(found: re.Match[str]) -> str:
        file = found["file"]
        made = KINDS[found["kind"]](DOCS / "results" / file)
        source = f"`docs/results/{file}`" if found["kind"] == "seeds" else f"[{file}](results/{file})"
        return f"{found['begin']}\n{made}\nAll scores: {source}\n\n"

    return MARKED.sub(table, page)


def scores(file: Path) -> str:
    """Format the main scores of every detector, a table for each test set."""
    return by_test_set(lines_of(file), COLUMNS)


def real(file: Path) -> str:
    """Format the scores of real frames, a table for each test set; scores that are not known there are left out."""
    sets: dict[tuple[str, ...], list[Line]] = {}
    for line in lines_of(file):
        sets.setdefault(tuple(line[name] for name in TEST_SET), []).append(line)
    parts = []
    for lines in sets.values():
        known = {(line["convention"], line["score"]) for line in lines if line["value"]}
        parts.append(by_test_set(lines, {key: column for key, column in REAL_COLUMNS.items() if key in known}))
    return "\n".join(parts)


def hits(file: Path) -> str:
    """Format the percentage of hits found by their length, a table for each test set."""
    return by_class(lines_of(file), "recall, length ", "{} (%)", 100)


def stars(file: Path) -> str:
    """Format the star cores masked per 1000 stars by their brightness, a table for each test set with stars."""
    prefix = "stars_masked_per_1000, peak SNR "
    return by_class([line for line in lines_of(file) if line["score"].startswith(prefix)], prefix, "peak S/N {}", 1)


def by_class(lines: Sequence[Line], prefix: str, head: str, factor: float) -> str:
    """Format the scores whose names have a prefix, a column for each class."""
    keys = dict.fromkeys(line["score"] for line in lines if line["score"].startswith(prefix))
    columns = {("per_hit", key): Column(head.format(key.removeprefix(prefix)), factor, 1) for key in keys}
    return by_test_set(lines, columns)


def by_test_set(lines: Sequence[Line], columns: Columns) -> str:
    """Format a caption and a table for each test set; what all detectors were trained on goes into the caption."""
    groups: dict[tuple[str, ...], dict[DetectorRecord, Scores]] = {}
    for line in lines:
        rows = groups.setdefault(tuple(line[name] for name in TEST_SET), {})
        rows.setdefault(record_of(line), {})[line["convention"], line["score"]] = line
    parts = []
    for (name, origin, frames, pixels, hits), rows in groups.items():
        shown = titles(rows)
        training = {training_data(record) for record in shown}
        caption = f"**{TEST_SETS.get(name, name)}**, {origin}: {frames} frames"
        caption += f", {int(pixels) / 1e6:.1f} megapixels, {hits} hits" if int(pixels) else ""
        caption += f"; trained on {training.pop()}" if len(training) == 1 else ""
        table = [["Detector", *(column.head for column in columns.values()), *(["Trained on"] if training else [])]]
        for record, found in rows.items():
            last = [training_data(record) or "—"] if training else []
            table.append([shown[record], *cells(found, "value", columns), *last])
        parts.append(f"{caption}.\n\n{markdown(table)}")
    return "\n".join(parts)


def differences(file: Path) -> str:
    """Format the differences between pairs of detectors, a table for each origin of the data."""
    lines = lines_of(file)
    shown = titles(record_of(line, f"{side}_") for line in lines for side in "ab")
    tables: dict[str, dict[tuple[str, str], Scores]] = {}
    for line in lines:
        pair = " - ".join(shown[record_of(line, f"{side}_")] for side in "ab")
        pairs = tables.setdefault(line["data_origin"], {})
        pairs.setdefault((pair, line["test_set"]), {})[line["convention"], line["score"]] = line
    columns = {
        (part, score): Column(
            points(column), column.factor, column.decimals + (part != "per_hit" and column.factor == 100)
        )
        for (part, score), column in COLUMNS.items()
    }
    parts = []
    for origin, pairs in tables.items():
        table = [["First minus second", "Test set", *(column.head for column in columns.values())]]
        for (pair, name), found in pairs.items():
            table.append([pair, TEST_SETS.get(name, name), *cells(found, "difference", columns, "+")])
        parts.append(f"Differences, {origin}.\n\n{markdown(table)}")
    return "\n".join(parts)


def seeds(folder: Path) -> str:
    """Format means over the seeds of each network, and the gain from gates by trainings of the same seed.

    Two tables for each origin of the data; an interval is Student's t over seeds.

    Raises
    ------
    ValueError
        If two rows are of one network and seed, or differ in more than network, seed and scores, or their trainings in
        more than network and seed.
    """
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    kept = [one | {"config": with_current_targets(one["config"])} for one in kept]
    origins: dict[str, dict[str, SeedRows]] = {}
    common: dict[str, dict[str, Any]] = {}
    _check_configs(folder, kept)
    for version, row in ((one["config"].get("training"), row) for one in kept for row in one["rows"]):
        name, model, seed = row["test_set"], row["detector"]["model"], row["detector"]["seed"]
        facts = {key: row[key] for key in ("frames", "pixels", "hits")}
        facts |= {key: row["detector"].get(key) for key in ("variant", "trained_on")} | {"training": version}
        if common.setdefault(name, facts) != facts:
            raise ValueError(f"{folder}: {name}: {model}, seed {seed}, has {facts}, others {common[name]}")
        of_model = origins.setdefault(row["data_origin"], {}).setdefault(name, {}).setdefault(model, {})
        if seed in of_model:
            raise ValueError(f"{folder}: {name}: {model}, seed {seed}, is there twice")
        of_model[seed] = row
    heads = [column.head for column in SEED_COLUMNS.values()]
    gains = [head for column in SEED_COLUMNS.values() for head in (points(column), "detectable")]
    parts = []
    for origin, sets in origins.items():
        means = [["Test set", "Detector", "Seeds", *heads]]
        pairs = [["Test set", "First minus second", "Seeds", *gains]]
        for test_set, models in sets.items():
            name = TEST_SETS.get(test_set, test_set)
            for model, of_seed in models.items():
                values = {key: [row[key[0]][key[1]] for row in of_seed.values()] for key in SEED_COLUMNS}
                means.append([name, model, str(len(of_seed)), *_seed_cells(values)])
            for first, second in PAIRS:
                a, b = models.get(first, {}), models.get(second, {})
                if both := sorted(a.keys() & b.keys()):
                    gain = {(p, k): [a[seed][p][k] - b[seed][p][k] for seed in both] for p, k in SEED_COLUMNS}
                    pairs.append([name, f"{first} - {second}", str(len(both)), *_seed_cells(gain, gains=True)])
        parts.append(f"Means over seeds, {origin}.\n\n{markdown(means)}\n{GAINS.format(origin)}\n\n{markdown(pairs)}")
    return "\n".join(parts) or "No training has been kept yet.\n"


def _check_configs(folder: Path, kept: Sequence[Mapping[str, Any]]) -> None:
    """Raise ValueError if trainings differ in more than their seed, or those of several networks in more than these."""
    first: dict[str, dict[str, Any]] = {}
    for one in kept:
        config = without_seed(one["config"])
        shared = config | {"model": None, "module": {**(config["module"] or {}), "network": None}}
        for model in {row["detector"]["model"] for row in one["rows"]}:
            for name, known in ((model, config), ("", shared)):
                if reason := first_difference(first.setdefault(name, known), known):
                    seed = one["config"].get("seed")
                    raise ValueError(f"{folder}: {model}, seed {seed}, is of another training than others: {reason}")


def _seed_cells(values: Mapping[tuple[str, str], Sequence[float]], gains: bool = False) -> list[str]:
    """Format means over seeds with their intervals; after each mean of gains, the smallest detectable gain.

    Intervals of scores end where scores do, at 0 and 1. Without an interval no gain is detectable.
    """
    lowest = -1 if gains else 0
    made = []
    for key, column in SEED_COLUMNS.items():
        mean = seed_mean(values[key])
        known = not math.isnan(mean.detectable)
        ends = [max(mean.low, lowest), min(mean.high, 1)] if known else []
        made.append(cell(mean.mean, ends, column, "+" if gains else ""))
        if gains:
            made.append(cell(mean.detectable if known else None, [], column))
    return made


def points(column: Column) -> str:
    """Make the head of a column of differences: those of percentages are points."""
    return column.head.replace("(%)", "(points)")


def lines_of(file: Path) -> list[Line]:
    """Read a CSV of scores or differences; raise ValueError if it is none."""
    with file.open(newline="", encoding="utf-8") as text:
        lines = list(csv.DictReader(text))
    if not lines or not {"test_set", "data_origin", "convention", "score", "low", "high"} <= lines[0].keys():
        raise ValueError(f"{file}: expected a tables.csv or differences.csv of a report, with a column data_origin")
    return lines


def record_of(line: Line, side: str = "") -> DetectorRecord:
    """Read the detector of a line; ``side`` is ``a_`` or ``b_`` in a line of differences."""
    seed, seeds = (int(line[side + name]) if line[side + name] else None for name in ("seed", "seeds"))
    trained_on, weights = (line[side + name] or None for name in ("trained_on", "weights"))
    return DetectorRecord(line[f"{side}model"], line[f"{side}variant"], seed, seeds, trained_on, weights)


def training_data(record: DetectorRecord) -> str:
    """Format the training data of a detector, with the title of the data set if it has one."""
    name, comma, rest = (record.trained_on or "").partition(",")
    return f"{TEST_SETS.get(name, name)}{comma}{rest}"


def cells(found: Scores, name: str, columns: Columns, sign: str = "") -> list[str]:
    """Format the values of a row, in the column ``name`` of the file, with their intervals."""
    made = []
    for key, column in columns.items():
        line = found.get(key, {})
        value = float(line[name]) if line.get(name) else None
        ends = [float(line[end]) for end in ("low", "high") if column.interval and line.get(end)]
        made.append(cell(value, ends, column, sign))
    return made


def cell(value: float | None, ends: Sequence[float], column: Column, sign: str = "") -> str:
    """Format a score and its interval; a dash where it is not defined."""
    if value is None:
        return "—"
    texts = [f"{column.factor * number:{sign}.{column.decimals}f}" for number in (value, *ends)]
    texts = [text if float(text) else text.lstrip("+-") for text in texts]
    return f"{texts[0]} [{', '.join(texts[1:])}]" if ends else texts[0]


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """Format a table, its columns of text to the left and those of numbers to the right."""
    ruler = ["---" if head in TEXTS else "---:" for head in lines[0]]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], ruler, *lines[1:]))


KINDS = {"scores": scores, "real": real, "stars": stars, "hits": hits, "differences": differences, "seeds": seeds}


def main() -> None:
    """Rewrite the pages whose tables differ from the files."""
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if (new := updated(text)) != text:
            page.write_text(new)


if __name__ == "__main__":
    main()
