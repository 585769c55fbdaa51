"""Open FITS files with clear errors, and read pixels, header values and sections of HDUs."""

import errno
import gzip
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from cosmicgate.io.fits.cards import CRINPUT
from cosmicgate.io.fits.layout import spans_of

MAX_BYTES_IN_MEMORY = 2**28  # bytes of a decompressed file; larger ones are spooled to disk
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)  # not caused by the file's content
GZIP = b"\x1f\x8b"  # first bytes of gzipped files
# First bytes of files that astropy would decompress by itself, so that HDU offsets would not be those in the file.
COMPRESSION_SIGNATURES = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x1f\x9d": "compress"}


class FitsError(ValueError):
    """Error of a FITS file: one sentence that names the file."""


@contextmanager
def open_fits(path: Path, packed: bool = False) -> Iterator[fits.HDUList]:
    """Open a FITS file for reading, also ``.gz`` and ``.fz``; any error becomes one sentence that names the file.

    All headers are read at once, pixels on access. With ``packed``, compressed images are returned as the tables in
    which they are stored. Defects that cost no pixel are not reported here but by
    :func:`~cosmicgate.io.fits.file_defects.find_defects`.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FitsError
        The file is not FITS or is truncated. Astropy itself would only warn if a truncation removes an HDU.
    """
    with translate_fits_errors(path), ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", VerifyWarning)  # about cards that violate the standard but are readable
            for sign in ("File may have been truncated", "Error validating header"):
                warnings.filterwarnings("error", sign, AstropyUserWarning)
            file = _with_blanks(stack.enter_context(open_decompressed(path)), stack)
            hdus = stack.enter_context(fits.open(file, memmap=False, disable_image_compression=packed))
            for hdu in hdus:
                len(hdu.header)  # forces parsing here, under these warning filters
        yield hdus


@contextmanager
def translate_fits_errors(path: Path) -> Iterator[None]:
    """Convert any error about a file into an exception with one sentence that names it."""
    if not path.is_file():
        raise FileNotFoundError(missing(path))
    try:
        yield
    except (FitsError, MemoryError, PermissionError, FileNotFoundError):  # FileNotFoundError is about another file
        raise
    except OSError as error:
        if error.errno in DISK_ERRORS:
            raise
        raise FitsError(f"{path}: not a complete FITS file ({_first_line(error)})") from error
    except fits.VerifyError as error:
        raise FitsError(f"{path}: a card of a header cannot be read ({str(error).splitlines()[0]})") from error
    except Exception as error:  # astropy, zlib and cfitsio raise their own exceptions for a broken file
        raise FitsError(f"{path}: not a complete FITS file ({_first_line(error)})") from error


def missing(path: Path) -> str:
    """Describe in one sentence why a path is no file: missing, a broken link, a folder, a pipe."""
    if path.is_symlink() and not path.exists():
        return f"no such FITS file: {path} is a link to {path.readlink()}, which does not exist"
    if path.is_dir() and not os.access(path, os.R_OK | os.X_OK):
        return f"no permission to read the folder {path}"
    return f"no such FITS file: {path}" + (" is a folder" if path.is_dir() else " is not a file") * path.exists()


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def open_decompressed(path: Path, defects: list[str] | None = None) -> Iterator[IO[bytes]]:
    """Open a file for reading as complete HDUs in whole blocks; a gzipped file is decompressed first.

    It is decompressed here, in memory or for large files on disk, because astropy does not notice a truncated gzip
    file. An incomplete last block is padded, and bytes after the last HDU are dropped; a sentence about each is
    appended to ``defects``.

    Raises
    ------
    FitsError
        The file is compressed in another way than by gzip.
    ValueError
        Pixels or HDUs are missing.
    """
    with ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(path.open("rb"))
        begin = file.read(8)
        file.seek(0)
        for sign, packer in COMPRESSION_SIGNATURES.items():
            if begin.startswith(sign):
                raise FitsError(
                    f"{path}: expected a FITS file (plain, .fz or .gz), got one packed by {packer}: decompress it first"
                )
        if begin.startswith(GZIP):
            unzipped = stack.enter_context(_temporary())
            _unzip(file, unzipped, defects)
            file = unzipped
        file = _in_whole_blocks(file, stack, defects)
        file.seek(0)
        yield file


def _in_whole_blocks(file: IO[bytes], stack: ExitStack, defects: list[str] | None) -> IO[bytes]:
    """Pad or trim a copy of a file that does not end with a whole block of an HDU; pass on any other."""
    last = spans_of(file, defects)[-1]
    if last.end == file.seek(0, 2):
        return file
    copy: IO[bytes] = stack.enter_context(_temporary())
    file.seek(0)
    left = last.end
    while left and (content := file.read(min(left, 2**20))):
        copy.write(content)
        left -= len(content)
    copy.write((b"\0" if last.size else b" ") * left)
    return copy


