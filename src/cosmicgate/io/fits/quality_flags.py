"""Flag hits in a file's own quality plane, with the bit or code that its pipeline uses for cosmic rays."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.fits.hdus import FitsError, header_value
from cosmicgate.io.fits.images import ImageExtension, masks_beside
from cosmicgate.io.fits.instruments import telescope_of
from cosmicgate.io.fits.masks import decam_codes, words_of

# Value of a hit in each pipeline's own table (sources in docs/masking.md); None: it depends on the file.
PIPELINES: dict[str, int | None] = {"HST": 4096, "JWST": 4, "DECAM": None, "BANZAI": 8, "GEMINI": 8, "RUBIN": None}
SYNONYMS = {"ACS": "HST", "WFC3": "HST", "LCO": "BANZAI", "LSST": "RUBIN", "HSC": "RUBIN", "CR": "RUBIN"}
DECAM_CODE, DECAM_BIT = 5, 16
# Words in the names of static masks; a DQ plane beside one takes precedence.
STATIC_MASK_WORDS = frozenset({"BPM", "BADPIX", "MASK", "MSK"})
MAX_EXACT = 2**53  # largest range of exact integers in float64, in which tiles are patched


@dataclass(frozen=True, eq=False)
class QualityPlane:
    """Quality plane of an image, and the flag that marks a hit in it.

    Attributes
    ----------
    number : int
        Number of its HDU.
    name : str
        EXTNAME.
    flags : ndarray (H, W), int or uint
        Flags as stored in the file.
    value : int
        Flag of a hit.
    is_code : bool
        Whether flags are codes, of which a pixel has only one: a hit is then written only where the code is 0.
        Otherwise they are bits.
    blank : int, optional
        Value that means "undefined" (BLANK); it is never overwritten.
    """

    number: int
    name: str
    flags: NDArray[Any]
    value: int
    is_code: bool = False
    blank: int | None = None

    def with_hits(self, hits: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Flag hits (H, W).

        Returns
        -------
        where : ndarray (H, W), bool
            Pixels whose value changes; other codes and BLANK are never overwritten.
        values : ndarray (P,), same dtype as ``flags``
            New values of these pixels.
        """
        value = self.flags.dtype.type(self.value)
        after = np.full_like(self.flags, value) if self.is_code else self.flags | value
        free = self.flags == 0 if self.is_code else self.flags != after
        where = hits & free if self.blank is None else hits & free & (self.flags != self.blank)
        return where, after[where]

    def count_unflaggable(self, hits: NDArray[np.bool_]) -> int:
        """Count the hits (H, W) that cannot be flagged because another code or BLANK is there."""
        kept = (self.flags != 0) & (self.flags != self.value) if self.is_code else np.zeros(hits.shape, bool)
        kept |= self.flags == self.blank if self.blank is not None else False
        return int((hits & kept).sum())


def validated_bit(text: str) -> str:
    """Validate a bit given as the name of a pipeline or as a value, and resolve synonyms of pipelines.

    Raises
    ------
    ValueError
        It is neither a known pipeline nor the value of one bit.
    """
    name = text.strip().upper()
    if name in PIPELINES or name in SYNONYMS:
        return SYNONYMS.get(name, name)
    if re.fullmatch(r"[+-]?\d+", name) is None:
        known = ", ".join([*PIPELINES, *SYNONYMS])
        raise ValueError(f"{text!r} is not a known pipeline: expected {known}, or the value of a bit, such as 4096")
    value = int(name)
    if value != DECAM_CODE and (value < 1 or value & (value - 1)):
        raise ValueError(
            f"{text} is not the value of one bit: expected 1, 2, 4, 8 ...; bit number n has the value 2**n"
        )
    return str(value)


def quality_plane(
    path: Path, hdus: fits.HDUList, extension: ImageExtension, images: Sequence[ImageExtension], bit: str
) -> QualityPlane:
    """Read the quality plane of one of the ``images`` of a file, and determine the flag of a hit in it.

    Parameters
    ----------
    path, hdus : Path, HDUList
        The file.
    extension : ImageExtension
        HDU of the image.
    images : sequence of ImageExtension
        All images of the file.
    bit : str
        Pipeline or value of a bit, as returned by :func:`validated_bit`.

    Raises
    ------
    FitsError
        There is no quality plane or more than one, it holds real numbers, the value does not fit into its type, or the
        plane is known to be of another pipeline.
    """
    number = quality_hdu(path, hdus, extension, images)
    hdu = hdus[number]
    flags, blank = _flags(hdu)
    where = f"{path}: --set-bit {bit}: {hdu.name}"
    if flags.dtype.kind not in "iu":
        raise FitsError(f"{where} has floating-point numbers ({flags.dtype}), expected integers: flags are bits")
    if flags.astype(np.float64).max(initial=0) > MAX_EXACT:
        raise FitsError(f"{where} has numbers beyond 2**53, which cannot be changed exactly")
    headers = (hdu.header, *extension.headers)
    value, is_code = _value(where, bit, _pipeline(path, headers), headers, flags)
    if value > np.iinfo(flags.dtype).max:
        raise FitsError(f"{where} can hold at most {np.iinfo(flags.dtype).max} ({flags.dtype}): {value} does not fit")
    return QualityPlane(number, hdu.name, flags, value, is_code, blank)


