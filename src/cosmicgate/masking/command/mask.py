"""``cosmicgate mask``: a night's FITS files in, masks out."""

import signal
import time
import warnings
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cosmicgate import __version__
from cosmicgate.masking.command.pairs import listed, pairs_of
from cosmicgate.masking.command.report import Reporter, summary, write_summary
from cosmicgate.masking.products.names import Kind
from cosmicgate.masking.products.urls import Address

if TYPE_CHECKING:
    from cosmicgate.masking.command.batch import Batch
    from cosmicgate.masking.masker import Masker
    from cosmicgate.masking.products.making import Outcome

FAILED, STOPPED = 1, 130  # exit codes; wrong arguments have 2


def mask(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE_OR_DIR_OR_URL...",
            help="FITS files, .fz and .gz as well; folders; their URLs (s3://, gs://, https:// ...).",
            show_default=False,
        ),
    ] = None,
    list_file: Annotated[
        Path | None, typer.Option("--list", help="A text file with a path or URL in each line.", show_default=False)
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            *("-o", "--output"),
            metavar="PATH_OR_URL",
            help="Folder, or file for a single input.",
            show_default="beside",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("-m", "--model", help="Name (cosmicgate models), run or checkpoint.")
    ] = "general",
    fast: Annotated[bool, typer.Option("--fast", help="Look with the network's screen first.")] = False,
    precision: Annotated[
        str | None,
        typer.Option(help="float32, bfloat16 or float16.", show_default="float16 on a GPU, float32 elsewhere"),
    ] = None,
    engine: Annotated[str, typer.Option(help="torch or onnxruntime.")] = "torch",
    ext: Annotated[
        list[str] | None,
        typer.Option("--ext", help="Images by EXTNAME, number or NAME,VERSION; may be repeated.", show_default="all"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability from which a pixel is hit.", show_default="the network's")
    ] = None,
    fpr: Annotated[
        float | None, typer.Option(help="Rate of false alarms, instead of a threshold.", show_default=False)
    ] = None,
    grow: Annotated[int, typer.Option(min=0, help="Pixels by which masks become wider.")] = 0,
    clean: Annotated[bool, typer.Option("--clean", help="A copy, its hits replaced, its masks behind.")] = False,
    append: Annotated[bool, typer.Option("--append", help="A copy with its masks behind.")] = False,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the input itself; --clean as well.")] = False,
    probability: Annotated[bool, typer.Option("--probability", help="Write probabilities as well.")] = False,
    no_mask: Annotated[bool, typer.Option("--no-mask", help="Search also what masks in the file call bad.")] = False,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Processes.", show_default="1; with --ray one a core or a GPU")
    ] = None,
    ray: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Use a Ray cluster; 'local' starts one.", show_default=False)
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write a summary.", show_default=False)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make finished outputs anew; replace files that are not ours.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Search folders below as well.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Find the cosmic rays in FITS files; write masks beside them (NAME_crmask.fits) or under OUTPUT.

    A second run skips what is finished. Exit code: 0 all is well, 1 a file failed, 2 wrong arguments, 130 stopped.
    """
    if append and (clean or in_place):
        raise typer.BadParameter("--append is a copy with masks; --clean and --in-place put masks behind as well")
    kind: Kind = "in-place" if in_place else "clean" if clean else "append" if append else "mask"
    if in_place and out is not None:
        raise typer.BadParameter("--in-place changes the input, so it has no --output")
    detector: dict[str, Any] = {"model": model, "fast": fast, "precision": precision, "engine": engine}
    pairs = pairs_of([*(paths or ()), *listed(list_file)], recursive, out, kind, quiet)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        masker, batch = _prepared(
            detector,
            overwrite,
            quiet,
            threshold=threshold,
            fpr=fpr,
            kind=kind,
            grow=grow,
            cleaned=clean,
            probability=probability,
            exts=tuple(ext or ()),
            masked=not no_mask,
        )
        if fast and not quiet:
            typer.echo(bound(masker, batch.wanted.threshold), err=True)
        night = Night(masker, batch, pairs, jobs, json_file, quiet, ray)
        code = night.run()
    except KeyboardInterrupt:
        code = STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    if code == STOPPED:
        typer.echo("stopped; the same command goes on where it was", err=True)
    raise typer.Exit(code)


def _prepared(detector: dict[str, Any], overwrite: bool, quiet: bool, **wanted: Any) -> "tuple[Masker, Batch]":
    """Load the network and settle the threshold."""
    from cosmicgate.masking.command.batch import Batch
    from cosmicgate.masking.loading import load
    from cosmicgate.masking.products.labels import Wanted

    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("default", UserWarning)
            masker = load(**detector)
        wanted["threshold"] = masker.threshold(wanted["threshold"], wanted["fpr"])
    except (ValueError, OSError, ImportError) as error:
        raise typer.BadParameter(str(error)) from error
    for one in told if not quiet else ():
        typer.echo(f"warning: {one.message}", err=True)
    return masker, Batch(Wanted(**wanted), overwrite)


def bound(masker: "Masker", threshold: float) -> str:
    """Return what the screen of a network may miss, by its card, and that this is not known of a lower threshold."""
    from cosmicgate.detectors.packaged.cards import TUNED  # torch: not for --help

    card, told = masker.card, masker.card.screen or {}
    text = (
        f"fast: of {told.get('hits', 0)} hits in test frames that the network finds at its threshold of "
        f"{card.threshold:g}, the first look missed {told.get('missed', 0)}; at most "
        f"{100 * told.get('bound', 1.0):.2g} % at a confidence of 95 %"
    )
    rates = [rate for rate, _ in card.calibration]
    known = rates and rates[0] <= TUNED <= rates[-1]
    least = min(card.threshold, card.threshold_at(TUNED)) if known else card.threshold
    if threshold < least:
        text += f"; thresholds below {least:.3g}, such as {threshold:.3g}, were not measured with the first look"
    return text


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
    raise KeyboardInterrupt


@dataclass(frozen=True)
class Night:
    """A batch of files and how it is reported."""

    masker: "Masker"
    batch: "Batch"
    pairs: list[tuple[Address, Address]]
    jobs: int | None
    json_file: Path | None
    quiet: bool
    ray: str | None = None

    def run(self) -> int:
        """Make all outputs; return the exit code."""
        from cosmicgate.masking.command.cluster import ClusterError

        outcomes: list[Outcome] = []
        start, code = time.perf_counter(), 0
        try:
            self._make(outcomes)
        except KeyboardInterrupt:
            code = STOPPED
        except ClusterError as error:
            typer.echo(f"error: {error}", err=True)
            code = FAILED
        failed = any(outcome.status == "failed" for outcome in outcomes)
        if self.json_file is not None:
            about = {
                "cosmicgate": __version__,
                "model": self.masker.card.name,
                "weights": self.masker.card.sha256,
                **vars(self.batch.wanted),
                "seconds": round(time.perf_counter() - start, 3),
                "stopped": code == STOPPED,
            }
            try:
                write_summary(self.json_file, summary(outcomes, about, len(self.pairs)))
            except OSError as error:
                typer.echo(f"error: {self.json_file}: {error.strerror}", err=True)
                failed = True
        return code or (FAILED if failed else 0)

    def _make(self, outcomes: "list[Outcome]") -> None:
        from cosmicgate.masking.command.batch import in_processes, one_by_one
        from cosmicgate.masking.command.cluster import on_ray

        jobs = min(self.jobs or 1, len(self.pairs))
        here = self.ray is None and jobs == 1
        with Reporter(len(self.pairs), self.quiet) as reporter:
            if self.ray is not None:
                results = on_ray(self.pairs, self.masker, self.batch, self.ray, self.jobs)
            elif here:
                results = one_by_one(self.pairs, self.masker, self.batch, reporter.searched)
            else:
                results = in_processes(self.pairs, self.masker, self.batch, jobs)
            with closing(results):  # processes end with this block, whatever ends it
                for outcome in results:
                    outcomes.append(outcome)
                    if not here:
                        reporter.searched(outcome.megapixels)
                    reporter.file(outcome)
