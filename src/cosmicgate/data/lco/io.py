"""Read and write files of the LCO cosmic-ray data set (Zenodo 5034763): sequences of exposures with masks of hits.

Each file has several exposures of one field. HDUs are addressed by number, because EXTVER is not unique. With
n = FRMTOTAL of the primary header: 1 to n SCI (float32), n + 1 VALID_MASK (uint8), n + 2 CAT (table), n CR from 3 + n
(uint8), n IGNORE from 3 + 2 n (uint8, the bits below). Images are tile-compressed.

In the data set, the frames of a file are resampled to the pixels of the middle one (nearest neighbour). Files written
here are not resampled: each frame keeps its own pixels and its own WCS, and ALIGNED is false.
"""

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from numpy.typing import NDArray

from cosmicgate.data.simulation.ccd import CCDS
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.io.atomic import atomic_path
from cosmicgate.io.fits.file_defects import defects_logged
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import header_value, open_fits

# The bits of IGNORE.
IGNORE_BOUNDARY, IGNORE_NO_DATA, IGNORE_SOURCE, IGNORE_HOT = 1, 2, 4, 8
# Our own bits, not in the data set.
IGNORE_TRAIL = 16  # an object in one exposure only that is no hit
IGNORE_BRIGHTER = 32  # perhaps a hit: a pixel of a source that is brighter than in the others, or they are shallower
IGNORE_STATIC = 64  # beside IGNORE_HOT: bright at one place of the detector in all exposures, so no hit
CLASSES = ("0m4", "1m0", "2m0")  # telescope classes
ENDING = "_masks.fits"
SIMULATED = "SIMULATD"  # card that marks simulated exposures and files
# Keywords that are not copied: astropy writes them itself, or they describe the original file.
STRUCTURE: tuple[str, ...] = (
    "SIMPLE",
    "XTENSION",
    "BITPIX",
    "NAXIS",
    "PCOUNT",
    "GCOUNT",
    "EXTEND",
    "BSCALE",
    "BZERO",
    "BLANK",
    "ZBLANK",
    "CHECKSUM",
)
STRUCTURE += ("DATASUM", "EXTNAME", "EXTVER", "TFIELDS", "TTYPE", "TFORM", "INHERIT")


@dataclass(frozen=True, eq=False)
class Exposure:
    """A frame, and the header of the image that it was read from, with its WCS and other cards."""

    frame: Frame
    header: fits.Header

    @property
    def simulated(self) -> bool:
        """Whether the header marks the exposure as simulated."""
        return bool(self.header.get(SIMULATED, False))


@dataclass(frozen=True, eq=False)
class MaskedSequence:
    """Exposures of one field in order of time, with masks of their hits.

    Attributes
    ----------
    exposures : tuple of Exposure
        Exposures of the same shape (H, W).
    hits : tuple of ndarray (H, W), bool
        Masks of the hits (HDUs CR), not dilated.
    ignore : tuple of ndarray (H, W), uint8
        Bits of pixels that are not labelled (HDUs IGNORE): :data:`IGNORE_BOUNDARY`, :data:`IGNORE_NO_DATA`,
        :data:`IGNORE_SOURCE`, :data:`IGNORE_HOT`, :data:`IGNORE_TRAIL`, :data:`IGNORE_BRIGHTER` and
        :data:`IGNORE_STATIC`.
    catalogue : ndarray (N,)
        Sources, with the fields ``x``, ``y`` (FITS pixels, of the middle frame) and ``flux`` (electrons).
    notes : tuple of str
        Messages from the comparison of the exposures; not written to files.
    """

    exposures: tuple[Exposure, ...]
    hits: tuple[NDArray[np.bool_], ...]
    ignore: tuple[NDArray[np.uint8], ...]
    catalogue: NDArray[np.void] = field(default_factory=lambda: catalogue_of([], [], []))
    notes: tuple[str, ...] = ()

    @property
    def data_origin(self) -> DataOrigin:
        """Data origin: simulated if any header says so, whatever the file's name."""
        return "simulated" if any(exposure.simulated for exposure in self.exposures) else "real"


