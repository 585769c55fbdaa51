"""What instruments write into their headers, and what stands in where one wrote nothing: tables, read from the top."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from cosmicgate.data.fits.hdus import said

# The header keywords under which instruments store what we need, first found first used. Two in one entry belong to the
# two amplifiers of one CCD: the mean of their gains and read noises counts, and the lower of their saturations.
KEYWORDS: dict[str, tuple[str, ...]] = {
    # EGAIN stands before GAIN, because beside it GAIN is the setting of an amateur's camera and no e-/ADU.
    "gain": ("EGAIN", "GAINA+GAINB", "GAIN", "CCDGAIN", "ESO DET OUT1 CONAD"),
    "read_noise": ("RDNOISEA+RDNOISEB", "RDNOISE", "READNOIS", "RON", "ENOISE", "RNOISE", "ESO DET OUT1 RON"),
    "saturation": ("SATURATA+SATURATB", "SATURATE", "SATLEVEL", "SATURLEV"),
    "exptime": ("EXPTIME", "EXPOSURE", "EXP_TIME", "ITIME"),
}
TELESCOPES = ("decam", "0m4", "1m0", "2m0")  # the last three are LCO's classes
# LCO's cameras by the letters of their names; kb was an SBIG at the 0m4, but at the 1m0 as well, so it says nothing.
CAMERAS = {"fl": "1m0", "fa": "1m0", "fs": "2m0"}


@dataclass(frozen=True)
class Instrument:
    """What stands in for a header that lacks it.

    Attributes
    ----------
    name : str
        For the log.
    gain : float or None
        Electrons per ADU; None where it is not the same in all frames.
    read_noise, saturation : float
        Electrons. The saturation is of pixels that are not binned; for others it is too low, which only leaves more of
        a bright star unmasked.
    source : str
        Where the numbers come from.
    """

    name: str
    gain: float | None
    read_noise: float
    saturation: float
    source: str


# LCO's pipeline multiplies by the gain, so its frames have 1; raw ones have a gain for each camera and mode.
INSTRUMENTS: dict[str, Instrument] = {
    "decam": Instrument("DECam", 4.0, 6.5, 180_000.0, "Flaugher et al. 2015, AJ 150, 150"),
    "0m4": Instrument("LCO 0m4 (SBIG 6303)", 1.0, 16.4, 97_500.0, "read noise: a kb29 frame; full well: as simulated"),
    "1m0": Instrument("LCO 1m0 (Sinistro)", 1.0, 7.7, 100_000.0, "LCO's page on Sinistro"),
    "2m0": Instrument("LCO 2m0 (Spectral)", 1.0, 11.3, 125_000.0, "others' settings for it, not confirmed"),
}


def telescope_of(headers: Sequence[fits.Header], path: Path) -> str:
    """Return one of :data:`TELESCOPES` by the headers (INSTRUME 'DECam', TELID '0m4a', TELESCOP '1m0-05') or the name.

    LCO's files are named 'coj0m403-kb24-...'. Its cameras' letters (INSTRUME 'fl15') count where there is no TELID.
    """
    if any(_text(headers, word).startswith("decam") for word in ("INSTRUME", "FPA")):
        return "decam"
    named = re.search(r"(?:^|[^a-z])[a-z]{3}(\dm\d)\w\d-", path.name)
    camera = "" if _text(headers, "TELID") else CAMERAS.get(_text(headers, "INSTRUME")[:2], "")
    words = (_text(headers, "TELID"), _text(headers, "TELESCOP"), named[1] if named else "", camera)
    return next((t for word in words for t in TELESCOPES if word.startswith(t)), "")


def stand_in(telescope: str, headers: Sequence[fits.Header]) -> Instrument | None:
    """Return the numbers of a telescope's camera; those of LCO hold for what its pipeline has reduced."""
    raw_lco = telescope in TELESCOPES[1:] and not any(said(h, "RLEVEL") or said(h, "L1STATOV") for h in headers)
    instrument = INSTRUMENTS.get(telescope)
    if instrument is None or not raw_lco:
        return instrument
    return Instrument(instrument.name, None, instrument.read_noise, instrument.saturation, instrument.source)


def _text(headers: Sequence[fits.Header], word: str) -> str:
    """Return the first header's text under a keyword, in small letters."""
    return next((str(found).strip().lower() for h in headers if (found := said(h, word)) is not None), "")
