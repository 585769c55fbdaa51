"""Mask one FITS file, local or remote, in three steps: plan, detect, write."""

import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.typing import NDArray

from cosmicgate.io.atomic import file_state
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import FitsError
from cosmicgate.io.fits.pixel_edits import Patch
from cosmicgate.io.object_stores import remote_info, send, version
from cosmicgate.io.urls import Address, Url
from cosmicgate.masking.ccddata import clean_uncertainty
from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.file_job import FileJob, plan
from cosmicgate.masking.fits_writer import mask_hdu, probability_hdu, static_hdu, write_copy, write_mask_file
from cosmicgate.masking.inpainting import clean
from cosmicgate.masking.masker import CosmicRayMasker, dilate_mask
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.provenance_cards import (
    bit_cards,
    change_cards,
    key_cards,
    mask_cards,
    short_cards,
    static_cards,
)
from cosmicgate.masking.read_images import FitsImage, read_images
from cosmicgate.masking.static_pixels import StaticPixels
from cosmicgate.masking.temporary_folder import temporary_folder
from cosmicgate.pretrained.domain_check import ImageWarning, warn_if_hit_fraction_high

MAX_BYTES_IN_MEMORY = 2**26  # bytes of compressed masks and probabilities; more are spooled to disk
ProgressCallback = Callable[[float], object]  # called with the megapixels of each finished image


@dataclass
class FileResult:
    """Result for one file: a line of the summary.

    Attributes
    ----------
    file, output : str
        Paths of input and output.
    status : {"done", "finished", "failed"}
        "finished" means that the output already existed, made from the same input with the same settings.
    images, megapixels, hits, fraction : int or float
        Number of images and megapixels searched, number of hit pixels, and their fraction of the searched pixels.
    static : int or None
        Number of static pixels, which are not searched; None if no detector of the file was compared.
    seconds : float
        Total wall time.
    warnings : list of str
        Warnings about images unlike the training images, HDUs that were not searched, and defects of the file.
    error : str
        Error message of one sentence; empty unless the file failed.
    """

    file: str
    output: str
    status: Literal["done", "finished", "failed"] = "done"
    images: int = 0
    megapixels: float = 0.0
    hits: int = 0
    fraction: float = 0.0
    static: int | None = None
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str = ""

    def add(self, hits: int, searched: int) -> None:
        """Count an image: its hit pixels and its searched pixels."""
        self.images += 1
        self.hits += hits
        self.megapixels = round(self.megapixels + searched / 1e6, 6)
        self.fraction = float(f"{self.hits / 1e6 / self.megapixels:.4g}")


def mask_file(
    source: Address,
    target: Address,
    masker: CosmicRayMasker,
    options: MaskOptions,
    overwrite: bool = False,
    progress: ProgressCallback = lambda _: None,
    static_pixels: StaticPixels | None = None,
) -> FileResult:
    """Mask one file and write the output; errors do not raise but are reported in the result, in one sentence.

    Input and output may each be a local path or a URL. :func:`~cosmicgate.masking.file_job.plan` says which existing
    outputs are left as they are ("finished"), regenerated or never replaced. Pixels in ``static_pixels`` are not
    searched, and named in a plane of their own.
    """
    job = FileJob(source, target, masker, options, overwrite, static_pixels)
    result = FileResult(str(source), str(target))
    start = time.perf_counter()
    try:
        with temporary_folder() if job.is_remote else nullcontext(Path()) as job.folder:
            _run(job, result, progress)
    except Exception as error:  # one bad file must not stop the batch
        # A new result, without the counts of masks that are not written.
        warned, why = result.warnings, error_message(job, error)
        result = FileResult(str(source), str(target), "failed", warnings=warned, error=why)
    result.seconds = round(time.perf_counter() - start, 3)
    return result


def _run(job: FileJob, result: FileResult, progress: ProgressCallback) -> None:
    with collect_astropy_warnings(result.warnings):
        plan(job)
        result.warnings += job.warnings
        if job.up_to_date:
            result.status, result.static = "finished", job.existing.static
            for hits, searched in job.existing.counts:
                result.add(hits, searched)
            return
        with tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY) as hdus:
            patches = detect(job, hdus, result, progress)
            write(job, hdus, patches, result.hits)


def error_message(job: FileJob, error: Exception) -> str:
    """Describe an error in one sentence that names the file, and not the local copy of a remote one."""
    source, original = str(job.source), {str(job.path): str(job.source), str(job.output): str(job.target)}
    if isinstance(error, MemoryError):
        return f"{source}: there is not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        named = original.get(str(error.filename), str(error.filename))
        return f"{source}: {error.strerror}" + f" ({named})" * (error.filename is not None and named != source)
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    text = text if isinstance(error, ValueError | OSError | TypeError) else f"{type(error).__name__}: {text}"
    for copy, address in original.items():
        text = text.replace(copy, address)
    return text if source in text else f"{source}: {text}"


