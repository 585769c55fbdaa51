"""FITS files opened, and what is asked of any HDU: its pixels, a section that it names."""

import errno
import gzip
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

IN_MEMORY = 2**28  # bytes of an unpacked file, beyond which it goes to the disk
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE)  # errors that tell nothing of a file
NETWORK, HIT = "CRMODEL", "CRHITPIX"  # our cards: who found the hits, how many pixels (CRPIX... would be a WCS's)
BITPIX = (8, 16, 32, 64, -32, -64)
# How files begin that astropy would unpack unasked: places of HDUs in what it found would be none in the file.
PACKED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip", b"\x1f\x9d": "compress"}


class FitsError(ValueError):
    """What is wrong with a file: one sentence that names it."""


@contextmanager
def opened(path: Path, packed: bool = False) -> Iterator[fits.HDUList]:
    """Open a FITS file to read from, ``.gz`` and ``.fz`` as well; whatever is wrong with it becomes one sentence.

    All headers are read at once, the pixels of an HDU when they are asked for. ``packed`` gives compressed images as
    the tables that they are stored in.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FitsError
        The file is not FITS or is cut short. Astropy would only warn of an HDU that the cut took away.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such FITS file: {path}")
    try:
        with ExitStack() as stack:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", VerifyWarning)  # cards that break a rule and mean what they say
                for sign in ("File may have been truncated", "Error validating header"):
                    warnings.filterwarnings("error", sign, AstropyUserWarning)
                file = stack.enter_context(plain(path))
                hdus = stack.enter_context(fits.open(file, memmap=False, disable_image_compression=packed))
                for hdu in hdus:
                    if hdu.header["BITPIX"] not in BITPIX:
                        raise FitsError(f"{path}: expected BITPIX to be one of {BITPIX}, got {hdu.header['BITPIX']}")
            yield hdus
    except (FitsError, MemoryError, PermissionError, FileNotFoundError):  # the last is of another file
        raise
    except OSError as error:
        if error.errno in OF_THE_DISK:
            raise
        raise FitsError(f"{path}: not a whole FITS file ({_first_line(error)})") from error
    except fits.VerifyError as error:
        raise FitsError(f"{path}: a card of a header cannot be read ({str(error).splitlines()[0]})") from error
    except Exception as error:  # astropy, zlib and cfitsio each have their own for a broken file
        raise FitsError(f"{path}: not a whole FITS file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def plain(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to read from; what is gzipped is unpacked first.

    In memory or, if it is large, on the disk: astropy would overlook that one ends early.

    Raises
    ------
    FitsError
        It is packed in another way.
    """
    with path.open("rb") as file:
        begin = file.peek(8)
        for sign, packer in PACKED.items():
            if begin.startswith(sign):
                raise FitsError(
                    f"{path}: expected FITS, plain, .fz or .gz, got a file packed by {packer}: unpack it first"
                )
        if not is_zipped(file):
            yield file
            return
        with gzip.open(file) as zipped, tempfile.SpooledTemporaryFile(IN_MEMORY) as unzipped:
            shutil.copyfileobj(zipped, unzipped)
            unzipped.seek(0)
            yield unzipped


def is_zipped(file: BufferedReader) -> bool:
    """Say whether a file that was just opened is gzipped."""
    return file.peek(2)[:2] == b"\x1f\x8b"


def said(header: fits.Header, word: str) -> Any:
    """Return what a header has under a keyword; None where it has none, or none that FITS allows (``= nan``)."""
    try:
        return header.get(word)
    except fits.VerifyError:
        return None


def pixels(hdu: Any) -> NDArray[np.float32]:
    """Return the values of an image HDU as (H, W), float32, native; BLANK is NaN, what float32 cannot hold infinite."""
    return _values(hdu, np.float32)


def precise_pixels(hdu: Any) -> NDArray[np.float64]:
    """Return the values of an image HDU as :func:`pixels` does, in float64."""
    return _values(hdu, np.float64)


def _values(hdu: Any, dtype: type[np.floating[Any]]) -> NDArray[Any]:
    blank, zero, scale, bits = (said(hdu.header, word) for word in ("BLANK", "BZERO", "BSCALE", "BITPIX"))
    data = hdu.data
    with np.errstate(over="ignore"):
        image: NDArray[Any] = np.array(data, dtype=dtype)
    if isinstance(blank, int) and bits > 0 and (data.dtype.kind in "iu" or blank == 0):  # which astropy leaves alone
        image[data == blank * (scale or 1) + (zero or 0)] = np.nan
    return image.reshape(image.shape[-2:])


def stem(path: Path) -> str:
    """Return the file's name without its endings (.fits, .fits.fz); a version in the name may hold a point."""
    return path.name.removesuffix(".gz").removesuffix(".fz").removesuffix(".fits")


def section(text: object) -> tuple[slice, slice] | None:
    """Return rows and columns of a section such as '[1081:2104,51:4146]', None if it is none."""
    found = re.fullmatch(r"\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*", str(text))
    if not found:
        return None
    left, right, bottom, top = (int(digits) for digits in found.groups())
    return slice(min(bottom, top) - 1, max(bottom, top)), slice(min(left, right) - 1, max(left, right))
