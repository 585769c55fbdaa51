"""Find the truth planes of a frame by the names of their files."""

from pathlib import Path

from cosmicgate.io.fits.hdus import stem


def truth_name(frame: Path) -> str:
    """Build the name of the file of a frame's truth plane, without the ending of a compressed one."""
    return f"{stem(frame)}_truth.fits"


def truth_files(frame: Path, folder: Path) -> list[Path]:
    """List the truth planes of a frame in a folder: ``NAME_truth.fits``, ``.fits.fz`` and ``.fits.gz``."""
    paths = (folder / f"{truth_name(frame)}{suffix}" for suffix in ("", ".fz", ".gz"))
    return [path for path in paths if path.is_file()]
