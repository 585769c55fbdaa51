"""Masks and probabilities as HDUs, and files put together from HDUs as they were and HDUs that are new."""

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

from cosmicgate.data.fits.hdus import FitsError, is_zipped, plain
from cosmicgate.data.fits.images import Extension
from cosmicgate.files import whole
from cosmicgate.masking.masker import ascii_of
from cosmicgate.masking.products.blocks import BLOCK, header_length, sealed, spans
from cosmicgate.masking.products.labels import BIT
from cosmicgate.masking.products.names import SOURCE, name_of
from cosmicgate.masking.products.patching import Patch, patched
from cosmicgate.masking.products.tiles import undated_table


def mask_hdu(place: Extension, mask: NDArray[np.bool_], cards: Sequence[fits.Card]) -> bytes:
    """Return the HDU of a mask (H, W): uint8, compressed by RICE_1."""
    data = mask.astype(np.uint8) * np.uint8(BIT)
    return _compressed(data, name_of(place, "CRMASK"), place.version, cards, "RICE_1")


def probability_hdu(place: Extension, probability: NDArray[np.float32], cards: Sequence[fits.Card]) -> bytes:
    """Return the HDU of probabilities (H, W): float32 with the 11 digits of float16, compressed by GZIP_2."""
    data = probability.astype(np.float16).astype(np.float32)
    return _compressed(data, name_of(place, "CRPROB"), place.version, cards, "GZIP_2")


def _compressed(data: NDArray[Any], name: str, version: int, cards: Sequence[fits.Card], kind: str) -> bytes:
    hdu = fits.CompImageHDU(data, fits.Header(cards), name=name, compression_type=kind, quantize_level=0)
    if version != 1:
        hdu.ver = version
    file = BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    content = file.getvalue()[BLOCK:]
    cut = header_length(content)
    return sealed(*undated_table(content[:cut], content[cut:]))


def write_side_file(output: Path, source: Path, hdus: IO[bytes], cards: Sequence[fits.Card]) -> None:
    """Write a file of masks: an empty primary HDU, and HDUs as they are."""
    header = fits.PrimaryHDU().header
    header[SOURCE] = ascii_of(source.name, 67)
    header.extend(cards)
    with whole(output) as partial, partial.open("wb") as file:
        file.write(sealed(header.tostring().encode(), b""))
        hdus.seek(0)
        shutil.copyfileobj(hdus, file)


def state_of(path: Path) -> tuple[int, int, int]:
    """Return what tells one state of a file from the next."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def write_copy(
    output: Path, source: Path, hdus: IO[bytes], patches: Sequence[Patch], before: tuple[int, int, int]
) -> None:
    """Write a copy of a file, some of its HDUs patched, and more HDUs behind them; it may replace the file itself.

    HDUs without a patch are copied by the byte. A gzipped file becomes a gzipped one. ``before`` is the state in which
    the file was searched: one that was changed since, by another run say, is refused.
    """
    wanted = {patch.number: patch for patch in patches}
    places = spans(source)
    with ExitStack() as stack:
        file = stack.enter_context(plain(source))
        partial = stack.enter_context(whole(output))
        target: Any = stack.enter_context(partial.open("wb"))
        if _zipped(source):
            target = stack.enter_context(gzip.GzipFile("", "wb", fileobj=target, mtime=0))
        for number, place in enumerate(places):
            file.seek(place.start)
            if number in wanted:
                header, data = file.read(place.data - place.start), file.read(place.end - place.data)
                target.write(patched(header, data, wanted[number]))
            else:
                _copy(file, target, place.end - place.start)
        hdus.seek(0)
        shutil.copyfileobj(hdus, target)
        if output.exists():
            shutil.copymode(output, partial)
        if state_of(source) != before:
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
