"""The command ``cosmicgate``. What takes seconds to import (torch) is imported when a sub-command needs it."""

from typing import Annotated

import typer

from cosmicgate import __version__
from cosmicgate.masking.command.export import export
from cosmicgate.masking.command.info import info
from cosmicgate.masking.command.mask import mask
from cosmicgate.masking.command.models import models
from cosmicgate.masking.command.show import show

app = typer.Typer(
    name="cosmicgate",
    help="Finds cosmic-ray hits in astronomical CCD images.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for one in (mask, models, info, show, export):
    app.command()(one)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cosmicgate {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Finds cosmic-ray hits in astronomical CCD images."""
