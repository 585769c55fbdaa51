"""The files of the LCO cosmic-ray data set (Zenodo 5034763): a run of exposures of one field, with masks of their hits.

HDUs go by number, for EXTVER repeats. With n = FRMTOTAL of the primary header: 1 to n SCI (float32), n + 1 VALID_MASK
(uint8), n + 2 CAT (table), 3 + n on CR (uint8), 3 + 2 n on IGNORE (uint8, the bits below). Images are tile-compressed.

In the data set the frames of a file are resampled to the pixels of the middle one (nearest neighbour). What is written
here is not resampled: each frame keeps its own pixels and its own WCS, and ALIGNED is false.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.fits.hdus import opened, said
from cosmicgate.data.simulate.ccd import CCDS
from cosmicgate.data.sources import Provenance
from cosmicgate.files import whole

BOUNDARY, NO_DATA, SOURCE, HOT = 1, 2, 4, 8  # the bits of IGNORE
CLASSES = ("0m4", "1m0", "2m0")  # of telescopes
ENDING = "_masks.fits"
SIMULATED = "SIMULATD"  # card of all that was not seen by a telescope
# What astropy writes itself, or what described the file that a header was read from.
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
    """A frame and the header of the image that it was read from, which has its WCS and what else is known of it."""

    frame: Frame
    header: fits.Header

    @property
    def simulated(self) -> bool:
        """Whether its header says so."""
        return bool(self.header.get(SIMULATED, False))


@dataclass(frozen=True, eq=False)
class MaskedSequence:
    """Exposures of one field, in their order, and what is known of their hits.

    Attributes
    ----------
    exposures : tuple of Exposure
        All of one shape (H, W).
    hits : tuple of ndarray (H, W), bool
        CR: where a hit is. It is not dilated.
    ignore : tuple of ndarray (H, W), uint8
        IGNORE: bits :data:`BOUNDARY`, :data:`NO_DATA`, :data:`SOURCE` and :data:`HOT`; there CR says nothing.
    catalogue : ndarray (N,)
        Sources, with the fields ``x``, ``y`` (FITS pixels, of the middle frame) and ``flux`` (electrons).
    """

    exposures: tuple[Exposure, ...]
    hits: tuple[NDArray[np.bool_], ...]
    ignore: tuple[NDArray[np.uint8], ...]
    catalogue: NDArray[np.void] = field(default_factory=lambda: catalogue_of([], [], []))

    @property
    def provenance(self) -> Provenance:
        """Simulated if any of its exposures is: the header tells, never the name."""
        return "simulated" if any(exposure.simulated for exposure in self.exposures) else "real"


def catalogue_of(x: Any, y: Any, flux: Any) -> NDArray[np.void]:
    """Return a table of sources from its columns."""
    rows = np.zeros(len(x), [("x", float), ("y", float), ("flux", float)])
    rows["x"], rows["y"], rows["flux"] = x, y, flux
    return rows


def border(shape: tuple[int, int], width: int) -> NDArray[np.uint8]:
    """Return IGNORE (H, W) with :data:`BOUNDARY` in ``width`` rows and columns at each side."""
    ignore = np.full(shape, BOUNDARY, np.uint8)
    ignore[width : shape[0] - width, width : shape[1] - width] = 0
    return ignore


def telescope_class(path: Path, header: Mapping[str, Any]) -> str:
    """Return the class of an LCO telescope by the file's name (coj0m403-...), else by TELID; empty for another's."""
    words = (path.name[3:6], str(header.get("TELID", ""))[:3])
    return next((word for word in words if word in CLASSES), "")


def read_sequence(path: Path) -> MaskedSequence:
    """Read a file of the layout, of any number of frames.

    SATURATE may be missing: then it is that of the class (:mod:`cosmicgate.data.simulate.ccd`), in electrons over GAIN.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is broken, cut short, or of another layout; says what was expected.
    """
    with opened(path) as hdus:
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
    if primary.get(SIMULATED, False):  # counts for each of its frames
        for i in range(1, n + 1):
            headers[i][SIMULATED] = True
    return MaskedSequence(
        exposures=tuple(exposure_of(path, i, arrays[i], headers[i]) for i in range(1, n + 1)),
        hits=tuple(np.asarray(arrays[i]) > 0 for i in range(3 + n, 3 + 2 * n)),
        ignore=tuple(np.asarray(arrays[i]).astype(np.uint8) for i in range(3 + 2 * n, 3 + 3 * n)),
    )


def _wanted(primary: fits.Header) -> list[str]:
    """Return the names that the HDUs should have; none if the header does not say how many frames there are."""
    n = primary.get("FRMTOTAL")
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n < 1000:
        return []
    return ["PRIMARY", *["SCI"] * n, "VALID_MASK", "CAT", *["CR"] * n, *["IGNORE"] * n]


def exposure_of(path: Path, number: int, data: Any, header: fits.Header) -> Exposure:
    """Make an exposure of an HDU SCI; what is not finite becomes bad and gets the median of the others."""
    telescope = telescope_class(path, header)
    image = np.array(data, np.float32)
    bad = ~np.isfinite(image)
    if bad.all():
        raise ValueError(f"{path}: no pixel of frame {number} is a number")
    image[bad] = np.median(image[~bad])
    name = str(header.get("FILENAME", "")) or f"{path.name.removesuffix(ENDING)}-{number}"
    try:
        told = {word: said(header, word) for word in ("GAIN", "RDNOISE", "EXPTIME")}
        if None in told.values():
            raise KeyError(", ".join(word for word, value in told.items() if value is None))
        gain, read_noise, exptime = (float(value) for value in told.values())
        full = said(header, "SATURATE") or _full_well(telescope) / (gain or 1)
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
    """Electrons; for a telescope that no table knows, more than any CCD holds."""
    return CCDS[telescope].saturation * CCDS[telescope].gain if telescope in CCDS else 1e6


def write_sequence(sequence: MaskedSequence, path: Path, cards: Mapping[str, Any] | None = None) -> None:
    """Write a file of the layout, whole or not at all.

    Parameters
    ----------
    sequence : MaskedSequence
        Of any number of exposures.
    path : Path
        Should end in ``_masks.fits``: that is what the reader looks for.
    cards : mapping, optional
        What else the primary header should say: keyword -> value, or (value, comment).
    """
    primary = fits.Header()
    primary["ALIGNED"] = (False, "each frame has its own pixels")
    primary["FRMTOTAL"] = (len(sequence.exposures), "frames")
    if sequence.provenance == "simulated":
        primary[SIMULATED] = (True, "not seen by a telescope")
    primary.update(cards or {})
    headers = [science_header(exposure) for exposure in sequence.exposures]
    hdus = fits.HDUList([fits.PrimaryHDU(header=primary)])
    for version, (exposure, header) in enumerate(zip(sequence.exposures, headers, strict=True)):
        hdus.append(_compressed(exposure.frame.image, "SCI", header, version))
    valid = np.all([(ignore & NO_DATA) == 0 for ignore in sequence.ignore], axis=0)
    hdus.append(_compressed(valid.astype(np.uint8), "VALID_MASK", fits.Header(), 1))
    hdus.append(fits.BinTableHDU(sequence.catalogue, name="CAT"))
    for name, masks in (("CR", sequence.hits), ("IGNORE", sequence.ignore)):
        for mask, header in zip(masks, headers, strict=True):
            hdus.append(_compressed(mask.astype(np.uint8), name, header, 0))
    with whole(path) as partial:
        hdus.writeto(partial)


def science_header(exposure: Exposure) -> fits.Header:
    """Return the header of an exposure with what its frame knows; without what described the old file."""
    header, frame = fits.Header(), exposure.frame
    for card in exposure.header.cards:
        if card.keyword and not card.keyword.startswith(STRUCTURE):
            header.append(card)
    header["BUNIT"] = header.get("BUNIT", "adu")
    header["GAIN"] = (frame.gain, "electrons per ADU")
    header["RDNOISE"] = (frame.read_noise, "electrons")
    header["SATURATE"] = (frame.saturation, "ADU")
    header["EXPTIME"] = (frame.exptime, "seconds")
    header["FILTER"] = header.get("FILTER", frame.band)
    header["FILENAME"] = frame.name.encode("ascii", "replace").decode()  # FITS knows no other letters
    return header


def _compressed(data: NDArray[Any], name: str, header: fits.Header, version: int) -> fits.CompImageHDU:
    """Compress an image without loss: floats too, so that what is read is what was written."""
    how: dict[str, Any] = {"compression_type": "RICE_1"}
    if data.dtype.kind == "f":
        how = {"compression_type": "GZIP_2", "quantize_level": 0}
    hdu = fits.CompImageHDU(data, header, name=name, **how)
    hdu.header["EXTVER"] = version  # as in the data set: 0 to n - 1 of SCI, 0 of each mask
    return hdu
