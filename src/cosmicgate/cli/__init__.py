"""The command ``cosmicgate``. Slow imports (torch) are done in the sub-commands that need them."""

import sys
from io import TextIOWrapper
from typing import Annotated

import typer

from cosmicgate import __version__
from cosmicgate.cli.adapt import adapt
from cosmicgate.cli.export import export
from cosmicgate.cli.info import info
from cosmicgate.cli.mask import mask
from cosmicgate.cli.models import models
from cosmicgate.cli.show import show
from cosmicgate.cli.view import view

app = typer.Typer(
    name="cosmicgate",
    help="Find cosmic-ray hits in astronomical CCD images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (mask, view, adapt, models, info, show, export):
    app.command()(command)


def _version(given: bool) -> None:
    if given:
        typer.echo(f"cosmicgate {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[  # noqa: ARG001 (its callback prints it)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find cosmic-ray hits in astronomical CCD images."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and stream.errors == "strict":  # not every file name is text in it
            stream.reconfigure(errors="backslashreplace")
