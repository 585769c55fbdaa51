"""``cosmicgate adapt``: from a camera's own exposures to a better network."""

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer


def adapt(
    frames: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE_OR_DIR...",
            help="Exposures of one camera, FITS files or folders of them: three or more of each field.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="Folder for the network; 'cosmicgate mask -m' takes it.", show_default=False
        ),
    ],
    darks: Annotated[
        list[Path] | None,
        typer.Option(help="Dark, or folder of darks, whose hits are added; may be repeated.", show_default=False),
    ] = None,
    start: Annotated[
        str,
        typer.Option(help="Network to start from: a name, the folder of a training or adaptation, or a file."),
    ] = "general",
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEYWORD",
            help="Header keyword whose value names the field, or 'folder'; may be repeated.",
            show_default="by pointing, filter, shape and exposure time",
        ),
    ] = None,
    gain: Annotated[
        float | None, typer.Option(help="Gain, electrons per count.", show_default="from the headers")
    ] = None,
    read_noise: Annotated[
        float | None, typer.Option(help="Read noise, electrons.", show_default="from the headers")
    ] = None,
    saturation: Annotated[
        float | None, typer.Option(help="Saturation, counts.", show_default="from the headers")
    ] = None,
    exptime: Annotated[
        float | None, typer.Option(help="Exposure time, seconds.", show_default="from the headers")
    ] = None,
    thickness: Annotated[
        float | None,
        typer.Option(
            help="Depth of the silicon that collects charge, micrometres; with --pixel-size, hits are simulated too.",
            show_default=False,
        ),
    ] = None,
    pixel_size: Annotated[float | None, typer.Option(help="Side of a pixel, micrometres.", show_default=False)] = None,
    align: Annotated[str, typer.Option(help="Method of alignment: auto, wcs or stars.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of all random draws.")] = 0,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Value of the training's configuration, such as trainer.max_epochs=20; may be repeated.",
            show_default=False,
        ),
    ] = None,
    ext: Annotated[
        str,
        typer.Option(
            "--ext",
            help="Image of each file, exposures and darks, by EXTNAME, HDU number or EXTNAME,EXTVER.",
            show_default="the only one",
        ),
    ] = "",
    no_static: Annotated[
        bool,
        typer.Option(
            "--no-static",
            help="Do not search for static pixels (hot or flickering), which are found by comparing five or more "
            "frames of a detector.",
        ),
    ] = False,
    truth: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the labels that 'cosmicgate view' has saved.", show_default="the folder of each exposure"
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what was found and what is missing; stop.")] = False,
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Stop when the exposures are labelled, to look at the labels.")
    ] = False,
) -> None:
    """Adapt a network to a camera, from three or more exposures of each of a few fields.

    Labels by comparison, training, and a test on exposures held out. The same command resumes one that was stopped.
    Exit codes: 0 success, 1 the exposures cannot be used, 2 invalid arguments, 130 interrupted.
    """
    try:
        from cosmicgate.adaptation import adapt as adapt_network
    except ImportError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    from cosmicgate.config import report_user_errors
    from cosmicgate.training.stopping import stoppable

    options: dict[str, Any] = {"darks": darks or (), "start": start, "group": group or (), "dry_run": dry_run}
    options |= {"thickness": thickness, "pixel_size": pixel_size, "align": align, "seed": seed, "truth": truth}
    options |= {"ext": ext, "static": not no_static, "labels_only": labels_only}
    options |= {"gain": gain, "read_noise": read_noise, "saturation": saturation, "exptime": exptime}
    options |= {"settings": settings or ()}
    command = shlex.join(["cosmicgate", *sys.argv[1:]])
    with _shown_messages(), report_user_errors(), stoppable(lambda: command):
        adapt_network(frames, out, **options)


@contextmanager
def _shown_messages() -> Iterator[None]:
    """Print the messages of the package, as train.py does."""
    from cosmicgate.io.messages import PlainFormatter

    log, handler = logging.getLogger("cosmicgate"), logging.StreamHandler(sys.stdout)
    handler.setFormatter(PlainFormatter())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
