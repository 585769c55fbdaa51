"""Identify telescope, camera and detector of an image; keywords and default values of their headers."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from cosmicgate.io.fits.hdus import first_header_value, header_value

# Header keywords of each field; the first one found is used. Two joined by + belong to the two amplifiers of one CCD:
# the mean of their gains and read noises is used, and the lower of their saturations.
KEYWORDS: dict[str, tuple[str, ...]] = {
    # EGAIN comes before GAIN: where both exist, GAIN is the setting of an amateur camera, not electrons per ADU.
    "gain": ("EGAIN", "GAINA+GAINB", "GAIN", "CCDGAIN", "ESO DET OUT1 CONAD"),
    "read_noise": ("RDNOISEA+RDNOISEB", "RDNOISE", "READNOIS", "RON", "ENOISE", "RNOISE", "ESO DET OUT1 RON"),
    "saturation": ("SATURATA+SATURATB", "SATURATE", "SATLEVEL", "SATURLEV"),
    "exptime": ("EXPTIME", "EXPOSURE", "EXP_TIME", "ITIME"),
}
TELESCOPES = ("decam", "0m4", "1m0", "2m0")  # the last three are LCO's telescope classes
# LCO's cameras by the first letters of their names. kb is missing: these SBIGs were used at both the 0m4 and the 1m0.
CAMERAS = {"fl": "1m0", "fa": "1m0", "fs": "2m0"}
CAMERA_KEYWORDS = ("INSTRUME", "CAMERA", "DETECTOR", "TELESCOP")  # the first with a meaningful value names the camera
# Cards that differ between the detectors or amplifiers of a camera, but not between an image and its planes.
DETECTOR_CARDS = (
    *("CCDNUM", "CCDNAME", "CCDID", "CCD_ID", "CCDCHIP", "CHIPID", "DETSEC", "DETID"),
    *("AMPNAME", "AMPID", "AMPSEC", "AMP", "ESO DET CHIP1 ID", "ESO DET CHIP ID", "ESO DET CHIP NO"),
)
DETECTOR_KEYWORDS = (*DETECTOR_CARDS, "DETECTID", "DETECTOR", "DETSERNO", "SERIALNO", "EXTNAME", "EXTVER")
BINNING_KEYWORDS = ("XBINNING", "YBINNING", "CCDSUM", "BINNING")
WINDOW_KEYWORDS = ("XORGSUBF", "YORGSUBF", "CCDSEC", "TRIMSEC", "ROI", "SUBRECT", "LTV1", "LTV2")
MEANINGLESS = {"", "unknown", "none", "n/a", "ccd", "camera", "image"}
RESERVED = ("decam", "lco")  # names of data sets with published scores


def check_keys(header: Collection[str]) -> None:
    """Raise ValueError if values that override a header have other keys than :data:`KEYWORDS`."""
    if unknown := sorted(set(header) - set(KEYWORDS)):
        raise ValueError(f"header_overrides: unknown key {unknown[0]!r}, expected some of {', '.join(KEYWORDS)}")


@dataclass(frozen=True)
class Instrument:
    """Default values for fields that a header lacks.

    Attributes
    ----------
    name : str
        Name for the log.
    gain : float or None
        Gain in electrons per ADU; None if it differs from frame to frame.
    read_noise, saturation : float
        Read noise and saturation in electrons. The saturation is that of unbinned pixels; for binned ones it is too
        low, which only leaves more of a bright star unmasked.
    source : str
        Source of the numbers.
    """

    name: str
    gain: float | None
    read_noise: float
    saturation: float
    source: str


# LCO's pipeline multiplies by the gain, so its frames have gain 1; in raw frames it depends on camera and mode.
INSTRUMENTS: dict[str, Instrument] = {
    "decam": Instrument("DECam", 4.0, 6.5, 180_000.0, "Flaugher et al. 2015, AJ 150, 150"),
    "0m4": Instrument("LCO 0m4 (SBIG 6303)", 1.0, 16.4, 97_500.0, "read noise: a kb29 frame; full well: as simulated"),
    "1m0": Instrument("LCO 1m0 (Sinistro)", 1.0, 7.7, 100_000.0, "LCO's page on Sinistro"),
    "2m0": Instrument("LCO 2m0 (Spectral)", 1.0, 11.3, 125_000.0, "others' settings for it, not confirmed"),
}


def telescope_of(headers: Sequence[fits.Header], path: Path) -> str:
    """Identify one of :data:`TELESCOPES` by headers (INSTRUME 'DECam', TELID '0m4a', TELESCOP '1m0-05') or file name.

    LCO's files are named 'coj0m403-kb24-...'. The letters of its cameras (INSTRUME 'fl15') count if there is no TELID.
    Returns an empty string if the telescope is unknown.
    """
    if any(_text(headers, word).startswith("decam") for word in ("INSTRUME", "FPA")):
        return "decam"
    named = re.search(r"(?:^|[^a-z])[a-z]{3}(\dm\d)\w\d-", path.name)
    camera = "" if _text(headers, "TELID") else CAMERAS.get(_text(headers, "INSTRUME")[:2], "")
    words = (_text(headers, "TELID"), _text(headers, "TELESCOP"), named[1] if named else "", camera)
    return next((t for word in words for t in TELESCOPES if word.startswith(t)), "")


def instrument_defaults(telescope: str, headers: Sequence[fits.Header]) -> Instrument | None:
    """Look up the defaults of a telescope's camera; for raw LCO frames without the gain, which varies."""
    raw_lco = telescope in TELESCOPES[1:] and not any(
        header_value(h, "RLEVEL") or header_value(h, "L1STATOV") for h in headers
    )
    instrument = INSTRUMENTS.get(telescope)
    if instrument is None or not raw_lco:
        return instrument
    return Instrument(instrument.name, None, instrument.read_noise, instrument.saturation, instrument.source)


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
    return (camera_name(headers, path), str(tuple(shape)), *(_text(headers, word) for word in words))


def _text(headers: Sequence[fits.Header], word: str) -> str:
    """Look up a keyword as lower-case text in the first header that has it; empty if none has."""
    found = first_header_value(headers, word)
    return "" if found is None else str(found).strip().lower()
