"""Adapt a network in stages, each of which is kept in the output folder, so that a stopped adaptation resumes."""

import logging
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from cosmicgate.adaptation.card import package_network
from cosmicgate.adaptation.labels import label
from cosmicgate.adaptation.plan import Request, card_file, check_output, make_plan, read_or_make_plan
from cosmicgate.adaptation.result import Adaptation
from cosmicgate.adaptation.training import check_settings, train
from cosmicgate.data.labelling.alignment import AlignmentMethod
from cosmicgate.pretrained.registry import pretrained_names
from cosmicgate.training.loggers import silence_lightning
from cosmicgate.training.run_lock import lock_run_folder

log = logging.getLogger(__name__)


def adapt(
    frames: Sequence[str | Path],
    output: str | Path,
    *,
    darks: Sequence[str | Path] = (),
    start: str | Path = "general",
    group: Sequence[str] = (),
    thickness: float | None = None,
    pixel_size: float | None = None,
    align: AlignmentMethod = "auto",
    seed: int = 0,
    settings: Sequence[str] = (),
    ext: str = "",
    static: bool = True,
    truth: str | Path | None = None,
    dry_run: bool = False,
    labels_only: bool = False,
    gain: float | None = None,
    read_noise: float | None = None,
    saturation: float | None = None,
    exptime: float | None = None,
) -> Adaptation:
    """Adapt a network to a camera, from its own exposures; the same call with the same folder resumes.

    The exposures are labelled by comparing those of one field. The network is trained on some of them, and compared
    with the network before on the others; it is kept only if it is better. Progress is logged (``logging``).

    Parameters
    ----------
    frames : sequence of str or Path
        FITS files with one image each (of several, ``ext`` selects one), or folders of them: three exposures or more
        of each of one or more fields, in any order.
    output : str or Path
        Folder for the network, its card, the report and all intermediate results; :func:`cosmicgate.load` takes it.
    darks : sequence of str or Path
        Darks of the camera, or folders of them. Their hits are added to the exposures; their median is subtracted for
        the comparison if their exposure time is that of the exposures.
    start : str or Path
        Network to start from, as of :func:`cosmicgate.load`.
    group : sequence of str
        Header keywords, or "folder", whose values name the field of an exposure. Empty: fields are found by pointing,
        filter, shape and exposure time.
    thickness, pixel_size : float, optional
        Depth of the silicon that collects charge and side of a pixel, micrometres. If given, simulated hits are added
        as well.
    align : {"auto", "wcs", "stars"}
        Method of alignment.
    seed : int
        Seed of all random draws.
    settings : sequence of str
        Values of the training's configuration, such as ``trainer.max_epochs=20``.
    ext : str
        Image of each file, exposures and darks, by EXTNAME, HDU number or ``NAME,VERSION``. Empty: the only one.
    static : bool
        Find hot, warm and flickering pixels by comparing all exposures of a detector, if they are five or more. They
        are no hits, whatever the comparison of a single field finds.
    truth : str or Path, optional
        Folder of the labels that ``cosmicgate view`` has saved, ``NAME_truth.fits.fz``: pixels labelled by hand
        keep these labels. None: the labels lie beside the exposures, if there are any.
    dry_run : bool
        Only log what was found and what is missing.
    labels_only : bool
        Stop when the exposures are labelled; the same call without it continues.
    gain, read_noise, saturation, exptime : float, optional
        Values that override the headers: electrons per count, electrons, counts, seconds.

    Returns
    -------
    Adaptation
        What was found, the exposures held out, and whether the adapted network is better; its ``masker`` is the
        detector with the better network.

    Raises
    ------
    ValueError, OSError
        If the exposures cannot be used; the message says why.
    """
    folder = Path(output).expanduser()
    overrides = {"gain": gain, "read_noise": read_noise, "saturation": saturation, "exptime": exptime}
    is_path = str(start) not in pretrained_names() and Path(start).expanduser().exists()
    request = Request(
        frames=_absolute(frames),
        darks=_absolute(darks),
        start=_absolute([start])[0] if is_path else str(start),
        group=tuple(group),
        header_overrides={key: float(value) for key, value in overrides.items() if value is not None},
        thickness=thickness,
        pixel_size=pixel_size,
        align=align,
        seed=seed,
        settings=tuple(settings),
        ext=str(ext),
        static=static,
        truth=None if truth is None else _absolute([truth])[0],
    )
    if dry_run:
        plan = make_plan(request)
        for line in plan.lines:
            log.info(line)
        return Adaptation(folder, plan.lines)
    check_output(folder)
    silence_lightning()
    with lock_run_folder(folder), _torch_settings_restored():
        return run_stages(request, folder, labels_only)


@contextmanager
def _torch_settings_restored() -> Iterator[None]:
    """Restore whether torch warns about non-deterministic operations: Lightning's Trainer sets it for the process."""
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


def _absolute(given: Sequence[str | Path]) -> list[str]:
    paths = [given] if isinstance(given, str | Path) else given
    return [str(Path(path).expanduser().absolute()) for path in paths]


def run_stages(request: Request, folder: Path, labels_only: bool = False) -> Adaptation:
    """Run the missing stages: plan, labels and, unless ``labels_only``, training, comparison and card."""
    check_settings(request, folder)
    plan = read_or_make_plan(request, folder)
    for line in plan.lines:
        log.info(line)
    if card_file(folder).is_file():
        log.info("%s is finished, nothing to do", folder)
        return Adaptation.read(folder)
    labels = label(plan, folder / "labels")
    for line in labels.lines:
        log.info(line)
    adaptation = Adaptation(folder, [*plan.lines, *labels.lines], labels.held_out)
    if labels_only:
        return adaptation
    training = train(request, folder, labels)
    adaptation = replace(adaptation, is_better=training.is_better, average_precision=training.average_precisions)
    adaptation.save()
    package_network(folder, training, adaptation.lines, request.start, command_of(request, folder))
    return adaptation


def command_of(request: Request, folder: Path) -> str:
    """Format the command that repeats an adaptation."""
    words = ["cosmicgate", "adapt", *request.frames, "-o", str(folder)]
    for option, values in {"--darks": request.darks, "--group": request.group, "--set": request.settings}.items():
        words += [word for value in values for word in (option, str(value))]
    options = {"start": request.start, **request.header_overrides, "thickness": request.thickness}
    options |= {"pixel-size": request.pixel_size, "align": request.align, "seed": request.seed, "truth": request.truth}
    options |= {"ext": request.ext or None}
    for name, value in options.items():
        words += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    return shlex.join([*words, *["--no-static"] * (not request.static)])