def _with_blanks(file: IO[bytes], stack: ExitStack) -> IO[bytes]:
    """Replace NULs in headers by blanks, in a copy of a file that has any: astropy misses an END followed by NULs."""
    mended = []
    for span in spans_of(file):
        file.seek(span.start)
        header = file.read(span.data - span.start)
        mended += [(span.start, header.replace(b"\0", b" "))] if b"\0" in header else []
    file.seek(0)
    if not mended:
        return file
    copy: IO[bytes] = stack.enter_context(_temporary())
    shutil.copyfileobj(file, copy)
    for start, header in mended:
        copy.seek(start)
        copy.write(header)
    copy.seek(0)
    return copy


def _temporary() -> Any:
    """Open a temporary file, in memory or, if it becomes large, on disk."""
    return tempfile.SpooledTemporaryFile(MAX_BYTES_IN_MEMORY)


def _unzip(file: IO[bytes], target: IO[bytes], defects: list[str] | None) -> None:
    """Decompress a gzipped file; trailing garbage is ignored, as gzip itself does."""
    with gzip.open(file) as zipped:
        try:
            while content := zipped.read1(2**20):  # read() would lose the data before trailing garbage
                target.write(content)
        except gzip.BadGzipFile as error:
            if not (str(error).startswith("Not a gzipped file") and target.tell()):
                raise
            if defects is not None:
                defects.append("bytes after the end of its gzipped data were ignored")


def is_zipped(file: BufferedReader) -> bool:
    """Check whether a file that was just opened is gzipped."""
    return file.peek(2)[:2] == GZIP


def header_value(header: fits.Header, word: str) -> Any:
    """Look up a keyword in a header; None if it is missing or its value is not valid FITS (``= nan``)."""
    try:
        return header.get(word)
    except fits.VerifyError:
        return None


def input_checksum(hdus: Sequence[Any]) -> str:
    """Look up the checksum of the input of masks or truth planes; empty if they have none."""
    return next((str(hdu.header[CRINPUT]) for hdu in hdus if CRINPUT in hdu.header), "")


def first_header_value(headers: Sequence[fits.Header], word: str) -> Any:
    """Look up a keyword in the first header that has it; None if none has."""
    return next((found for header in headers if (found := header_value(header, word)) is not None), None)


def is_two_dimensional(hdu: Any) -> bool:
    """Check whether an HDU is a non-empty image (H, W) or (1, H, W)."""
    shape: tuple[int, ...] = hdu.shape if hdu.is_image else ()
    return len(shape) in (2, 3) and 0 not in shape and (len(shape) == 2 or shape[0] == 1)


def pixels(hdu: Any) -> NDArray[np.float32]:
    """Read an image HDU as (H, W), native float32; BLANK becomes NaN, values beyond float32 become infinite."""
    return _values(hdu, np.float32)


def precise_pixels(hdu: Any) -> NDArray[np.float64]:
    """Read an image HDU as :func:`pixels` does, but as float64."""
    return _values(hdu, np.float64)


def _values(hdu: Any, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    blank, zero, scale, bits = (header_value(hdu.header, word) for word in ("BLANK", "BZERO", "BSCALE", "BITPIX"))
    data = hdu.data
    with np.errstate(over="ignore"):
        image: NDArray[Any] = np.array(data, dtype=dtype)
    if isinstance(blank, int) and bits > 0 and (data.dtype.kind in "iu" or blank == 0):  # astropy ignores it here
        image[data == blank * (scale or 1) + (zero or 0)] = np.nan
    return image.reshape(image.shape[-2:])


def stem(path: Path) -> str:
    """Remove the endings .fits, .fz and .gz from a file's name; other points, as in a version, are kept."""
    return path.name.removesuffix(".gz").removesuffix(".fz").removesuffix(".fits")


def section(text: object) -> tuple[slice, slice] | None:
    """Parse a section such as '[1081:2104,51:4146]' into slices of rows and columns; None if it is not valid."""
    found = re.fullmatch(r"\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*", str(text))
    if not found:
        return None
    left, right, bottom, top = (int(digits) for digits in found.groups())
    if 0 in (left, right, bottom, top):  # pixels are counted from 1; '[0:0,0:0]' means no section
        return None
    return slice(min(bottom, top) - 1, max(bottom, top)), slice(min(left, right) - 1, max(left, right))
