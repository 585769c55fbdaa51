"""``cosmicgate models``: the networks that are installed, and their cards."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def models(
    name: Annotated[str | None, typer.Argument(help="Print the whole card of this one.", show_default=False)] = None,
) -> None:
    """List the networks that are installed: name, threshold, what they were trained on."""
    from cosmicgate.detectors.packaged.cards import find, names, read_card

    try:
        if name is not None:
            typer.echo(json.dumps(asdict(read_card(find(name))), indent=1))
            return
        cards = [read_card(find(one)) for one in names()]
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if not cards:
        typer.echo("no network is installed; give the path of a run or of a checkpoint: cosmicgate mask -m PATH ...")
    for card in cards:
        rates = [rate for rate, _ in card.calibration]
        fpr = f"--fpr {rates[0]:.1g} to {rates[-1]:.1g}" if rates else "no --fpr"
        typer.echo(f"{card.name:20} threshold {card.threshold:g}, {fpr}; trained on {card.trained_on}; {card.licence}")
