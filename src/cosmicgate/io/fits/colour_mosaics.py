"""Detect colour mosaics by their headers: sensors whose neighbouring pixels lie behind filters of different colours."""

import re
from collections.abc import Sequence
from typing import Any

from astropy.io import fits

from cosmicgate.io.fits.hdus import FitsError, first_header_value, header_value

# Keywords of the pattern, as camera software writes them: BAYERPAT, BAYRPAT, BAYERTYP, CFAPAT, CFA-PATTERN, COLORTYP.
WORD = re.compile(r"(BAYE?R?|CFA)([-_ ]?(PAT(T|TERN)?|TYPE?|MAT|MATRIX|MASK))?|COLOU?R?[-_ ]?(TYPE?|PAT(T|TERN)?)")
COLOUR = frozenset({"TRUE", "T", "YES", "BAYER", "OSC", "COLOR", "COLOUR", "CFA"})  # values for any mosaic
PATTERNS = {"".join(sorted(one)) for one in ("RGGB", "CMYG", "RGBW", "RGBE", "RGBC", "RCCB", "RYYB", "RCCG", "CYYM")}
LARGER_PATTERN = re.compile(r"X-?TRANS|[RGBW]{16}|[RGB]{36}")  # patterns of 4x4 or 6x6 pixels
BINNINGS = ("XBINNING", "YBINNING", "BINX", "BINY", "CCDXBIN", "CCDYBIN")


def mosaic_of(headers: Sequence[fits.Header]) -> str:
    """Find the card that gives the colour pattern of an image in its headers.

    Each of the four pixels of a 2x2 square is treated as a colour of its own, so neither their order nor the origin of
    the pattern (XBAYROFF, ROWORDER) matters. The first keyword with a known value counts.

    Returns
    -------
    str
        Card such as ``"BAYERPAT = 'RGGB'"``; empty if the image is no mosaic.

    Raises
    ------
    FitsError
        The pattern is larger than 2x2 pixels (X-Trans).
    """
    for header in headers:
        for word in dict.fromkeys(header):
            if not WORD.fullmatch(str(word).upper()):
                continue
            value = header_value(header, word)
            text = _letters(value)
            if LARGER_PATTERN.search(re.sub(r"[^A-Z-]", "", text)):
                larger = "its colour pattern is larger than 2x2 pixels: separate its colours first"
                raise FitsError(f"{word} = {value!r}: {larger}, or override the header with --no-mosaic")
            if text in COLOUR or _is_pattern(text):
                return f"{word} = {value!r}"
    value = first_header_value(headers, "FILTER")
    return f"FILTER = {value!r}" if sorted(_letters(value)) == list("BGGR") else ""


def is_binned(headers: Sequence[fits.Header]) -> bool:
    """Return True if a binning keyword is greater than 1."""
    for word in BINNINGS:
        value = first_header_value(headers, word)
        if isinstance(value, int | float) and value > 1:
            return True
    return False


def _letters(value: Any) -> str:
    """Convert a value to upper case, without quotes, brackets and surrounding blanks."""
    return re.sub(r"[\s'\"\[\]()]+", " ", str("" if value is None else value)).strip().upper()


def _is_pattern(text: str) -> bool:
    words = re.findall("[A-Z]+", text)
    return any("".join(sorted(word)) in PATTERNS for word in (*words, "".join(words)))
