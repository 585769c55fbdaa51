"""Find the truth planes of a frame by the names of their files, and recognise files of masks by their content."""

from pathlib import Path

from cosmicgate.io.fits.cards import CRFILE
from cosmicgate.io.fits.hdus import stem

OLD_TRUTH = "3 not known; by comparing exposures"  # in a comment of truth planes; earlier versions wrote no CRFILE
BEGIN = 3 * 2880  # bytes at the beginning of a file (FITS blocks) that are searched for CRFILE and OLD_TRUTH


def truth_name(frame: Path) -> str:
    """Build the name of the file of a frame's truth plane, without the ending of a compressed one."""
    return f"{stem(frame)}_truth.fits"


def truth_files(frame: Path, folder: Path) -> list[Path]:
    """List the truth planes of a frame in a folder: ``NAME_truth.fits``, ``.fits.fz`` and ``.fits.gz``."""
    paths = (folder / f"{truth_name(frame)}{suffix}" for suffix in ("", ".fz", ".gz"))
    return [path for path in paths if path.is_file()]


def is_mask_file(file: Path) -> bool:
    """Check whether a file holds masks or truth planes of this package, by a card and whatever its name."""
    try:
        if not file.is_file():  # reading a pipe would block
            return False
        with file.open("rb") as stream:
            begin = stream.read(BEGIN)
            primary = begin.partition(b"END".ljust(80))[0]
            return f"{CRFILE}  =".encode() in primary or OLD_TRUTH.encode() in begin
    except OSError:  # reported later, when the file is read
        return False
