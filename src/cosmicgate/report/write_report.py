"""Write tables and figures from ``results.json`` alone, without computing any score."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.io.atomic import atomic_write
from cosmicgate.report.figures.curves import draw_curves, draw_recall
from cosmicgate.report.results import CONVENTIONS, read_results
from cosmicgate.report.tables import (
    Table,
    class_tables,
    difference_tables,
    differences_csv,
    hit_tables,
    markdown,
    parameter_tables,
    scores_csv,
    seconds_tables,
    tables_of,
)


def write_report(results: Path | Sequence[Path], folder: Path) -> list[Path]:
    """Write the tables and figures of results files; on an error none is written.

    Parameters
    ----------
    results : Path or sequence of Path
        One or several ``results.json``.
    folder : Path
        Folder of the report, created if necessary; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``tables.md``, ``tables.csv``, ``differences.csv`` where there are any,
        ``curves_<convention>_<test set>_<data origin>.png``, ``recall_<test set>_<data origin>.png``.

    Raises
    ------
    ValueError
        If a file is not a valid ``results.json``; the message says what is missing.
    """
    content = read_results([results] if isinstance(results, Path) else results)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as name:
        unfinished = Path(name)
        made = write_tables(content, unfinished)
        for convention in CONVENTIONS:
            made += draw_curves(content["rows"], unfinished, convention)
        made += draw_recall(content["rows"], unfinished)
        return [path.replace(folder / path.name) for path in made]


def write_tables(content: Mapping[str, Sequence[Any]], folder: Path) -> list[Path]:
    """Write all tables as Markdown and CSV, and return the paths."""
    text = ["# Results", ""]
    for chapter, tables in chapters_of(content).items():
        text += [f"## {chapter}", "", *(markdown(table) for table in tables)]
    if missing := left_out(content):
        text += ["## Left out", "", *(f"- {line}" for line in missing), ""]
    files = {"tables.md": "\n".join(text), "tables.csv": scores_csv(content["rows"])}
    files |= {"differences.csv": differences_csv(content["differences"])} if content["differences"] else {}
    for name, made in files.items():
        atomic_write(folder / name, made)
    return [folder / name for name in files]


def chapters_of(content: Mapping[str, Sequence[Any]]) -> dict[str, list[Table]]:
    """Make the tables of each heading; headings without tables are left out."""
    rows = content["rows"]
    chapters = {f"{name.capitalize()} truth": tables_of(rows, name) for name in CONVENTIONS}
    chapters |= {"Hits": hit_tables(rows), "Telescope classes": class_tables(rows)}
    chapters |= {"Parameters": parameter_tables(content["parameters"]), "Run time": seconds_tables(content["seconds"])}
    chapters |= {"Differences": difference_tables(content["differences"])}
    return {heading: tables for heading, tables in chapters.items() if tables}


def left_out(content: Mapping[str, Sequence[Any]]) -> list[str]:
    """Format lines that name the missing rows and why they are missing."""
    lines = [f"{e['detector'].name} on {e['test_set']} failed: {e['reason']}" for e in content["failed"]]
    return lines + [f"{e['detector']}: {e['reason']}" for e in content["unavailable"]]
