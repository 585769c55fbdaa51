"""Which HDUs are masks or weights, and which of a mask's flags mean a bad pixel."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
PRODUCTS = frozenset({"dqmask", "wtmap", "expmap"})  # the archive's PRODTYPE of a file of masks or weights


def words_of(name: str) -> set[str]:
    """Return the words of an EXTNAME: 'DQ_N4' is a DQ."""
    return set(re.split(r"[^A-Z]+", name.upper()))


def whose(name: str) -> str:
    """Return what is left of an EXTNAME without what kind of plane it is: 'N4' of 'DQ_N4', '1' of 'SCI1' and 'ERR1'."""
    parts = re.findall(r"[A-Z]+|[0-9]+", name.upper())
    return " ".join(part for part in parts if part not in MASKS | OTHERS | IMAGES)


def bad_pixels(flags: NDArray[Any], name: str, telescope: str) -> NDArray[np.bool_]:
    """Return which pixels (H, W) a mask calls bad. Saturated pixels and the hits that a pipeline found are not.

    DECam: :func:`decam_flags`. BPM of LCO's pipeline: 1 bad and 4 dark in the flat; 2 saturated and 8 hit are left.
    Elsewhere all that is not zero.
    """
    whole = np.nan_to_num(flags, nan=1, posinf=1, neginf=1).astype(np.int64) if flags.dtype.kind == "f" else flags
    if telescope == "decam" and "BPM" not in words_of(name):
        return decam_flags(whole)[0]
    if telescope in ("0m4", "1m0", "2m0") and "BPM" in words_of(name):
        return np.asarray(whole.astype(np.int64) & ~(2 | 8) != 0)
    return np.asarray(whole != 0)


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