def detect(job: FileJob, hdus: IO[bytes], result: FileResult, progress: ProgressCallback) -> list[Patch]:
    """Search the images of a file.

    Parameters
    ----------
    job : FileJob
        Job, planned.
    hdus : file
        File to which the encoded masks and probabilities are written.
    result : FileResult
        Result whose counts and warnings are updated.
    progress : callable
        Called with the megapixels of each image.

    Returns
    -------
    list of Patch
        Changes of the input's own HDUs: replaced hits and flags in quality planes.

    Raises
    ------
    FitsError
        None of the images can be searched.
    """
    options, patches = job.options, []
    images = read_images(job.path, options.exts, options.cleaned, options.masked, options.bit)
    for image in prefetch(images) if job.masker.on_gpu else images:  # reading takes longer than the GPU's computation
        patches += _detect_in_image(job, image, hdus, result)
        progress(image.image.size / 1e6)
    if not result.images:
        raise FitsError(f"{job.source}: none of its images can be searched ({'; '.join(result.warnings)})")
    return patches


def prefetch(images: Generator[FitsImage, None, None]) -> Iterator[FitsImage]:
    """Yield images while a thread reads the next one."""
    with closing(images), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, images, None)
        while (image := coming.result()) is not None:
            coming = thread.submit(next, images, None)
            yield image


def _detect_in_image(job: FileJob, image: FitsImage, hdus: IO[bytes], result: FileResult) -> list[Patch]:
    """Search an image, write its mask to ``hdus``, update ``result`` and return the patches of the image's file."""
    masker, options, label = job.masker, job.options, f"{image.extension.label}: "
    result.warnings += [*image.file_notes, *(label + note for note in image.notes)]
    static = job.static_pixels.maps_for_file(job.source).get(image.extension.number) if job.static_pixels else None
    if static is not None:
        if static.shape != image.bad.shape:
            raise FitsError(f"{job.source}: it was changed while it was searched; run it again")
        image.bad.ravel()[static.index] = True
    searched = int(image.bad.size - image.bad.sum())
    try:
        mosaic, note = find_mosaic_card(image.extension.headers, image.image, image.bad, options.mosaic)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ImageWarning)
            probability = masker.probability(image.image, image.bad, bool(mosaic))
            hits = probability >= options.threshold
            if masker.check:
                warn_if_hit_fraction_high(int(hits.sum()), searched, image.exptime, options.fpr)
    except ValueError as error:  # too small, or without a good pixel: the file's other images are still searched
        result.warnings.append(f"{label}not searched: {error}")
        return []
    doubts = [str(one.message) for one in caught if issubclass(one.category, ImageWarning)]
    result.warnings += [label + text for text in [*doubts, *[note] * bool(note)]]
    mask = dilate_mask(hits, options.grow, image.bad)
    count = int(mask.sum())
    hdus.write(mask_hdu(image.extension, mask, mask_cards(job, image, mask, doubts, mosaic)))
    if static is not None:
        hdus.write(static_hdu(image.extension, static.mask, static_cards(job, image.extension.number, static)))
        result.static = (result.static or 0) + len(static.index)
    if options.probability:
        cards = [*short_cards(masker, options, count), *key_cards(job)]
        hdus.write(probability_hdu(image.extension, probability, cards))
    result.add(count, searched)
    if image.quality is not None and (unflagged := image.quality.count_unflaggable(mask)):
        result.warnings.append(
            f"{label}{unflagged} hit pixels have another flag in {image.quality.name} already, which is kept"
        )
    return list(_patches(job, image, mask, mosaic)) if count else []


def _patches(job: FileJob, image: FitsImage, mask: NDArray[np.bool_], mosaic: str) -> Iterator[Patch]:
    """Yield the patches of the quality plane, the image and its uncertainty planes."""
    options, count, quality = job.options, int(mask.sum()), image.quality
    if quality is not None:
        where, flags = quality.with_hits(mask)
        rows, columns = np.nonzero(where)
        cards = bit_cards(job, count, mosaic, quality.value, len(flags))
        yield Patch(quality.number, rows, columns, quality.flags[where], flags, cards)
    if options.cleaned:
        cards = change_cards(job, count, mosaic)
        rows, columns = np.nonzero(mask)
        cleaned = clean(image.image, mask, options.method, bad=image.bad, mosaic=bool(mosaic))
        yield Patch(image.extension.number, rows, columns, image.image[mask], cleaned[mask], cards)
        for one in image.uncertainties:
            uncertainty = clean_uncertainty(one.values, one.kind, cleaned, mask, image.bad, bool(mosaic))
            yield Patch(one.number, rows, columns, one.values[mask], uncertainty[mask], cards)


def write(job: FileJob, hdus: IO[bytes], patches: Sequence[Patch], hits: int) -> None:
    """Write the output of a job, and upload it if it is remote.

    Parameters
    ----------
    job : FileJob
        Job, planned.
    hdus : file
        Encoded masks and probabilities.
    patches : sequence of Patch
        Changes of the input's own HDUs.
    hits : int
        Number of hit pixels in all images.

    Raises
    ------
    FitsError
        The input has changed since it was read.
    TransportError
        The output cannot be uploaded.
    """
    if file_state(job.path) != job.state:
        raise FitsError(f"{job.source}: it was changed while it was searched; run it again")
    if job.options.kind == "mask":
        write_mask_file(job.output, job.path, hdus, change_cards(job, hits))
    else:
        write_copy(job.output, job.path, hdus, patches, job.state)
    if isinstance(job.target, Url):
        if job.options.in_place and version(remote_info(job.target), job.target) != job.version:
            raise FitsError(f"{job.target}: it changed while it was searched, so it is not replaced; mask it again")
        send(job.output, job.target)
