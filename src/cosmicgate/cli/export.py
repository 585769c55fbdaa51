"""``cosmicgate export``: write a network as ONNX, for programs without torch."""

from pathlib import Path
from typing import Annotated

import typer

from cosmicgate.cli.network_options import ModelOption, TrustOption


def export(
    onnx: Annotated[Path, typer.Option("--onnx", help="ONNX file to write.", show_default=False)],
    model: ModelOption = "general",
    trust: TrustOption = None,
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
