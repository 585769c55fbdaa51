"""Finished runs as one page, ``report.html``: it needs no server, no network and no script.

    python -m cosmicgate.report.pages RUN [RUN ...] -o report.html

A RUN is the folder of a training or an evaluation, its ``results.json``, or a folder with several below it.
"""

import argparse
import base64
import os
import shlex
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined

import cosmicgate
from cosmicgate.config import one_sentence
from cosmicgate.files import write_whole
from cosmicgate.report.pictures.figures import draw_curves, draw_history, draw_recall, tells_hits
from cosmicgate.report.pictures.panels import file_name
from cosmicgate.report.results import CONVENTIONS, Row, by_test_set, heading, label
from cosmicgate.report.runs import Run, best_epoch, find_runs, together
from cosmicgate.report.tables import class_tables, difference_tables, hit_tables, number, tables_of
from cosmicgate.report.tables.grids import Grid, grid_of
from cosmicgate.report.tables.rankings import ranking_tables
from cosmicgate.truth import Convention


@dataclass(frozen=True)
class Picture:
    """A figure of the page: its data, and in words what it shows."""

    path: Path
    alt: str
    caption: str
    link: str = ""  # to the file, where there is one beside the page

    @property
    def uri(self) -> str:
        """The picture itself, as an address."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels, of a PNG."""
        with self.path.open("rb") as file:
            width, height = struct.unpack(">II", file.read(24)[16:])
        return width, height


@dataclass(frozen=True)
class Chapter:
    """What there is of one test set."""

    name: str
    provenance: str
    about: str
    tables: Mapping[str, Sequence[Grid]]  # convention, "hits", "places" or "differences" -> tables
    figures: Mapping[str, Sequence[Picture]]  # convention, "recall" or "masks" -> figures
    anchor: str = field(default="")


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the page of these runs; links in it to their files are relative to where it stands.

    Parameters
    ----------
    runs : sequence of Run
        In the order in which they are shown.
    path : Path
        The file, which is replaced.
    """
    content = together(runs)
    with tempfile.TemporaryDirectory(prefix="cosmicgate-") as drawn:
        history = _history(runs, Path(drawn))
        page = _template().render(
            chapters=_chapters(runs, content, Path(drawn), path),
            classes=[grid_of(table, "", marked=False) for table in class_tables(content["rows"])],
            history=history,
            runs=[_about(run, path) for run in runs],
            failed=content["failed"],
            unavailable=content["unavailable"],
            conventions=CONVENTIONS,
            version=cosmicgate.__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    write_whole(path, page)


def _template() -> Any:
    text = resources.files("cosmicgate.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text)


def _chapters(runs: Sequence[Run], content: Mapping[str, Any], drawn: Path, page: Path) -> list[Chapter]:
    rows = content["rows"]
    curves: dict[Convention, list[Path]] = {name: draw_curves(rows, drawn, name) for name in CONVENTIONS}
    recall = iter(draw_recall(rows, drawn))
    chapters = []
    for number_of_set, members in enumerate(by_test_set(rows)):
        name, provenance, frames = (members[0][key] for key in ("test_set", "provenance", "frames"))
        here = [
            d
            for d in content["differences"]
            if (d["test_set"], d["provenance"], d["frames"]) == (name, provenance, frames)
        ]
        about = heading(members[0])
        tables: dict[str, list[Grid]] = {
            c: [grid_of(table, about) for table in tables_of(members, c)] for c in CONVENTIONS
        }
        tables["hits"] = [grid_of(table, about) for table in hit_tables(members)]
        tables["places"] = [grid_of(table, about, marked=False) for table in ranking_tables(members)]
        tables["differences"] = [grid_of(table, about, marked=False) for table in difference_tables(here)]
        figures: dict[str, list[Picture]] = {
            c: [Picture(paths[number_of_set], _curves_alt(members, c), f"ROC and precision-recall, {c} truth.")]
            for c, paths in curves.items()
        }
        if any(tells_hits(row) for row in members):
            caption = "Hits found, by length and brightness."
            figures["recall"] = [Picture(next(recall), _recall_alt(members), caption)]
        figures["masks"] = _masks(runs, members, page)
        chapters.append(Chapter(name, provenance, about, tables, figures, f"set-{number_of_set}"))
    return chapters


def _curves_alt(members: Sequence[Row], convention: Convention) -> str:
    key = "tpr_at_fpr_0.01pct"
    ranked = _ranked(members, lambda row: row[convention][key])
    return (
        f"Four panels of curves, ROC and precision-recall, each whole and zoomed, of {len(members)} detectors on "
        f"{heading(members[0])}; {CONVENTIONS[convention]}. "
        f"True-positive rate at a false-positive rate of 0.01 %: {ranked}."
    )


def _recall_alt(members: Sequence[Row]) -> str:
    ranked = _ranked(members, lambda row: row["per_hit"]["recall"])
    return (
        f"Two panels: the part of the hits that each detector finds, by length and by peak signal-to-noise ratio, on "
        f"{heading(members[0])}. Of all hits: {ranked}."
    )


def _ranked(members: Sequence[Row], score: Any) -> str:
    known = sorted((row for row in members if score(row) is not None), key=score, reverse=True)
    unknown = [f"{label(row, members)} unknown" for row in members if score(row) is None]
    return ", ".join([*(f"{label(row, members)} {number(score(row), '.1f', 100)} %" for row in known), *unknown])


def _masks(runs: Sequence[Run], members: Sequence[Row], page: Path) -> list[Picture]:
    """Return the pictures of masks and of attention that runs drew of this test set."""
    name, provenance = members[0]["test_set"], members[0]["provenance"]
    found = []
    for run in runs:
        rows = [row for row in run.content["rows"] if (row["test_set"], row["provenance"]) == (name, provenance)]
        names = ", ".join(row["detector"] for row in rows)
        others = {row["test_set"] for row in run.content["rows"] if row["test_set"] != name}
        for path in run.pictures("masks") if rows else []:
            if (band := _of_set(path, "masks", name, others)) is not None:
                where = f"{name} ({provenance}){f', {band} band' if band else ''}"
                alt = (
                    f"Part of a frame of {where}: the image, its truth, and what these find, miss and invent: {names}."
                )
                found.append(Picture(path, alt, f"Masks on {where}; {run.name}.", _link(path, page)))
        for path in run.pictures("attention") if rows else []:
            if (behind := _of_set(path, "attention", name, others)) is not None:
                network = next((row["detector"] for row in rows if file_name(row["detector"]) == behind), behind)
                what = f"how much each gate of {network} lets through"
                alt = f"Part of a frame of {name} ({provenance}), its truth, and {what}."
                found.append(Picture(path, alt, f"Gates of {network} on {name}; {run.name}.", _link(path, page)))
    return found


def _of_set(path: Path, kind: str, name: str, others: set[str]) -> str | None:
    """Return what a picture's file name has behind the test set, None if it is of another."""
    stem = path.stem
    starts = [f"{kind}_{file_name(one)}" for one in (name, *others)]
    mine = max((start for start in starts if stem == start or stem.startswith(f"{start}_")), key=len, default="")
    return stem.removeprefix(mine).lstrip("_") if mine == starts[0] else None


