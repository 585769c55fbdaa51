"""Arrange tables and figures of results in chapters, which the report, the page and the W&B report show alike."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmicgate.io.atomic import atomic_write
from cosmicgate.report.figures.curves import draw_figures
from cosmicgate.report.results import CONVENTIONS, LISTS, TEST_SET, by_test_set, heading, set_name
from cosmicgate.report.tables.cells import Table, markdown
from cosmicgate.report.tables.export import differences_csv, scores_csv
from cosmicgate.report.tables.paper import (
    difference_tables,
    hit_table,
    parameter_tables,
    score_tables,
    seconds_tables,
)

CAPTIONS = {  # of the figures of a test set
    **{f"curves_{c}": f"ROC and precision-recall curves, whole and zoomed, {c} truth" for c in CONVENTIONS},
    "recall": "Hits found, by length and brightness",
    "speed": "Core pixels and hits found, against the seconds that a detector takes for one frame",
}


@dataclass(frozen=True)
class Section:
    """Tables and figures under one heading; ``figures`` maps captions to PNG files."""

    title: str
    tables: Sequence[Table] = ()
    figures: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """Sections on one test set, whose size ``about`` says, or on one other subject."""

    title: str
    about: str
    sections: Sequence[Section]


def chapters_of(content: Mapping[str, Sequence[Any]], folder: Path | None = None) -> list[Chapter]:
    """Make a chapter for each test set, one of costs and one of what failed; sections without content are left out.

    ``content`` are results as :func:`~cosmicgate.report.runs.merge_runs` merges them. Figures are drawn into
    ``folder``, if it is given.
    """
    sets = by_test_set(content["rows"])
    drawn: list[dict[str, Path]] = [{} for _ in sets]
    if folder is not None:
        drawn = draw_figures(content["rows"], folder, content["seconds"])
    chapters = []
    for members, paths in zip(sets, drawn, strict=True):
        first = members[0]
        figures = {kind: {f"{CAPTIONS[kind]}: {set_name(first)}.": path} for kind, path in paths.items()}
        # Differences of earlier versions have no pixels and hits.
        differences = [
            d for d in content["differences"] if all(d.get(key, first[key]) == first[key] for key in TEST_SET)
        ]
        sections = [
            Section(f"{c.capitalize()} truth", score_tables(members, c), figures.get(f"curves_{c}", {}))
            for c in CONVENTIONS
        ]
        sections += [
            Section("Hits", [hit_table(members)], figures.get("recall", {}) | figures.get("speed", {})),
            Section("Differences", difference_tables(differences)),
        ]
        chapters.append(Chapter(set_name(first), heading(first), [one for one in sections if one.tables]))
    others = {
        "Parameters and run time": [*parameter_tables(content["parameters"]), *seconds_tables(content["seconds"])],
        "Left out": _left_out(content),
    }
    return chapters + [Chapter(title, "", [Section("", tables)]) for title, tables in others.items() if tables]


def _left_out(content: Mapping[str, Sequence[Any]]) -> list[Table]:
    """Make the table of missing rows, and why they are missing; no table if none is."""
    lines = [[entry["detector"].name, entry["test_set"], entry["reason"]] for entry in content["failed"]]
    lines += [[entry["detector"], "every", entry["reason"]] for entry in content["unavailable"]]
    heads = ["Detector", "Test set", "Reason"]
    return [Table("Rows that are missing", "", heads, lines, texts=3)] if lines else []


def markdown_of(chapter: Chapter) -> str:
    """Format the tables of a chapter as Markdown, below the heading of the chapter."""
    text = [chapter.about, ""] if chapter.about else []
    for section in chapter.sections:
        text += [f"## {section.title}", ""] if section.title else []
        text += [markdown(table) for table in section.tables]
    return "\n".join(text)


def write_report(content: Mapping[str, Sequence[Any]], folder: Path) -> list[Path]:
    """Write the tables and figures of results into a folder, and return their paths; on an error none is written.

    ``content`` is that of a ``results.json``, or of several (:func:`~cosmicgate.report.runs.merge_runs`). The files are
    ``tables.md``, ``tables.csv``, ``differences.csv`` where there are any, and the figures of
    :func:`~cosmicgate.report.figures.curves.draw_figures`; files of the same names are replaced.
    """
    content = {name: content.get(name, ()) for name in LISTS}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".report-") as name:
        unfinished = Path(name)
        chapters = chapters_of(content, unfinished)
        text = [f"# {chapter.title}\n\n{markdown_of(chapter)}" for chapter in chapters]
        atomic_write(unfinished / "tables.md", "\n".join(text))
        atomic_write(unfinished / "tables.csv", scores_csv(content["rows"]))
        if content["differences"]:
            atomic_write(unfinished / "differences.csv", differences_csv(content["differences"]))
        else:
            (folder / "differences.csv").unlink(missing_ok=True)
        return [path.replace(folder / path.name) for path in sorted(unfinished.iterdir())]
