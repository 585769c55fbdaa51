"""Options by which a user chooses a network, of all commands that load one."""

from typing import Annotated

import typer

ModelOption = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        help="Network: a name that 'cosmicgate models' lists, the folder of a training or adaptation, or a file.",
    ),
]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="MODULE",
        help="Python module whose networks a checkpoint may load, such as your own; may be repeated.",
        show_default=False,
    ),
]