def _history(runs: Sequence[Run], drawn: Path) -> list[Picture]:
    """Return the figure of the trainings whose validation is on record."""
    trained = {run.name: run.history for run in runs if run.history.get("val/loss")}
    if not trained:
        return []
    lowest = [(name, *best_epoch(history["val/loss"])) for name, history in trained.items()]
    texts = [f"{name} {value:.3g} in epoch {epoch}" for name, epoch, value in lowest]
    what = f"Validation loss and TPR at a false-positive rate of 0.01 %, by epoch, of {len(trained)} training(s)"
    alt = f"{what}. Lowest loss: {'; '.join(texts)}."
    return [Picture(draw_history(trained, drawn / "history.png"), alt, "Validation by epoch.")]


def _about(run: Run, page: Path) -> dict[str, Any]:
    """Return what the page says of one run."""
    facts = run.facts
    known = {
        "Command": shlex.join(("python", *facts["command"])) if facts.get("command") else "",
        "Started": facts.get("started", ""),
        "Seed": str(facts.get("seed", "")),
        "Commit": str(facts.get("commit") or ""),
        "Python": facts.get("python", ""),
        "Device": facts.get("device", ""),
        "Packages": ", ".join(f"{name} {version}" for name, version in facts.get("packages", {}).items()),
        "Inputs": f"{len(facts['inputs'])}, each with its SHA-256 in provenance.json" if facts.get("inputs") else "",
    }
    return {
        "name": run.name,
        "detectors": list(dict.fromkeys(row["detector"] for row in run.content["rows"])),
        "facts": {key: value for key, value in known.items() if value},
        "uncommitted": facts.get("uncommitted") or "",
        "config": run.config,
        "files": {path.relative_to(run.folder).as_posix(): _link(path, page) for path in _files(run)},
    }


def _files(run: Run) -> list[Path]:
    return [*run.files, *run.pictures("features")]


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path, page.resolve().parent)).as_posix())


@one_sentence()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page of the runs that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m cosmicgate.report.pages", description="Finished runs as one HTML page."
    )
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, its results.json, or a folder of runs"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="the page")
    given = parser.parse_args(arguments)
    write_page(find_runs(given.runs), given.output)
    print(given.output)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
