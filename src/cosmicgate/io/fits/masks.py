"""Recognise masks and weights by their names, and decide which flags of a mask mean a bad pixel."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.fits.hdus import header_value

MAX_CODE = 8  # highest code in a DECam mask
FIRST_CODES = (3, 5)  # version (PLVER) from which DECam's community pipeline writes codes
# Words in the EXTNAME of HDUs that are no image of the sky.
MASKS = frozenset({"DQ", "DQM", "BPM", "MASK", "MSK", "QUAL", "QUALITY", "FLAG", "FLAGS", "FLG", "BADPIX"})
OTHERS = frozenset(
    (
        # Written by this package, and planes of labelled data sets.
        *("HITS", "CR", "CRMASK", "CRPROB", "CRSTATIC", "IGNORE", "VALID", "SEG", "SEGMENTATION", "PROBABILITY"),
        *("TRUTH", "TOUCHED"),
        *("WGT", "WT", "WEIGHT", "WHT", "IVAR", "INVVAR", "VAR", "VARIANCE", "ERR", "ERROR", "ERRS", "SIGMA", "STAT"),
        *("RMS", "UNCERT", "UNCERTAINTY", "STDDEV", "EXPMAP", "CON", "CTX", "SAMP", "TIME"),
        *("BKG", "BACKGROUND", "SKY", "MODEL"),
        # Maps and tables of HST, JWST and DRAGONS that are stored as images.
        *("IMARR", "WCSDVARR", "OBJMASK", "AREA", "WAVELENGTH", "PATHLOSS", "PSF", "COVERAGE"),
    )
)
SCIENCE = frozenset({"SCI", "SCIENCE", "IMAGE", "DATA"})  # words of images
DETECTORS = frozenset({"IM", "CCD", "CHIP", "INT", "DET", "AMP"})  # words of images, and of planes beside them
IMAGES = SCIENCE | DETECTORS  # none of these distinguishes two images
# Words of planes that may also be the name of a target or a type of frame, and so of the only image in a file.
TARGETS = frozenset(
    {"SKY", "MODEL", "CR", "BKG", "BACKGROUND", "TIME", "CON", "AREA", "STAT", "HITS", "VALID", "IGNORE", "SEG"}
)
RUBIN = frozenset({"BAD", "INTRP", "EDGE", "NO_DATA", "SENSOR_EDGE", "UNMASKEDNAN", "VIGNETTED", "CLIPPED", "REJECTED"})
# Beginning of TELESCOP -> bits of its masks for saturated pixels and for hits found by the pipeline.
NOT_BAD = {"hst": 256 | 2048 | 4096 | 8192, "jwst": 2 | 4, "gemini": 2 | 4 | 8}
PRODUCTS = frozenset({"dqmask", "wtmap", "expmap"})  # PRODTYPE of the archive's files of masks or weights


def words_of(name: str) -> set[str]:
    """Split an EXTNAME into its words: 'DQ_N4' contains DQ."""
    return set(re.split(r"[^A-Z]+", name.upper()))


def image_suffix(name: str) -> str:
    """Remove the kind of plane from an EXTNAME: 'N 4' is left of 'DQ_N4', '1' of 'SCI1' and 'ERR1'."""
    parts = re.findall(r"[A-Z]+|[0-9]+", name.upper())
    return " ".join(part for part in parts if part not in MASKS | OTHERS | IMAGES)


def bad_pixels(
    flags: NDArray[Any], name: str, telescope: str, headers: Sequence[fits.Header] = ()
) -> NDArray[np.bool_]:
    """Find the pixels (H, W) that a mask calls bad; saturated pixels and hits found by a pipeline do not count as bad.

    DECam: see :func:`decam_flags`. BPM of LCO's pipeline: bits 1 (bad) and 4 (dark in the flat) count, 2 (saturated)
    and 8 (hit) do not. Rubin's pipeline names the bits in the header (MP_BAD = 0): those in :data:`RUBIN` count, but
    not those of detected sources. HST, JWST, Gemini: all bits but those in :data:`NOT_BAD`. Elsewhere: any value
    other than zero.

    Parameters
    ----------
    flags : ndarray (H, W)
        Values of the mask as stored in the file.
    name : str
        EXTNAME of the mask.
    telescope : str
        Name from :func:`~cosmicgate.io.fits.instruments.telescope_of`.
    headers : sequence of Header
        Headers of the mask, the image and the file.
    """
    whole = _to_integers(flags)
    named = {word[3:]: header_value(header, word) for header in headers for word in header if word.startswith("MP_")}
    if named:  # whatever the telescope: Rubin's pipeline reduces DECam's frames as well
        bits = sum(1 << bit for plane, bit in named.items() if plane in RUBIN and isinstance(bit, int))
        return np.asarray(whole.astype(np.int64) & bits != 0)
    if telescope == "decam" and "BPM" not in words_of(name):
        return decam_flags(whole, headers)[0]
    if telescope in ("0m4", "1m0", "2m0") and "BPM" in words_of(name):
        return np.asarray(whole.astype(np.int64) & ~(2 | 8) != 0)
    telescopes = [str(header_value(header, "TELESCOP") or "").lower() for header in headers]
    left = next((bits for begin, bits in NOT_BAD.items() if any(one.startswith(begin) for one in telescopes)), 0)
    return np.asarray(whole.astype(np.int64) & ~left != 0)


def _to_integers(flags: NDArray[Any]) -> NDArray[Any]:
    """Convert flags to integers; the fractional values of a resampled mask are rounded up, NaN becomes 1."""
    if flags.dtype.kind != "f":
        return flags
    whole: NDArray[Any] = np.ceil(np.nan_to_num(np.abs(flags), nan=1, posinf=1)).clip(max=2**62).astype(np.int64)
    return whole


def decam_flags(flags: NDArray[Any], headers: Sequence[fits.Header]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Find the bad pixels and the hits of a DECam mask (H, W), of an image with these headers.

    The values are bits (1 bad, 2 saturated, 4 interpolated, 8 no signal, 16 hit, 64 bleeding, 512 edge) or codes
    (1 bad, 2 no value, 3 saturated, 4 bleeding, 5 hit, 6 low weight, 7 differs, 8 streak), see :func:`decam_codes`.
    Without a version in the headers they are codes.
    """
    whole = flags.astype(np.int64)
    if decam_codes(whole, headers) is False:
        return whole & (1 | 4 | 8 | 512) != 0, whole & 16 != 0
    return np.isin(whole, (1, 2)), whole == 5


def decam_codes(flags: NDArray[Any], headers: Sequence[fits.Header]) -> bool | None:
    """Check whether a DECam mask (H, W) has codes, not bits; None if neither its values nor the headers say so.

    Up to version 3.5 the community pipeline, like the Dark Energy Survey's, wrote bits, since then codes. Around V3.5.3
    only the values show which: above 8 they are bits.
    """
    if int(flags.max(initial=0)) > MAX_CODE:
        return False
    text = next((str(one) for header in headers if (one := header_value(header, "PLVER")) is not None), "")
    version = re.search(r"(\d+)\.(\d+)", text)
    return (int(version[1]), int(version[2])) >= FIRST_CODES if version else None
