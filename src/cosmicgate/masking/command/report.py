"""What is said of a batch: a line for each file, a bar on a terminal, a summary."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cosmicgate.files import write_whole

if TYPE_CHECKING:
    from cosmicgate.masking.products.making import Outcome


class Reporter:
    """Prints a line for each file, and a bar of files and megapixels on a terminal; errors always.

    Parameters
    ----------
    files : int
        How many there are.
    quiet : bool
        Print errors only.
    """

    def __init__(self, files: int, quiet: bool) -> None:
        self.quiet = quiet
        console = Console(stderr=True)
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("files, {task.fields[megapixels]:.1f} Mpx"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
            redirect_stdout=sys.stdout.isatty(),
            transient=True,
        )
        self.megapixels = 0.0
        self.task = self.progress.add_task("", total=files, megapixels=0.0)

    def __enter__(self) -> "Reporter":
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.progress.stop()

    def searched(self, megapixels: float) -> None:
        """Count the pixels of an image."""
        self.megapixels += megapixels
        self.progress.update(self.task, megapixels=self.megapixels)

    def file(self, outcome: "Outcome") -> None:
        """Tell what became of a file."""
        self.progress.advance(self.task)
        for warning in outcome.warnings if not self.quiet else []:
            typer.echo(f"warning: {outcome.file}: {warning}", err=True)
        if outcome.error:
            typer.echo(f"error: {outcome.error}", err=True)
        elif not self.quiet:
            typer.echo(line(outcome))


def line(outcome: "Outcome") -> str:
    """Return what is printed of a file that did not fail."""
    if outcome.status == "finished":
        return f"{outcome.file}: finished before, {outcome.output}"
    images = f"{outcome.images} images, " if outcome.images > 1 else ""
    hit = f"{outcome.hits} pixels hit ({100 * outcome.fraction:.3g} %)"
    return f"{outcome.file}: {images}{hit}, {outcome.seconds:.1f} s, {outcome.output}"


def summary(outcomes: Sequence["Outcome"], about: dict[str, Any], files: int) -> dict[str, Any]:
    """Return the summary of a batch of ``files``; those without an outcome were not reached."""
    count = Counter(outcome.status for outcome in outcomes)
    counts = {status: count[status] for status in ("done", "finished", "failed")}
    rows = sorted((asdict(outcome) for outcome in outcomes), key=lambda row: row["file"])
    totals = {
        "megapixels": round(sum(outcome.megapixels for outcome in outcomes), 6),
        "hits": sum(outcome.hits for outcome in outcomes),
    }
    return about | counts | {"not_reached": files - len(outcomes)} | totals | {"files": rows}


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write a summary as JSON."""
    write_whole(path, json.dumps(content, indent=1) + "\n")
