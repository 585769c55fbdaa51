"""``cosmicgate mask``: write masks or cleaned copies for many FITS files."""

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
from cosmicgate.cli.inputs import input_output_pairs, read_list
from cosmicgate.cli.network_options import ModelOption, TrustOption
from cosmicgate.cli.progress import Reporter, summary, write_summary
from cosmicgate.io.urls import Address
from cosmicgate.masking.output_paths import Kind, refuse_fits

if TYPE_CHECKING:
    from cosmicgate.masking.masker import CosmicRayMasker
    from cosmicgate.masking.options import BatchOptions
    from cosmicgate.masking.pipeline import FileResult

FAILED, STOPPED = 1, 130  # exit codes; 2 is for wrong arguments


def mask(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILE_OR_DIR_OR_URL...",
            help="FITS files (also .fz and .gz), folders of them, or URLs of either (s3://, gs://, https:// ...).",
            show_default=False,
        ),
    ] = None,
    list_file: Annotated[
        Path | None,
        typer.Option("--list", help="Text file with more inputs, one path or URL per line.", show_default=False),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(
            *("-o", "--output"),
            metavar="PATH_OR_URL",
            help="Folder for the outputs, or the output file if there is a single input.",
            show_default="the folder of each input",
        ),
    ] = None,
    model: ModelOption = "general",
    fast: Annotated[
        bool,
        typer.Option(
            "--fast",
            help="Use the cascade: a small network selects cells, and only these are searched. Several times faster.",
        ),
    ] = False,
    precision: Annotated[
        str | None,
        typer.Option(
            help="Floating-point type of the computation: float32, bfloat16 or float16.",
            show_default="float16 on a GPU, float32 elsewhere",
        ),
    ] = None,
    engine: Annotated[str, typer.Option(help="Library that computes: torch or onnxruntime.")] = "torch",
    trust: TrustOption = None,
    ext: Annotated[
        list[str] | None,
        typer.Option(
            "--ext",
            help="Image to search, by EXTNAME, HDU number or EXTNAME,EXTVER; may be repeated.",
            show_default="all images",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability from which a pixel counts as hit.", show_default="the network's own"),
    ] = None,
    fpr: Annotated[
        float | None,
        typer.Option(help="False-positive rate per pixel, such as 1e-4, instead of --threshold.", show_default=False),
    ] = None,
    grow: Annotated[int, typer.Option(min=0, help="Number of pixels by which masks are dilated on each side.")] = 0,
    clean: Annotated[
        bool, typer.Option("--clean", help="Write a copy of the file, with hits replaced and the masks appended.")
    ] = False,
    method: Annotated[
        str, typer.Option(help="With --clean, how hits are replaced: median, mean, idw, interpolate or maskfill.")
    ] = "median",
    append: Annotated[
        bool, typer.Option("--append", help="Write a copy of the file, with the masks appended.")
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option(
            "--in-place", help="Append the masks to the input file itself; with --clean also replace its hits."
        ),
    ] = False,
    probability: Annotated[
        bool, typer.Option("--probability", help="Write the probability of each pixel as well.")
    ] = False,
    set_bit: Annotated[
        str | None,
        typer.Option(
            metavar="N|NAME",
            help="Flag hits in the file's own quality plane, by the bit's value or by the name of a pipeline: HST, "
            "JWST, DECAM, BANZAI, GEMINI or RUBIN. Alone it implies --append.",
            show_default=False,
        ),
    ] = None,
    no_mask: Annotated[
        bool, typer.Option("--no-mask", help="Also search pixels that a mask in the file marks as bad.")
    ] = False,
    mosaic: Annotated[
        bool | None,
        typer.Option(
            "--mosaic/--no-mosaic",
            help="Treat images as colour mosaics (Bayer pattern, such as RGGB), or not.",
            show_default="decided by the header",
        ),
    ] = None,
    no_static: Annotated[
        bool,
        typer.Option(
            "--no-static",
            help="Do not search for static pixels (hot or flickering), which are found by comparing five or more "
            "frames of a detector.",
        ),
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Number of processes.", show_default="1; with --ray one for each GPU or core"),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a Ray cluster to use; 'local' starts one on this machine.",
            show_default=False,
        ),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="File to write a summary to, as JSON.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Regenerate outputs that are up to date, and replace files that cosmicgate did not write.",
        ),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("--recursive", help="Include the subfolders of folders, also linked ones.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
) -> None:
    """Find the cosmic-ray hits in FITS files and write a file of masks for each (NAME_crmask.fits).

    A second run skips outputs that are up to date. Exit codes: 0 success, 1 a file failed, 2 invalid arguments,
    130 interrupted.
    """
    if append and (clean or in_place):
        raise typer.BadParameter("--append is not needed with --clean or --in-place, which append the masks as well")
    if method != "median" and not clean:
        raise typer.BadParameter(f"--method {method} has an effect only with --clean")
    kind: Kind = "in-place" if in_place else "clean" if clean else "append" if append or set_bit else "mask"
    if in_place and out is not None:
        raise typer.BadParameter("--in-place changes the input file itself: leave out --output")
    try:
        refuse_fits(json_file, "--json")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    detector: dict[str, Any] = {"model": model, "fast": fast, "precision": precision, "engine": engine}
    detector["trust"] = trust or ()
    pairs = input_output_pairs([*(paths or ()), *read_list(list_file)], recursive, out, kind, quiet)
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
            method=method,
            probability=probability,
            exts=tuple(ext or ()),
            masked=not no_mask,
            bit=set_bit or "",
            mosaic=mosaic,
        )
        if fast and not quiet:
            typer.echo(describe_cascade_loss(masker, batch.options.threshold), err=True)
        code = MaskRun(masker, batch, pairs, jobs, json_file, quiet, ray, not no_static).run()
    except KeyboardInterrupt:
        code = STOPPED
    finally:
        signal.signal(signal.SIGTERM, before)
    if code == STOPPED:
        typer.echo("stopped; the same command resumes where it stopped", err=True)
    raise typer.Exit(code)


