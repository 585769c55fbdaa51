"""Prepare a downloaded file for use: unpack archives, compress raw frames, cut the coadd, select footprints."""

import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.download.manifest import Member, RemoteFile, md5_of
from cosmicgate.data.download.unpack import is_archive, unpack
from cosmicgate.io.atomic import atomic_path, remove_stale_temp_files
from cosmicgate.io.fits.hdus import FitsError, open_fits

COADD_ROWS = 2000  # rows of the coadd that are kept: half of it
COADD_TILE = (50, 4106)  # with the quantisation level, it determines the pixel values, which are compressed with loss
COADD_QUANTIZATION = 16
FOOTPRINT_PARTS, FOOTPRINTS_KEPT = 5, 3  # footprints whose number modulo 5 is 0, 1 or 2
FOOTPRINT_COLUMNS = ("fp_id", "x0", "y0", "pixel_values")
# Of the darks in which the footprints were found: seconds, pixels; of the ITL sensor: micrometres.
FOOTPRINT_CARDS = {"EXPTIME": 1500.0, "NUM_PIX": 16288000, "PIXSIZE": 10.0, "THICK": 100.0}
LICENCE_CARDS = ("SWCREATE", "SWMODIFY", "SWOWNER", "SWSERIAL", "SBSTDVER")  # the camera software and its licensee


def make_products(file: RemoteFile, root: Path) -> tuple[Member, ...]:
    """Make the files that a downloaded file below ``root`` is needed for; none if it is used as it is.

    Raises
    ------
    ValueError
        If the file is damaged or is not of the expected kind; no product is written.
    """
    source = root / file.path
    if step := file.facts.get("step"):
        target = root / file.facts["becomes"]
        remove_stale_temp_files(target.parent)
        with atomic_path(target) as partial:
            hdus = STEPS[step](source)
            hdus.writeto(partial)
        return (Member(file.facts["becomes"], target.stat().st_size, md5_of(target)),)
    return unpack(source, root) if is_archive(file.path) else ()


def compress(source: Path) -> fits.HDUList:
    """Compress a raw frame of integers without loss."""
    with open_fits(source) as hdus:
        image, header = np.asarray(hdus[0].data), hdus[0].header.copy()
    if image.ndim != 2 or image.dtype.kind not in "iu":
        raise FitsError(f"{source}: expected an image of integers, got {image.dtype} of shape {image.shape}")
    for word in LICENCE_CARDS:
        header.remove(word, ignore_missing=True, remove_all=True)
    return fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(image, header, name="SCI", compression_type="RICE_1")])


def cut_coadd(source: Path) -> fits.HDUList:
    """Cut the first rows out of the coadd of a source package, and add the mask of its bad pixels."""
    image, header = _member(source, "example_decam.fits")
    mask, _ = _member(source, "example_decam_mask.fits")
    if image.shape != mask.shape or image.shape[0] < COADD_ROWS:
        raise FitsError(f"{source}: expected {COADD_ROWS} rows or more and a mask, got {image.shape} and {mask.shape}")
    tile = (COADD_TILE[0], min(COADD_TILE[1], image.shape[1]))
    return fits.HDUList(
        [
            fits.PrimaryHDU(),
            fits.CompImageHDU(
                image[:COADD_ROWS].astype(np.float32),
                header,
                name="SCI",
                compression_type="RICE_1",
                quantize_level=COADD_QUANTIZATION,
                tile_shape=tile,
            ),
            fits.CompImageHDU((mask[:COADD_ROWS] != 0).astype(np.uint8), name="MASK", compression_type="RICE_1"),
        ]
    )


def _member(source: Path, name: str) -> tuple[NDArray[Any], fits.Header]:
    """Read image and header of a FITS file in the folder ``example_data`` of a source package."""
    with tarfile.open(source) as tape:
        items = [item for item in tape if item.isfile() and item.name.endswith(f"/example_data/{name}")]
        content = tape.extractfile(items[0]) if items else None
        if content is None:
            raise FitsError(f"{source}: expected a file example_data/{name} in it, found none")
        with fits.open(BytesIO(content.read())) as hdus:
            return np.asarray(hdus[0].data), hdus[0].header.copy()


def select_footprints(source: Path) -> fits.HDUList:
    """Select the footprints that are for training and testing here, and add the facts of their darks to the header."""
    with open_fits(source) as hdus:
        wanted = set(FOOTPRINT_COLUMNS)
        tables = [h for h in hdus if isinstance(h, fits.BinTableHDU) and wanted <= set(h.columns.names)]
        if not tables:
            raise FitsError(f"{source}: expected a table with the columns {', '.join(FOOTPRINT_COLUMNS)}")
        rows, header = tables[0].data, tables[0].header.copy()
        kept = np.asarray(rows["fp_id"]) % FOOTPRINT_PARTS < FOOTPRINTS_KEPT
        columns = [fits.Column(c.name, c.format, c.unit, array=rows[c.name][kept]) for c in tables[0].columns]
    table = fits.BinTableHDU.from_columns(columns, header=header, name=header.get("EXTNAME", "COSMIC_RAYS"))
    for word, value in FOOTPRINT_CARDS.items():
        table.header.setdefault(word, value)
    return fits.HDUList([fits.PrimaryHDU(), table])


STEPS: dict[str, Callable[[Path], fits.HDUList]] = {
    "compress": compress,
    "coadd": cut_coadd,
    "footprints": select_footprints,
}
