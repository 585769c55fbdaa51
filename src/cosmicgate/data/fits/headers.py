"""From the headers of an image to the fields of a frame: gain, read noise, saturation, exposure, unit, band, name."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits

from cosmicgate.data.fits.hdus import FitsError, said, stem
from cosmicgate.data.fits.instruments import KEYWORDS, stand_in, telescope_of

log = logging.getLogger(__name__)

MAY_BE_ZERO = ("read_noise", "exptime")  # of a made image and of a bias
RATE = re.compile(r"(/s|/secs?|/seconds?|s-1|s\^-1|s\*\*-1|persec|persecond)$")
COUNTS = {"", "adu", "dn", "count", "counts", "ct", "c", "unknown", "none", "n/a"}
ELECTRONS = {"e", "e-", "el", "electron", "electrons", "photoelectron", "photoelectrons"}


def fields_of(path: Path, headers: Sequence[fits.Header], known: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return the fields of a frame and the factor that turns the image's values into its counts.

    An image in ADU stays in ADU. One in electrons keeps its values too, with a gain of 1. Rates are multiplied by the
    exposure, and so is the header's saturation, which is taken to be in the unit of the image. What is ``known``
    wins; it is in the units of :class:`~cosmicgate.data.fits.frames.Frame`. What is neither known nor in a header comes
    from the table of instruments, with a warning that names value and source.

    Raises
    ------
    FitsError
        A keyword is missing and nothing stands in for it, its value is no number that can be meant, or the unit is
        neither ADU nor electrons.
    """
    electrons, rate = _unit(path, headers, known)
    given = ({"gain": 1.0} if electrons else {}) | dict(known)
    values = {key: given[key] if key in given else number(path, headers, key) for key in KEYWORDS}
    factor = 1.0
    if rate:
        factor = values["exptime"] or 0.0
        if not factor:
            raise FitsError(f"{path}: BUNIT is a rate, so give its exposure: exptime, in seconds and above 0")
        if "saturation" not in known and values["saturation"] is not None:
            values["saturation"] *= factor
    telescope = telescope_of(headers, path)
    fill(path, headers, telescope, values)
    values["band"] = str(first(headers, "FILTER") or "").strip()[:1]
    values["name"] = str(first(headers, "OBJECT") or "") or stem(path)
    values["telescope"] = telescope
    # Some cameras put the speed of their read-out there.
    values["read_out"] = first(headers, "READOUT") is not False
    return values | dict(known), factor


def first(headers: Sequence[fits.Header], word: str) -> Any:
    """Return the value of a keyword in the first header that has one, None where none has."""
    return next((found for header in headers if (found := said(header, word)) is not None), None)


def number(path: Path, headers: Sequence[fits.Header], key: str) -> float | None:
    """Return what the first header that has one of the keywords of ``key`` says; None where none has.

    Raises
    ------
    FitsError
        The value is no number, not finite, negative, or zero where that cannot be meant.
    """
    for header in headers:
        for entry in KEYWORDS[key]:
            told = {word: said(header, word) for word in entry.split("+")}
            found = [positive(path, word, one, key) for word, one in told.items() if one is not None]
            if found:
                return min(found) if key == "saturation" else sum(found) / len(found)
    return None


def positive(path: Path, word: str, value: Any, key: str) -> float:
    """Return the number that a header has under ``word`` for a field; refuse what cannot be meant."""
    try:
        if isinstance(value, bool):
            raise TypeError("a logical value is no number")
        amount = float(value)
    except (TypeError, ValueError) as error:
        raise FitsError(f"{path}: expected a number for {word}, got {value!r}; give {key} to overrule it") from error
    if not math.isfinite(amount) or amount < 0 or (amount == 0 and key not in MAY_BE_ZERO):
        raise FitsError(f"{path}: by {word}, {key} = {amount} is not a positive number; give {key} to overrule it")
    return amount


def fill(path: Path, headers: Sequence[fits.Header], telescope: str, values: dict[str, Any]) -> None:
    """Put the instrument's numbers where ``values`` has None, and say so in the log.

    Raises
    ------
    FitsError
        Nothing stands in for a field: there is never a default for the exposure.
    """
    instrument = stand_in(telescope, headers)
    missing = []
    for key in [key for key in KEYWORDS if values[key] is None]:
        value = getattr(instrument, key, None)
        if key == "saturation" and value is not None:
            value = value / values["gain"] if values["gain"] else None
        if value is None or instrument is None:
            missing.append(f"{key} (one of {', '.join(KEYWORDS[key])})")
        else:
            values[key] = value
            default = f"{value:g} of {instrument.name} ({instrument.source})"
            log.warning("%s: the header lacks %s; it is taken to be %s", path, key, default)
    if missing:
        raise FitsError(f"{path}: the header lacks {'; '.join(missing)}; give a value in the configuration")


def _unit(path: Path, headers: Sequence[fits.Header], known: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether the image is in electrons, and whether it is a rate per second."""
    unit = str(first(headers, "BUNIT") or "")
    text = re.sub(r"[\s\[\]()]", "", unit).lower().replace("cps", "counts/s")
    base = RATE.sub("", text).rstrip("./*")
    if base not in COUNTS | ELECTRONS and "gain" not in known:
        wanted = "give gain, in electrons for one unit of the image, to overrule it"
        raise FitsError(f"{path}: expected an image of counts or electrons, got BUNIT {unit!r}; {wanted}")
    return base in ELECTRONS, RATE.search(text) is not None
