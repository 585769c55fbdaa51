"""Which HDUs are masks or weights, and which of a mask's flags mean a bad pixel."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.hdus import said

# Words in the EXTNAME of what is no image of the sky.
MASKS = frozenset({"DQ", "DQM", "BPM", "MASK", "MSK", "QUAL", "QUALITY", "FLAG", "FLAGS", "BADPIX"})
OTHERS = frozenset(
    {
        "HITS",
        "CR",
        "CRMASK",
        "CRPROB",
        "IGNORE",
        "VALID",
        "SEG",
        "SEGMENTATION",
        "PROBABILITY",
    }  # ours, and data sets of labels
    | {
        "WGT",
        "WT",
        "WEIGHT",
        "WHT",
        "IVAR",
        "INVVAR",
        "VAR",
        "VARIANCE",
        "ERR",
        "ERROR",
        "ERRS",
        "SIGMA",
        "STAT",
        "RMS",
    }
    | {"UNCERT", "UNCERTAINTY", "STDDEV", "EXPMAP", "CON", "CTX", "SAMP", "TIME", "BKG", "BACKGROUND", "SKY", "MODEL"}
    # Maps and tables of HST, JWST and DRAGONS that are stored as images.
    | {"IMARR", "WCSDVARR", "OBJMASK", "AREA", "WAVELENGTH", "PATHLOSS", "PSF", "COVERAGE"}
)
IMAGES = frozenset({"SCI", "SCIENCE", "IMAGE", "IM", "DATA", "CCD", "CHIP"})  # words of images that tell none apart
RUBIN = frozenset({"BAD", "INTRP", "EDGE", "NO_DATA", "SENSOR_EDGE", "UNMASKEDNAN", "VIGNETTED", "CLIPPED", "REJECTED"})
# Begin of TELESCOP -> the bits of its masks for saturated pixels and for hits that a pipeline found.
NOT_BAD = {"hst": 256 | 2048 | 4096 | 8192, "jwst": 2 | 4, "gemini": 2 | 4 | 8}
PRODUCTS = frozenset({"dqmask", "wtmap", "expmap"})  # the archive's PRODTYPE of a file of masks or weights


def words_of(name: str) -> set[str]:
    """Return the words of an EXTNAME: 'DQ_N4' is a DQ."""
    return set(re.split(r"[^A-Z]+", name.upper()))


def whose(name: str) -> str:
    """Return what is left of an EXTNAME without what kind of plane it is: 'N4' of 'DQ_N4', '1' of 'SCI1' and 'ERR1'."""
    parts = re.findall(r"[A-Z]+|[0-9]+", name.upper())
    return " ".join(part for part in parts if part not in MASKS | OTHERS | IMAGES)


def bad_pixels(
    flags: NDArray[Any], name: str, telescope: str, headers: Sequence[fits.Header] = ()
) -> NDArray[np.bool_]:
    """Return which pixels (H, W) a mask calls bad. Saturated pixels and the hits that a pipeline found are not.

    DECam: :func:`decam_flags`. BPM of LCO's pipeline: 1 bad and 4 dark in the flat; 2 saturated and 8 hit are left.
    Masks of Rubin's pipeline name their bits in the header (MP_BAD = 0): those of :data:`RUBIN` count, and no source
    that was detected. HST, JWST, Gemini: without the bits of :data:`NOT_BAD`. Elsewhere all that is not zero.

    Parameters
    ----------
    flags : ndarray (H, W)
        As the file has them.
    name : str
        EXTNAME of the mask.
    telescope : str
        As :func:`~cosmicgate.data.fits.instruments.telescope_of` calls it.
    headers : sequence of Header
        Of the mask, of the image and of the file.
    """
    whole = _whole(flags)
    named = {word[3:]: said(header, word) for header in headers for word in header if word.startswith("MP_")}
    if named:  # whatever the telescope: Rubin's pipeline reduces DECam's frames as well
        bits = sum(1 << bit for plane, bit in named.items() if plane in RUBIN and isinstance(bit, int))
        return np.asarray(whole.astype(np.int64) & bits != 0)
    if telescope == "decam" and "BPM" not in words_of(name):
        return decam_flags(whole)[0]
    if telescope in ("0m4", "1m0", "2m0") and "BPM" in words_of(name):
        return np.asarray(whole.astype(np.int64) & ~(2 | 8) != 0)
    telescopes = [str(said(header, "TELESCOP") or "").lower() for header in headers]
    left = next((bits for begin, bits in NOT_BAD.items() if any(one.startswith(begin) for one in telescopes)), 0)
    return np.asarray(whole.astype(np.int64) & ~left != 0)


def _whole(flags: NDArray[Any]) -> NDArray[Any]:
    """Return flags as whole numbers: what a resampled mask has between them is rounded away from none."""
    if flags.dtype.kind != "f":
        return flags
    whole: NDArray[Any] = np.ceil(np.nan_to_num(np.abs(flags), nan=1, posinf=1)).clip(max=2**62).astype(np.int64)
    return whole


def decam_flags(flags: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the bad pixels and the hits of a DECam mask (H, W).

    Up to version 3.5 the community pipeline, like the Dark Energy Survey's, wrote bits (1 bad, 2 saturated,
    4 interpolated, 8 no signal, 16 hit, 64 bleeding, 512 edge), since then codes (1 bad, 2 no value, 3 saturated,
    4 bleeding, 5 hit, 6 little weight, 7 differs, 8 streak). Around V3.5.3 only the values tell which.
    """
    whole = flags.astype(np.int64)
    if whole.max(initial=0) > 8:
        return whole & (1 | 4 | 8 | 512) != 0, whole & 16 != 0
    return np.isin(whole, (1, 2)), whole == 5
