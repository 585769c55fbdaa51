"""``cosmicgate models``: list the installed networks and print their model cards."""

import json
from dataclasses import asdict
from typing import Annotated

import typer


def models(
    name: Annotated[
        str | None, typer.Argument(help="Network whose whole model card is printed, as JSON.", show_default=False)
    ] = None,
) -> None:
    """List the pretrained networks: threshold, range of --fpr, training data and licence."""
    from cosmicgate.pretrained.card import read_card
    from cosmicgate.pretrained.registry import find_weights, pretrained_names

    try:
        if name is not None:
            typer.echo(json.dumps(asdict(read_card(find_weights(name))), indent=1))
            return
        cards = [read_card(find_weights(one)) for one in pretrained_names()]
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    if not cards:
        typer.echo(
            "no pretrained network is installed; give a training run or a checkpoint: cosmicgate mask -m PATH ..."
        )
    for card in cards:
        rates = [rate for rate, _ in card.calibration]
        fpr = f"--fpr {rates[0]:.1g} to {rates[-1]:.1g}" if rates else "no calibration for --fpr"
        typer.echo(f"{card.name:20} threshold {card.threshold:g}, {fpr}; trained on {card.trained_on}; {card.licence}")
