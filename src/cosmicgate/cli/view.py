"""``cosmicgate view``: look at images and their hits in the browser, and correct the masks."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from cosmicgate.cli.network_options import ModelOption
from cosmicgate.masking.output_paths import refuse_fits

if TYPE_CHECKING:
    from cosmicgate.viewer.images import Images

MAX_PORT = 65535


def view(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="FITS files (also .fz and .gz); several are exposures of a field to blink between.",
            show_default=False,
        ),
    ],
    model: ModelOption = "general",
    ext: Annotated[
        list[str] | None,
        typer.Option("--ext", help="Image to show, by EXTNAME or HDU number; may be repeated.", show_default="all"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for the labels.", show_default="the folder of each file"),
    ] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide the detector's mask, so that labels are independent of it.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--html", help="File to write a page to that needs no server; nothing is served.", show_default=False
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=MAX_PORT, help="Port of 127.0.0.1; 0: one that is free.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address only.")] = False,
) -> None:
    """Look at images and their hits in the browser, and correct the masks.

    A server for this machine alone shows the given files until it is stopped with Ctrl-C. Labels are saved as
    NAME_truth.fits.fz. Exit codes: 0 success, 1 a file cannot be read, 2 invalid arguments.
    """
    if blind and page is not None:
        raise typer.BadParameter("--html shows a detector's mask: leave out --blind")
    if same := next((path for number, path in enumerate(files) if path in files[:number]), None):
        raise typer.BadParameter(f"{same} is given twice")
    try:
        refuse_fits(page, "--html")
        from cosmicgate.masking.load import load
        from cosmicgate.viewer.images import Images

        if page is None:
            from cosmicgate.viewer.server import serve
        masker = None if blind else load(model)
    except (ValueError, OSError, ImportError) as error:
        raise typer.BadParameter(str(error)) from error
    try:
        images = Images(files, out, masker, ext or ())
        if page is not None:
            _write_page(images, page)
        else:
            serve(images, port, not no_browser, _print_address)
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error


def _print_address(address: str) -> None:
    typer.echo(address)
    typer.echo("Ctrl-C stops it. The address is for this machine alone, and changes each time.", err=True)
    sys.stdout.flush()


def _write_page(images: "Images", path: Path) -> None:
    """Write the page without a server; a bar on a terminal shows the progress of the search."""
    from cosmicgate.viewer.static import export

    console = Console(stderr=True)
    with ExitStack() as stack:
        bar = Progress(TextColumn("{task.description}", markup=False), BarColumn(), console=console, transient=True)
        if console.is_terminal:
            stack.enter_context(bar)
        tasks: dict[str, int] = {}

        def progress(name: str, fraction: float) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(f"search {name}", total=1.0)
            bar.update(tasks[name], completed=fraction)  # type: ignore[arg-type]

        export(images, progress).save(path)
    typer.echo(f"{path}: {len(images.hdus)} image(s), {path.stat().st_size / 1e6:.1f} MB")
