"""Report on a batch: a line for each file, a progress bar on a terminal, a JSON summary."""

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

from cosmicgate.io.atomic import atomic_write

if TYPE_CHECKING:
    from cosmicgate.masking.pipeline import FileResult


class Reporter:
    """Reporter that prints a line for each file and, on a terminal, a progress bar of files and megapixels.

    Parameters
    ----------
    files : int
        Number of files.
    quiet : bool
        Print errors only.
    unit : str
        What is counted, for the bar.
    """

    def __init__(self, files: int, quiet: bool, unit: str = "files") -> None:
        self.quiet = quiet
        console = Console(stderr=True)
        self.progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit + ", {task.fields[megapixels]:.1f} Mpx" * (unit == "files")),
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
        if not self.progress.disable:  # rich before 14.3 would end a disabled bar with an empty line
            self.progress.stop()

    def advance(self) -> None:
        """Advance the progress bar by a file."""
        self.progress.advance(self.task)

    def searched(self, megapixels: float) -> None:
        """Add the pixels of a searched image to the progress bar."""
        self.megapixels += megapixels
        self.progress.update(self.task, megapixels=self.megapixels)

    def file(self, result: "FileResult") -> None:
        """Print the warnings, error or result of a file and advance the progress bar."""
        self.advance()
        for warning in result.warnings if not self.quiet else []:
            typer.echo(f"warning: {result.file}: {warning}", err=True)
        if result.error:
            typer.echo(f"error: {result.error}", err=True)
        elif not self.quiet:
            typer.echo(line(result))


def line(result: "FileResult") -> str:
    """Format the line for a file that did not fail."""
    if result.status == "finished":
        return f"{result.file}: up to date, {result.output}"
    images = f"{result.images} images, " if result.images > 1 else ""
    hit = f"{result.hits} pixels hit ({100 * result.fraction:.3g} %)"
    static = "" if result.static is None else f"{result.static} static, "
    return f"{result.file}: {images}{hit}, {static}{result.seconds:.1f} s, {result.output}"


def summary(results: Sequence["FileResult"], about: dict[str, Any], files: int) -> dict[str, Any]:
    """Build the summary of a batch of ``files`` inputs; those without a result count as not reached."""
    count = Counter(result.status for result in results)
    counts = {status: count[status] for status in ("done", "finished", "failed")}
    rows = sorted((asdict(result) for result in results), key=lambda row: row["file"])
    totals = {
        "megapixels": round(sum(result.megapixels for result in results), 6),
        "hits": sum(result.hits for result in results),
        "static_pixels": sum(result.static or 0 for result in results),
    }
    return about | counts | {"not_reached": files - len(results)} | totals | {"files": rows}


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write a summary as JSON."""
    atomic_write(path, json.dumps(content, indent=1) + "\n")