def _prepared(
    detector: dict[str, Any], overwrite: bool, quiet: bool, **options: Any
) -> "tuple[CosmicRayMasker, BatchOptions]":
    """Load the network, determine the threshold and validate the options."""
    from cosmicgate.io.fits.quality_flags import validated_bit
    from cosmicgate.masking.load import load
    from cosmicgate.masking.options import BatchOptions, MaskOptions
    from cosmicgate.masking.provenance_cards import REPLACED_BY

    if options["method"] not in REPLACED_BY:
        raise typer.BadParameter(f"--method {options['method']}: expected one of {', '.join(REPLACED_BY)}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default", UserWarning)
            masker = load(**detector)
        options["bit"] = validated_bit(options["bit"]) if options["bit"] else ""
        options["threshold"] = masker.threshold(options["threshold"], options["fpr"])
    except (ValueError, OSError, ImportError) as error:
        raise typer.BadParameter(str(error)) from error
    for one in caught if not quiet else ():
        typer.echo(f"warning: {one.message}", err=True)
    return masker, BatchOptions(MaskOptions(**options), overwrite)


def describe_cascade_loss(masker: "CosmicRayMasker", threshold: float) -> str:
    """Describe how many hits the cascade may miss by the network's card; at lower thresholds this was not measured."""
    card, measured = masker.card, masker.card.cascade or {}
    text = (
        f"--fast: of {measured.get('hits', 0)} hits in test frames that the network alone finds at its threshold of "
        f"{card.threshold:g}, the coarse stage missed {measured.get('missed', 0)}; at most "
        f"{100 * measured.get('bound', 1.0):.2g} % at a confidence of 95 %"
    )
    note = card.note_below_cascade_tuning(threshold)
    return text + f"; {note}" * bool(note)


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (a signal handler)
    raise KeyboardInterrupt


@dataclass(frozen=True)
class MaskRun:
    """Run of ``cosmicgate mask``: a batch of files and the options for running and reporting it."""

    masker: "CosmicRayMasker"
    batch: "BatchOptions"
    pairs: list[tuple[Address, Address]]
    jobs: int | None
    json_file: Path | None
    quiet: bool
    ray: str | None = None
    compare_frames: bool = True

    def run(self) -> int:
        """Write all outputs and the summary; return the exit code."""
        from cosmicgate.masking.ray_backend import ClusterError

        results: list[FileResult] = []
        start, code = time.perf_counter(), 0
        try:
            self._mask_all(results)
        except KeyboardInterrupt:
            code = STOPPED
        except ClusterError as error:
            typer.echo(f"error: {error}", err=True)
            code = FAILED
        failed = any(result.status == "failed" for result in results)
        if self.json_file is not None:
            about = {
                "cosmicgate": __version__,
                "model": self.masker.card.name,
                "weights": self.masker.card.sha256,
                **vars(self.batch.options),
                "static": self.compare_frames,
                "seconds": round(time.perf_counter() - start, 3),
                "stopped": code == STOPPED,
            }
            try:
                write_summary(self.json_file, summary(results, about, len(self.pairs)))
            except OSError as error:
                typer.echo(f"error: {self.json_file}: {error.strerror}", err=True)
                failed = True
        return code or (FAILED if failed else 0)

    def _mask_all(self, results: "list[FileResult]") -> None:
        from cosmicgate.masking.batch import mask_in_processes, mask_in_this_process
        from cosmicgate.masking.ray_backend import mask_on_ray

        jobs = min(self.jobs or 1, len(self.pairs))
        here = self.ray is None and jobs == 1
        batch = self._with_static_pixels(1 if self.ray is not None else jobs)
        with Reporter(len(self.pairs), self.quiet) as reporter:
            if self.ray is not None:
                stream = mask_on_ray(self.pairs, self.masker, batch, self.ray, self.jobs)
            elif here:
                stream = mask_in_this_process(self.pairs, self.masker, batch, reporter.searched)
            else:
                stream = mask_in_processes(self.pairs, self.masker, batch, jobs)
            with closing(stream):  # end the worker processes even if an exception ends this block
                for result in stream:
                    results.append(result)
                    if not here:
                        reporter.searched(result.megapixels)
                    reporter.file(result)

    def _with_static_pixels(self, jobs: int) -> "BatchOptions":
        """Compare the frames of each detector, and add its static pixels to the options of the batch."""
        from cosmicgate.masking.batch import with_static_pixels
        from cosmicgate.masking.static_pixels import MIN_FRAMES

        if not self.compare_frames:
            return self.batch
        with Reporter(len(self.pairs), self.quiet, "frames compared") as reporter:
            batch = with_static_pixels(self.pairs, self.masker, self.batch, jobs, reporter.advance)
        if batch.static_pixels is not None and len(self.pairs) >= MIN_FRAMES and not self.quiet:
            typer.echo(batch.static_pixels.line, err=True)
        return batch
