"""Results shown: tables and figures, from ``results.json`` alone. No score is computed here."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cosmicgate.files import write_whole
from cosmicgate.report.pictures.figures import draw_curves, draw_recall
from cosmicgate.report.results import CONVENTIONS, read_results
from cosmicgate.report.tables import (
    Table,
    class_tables,
    difference_tables,
    differences_csv,
    hit_tables,
    latex,
    markdown,
    scores_csv,
    tables_of,
)
from cosmicgate.report.tables.rankings import ranking_tables


def write_report(results: Path | Sequence[Path], folder: Path) -> list[Path]:
    """Write the tables and figures of results files; the folder gets all of them or, on an error, none.

    Parameters
    ----------
    results : Path or sequence of Path
        Files ``results.json``.
    folder : Path
        Made if need be; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``tables.md``, ``tables.tex``, ``tables.csv``, ``differences.csv`` where there are any,
        ``curves_<convention>_<test set>_<provenance>.png``, ``recall_<test set>_<provenance>.png``.

    Raises
    ------
    ValueError
        If a file is not such a file; says what is missing.
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
    """Write all tables in each of their forms, and return their paths."""
    rows, differences, chapters = content["rows"], content["differences"], chapters_of(content)
    text = ["# Results", ""]
    for chapter, tables in chapters.items():
        text += [f"## {chapter}", "", *(markdown(table) for table in tables)]
    text += _left_out(content)
    preamble = "% Needs \\usepackage{booktabs,graphicx}.\n"
    files = {
        "tables.md": "\n".join(text),
        "tables.tex": preamble + "\n".join(latex(table) for tables in chapters.values() for table in tables),
        "tables.csv": scores_csv(rows),
    }
    files |= {"differences.csv": differences_csv(differences)} if differences else {}
    for name, made in files.items():
        write_whole(folder / name, made.encode())
    return [folder / name for name in files]


def chapters_of(content: Mapping[str, Sequence[Any]]) -> dict[str, list[Table]]:
    """Return heading -> tables, for each heading that has some."""
    rows = content["rows"]
    chapters = {f"{name.capitalize()} truth": tables_of(rows, name) for name in CONVENTIONS}
    chapters |= {"Hits": hit_tables(rows), "Places": ranking_tables(rows)}
    chapters |= {"Classes of telescopes": class_tables(rows)}
    chapters |= {"Differences": difference_tables(content["differences"])}
    return {heading: tables for heading, tables in chapters.items() if tables}


def _left_out(content: Mapping[str, Sequence[Any]]) -> list[str]:
    """Lines that name the rows which are missing, and why."""
    lines = [f"- {e['detector']} on {e['test_set']} failed: {e['reason']}" for e in content["failed"]]
    lines += [f"- {e['detector']}: {e['reason']}" for e in content["unavailable"]]
    return ["## Left out", "", *lines, ""] if lines else []
