"""Raw exposures of DECam's two-amplifier CCDs made into darks: overscan, trimming, gains, defects, and a check."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.darks.darkness import Limits, NotDark
from cosmicgate.data.darks.defects import Defects
from cosmicgate.data.fits.frames import Frame, read_mask
from cosmicgate.data.fits.hdus import FitsError, opened, pixels, section, stem
from cosmicgate.data.fits.headers import fill, first, number, positive
from cosmicgate.data.fits.images import Ext, Extension, chosen

Section = tuple[slice, slice]  # rows and columns
CARDS = {"gain": "GAIN", "read_noise": "RDNOISE", "saturation": "SATURAT"}  # an amplifier's letter follows


@dataclass(frozen=True)
class Amplifier:
    """One of the read-outs of a CCD.

    Attributes
    ----------
    data, bias : tuple of slice
        Rows and columns of its pixels and of its overscan, in the raw image.
    gain : float
        Electrons per ADU.
    read_noise : float
        Electrons.
    saturation : float
        ADU, the bias level included.
    """

    data: Section
    bias: Section
    gain: float
    read_noise: float
    saturation: float


@dataclass(frozen=True)
class Reduction:
    """Reads a raw dark of DECam and reduces it.

    From each row of an amplifier the median of that row's overscan is subtracted; the overscan is trimmed; both
    amplifiers are scaled to the mean of their gains, which is the frame's. No bias and no dark current is subtracted.

    Attributes
    ----------
    defects : Defects
        What is left out as bad.
    limits : Limits or None
        What is still a dark; None to take what comes.
    mask : str or None
        File of known bad pixels of the trimmed CCD: an image of the CCD's EXTNAME, or the only one.
    """

    defects: Defects = field(default_factory=Defects)
    limits: Limits | None = field(default_factory=Limits)
    mask: str | None = None

    def __call__(self, path: Path, ext: Ext | None = None, **known: Any) -> Frame:
        """Return the dark as :func:`read_dark` does."""
        with opened(path) as hdus:
            place = chosen(path, hdus, ext, raw=True)
            raw = pixels(hdus[place.number])
        kind = str(first(place.headers, "OBSTYPE") or "").strip()
        if self.limits and kind.lower() != "dark":
            raise NotDark(f"{path}: expected OBSTYPE 'dark', got {kind!r}")
        amplifiers = amplifiers_of(path, place, known)
        image, saturation = assembled(path, raw, amplifiers)
        fields: dict[str, Any] = {
            "gain": float(np.mean([amplifier.gain for amplifier in amplifiers])),
            "read_noise": float(np.mean([amplifier.read_noise for amplifier in amplifiers])),
            "saturation": saturation,
            "exptime": None if "exptime" in known else number(path, place.headers, "exptime"),
            "name": f"{stem(path)}-{place.label}",
            "telescope": "decam",
        }
        fields |= known
        if fields["exptime"] is None:
            raise FitsError(f"{path}: the header lacks EXPTIME; give exptime, in seconds")
        bad = read_mask(Path(self.mask), place, image.shape, "decam") if self.mask else np.zeros(image.shape, bool)
        try:
            frame = Frame(image=image, bad=bad, **fields)
            frame = replace(frame, bad=self.defects(frame))
        except ValueError as error:
            raise FitsError(f"{path}: {error}") from error
        if frame.bad.all():
            raise FitsError(f"{path}: none of the {frame.bad.size} pixels of {place.label} is good")
        if self.limits:
            self.limits.check(frame)
        return frame


def read_dark(path: Path, ext: Ext | None = None, **known: Any) -> Frame:
    """Read a raw dark of DECam, reduced and checked as :class:`Reduction` does by default.

    Parameters
    ----------
    path : Path
        A raw exposure, whole or cut to some of its CCDs.
    ext : str, int or (str, int), optional
        Which CCD, ``"N4"`` say; not needed where there is only one.
    **known
        Fields of the frame that win over the header; a ``gain`` or ``read_noise`` is then that of all amplifiers.

    Returns
    -------
    Frame
        ADU of the mean gain.

    Raises
    ------
    FileNotFoundError, FitsError
        As :func:`cosmicgate.data.fits.frames.read_frame`; or the amplifiers' sections are missing or make no CCD.
    NotDark
        It is another kind of exposure, or light has reached it.
    """
    return Reduction()(path, ext, **known)


def amplifiers_of(path: Path, place: Extension, known: dict[str, Any]) -> list[Amplifier]:
    """Return the amplifiers of a raw image by the cards DATASECA, BIASSECA, GAINA and so on.

    Raises
    ------
    FitsError
        There are none, or a section lies outside the image.
    """
    header = place.headers[0]
    letters = [letter for letter in "ABCD" if header.get(f"DATASEC{letter}") is not None]
    if not letters:
        raise FitsError(f"{path}: {place.label} is no raw CCD of DECam: it lacks DATASECA and BIASSECA")
    return [_amplifier(path, place, header, letter, known) for letter in letters]


def _amplifier(path: Path, place: Extension, header: fits.Header, letter: str, known: dict[str, Any]) -> Amplifier:
    parts = {}
    for word in ("DATASEC", "BIASSEC"):
        text = header.get(word + letter)
        part = section(text)
        if part is None or part[0].stop > place.shape[0] or part[1].stop > place.shape[1]:
            raise FitsError(f"{path}: expected {word}{letter} to be a part of an image of {place.shape}, got {text!r}")
        parts[word] = part
    values: dict[str, Any] = {key: known.get(key) for key in CARDS}
    values |= {"saturation": None, "exptime": 1.0}  # a known saturation is that of the frame
    for key, word in CARDS.items():
        if values[key] is None and header.get(word + letter) is not None:
            values[key] = positive(path, word + letter, header[word + letter], key)
    fill(path, place.headers, "decam", values)
    return Amplifier(parts["DATASEC"], parts["BIASSEC"], **{key: values[key] for key in CARDS})


def assembled(path: Path, raw: NDArray[np.float32], amplifiers: list[Amplifier]) -> tuple[NDArray[np.float32], float]:
    """Put a CCD together from a raw image (H, W), ADU.

    Returns
    -------
    image : ndarray (H', W'), float32
        ADU of the mean gain, above the overscan.
    saturation : float
        The lowest of the amplifiers', as above.

    Raises
    ------
    FitsError
        An overscan does not have all rows of its amplifier, or the amplifiers leave a gap.
    """
    gain = float(np.mean([amplifier.gain for amplifier in amplifiers]))
    rows, columns = (
        slice(min(a.data[axis].start for a in amplifiers), max(a.data[axis].stop for a in amplifiers))
        for axis in (0, 1)
    )
    image = np.full(raw.shape, np.nan, np.float32)
    saturations = []
    for amplifier in amplifiers:
        own, over = amplifier.data[0], amplifier.bias[0]
        if over.start > own.start or over.stop < own.stop:
            lines = f"{own.start + 1} to {own.stop}, got {over.start + 1} to {over.stop}"
            raise FitsError(f"{path}: expected overscan beside the rows {lines}")
        level = np.median(raw[own, amplifier.bias[1]], axis=1)
        scale = amplifier.gain / gain
        image[amplifier.data] = (raw[amplifier.data] - level[:, None]) * np.float32(scale)
        saturations.append((amplifier.saturation - float(np.median(level))) * scale)
    image = image[rows, columns]
    if np.isnan(image).any():
        raise FitsError(f"{path}: the DATASEC cards of the amplifiers leave a gap in the CCD")
    return np.ascontiguousarray(image), min(saturations)
