"""Write finished runs as one HTML page that needs no server, network or JavaScript.

    python -m cosmicgate.report.pages RUN [RUN ...] -o report.html

A RUN is the folder of a training or an evaluation, its ``results.json``, or a folder with several below it.
"""

import base64
import os
import shlex
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from cosmicgate.extras import extra

with extra("train", __name__):
    from jinja2 import Environment, PackageLoader, StrictUndefined

    import cosmicgate
    from cosmicgate.config import report_user_errors
    from cosmicgate.io.atomic import atomic_write
    from cosmicgate.report.figures.curves import draw_history
    from cosmicgate.report.runs import Run, find_runs, merge_runs, parser_of_runs
    from cosmicgate.report.write_report import Chapter, Section, chapters_of

FIGURES = {  # figures that a run drew itself: kind -> what they show
    "masks": "Part of a frame: the image, its truth, and what each detector finds, misses and falsely marks.",
    "errors": "Cut-outs of missed hits, false objects and masked stars, the brightest first.",
    "attention": "Part of a frame with its truth outlined, and the weights of each attention gate on it.",
}
VALIDATION = "Validation loss, and TPR at a false-positive rate of 0.01 %, by epoch of each training."


def write_page(runs: Sequence[Run], path: Path, notes: Sequence[str] = ()) -> None:
    """Write the page of runs, with notes above the results; links to files of the runs are relative to its folder."""
    home = path.resolve().parent
    environment = Environment(
        loader=PackageLoader("cosmicgate.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["link"] = lambda file: quote(Path(os.path.relpath(file, home)).as_posix())
    with tempfile.TemporaryDirectory(prefix="cosmicgate-") as drawn:
        chapters = chapters_of(merge_runs(runs), Path(drawn))
        if trained := {run.name: run.history for run in runs if run.history}:
            figure = draw_history(trained, Path(drawn) / "history.png")
            chapters.append(Chapter("Training", "", [Section("", figures={VALIDATION: figure})]))
        page = environment.get_template("page.html.j2").render(
            chapters=chapters,
            runs=[(run, _facts(run)) for run in runs],
            figures=FIGURES,
            notes=notes,
            version=cosmicgate.__version__,
            written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        )
    atomic_write(path, page)


def _data_uri(path: Path) -> str:
    """Encode a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _facts(run: Run) -> dict[str, str]:
    """Collect from the provenance of a run what the page shows."""
    facts = run.facts
    texts = {
        "Command": shlex.join(("python", *facts["command"])) if facts.get("command") else "",
        **{key.capitalize(): str(facts.get(key, "")) for key in ("started", "seed", "python", "device", "commit")},
        "Packages": ", ".join(f"{name} {version}" for name, version in facts.get("packages", {}).items()),
        "Inputs": f"{len(facts['inputs'])}, each with its SHA-256 in provenance.json" if facts.get("inputs") else "",
    }
    return {key: value for key, value in texts.items() if value}


@report_user_errors()
def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page of the runs given on the command line."""
    parser = parser_of_runs("cosmicgate.report.pages", "Finished runs as one HTML page.")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE", help="the page")
    given = parser.parse_args(arguments)
    write_page(find_runs(given.runs), given.output)
    print(given.output)  # noqa: T201 (a command line)


if __name__ == "__main__":
    main()
