"""``cosmicgate export``: write a network as ONNX, for programs without torch."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    onnx: Annotated[Path, typer.Option("--onnx", help="ONNX file to write.", show_default=False)],
    model: Annotated[
        str,
        typer.Option(
            "-m",
            "--model",
            help="Network: a name that 'cosmicgate models' lists, the folder of a training run, or a checkpoint file.",
        ),
    ] = "general",
    trust: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="Python module whose networks a checkpoint may load, such as your own; may be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a network as an ONNX file. It maps scaled images to probabilities; its metadata describe the scaling."""
    from cosmicgate.masking.export import export as export_onnx
    from cosmicgate.masking.load import load

    try:
        export_onnx(load(model, trust=trust or ()), onnx)
    except (ValueError, OSError, ImportError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(str(onnx))
