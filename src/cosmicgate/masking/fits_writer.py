"""Write masks and probabilities as HDUs, and assemble files from unchanged and new HDUs."""

import gzip
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.atomic import atomic_path, file_state
from cosmicgate.io.fits.cards import CRFILE
from cosmicgate.io.fits.compressed_tiles import without_timestamps
from cosmicgate.io.fits.hdus import FitsError, is_zipped, open_decompressed
from cosmicgate.io.fits.headers import ascii_of
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.io.fits.layout import FITS_BLOCK
from cosmicgate.io.fits.pixel_edits import Patch, apply_patch
from cosmicgate.io.fits.raw_hdus import header_length, spans, with_checksums
from cosmicgate.masking.output_paths import name_of
from cosmicgate.masking.provenance_cards import HIT_VALUE


def mask_hdu(extension: ImageExtension, mask: NDArray[np.bool_], cards: Sequence[fits.Card]) -> bytes:
    """Encode a mask (H, W) as an HDU: uint8, compressed by RICE_1."""
    data = mask.astype(np.uint8) * np.uint8(HIT_VALUE)
    return _compressed(data, name_of(extension, "CRMASK"), extension.version, cards, "RICE_1")


def static_hdu(extension: ImageExtension, static: NDArray[np.bool_], cards: Sequence[fits.Card]) -> bytes:
    """Encode the static pixels (H, W) of an image as an HDU: uint8, compressed by RICE_1."""
    return _compressed(static.astype(np.uint8), name_of(extension, "CRSTATIC"), extension.version, cards, "RICE_1")


def probability_hdu(extension: ImageExtension, probability: NDArray[np.float32], cards: Sequence[fits.Card]) -> bytes:
    """Encode probabilities (H, W) as an HDU: float32 rounded to the 11 significant bits of float16, GZIP_2."""
    data = probability.astype(np.float16).astype(np.float32)
    return _compressed(data, name_of(extension, "CRPROB"), extension.version, cards, "GZIP_2")


def _compressed(data: NDArray[Any], name: str, version: int, cards: Sequence[fits.Card], kind: str) -> bytes:
    hdu = fits.CompImageHDU(data, fits.Header(cards), name=name, compression_type=kind, quantize_level=0)
    if version != 1:
        hdu.ver = version
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    content = file.getvalue()[FITS_BLOCK:]
    cut = header_length(content)
    return with_checksums(*without_timestamps(content[:cut], content[cut:]))


def write_mask_file(output: Path, source: Path, hdus: IO[bytes], cards: Sequence[fits.Card]) -> None:
    """Write a file of masks: an empty primary HDU, followed by the encoded ``hdus``."""
    header = fits.PrimaryHDU().header
    header[CRFILE] = ascii_of(source.name, 67)
    header.extend(cards)
    with atomic_path(output) as partial, partial.open("wb") as file:
        file.write(with_checksums(header.tostring().encode(), b""))
        hdus.seek(0)
        shutil.copyfileobj(hdus, file)


def write_copy(
    output: Path, source: Path, hdus: IO[bytes], patches: Sequence[Patch], before: tuple[int, int, int]
) -> None:
    """Copy a file, patch some of its HDUs and append new ones; ``output`` may be the file itself.

    HDUs without a patch are copied byte by byte. The copy of a gzipped file is gzipped.

    Parameters
    ----------
    output, source : Path
        Copy and original.
    hdus : file
        Encoded HDUs to append.
    patches : sequence of Patch
        Changes, at most one for each HDU.
    before : (int, int, int)
        State (:func:`~cosmicgate.io.atomic.file_state`) of the source when it was searched.

    Raises
    ------
    FitsError
        The source has changed since, for example by another run.
    """
    by_number = {patch.number: patch for patch in patches}
    hdu_spans = spans(source)
    with ExitStack() as stack:
        file = stack.enter_context(open_decompressed(source))
        partial = stack.enter_context(atomic_path(output))
        target: Any = stack.enter_context(partial.open("wb"))
        if _zipped(source):
            target = stack.enter_context(gzip.GzipFile("", "wb", fileobj=target, mtime=0))
        for number, span in enumerate(hdu_spans):
            file.seek(span.start)
            if number in by_number:
                header, data = file.read(span.data - span.start), file.read(span.end - span.data)
                target.write(apply_patch(header, data, by_number[number]))
            else:
                _copy(file, target, span.end - span.start)
        hdus.seek(0)
        shutil.copyfileobj(hdus, target)
        if output.exists():
            shutil.copymode(output, partial)
        if file_state(source) != before:
            raise FitsError(f"{source}: it was changed while it was searched; run it again")


def _copy(file: IO[bytes], target: IO[bytes], length: int, step: int = 2**20) -> None:
    while length > 0:
        content = file.read(min(step, length))
        if not content:
            raise OSError(f"the file ended {length} bytes early")
        target.write(content)
        length -= len(content)


def _zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return is_zipped(file)
