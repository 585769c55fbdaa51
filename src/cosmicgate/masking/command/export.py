"""``cosmicgate export``: a network for programs that have no torch."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    onnx: Annotated[Path, typer.Option("--onnx", help="The ONNX file to write.", show_default=False)],
    model: Annotated[
        str, typer.Option("-m", "--model", help="Name (cosmicgate models), run or checkpoint.")
    ] = "general",
) -> None:
    """Write a network as an ONNX file: scaled images in, probabilities out; its metadata say how to scale."""
    from cosmicgate.masking.export import export as written
    from cosmicgate.masking.loading import load

    try:
        written(load(model), onnx)
    except (ValueError, OSError, ImportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(str(onnx))