def catalogue_of(x: Any, y: Any, flux: Any) -> NDArray[np.void]:
    """Make a table of sources from its columns."""
    rows = np.zeros(len(x), [("x", float), ("y", float), ("flux", float)])
    rows["x"], rows["y"], rows["flux"] = x, y, flux
    return rows


def border(shape: tuple[int, int], width: int) -> NDArray[np.uint8]:
    """Make an IGNORE mask (H, W) with :data:`IGNORE_BOUNDARY` in ``width`` rows and columns at each side."""
    ignore = np.full(shape, IGNORE_BOUNDARY, np.uint8)
    ignore[width : shape[0] - width, width : shape[1] - width] = 0
    return ignore


def telescope_class(path: Path, header: Mapping[str, Any]) -> str:
    """Find the class of an LCO telescope by file name (coj0m403-...) or TELID; empty for other telescopes."""
    words = (path.name[3:6], str(header.get("TELID", ""))[:3])
    return next((word for word in words if word in CLASSES), "")


def read_sequence(path: Path) -> MaskedSequence:
    """Read a file in the format of the data set, with any number of frames.

    If SATURATE is missing, the full well of the telescope class (:mod:`cosmicgate.data.simulation.ccd`) is used. The
    catalogue is not read.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, truncated or in another format; the message says what was expected.
    """
    with defects_logged(path), open_fits(path) as hdus:
        primary = hdus[0].header.copy()
        names = [hdu.name.strip().upper() for hdu in hdus]
        wanted = _wanted(primary)
        fits_well = bool(wanted) and names[: len(wanted)] == wanted
        images = [i for i, name in enumerate(wanted) if name not in ("PRIMARY", "CAT")] if fits_well else []
        headers = {i: hdus[i].header.copy() for i in images}
        arrays = {i: None if hdus[i].data is None else np.asarray(hdus[i].data) for i in images}
    if not wanted:
        given = primary.get("FRMTOTAL", "no FRMTOTAL")
        raise ValueError(f"{path}: expected the number of frames as FRMTOTAL of the primary header, found {given}")
    if not fits_well:
        raise ValueError(f"{path}: expected the HDUs {', '.join(wanted)}, found {', '.join(names)}")
    shapes = {None if array is None else array.shape for array in arrays.values()}
    shape = next(iter(shapes))
    if len(shapes) > 1 or shape is None or len(shape) != 2:
        raise ValueError(f"{path}: expected images of one shape, found {', '.join(sorted(map(str, shapes)))}")
    n = wanted.count("SCI")
    if primary.get(SIMULATED, False):  # applies to each frame of the file
        for i in range(1, n + 1):
            headers[i][SIMULATED] = True
    return MaskedSequence(
        exposures=tuple(exposure_of(path, i, arrays[i], headers[i]) for i in range(1, n + 1)),
        hits=tuple(np.asarray(arrays[i]) > 0 for i in range(3 + n, 3 + 2 * n)),
        ignore=tuple(np.asarray(arrays[i]).astype(np.uint8) for i in range(3 + 2 * n, 3 + 3 * n)),
    )


def _wanted(primary: fits.Header) -> list[str]:
    """List the names that the HDUs should have; empty if the header does not give the number of frames."""
    n = primary.get("FRMTOTAL")
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n < 1000:
        return []
    return ["PRIMARY", *["SCI"] * n, "VALID_MASK", "CAT", *["CR"] * n, *["IGNORE"] * n]


def exposure_of(path: Path, number: int, data: Any, header: fits.Header) -> Exposure:
    """Make an exposure from an HDU SCI; pixels that are not finite are marked bad and set to the median of the others.

    Raises
    ------
    ValueError
        If no pixel is finite, or a card is missing or not a number.
    """
    telescope = telescope_class(path, header)
    image = np.array(data, np.float32)
    bad = ~np.isfinite(image)
    if bad.all():
        raise ValueError(f"{path}: no pixel of frame {number} is a number")
    image[bad] = np.median(image[~bad])
    name = str(header.get("FILENAME", "")) or f"{path.name.removesuffix(ENDING)}-{number}"
    try:
        cards = {word: header_value(header, word) for word in ("GAIN", "RDNOISE", "EXPTIME")}
        if None in cards.values():
            raise KeyError(", ".join(word for word, value in cards.items() if value is None))
        gain, read_noise, exptime = (float(value) for value in cards.values())
        full = header_value(header, "SATURATE") or _full_well(telescope) / (gain or 1)
        frame = Frame(
            image=image,
            gain=gain,
            read_noise=read_noise,
            saturation=float(full),
            exptime=exptime,
            band=str(header.get("FILTER", ""))[:1],
            name=name,
            bad=bad,
            telescope=telescope,
        )
    except KeyError as error:
        raise ValueError(
            f"{path}: frame {number}: expected GAIN, RDNOISE and EXPTIME, found no {error.args[0]}"
        ) from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: frame {number}: {error}") from error
    return Exposure(frame, header)


