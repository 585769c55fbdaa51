"""Read the fields of a frame from headers: gain, read noise, saturation, exposure time, unit, band, name."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits

from cosmicgate.io.fits.hdus import FitsError, first_header_value, header_value, stem
from cosmicgate.io.fits.instruments import KEYWORDS, instrument_defaults, telescope_of

log = logging.getLogger(__name__)

MAY_BE_ZERO = ("read_noise", "exptime")  # the read noise of a simulated image, the exposure time of a bias
RATE = re.compile(r"(/s|/secs?|/seconds?|s-1|s\^-1|s\*\*-1|persec|persecond)$")
COUNTS = {"", "adu", "dn", "count", "counts", "ct", "c", "unknown", "none", "n/a"}
ELECTRONS = {"e", "e-", "el", "electron", "electrons", "photoelectron", "photoelectrons"}


def frame_fields(
    path: Path, headers: Sequence[fits.Header], header_overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], float]:
    """Collect the fields of a frame, and the factor that converts the image's values to counts.

    An image in ADU stays in ADU. An image in electrons keeps its values, with a gain of 1. Rates are multiplied by the
    exposure time, and so is the header's saturation, which is assumed to be in the unit of the image. Fields that are
    neither in ``header_overrides`` nor in a header come from the table of instruments, with a warning that names value
    and source.

    Parameters
    ----------
    path : Path
        File, for messages and names.
    headers : sequence of Header
        Headers of the image and of the file; the first one that has a keyword counts.
    header_overrides : mapping
        Fields that take precedence over the headers, in the units of :class:`~cosmicgate.io.fits.frames.Frame`.

    Returns
    -------
    fields : dict
        Arguments of :class:`~cosmicgate.io.fits.frames.Frame`, without arrays.
    factor : float
        Factor for the image: the exposure time in seconds for rates, else 1.

    Raises
    ------
    FitsError
        A keyword is missing and has no default, its value is not plausible, or the unit is neither ADU nor electrons.
    """
    electrons, rate = _unit(path, headers, header_overrides)
    given = ({"gain": 1.0} if electrons else {}) | dict(header_overrides)
    values = {key: given[key] if key in given else header_number(path, headers, key) for key in KEYWORDS}
    factor = 1.0
    if rate:
        factor = values["exptime"] or 0.0
        if not factor:
            raise FitsError(
                f"{path}: BUNIT is a rate per second, so give the exposure time: exptime, in seconds and above 0"
            )
        if "saturation" not in header_overrides and values["saturation"] is not None:
            values["saturation"] *= factor
    telescope = telescope_of(headers, path)
    fill_with_defaults(path, headers, telescope, values)
    values["band"] = str(first_header_value(headers, "FILTER") or "").strip()[:1]
    values["name"] = str(first_header_value(headers, "OBJECT") or "") or stem(path)
    values["telescope"] = telescope
    values["in_electrons"] = electrons
    # Only False counts: some cameras write the speed of the read-out under this keyword.
    values["read_out"] = first_header_value(headers, "READOUT") is not False
    if not values["read_out"] and first_header_value(headers, "BLEED") == "rows":  # cards of our own simulated scenes
        values["bleeds_along"] = "rows"
    return values | dict(header_overrides), factor


def header_number(path: Path, headers: Sequence[fits.Header], key: str) -> float | None:
    """Look up a field such as "gain" in the first header that has one of its keywords; None if none has.

    Raises
    ------
    FitsError
        The value is no number, not finite, negative, or zero where that is not plausible.
    """
    for header in headers:
        for entry in KEYWORDS[key]:
            values = {word: header_value(header, word) for word in entry.split("+")}
            found = [validated_positive(path, word, value, key) for word, value in values.items() if value is not None]
            if found:
                return min(found) if key == "saturation" else sum(found) / len(found)
    return None


def validated_positive(path: Path, word: str, value: Any, key: str) -> float:
    """Convert the value of the keyword ``word`` to a number; refuse one that is not plausible for the field."""
    try:
        if isinstance(value, bool):
            raise TypeError("a logical value is no number")
        amount = float(value)
    except (TypeError, ValueError) as error:
        raise FitsError(f"{path}: expected a number for {word}, got {value!r}; give {key} to override it") from error
    if not math.isfinite(amount) or amount < 0 or (amount == 0 and key not in MAY_BE_ZERO):
        raise FitsError(
            f"{path}: {word} = {amount} is not a plausible {key}: expected a positive number; give {key} to override it"
        )
    return amount


def fill_with_defaults(path: Path, headers: Sequence[fits.Header], telescope: str, values: dict[str, Any]) -> None:
    """Replace None in ``values`` by the instrument's defaults, and log each of them as a warning.

    Raises
    ------
    FitsError
        A field has no default; the exposure time never has one.
    """
    instrument = instrument_defaults(telescope, headers)
    missing = {}
    for key in [key for key in KEYWORDS if values[key] is None]:
        value = getattr(instrument, key, None)
        if key == "saturation" and value is not None:
            value = value / values["gain"] if values["gain"] else None
        if value is None or instrument is None:
            missing[key] = f"{key} (one of {', '.join(KEYWORDS[key])})"
        else:
            values[key] = value
            default = f"{value:g} of {instrument.name} ({instrument.source})"
            log.warning("%s: the header lacks %s; it is taken to be %s", path, key, default)
    if missing:
        raise FitsError(f"{path}: the header lacks {'; '.join(missing.values())}; give {', '.join(missing)}")


def _unit(path: Path, headers: Sequence[fits.Header], header_overrides: Mapping[str, Any]) -> tuple[bool, bool]:
    """Parse BUNIT: whether the image is in electrons, and whether it is a rate per second."""
    unit = str(first_header_value(headers, "BUNIT") or "")
    text = re.sub(r"[\s\[\]()]", "", unit).lower().replace("cps", "counts/s")
    base = RATE.sub("", text).rstrip("./*")
    if base not in COUNTS | ELECTRONS and "gain" not in header_overrides:
        remedy = "give gain, in electrons for one unit of the image, to override it"
        raise FitsError(f"{path}: expected an image of counts or electrons, got BUNIT {unit!r}; {remedy}")
    return base in ELECTRONS, RATE.search(text) is not None


def ascii_of(text: str, longest: int) -> str:
    """Convert a text to printable ASCII, as FITS requires, and keep its last ``longest`` characters."""
    clean = text.encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in clean)[-longest:]
