"""Check that exposures can be compared: same filter, shape and exposure time, and no exposure given twice."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.lco.io import Exposure
from cosmicgate.data.noise_samples import SAME_FRAME_CORRELATION, noise_correlations, noise_sample
from cosmicgate.io.fits.hdus import header_value
from cosmicgate.io.fits.instruments import detector_of

MAX_EXPTIME_DIFFERENCE = 0.05  # maximum relative difference of exposure times, as in the LCO data set
TIMES = ("TIME-OBS", "UTSTART", "UT", "TIME-BEG")  # cards with the time if DATE-OBS has only the date


def check_same_camera(exposures: Sequence[Exposure]) -> None:
    """Raise ValueError for exposures that cannot be compared.

    Raises
    ------
    ValueError
        If there are fewer than three, they differ in shape, filter or exposure time, or one is given twice; the message
        names them.
    """
    if len(exposures) < 3:
        raise ValueError(f"expected three exposures of one field or more, got {len(exposures)}")
    filters = [filter_of(exposure.header, exposure.frame.band) for exposure in exposures]
    first, *others = [exposure.frame for exposure in exposures]
    for frame in (first, *others):
        if not frame.exptime > 0:
            raise ValueError(f"{frame.name}: expected an exposure of some seconds, got {frame.exptime:g} s")
    for frame, filter_ in zip(others, filters[1:], strict=True):
        pair = f"{first.name} and {frame.name}"
        if frame.shape != first.shape:
            raise ValueError(f"{pair}: expected frames of one shape, got {first.shape} and {frame.shape}")
        if filter_ != filters[0]:
            raise ValueError(f"{pair}: expected one filter, got {filters[0]!r} and {filter_!r}")
        if abs(frame.exptime - first.exptime) > MAX_EXPTIME_DIFFERENCE * first.exptime:
            raise ValueError(f"{pair}: expected like exposures, got {first.exptime:g} s and {frame.exptime:g} s")
    check_distinct([Fingerprint.of(exposure) for exposure in exposures])


def filter_of(header: fits.Header, band: str = "") -> str:
    """Name the filter of an exposure: FILTER, else the filters of all wheels (FILTER1, FILTER2 ...), else its band."""
    one = header_value(header, "FILTER")
    wheels = [header_value(header, f"FILTER{wheel}") for wheel in range(1, 7)]
    return str(one or "+".join(str(name).strip() for name in wheels if name) or band).strip()


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Properties by which two copies of an exposure are recognised.

    Attributes
    ----------
    name : str
        Name for messages.
    pixels : bytes
        SHA-256 of the pixels.
    started : str
        Start of the exposure; empty if the header has no time.
    exptime : float
        Exposure time, seconds.
    detector : tuple of str
        Detector, binning, window and filter: several detectors may be exposed at once.
    noise : ndarray (N,), float32
        Sample of the noise of the sky.
    """

    name: str
    pixels: bytes
    started: str
    exptime: float
    detector: tuple[str, ...]
    noise: NDArray[np.float32]

    @classmethod
    def of(cls, exposure: Exposure) -> "Fingerprint":
        """Take the fingerprint of an exposure."""
        frame, header = exposure.frame, exposure.header
        pixels = hashlib.sha256(frame.image.tobytes()).digest()
        detector = (*detector_of([header], Path(frame.name), frame.shape), filter_of(header, frame.band))
        return cls(frame.name, pixels, started(header), frame.exptime, detector, noise_sample(frame.image))


def check_distinct(exposures: Sequence[Fingerprint]) -> None:
    """Raise ValueError for a frame that is given twice: the same pixels, noise, or start on the same detector.

    The noise is compared unless the starts differ: that of flats, which share the response of the pixels, is alike.
    Names are not compared: frames of two nights may have the same name, and a copy may have another.
    """
    for later, one in enumerate(exposures):
        for other in exposures[:later]:
            why = ""
            if one.pixels == other.pixels:
                why = "their pixels are the same"
            elif one.detector == other.detector and _began_together(one, other):
                why = f"both began at {one.started}"
            elif not _began_apart(one, other) and _same_noise(one.noise, other.noise):
                why = "their noise is the same"
            if why:
                raise ValueError(
                    f"{other.name} and {one.name}: {why}: a frame is given twice, expected exposures that differ"
                )


def _began_together(one: Fingerprint, other: Fingerprint) -> bool:
    """Check whether two exposures began at the same time, if it is written to less than their length."""
    return bool(one.started) and one.started == other.started and one.exptime > _resolution(one.started)


def _began_apart(one: Fingerprint, other: Fingerprint) -> bool:
    """Check whether two exposures began at different times; one of them may be written to fewer digits."""
    short, long = sorted((one.started, other.started), key=len)
    return bool(short) and not long.startswith(short.removesuffix("Z"))


def _same_noise(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return one.size == other.size and bool(noise_correlations(one[None], other)[0] > SAME_FRAME_CORRELATION)


def started(header: fits.Header) -> str:
    """Read the date and time at which an exposure began; empty if the header has no time.

    A time of zero is none if it stands in DATE-OBS: others write the time to a card of its own.
    """
    day, _, time = str(header_value(header, "DATE-OBS") or "").strip().partition("T")
    if not time and ":" in day:
        return day
    if day and not time.strip("0:.Z"):
        time = next((str(value).strip() for word in TIMES if (value := header_value(header, word))), "")
    if day:
        return f"{day}T{time}" if ":" in time else ""
    mjd = header_value(header, "MJD-OBS")
    return f"MJD {mjd:.6f}" if isinstance(mjd, float) else ""


def _resolution(start: str) -> float:
    """Find the resolution, in seconds, to which a time is written."""
    if start.count(":") == 1:
        return 60.0
    seconds = start.rsplit(":", 1)[-1]
    return 1.0 if "." not in seconds else 10.0 ** -min(len(seconds.split(".")[1]), 6)


def make_names_unique(exposures: Sequence[Exposure]) -> list[Exposure]:
    """Append a number to the names of exposures that share a name, so that messages are unambiguous."""
    counts = Counter(exposure.frame.name for exposure in exposures)
    named = []
    for number, exposure in enumerate(exposures, 1):
        name = exposure.frame.name
        new = f"{name} (exposure {number})" if counts[name] > 1 else name
        named.append(replace(exposure, frame=replace(exposure.frame, name=new)))
    return named
