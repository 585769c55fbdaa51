"""Convert masks of exposures to truth planes, which ``data=real_frames`` reads, and write them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.background import dilate
from cosmicgate.data.lco.io import MaskedSequence
from cosmicgate.data.pixel_labels import CORE, RING, SKY, TRUTH_UNKNOWN
from cosmicgate.io.atomic import atomic_path, cached_sha256
from cosmicgate.io.fits.cards import CRFILE, CRINPUT
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.io.fits.headers import ascii_of
from cosmicgate.io.fits.truth_files import truth_files, truth_name

Plane = NDArray[np.uint8]


def truth_planes(masked: MaskedSequence) -> list[Plane]:
    """Convert masks to truth planes: a ring of 3x3 around each hit; ignored pixels are not known."""
    planes = []
    for hits, ignore in zip(masked.hits, masked.ignore, strict=True):
        plane = np.where(dilate(hits), RING, SKY).astype(np.uint8)
        plane[ignore > 0] = TRUTH_UNKNOWN
        plane[hits] = CORE
        planes.append(plane)
    return planes


def write_plane(path: Path, plane: Plane, frame: Path) -> None:
    """Write the truth plane of a frame as a compressed HDU named TRUTH, with the checksum of the frame's file."""
    hdu = fits.CompImageHDU(plane, name="TRUTH", compression_type="RICE_1")
    hdu.header[CRINPUT] = cached_sha256(frame)
    hdu.header["COMMENT"] = "0 sky, 1 core of a hit, 2 ring, 3 not known; by comparing exposures"
    primary = fits.PrimaryHDU()
    primary.header[CRFILE] = ascii_of(frame.name, 67)  # by which the file is known as no image
    with atomic_path(path) as partial:
        fits.HDUList([primary, hdu]).writeto(partial)


def write_planes(masked: MaskedSequence, frames: Sequence[Path], folder: Path) -> None:
    """Write the truth plane of each exposure, whose files are given, as ``NAME_truth.fits.fz``.

    Raises
    ------
    ValueError
        If two files would have one name, or there are manual labels in place of one; or the exposures are
        simulated, because these planes are scored as real ones.
    """
    names = [f"{truth_name(path)}.fz" for path in frames]
    if len(set(names)) < len(names):
        raise ValueError(f"{', '.join(names)}: two truth planes of one name: expected frames whose files differ in it")
    if masked.data_origin == "simulated":
        raise ValueError(f"{names[0]}: expected real exposures, got simulated ones: use -o and data=lco for these")
    for frame in frames:
        _refuse_manual_labels(frame, folder)
    for name, plane, frame in zip(names, truth_planes(masked), frames, strict=True):
        write_plane(folder / name, plane, frame)


def _refuse_manual_labels(frame: Path, folder: Path) -> None:
    """Raise ValueError if a truth plane of a frame, compressed or not, has manual labels (``cosmicgate view``)."""
    for file in truth_files(frame, folder):
        with open_fits(file) as hdus:
            if any(hdu.name.endswith("TOUCHED") for hdu in hdus):
                raise ValueError(f"{file} has manual labels: give another folder, or move it away")
