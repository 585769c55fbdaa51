"""Write finished runs as one HTML page that needs no server, network or JavaScript.

    python -m cosmicgate.report.pages RUN [RUN ...] -o report.html

A RUN is the folder of a training or an evaluation, its ``results.json``, or a folder with several below it.
"""

import argparse
import base64
import os
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, StrictUndefined
from matplotlib.image import imread

import cosmicgate
from cosmicgate.config import report_user_errors
from cosmicgate.data.pixel_labels import Convention
from cosmicgate.evaluation.records import labels
from cosmicgate.io.atomic import atomic_write
from cosmicgate.report.figures.curves import draw_curves, draw_history, draw_recall, has_recall
from cosmicgate.report.results import CONVENTIONS, Row, by_test_set, heading
from cosmicgate.report.runs import Run, best_epoch, find_runs, together
from cosmicgate.report.tables import (
    Table,
    class_tables,
    difference_tables,
    hit_tables,
    number,
    parameter_tables,
    seconds_tables,
    tables_of,
)
from cosmicgate.report.write_report import left_out

PICTURES = {  # figures that a run drew itself: kind -> what they show
    "masks": "Part of a frame: the image, its truth, and what each detector finds, misses and falsely marks.",
    "attention": "Part of a frame with its truth outlined, and the weights of each attention gate on it.",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page, with its caption and alternative text."""

    path: Path
    alt: str
    caption: str
    link: str = ""  # to the file on disk; empty if the figure is only in the page

    @property
    def uri(self) -> str:
        """The PNG as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the PNG, pixels."""
        height, width = imread(self.path).shape[:2]
        return width, height


@dataclass(frozen=True)
class Chapter:
    """Tables and figures of one test set."""

    name: str
    data_origin: str
    about: str
    tables: Mapping[str, Sequence[Table]]  # convention, "hits" or "differences" -> tables
    figures: Mapping[str, Sequence[Picture]]  # convention or "recall" -> figures
    anchor: str


def write_page(runs: Sequence[Run], path: Path) -> None:
    """Write the page of these runs; links to their files are relative to the folder of the page.

    Parameters
    ----------
    runs : sequence of Run
        Runs, in the order in which they are shown.
    path : Path
        HTML file to write or replace.
    """
    content = together(runs)
    text = resources.files("cosmicgate.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    with tempfile.TemporaryDirectory(prefix="cosmicgate-") as drawn:
        page = environment.from_string(text).render(
            chapters=_chapters(content, Path(drawn)),
            classes=class_tables(content["rows"]),
            costs=parameter_tables(content["parameters"]) + seconds_tables(content["seconds"]),
            history=_history(runs, Path(drawn)),
            runs=[_about(run, path) for run in runs],
            left_out=left_out(content),
            conventions=CONVENTIONS,
            version=cosmicgate.__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    atomic_write(path, page)


def _chapters(content: Mapping[str, Any], drawn: Path) -> list[Chapter]:
    rows = content["rows"]
    curves: dict[Convention, list[Path]] = {name: draw_curves(rows, drawn, name) for name in CONVENTIONS}
    recall = iter(draw_recall(rows, drawn))
    chapters = []
    for place, members in enumerate(by_test_set(rows)):
        same = ("test_set", "data_origin", "frames")
        here = [d for d in content["differences"] if all(d[key] == members[0][key] for key in same)]
        tables: dict[str, list[Table]] = {c: tables_of(members, c) for c in CONVENTIONS}
        tables |= {"hits": hit_tables(members), "differences": difference_tables(here)}
        figures: dict[str, list[Picture]] = {
            c: [Picture(paths[place], _curves_alt(members, c), f"ROC and precision-recall, {c} truth.")]
            for c, paths in curves.items()
        }
        if any(has_recall(row) for row in members):
            caption = "Hits found, by length and brightness."
            figures["recall"] = [Picture(next(recall), _recall_alt(members), caption)]
        name, data_origin = members[0]["test_set"], members[0]["data_origin"]
        chapters.append(Chapter(name, data_origin, heading(members[0]), tables, figures, f"set-{place}"))
    return chapters


def _curves_alt(members: Sequence[Row], convention: Convention) -> str:
    return (
        f"Four panels of curves, ROC and precision-recall, each whole and zoomed, of {len(members)} detectors on "
        f"{heading(members[0])}; {CONVENTIONS[convention]}. True-positive rate at a false-positive rate of 0.01 %: "
        f"{_ranked(members, convention, 'tpr_at_fpr_0.01pct')}."
    )


def _recall_alt(members: Sequence[Row]) -> str:
    return (
        f"Two panels: the fraction of the hits that each detector finds, by length and by peak signal-to-noise ratio, "
        f"on {heading(members[0])}. Of all hits: {_ranked(members, 'per_hit', 'recall')}."
    )


def _ranked(members: Sequence[Row], part: str, key: str) -> str:
    """List the detectors and their scores, the best first."""
    shown = labels(row["detector"] for row in members)
    ranked = sorted(members, key=lambda row: -1 if row[part][key] is None else row[part][key], reverse=True)
    return ", ".join(f"{shown[row['detector']]} {number(row[part][key], '.1f', 100)} %" for row in ranked)


def _history(runs: Sequence[Run], drawn: Path) -> list[Picture]:
    """Draw the validation history of the trainings that have one; an empty list if there are none."""
    trained = {run.name: run.history for run in runs if run.history.get("val/loss")}
    if not trained:
        return []
    lowest = [(name, *best_epoch(history["val/loss"])) for name, history in trained.items()]
    texts = [f"{name} {value:.3g} in epoch {epoch}" for name, epoch, value in lowest]
    what = f"Validation loss and TPR at a false-positive rate of 0.01 %, by epoch, of {len(trained)} training(s)"
    alt = f"{what}. Lowest loss: {'; '.join(texts)}."
    return [Picture(draw_history(trained, drawn / "history.png"), alt, "Validation by epoch.")]


def _about(run: Run, page: Path) -> dict[str, Any]:
    """Collect what the page shows of one run."""
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
    files = [*run.files, *run.pictures("features")]
    return {
        "name": run.name,
        "detectors": list(labels(row["detector"] for row in run.content["rows"]).values()),
        "facts": {key: value for key, value in known.items() if value},
        "uncommitted": facts.get("uncommitted") or "",
        "config": run.config,
        "files": {path.relative_to(run.folder).as_posix(): _link(path, page) for path in files},
        "pictures": [
            Picture(path, f"{shows} File: {path.name}", f"{path.stem}: {shows}", _link(path, page))
            for kind, shows in PICTURES.items()
            for path in run.pictures(kind)
        ],
    }


def _link(path: Path, page: Path) -> str:
    return quote(Path(os.path.relpath(path, page.resolve().parent)).as_posix())


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page of the runs given on the command line."""
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