def _full_well(telescope: str) -> float:
    """Look up the full well (electrons) of a telescope class; for other telescopes, more than any CCD holds."""
    return CCDS[telescope].saturation * CCDS[telescope].gain if telescope in CCDS else 1e6


def write_sequence(sequence: MaskedSequence, path: Path, cards: Mapping[str, Any] | None = None) -> None:
    """Write a file in the format of the data set, atomically.

    Parameters
    ----------
    sequence : MaskedSequence
        Any number of exposures with their masks.
    path : Path
        File to write; its name should end in ``_masks.fits``, which the data module searches for.
    cards : mapping, optional
        Further cards of the primary header: keyword -> value, or (value, comment).
    """
    primary = fits.Header()
    primary["ALIGNED"] = (False, "each frame has its own pixels")
    primary["FRMTOTAL"] = (len(sequence.exposures), "frames")
    if sequence.data_origin == "simulated":
        primary[SIMULATED] = (True, "not seen by a telescope")
    primary.update(cards or {})
    headers = [science_header(exposure) for exposure in sequence.exposures]
    hdus = fits.HDUList([fits.PrimaryHDU(header=primary)])
    for version, (exposure, header) in enumerate(zip(sequence.exposures, headers, strict=True)):
        hdus.append(_compressed(exposure.frame.image, "SCI", header, version))
    valid = np.all([(ignore & IGNORE_NO_DATA) == 0 for ignore in sequence.ignore], axis=0)
    hdus.append(_compressed(valid.astype(np.uint8), "VALID_MASK", fits.Header(), 1))
    hdus.append(fits.BinTableHDU(sequence.catalogue, name="CAT"))
    for name, masks in (("CR", sequence.hits), ("IGNORE", sequence.ignore)):
        for mask, header in zip(masks, headers, strict=True):
            hdus.append(_compressed(mask.astype(np.uint8), name, header, 0))
    with atomic_path(path) as partial:
        hdus.writeto(partial)


def science_header(exposure: Exposure) -> fits.Header:
    """Copy the header of an exposure, add the fields of its frame, and drop cards that describe the original file.

    Cards that violate the standard and cannot be repaired, as by a keyword with a point, are dropped too.
    """
    header, frame = fits.Header(), exposure.frame
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        for card in exposure.header.cards:
            if card.keyword and not card.keyword.startswith(STRUCTURE):
                with contextlib.suppress(fits.VerifyError):
                    card.verify("silentfix")
                    header.append(fits.Card.fromstring(str(card)))  # as repaired
    header["BUNIT"] = "adu"  # the frame may have been read from a rate
    header["GAIN"] = (frame.gain, "electrons per ADU")
    header["RDNOISE"] = (frame.read_noise, "electrons")
    header["SATURATE"] = (frame.saturation, "ADU")
    header["EXPTIME"] = (frame.exptime, "seconds")
    header["FILTER"] = header.get("FILTER", frame.band)
    header["FILENAME"] = frame.name.encode("ascii", "replace").decode()  # FITS headers are ASCII
    return header


def _compressed(data: NDArray[Any], name: str, header: fits.Header, version: int) -> fits.CompImageHDU:
    """Compress an image without loss, including float images."""
    how: dict[str, Any] = {"compression_type": "RICE_1"}
    if data.dtype.kind == "f":
        how = {"compression_type": "GZIP_2", "quantize_level": 0}
    hdu = fits.CompImageHDU(data, header, name=name, **how)
    hdu.header["EXTVER"] = version  # as in the data set: 0 to n - 1 for SCI, 0 for each mask
    return hdu