def quality_hdu(path: Path, hdus: fits.HDUList, extension: ImageExtension, images: Sequence[ImageExtension]) -> int:
    """Find the HDU number of an image's quality plane; a DQ plane takes precedence over a static bad-pixel mask.

    Raises
    ------
    FitsError
        There is no quality plane or more than one.
    """
    found = [i for i in masks_beside(hdus, extension, images) if hdus[i].shape[-2:] == extension.shape]
    first = [i for i in found if not words_of(hdus[i].name) & STATIC_MASK_WORDS] or found
    if len(first) == 1:
        return first[0]
    names = f": {', '.join(hdus[i].name for i in first)}" * bool(first)
    raise FitsError(f"{path}: --set-bit: expected one quality plane for {extension.label}, found {len(first)}{names}")


def _pipeline(path: Path, headers: Sequence[fits.Header]) -> str:
    """Identify the pipeline that wrote a file's flags by the headers; empty if unknown."""
    if any(word.startswith("MP_") for header in headers for word in header):
        return "RUBIN"
    if telescope := telescope_of(headers, path):
        return "DECAM" if telescope == "decam" else "BANZAI"
    names = [str(header_value(header, "TELESCOP") or "").strip().upper() for header in headers]
    return next((one for one in ("HST", "JWST", "GEMINI") if any(name.startswith(one) for name in names)), "")


def _value(
    where: str, bit: str, pipeline: str, headers: Sequence[fits.Header], flags: NDArray[Any]
) -> tuple[int, bool]:
    """Determine the value of a hit, and whether it is a code."""
    if bit in PIPELINES and pipeline not in ("", bit):
        raise FitsError(f"{where} has the flags of {pipeline}: use --set-bit {pipeline}, or a number")
    if pipeline == "DECAM" or bit in ("DECAM", str(DECAM_CODE)):
        return _value_of_decam(where, bit, headers, flags)
    if bit == "RUBIN":
        plane = next((found for header in headers if isinstance(found := header_value(header, "MP_CR"), int)), None)
        if plane is None:
            raise FitsError(f"{where} has no card MP_CR, which gives the number of the bit")
        return 1 << plane, False
    return PIPELINES.get(bit) or int(bit), False


def _value_of_decam(where: str, bit: str, headers: Sequence[fits.Header], flags: NDArray[Any]) -> tuple[int, bool]:
    """Determine the code or bit of NOIRLab's pipeline: values above 8 are bits, else the version (PLVER) decides."""
    codes = decam_codes(flags, headers)
    if bit == "DECAM" and codes is None:
        raise FitsError(f"{where} has codes or bits (no PLVER says which): use --set-bit {DECAM_CODE} or {DECAM_BIT}")
    if bit == "DECAM":
        return (DECAM_CODE, True) if codes else (DECAM_BIT, False)
    if bit == str(DECAM_CODE) and codes is not False:
        return DECAM_CODE, True
    if bit == str(DECAM_CODE):
        raise FitsError(f"{where} has bits, of which a hit is {DECAM_BIT}: use --set-bit {DECAM_BIT}")
    if codes:
        raise FitsError(f"{where} has codes, of which a hit is {DECAM_CODE}: use --set-bit {DECAM_CODE}")
    return int(bit), False


def _flags(hdu: Any) -> tuple[NDArray[Any], int | None]:
    """Read flags (H, W) as stored, in native byte order, and the value of BLANK, which astropy converts to NaN."""
    data = np.asarray(hdu.data).reshape(hdu.shape[-2:])
    del hdu.data
    bits, blank, zero, scale = (header_value(hdu.header, word) for word in ("BITPIX", "BLANK", "BZERO", "BSCALE"))
    if not isinstance(blank, int) or bits < 0 or scale not in (None, 1):
        return data.astype(data.dtype.newbyteorder("=")), None
    blank += int(zero or 0)
    unsigned = bits == 8 or zero == 2 ** (bits - 1)
    return np.nan_to_num(data, nan=blank).astype(f"{'u' * unsigned}int{bits}"), blank
