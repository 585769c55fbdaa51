"""Identify the camera of an image: a name for tables, and a key of frames whose pixels can be compared."""

import re
from collections.abc import Sequence
from pathlib import Path

from astropy.io import fits

from cosmicgate.io.fits.hdus import header_value
from cosmicgate.io.fits.headers import first_header_value
from cosmicgate.io.fits.instruments import telescope_of

CAMERA_KEYWORDS = ("INSTRUME", "CAMERA", "DETECTOR", "TELESCOP")  # the first with a meaningful value names the camera
DETECTOR_KEYWORDS = ("DETECTID", "DETECTOR", "CCDNAME", "CCDNUM", "EXTNAME", "DETSERNO", "SERIALNO")
BINNING_KEYWORDS = ("XBINNING", "YBINNING", "CCDSUM", "BINNING")
WINDOW_KEYWORDS = ("XORGSUBF", "YORGSUBF", "CCDSEC", "DETSEC", "TRIMSEC", "ROI", "SUBRECT", "LTV1", "LTV2")
MEANINGLESS = {"", "unknown", "none", "n/a", "ccd", "camera", "image"}
RESERVED = ("decam", "lco")  # names of data sets with published scores


def camera_name(headers: Sequence[fits.Header], path: Path) -> str:
    """Derive a camera's name from the headers or else the folder: lower-case letters, digits, ``.``, ``-`` and ``_``.

    Only DECam's name begins with ``decam``, and none with ``lco``, so that tables cannot confuse a camera with these.
    """
    if telescope_of(headers, path) == "decam":
        return "decam"
    texts = [str(first_header_value(headers, word) or "") for word in CAMERA_KEYWORDS] + [path.absolute().parent.name]
    names = [re.sub(r"[^a-z0-9._-]+", "-", text.strip().lower()).strip("-._") for text in texts]
    name = next((name for name in names if name not in MEANINGLESS), "camera")
    return f"camera-{name}" if name.startswith(RESERVED) else name


def detector_of(headers: Sequence[fits.Header], path: Path, shape: tuple[int, ...]) -> tuple[str, ...]:
    """Build a key of detector, binning and window; pixels of images with the same key can be compared."""
    words = (*DETECTOR_KEYWORDS, *BINNING_KEYWORDS, *WINDOW_KEYWORDS)
    values = [
        next((str(found).strip() for h in headers if (found := header_value(h, word)) is not None), "")
        for word in words
    ]
    return (camera_name(headers, path), str(tuple(shape)), *values)
