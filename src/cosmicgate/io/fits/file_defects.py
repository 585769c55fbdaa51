"""Report defects of FITS files that can still be read, once and with the name of the file."""

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from astropy.utils.exceptions import AstropyWarning

from cosmicgate.io.fits.hdus import open_decompressed, translate_fits_errors
from cosmicgate.io.fits.layout import spans_of, wrong_sums

log = logging.getLogger(__name__)

MAX_WARNINGS = 3  # number of different astropy warnings that are reported for one file


def find_defects(path: Path, numbers: Collection[int] | None = None) -> list[str]:
    """List the defects of a readable file: data that do not match their DATASUM, an incomplete last block and the like.

    Parameters
    ----------
    path : Path
        FITS file: plain, ``.fz`` or ``.gz``.
    numbers : collection of int, optional
        Numbers of the HDUs whose DATASUM is checked; None: all.

    Raises
    ------
    FileNotFoundError, FitsError
        As :func:`~cosmicgate.io.fits.hdus.open_fits` does.
    """
    found: list[str] = []
    with translate_fits_errors(path), open_decompressed(path, found) as file:
        return found + wrong_sums(file, spans_of(file), numbers)


@contextmanager
def collect_astropy_warnings(found: list[str]) -> Iterator[None]:
    """Collect astropy's warnings, a few and each once, so that they can be reported with the name of the file.

    Other warnings are issued when the block ends.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", AstropyWarning)
            yield
    finally:  # also if the file is refused
        by_astropy = [one for one in caught if issubclass(one.category, AstropyWarning)]
        texts = list(dict.fromkeys(" ".join(str(one.message).split()) for one in by_astropy))
        more = len(texts) - MAX_WARNINGS
        found += texts[:MAX_WARNINGS] + [f"and {more} more warnings of this kind"] * (more > 0)
    for one in caught:
        if one not in by_astropy:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)


@contextmanager
def defects_logged(path: Path, numbers: Collection[int] | None = None) -> Iterator[None]:
    """Log the defects of a file and of some of its HDUs, and astropy's warnings in the block, with the file's name."""
    with astropy_warnings_logged(path, find_defects(path, numbers)):
        yield


@contextmanager
def astropy_warnings_logged(path: Path, before: Sequence[str] = ()) -> Iterator[None]:
    """Log astropy's warnings in the block, and the messages in ``before``, with the name of the file."""
    found = [*before]
    with collect_astropy_warnings(found):
        yield
    for text in found:
        log.warning("%s: %s", path, text)
