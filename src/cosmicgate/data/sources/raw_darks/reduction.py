"""Reduce raw DECam darks with two amplifiers per CCD: overscan, trimming, gains, defects, and a quality check."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.sources.raw_darks.defects import DefectFinder
from cosmicgate.data.sources.raw_darks.quality import LightLimits, NotADarkError
from cosmicgate.io.fits.file_defects import defects_logged
from cosmicgate.io.fits.frames import Frame, read_mask
from cosmicgate.io.fits.hdus import FitsError, first_header_value, open_fits, pixels, section, stem
from cosmicgate.io.fits.headers import fill_with_defaults, header_number, validated_positive
from cosmicgate.io.fits.images import Ext, ImageExtension, select_image

Section = tuple[slice, slice]  # rows and columns
CARDS = {"gain": "GAIN", "read_noise": "RDNOISE", "saturation": "SATURAT"}  # keywords without the amplifier's letter


@dataclass(frozen=True)
class Amplifier:
    """One amplifier of a CCD.

    Attributes
    ----------
    data, bias : tuple of slice
        Rows and columns of its pixels and of its overscan, in the raw image.
    gain : float
        Gain, electrons per ADU.
    read_noise : float
        Read noise, electrons.
    saturation : float
        Saturation level including the bias level, ADU.
    """

    data: Section
    bias: Section
    gain: float
    read_noise: float
    saturation: float


@dataclass(frozen=True)
class Reduction:
    """Read and reduce a raw DECam dark.

    The median of each row's overscan is subtracted from that row; the overscan is trimmed; both amplifiers are scaled
    to their mean gain, which becomes the frame's gain. No bias frame and no dark current is subtracted.

    Attributes
    ----------
    defects : DefectFinder
        Finder of bad pixels.
    limits : LightLimits or None
        Quality limits; None to accept any exposure.
    mask : str or None
        File of known bad pixels of the trimmed CCD: an image with the CCD's EXTNAME, or a single image.
    """

    defects: DefectFinder = field(default_factory=DefectFinder)
    limits: LightLimits | None = field(default_factory=LightLimits)
    mask: str | None = None

    def __call__(self, path: Path, ext: Ext | None = None, **header_overrides: Any) -> Frame:
        """Read and reduce a dark; for parameters, result and errors see :func:`read_dark`."""
        with open_fits(path) as hdus:
            extension = select_image(path, hdus, ext, raw=True)
            with defects_logged(path, [extension.number]):
                raw = pixels(hdus[extension.number])
        kind = str(first_header_value(extension.headers, "OBSTYPE") or "").strip()
        if self.limits and kind.lower() != "dark":
            raise NotADarkError(f"{path}: expected OBSTYPE 'dark', got {kind!r}")
        amplifiers = amplifiers_of(path, extension, header_overrides)
        image, saturation = assemble_ccd(path, raw, amplifiers)
        fields: dict[str, Any] = {
            "gain": float(np.mean([amplifier.gain for amplifier in amplifiers])),
            "read_noise": float(np.mean([amplifier.read_noise for amplifier in amplifiers])),
            "saturation": saturation,
            "exptime": None if "exptime" in header_overrides else header_number(path, extension.headers, "exptime"),
            "name": f"{stem(path)}-{extension.label}",
            "telescope": "decam",
        }
        fields |= header_overrides
        if fields["exptime"] is None:
            raise FitsError(f"{path}: the header lacks EXPTIME; give exptime, in seconds")
        bad = read_mask(Path(self.mask), extension, image.shape, "decam") if self.mask else np.zeros(image.shape, bool)
        try:
            frame = Frame(image=image, bad=bad, **fields)
            frame = replace(frame, bad=self.defects(frame))
        except ValueError as error:
            raise FitsError(f"{path}: {error}") from error
        if frame.bad.all():
            raise FitsError(f"{path}: none of the {frame.bad.size} pixels of {extension.label} is good")
        if self.limits:
            self.limits.check(frame)
        return frame


def read_dark(path: Path, ext: Ext | None = None, **header_overrides: Any) -> Frame:
    """Read a raw DECam dark, reduced and checked with the default settings of :class:`Reduction`.

    Parameters
    ----------
    path : Path
        A raw exposure, with all or some of its CCDs.
    ext : str, int or (str, int), optional
        CCD to read, for example ``"N4"``; not needed if there is only one.
    **header_overrides
        Fields of the frame that override the header; a ``gain`` or ``read_noise`` then applies to all amplifiers.

    Returns
    -------
    Frame
        The reduced dark, in ADU of the mean gain.

    Raises
    ------
    FileNotFoundError, FitsError
        As in :func:`cosmicgate.io.fits.frames.read_frame`; also if the amplifiers' sections are missing or do not form
        a complete CCD.
    NotADarkError
        If it is another kind of exposure, or light has reached it.
    """
    return Reduction()(path, ext, **header_overrides)


def amplifiers_of(path: Path, extension: ImageExtension, header_overrides: dict[str, Any]) -> list[Amplifier]:
    """List the amplifiers of a raw image from the cards DATASECA, BIASSECA, GAINA and so on.

    Raises
    ------
    FitsError
        If there are none, or a section lies outside the image.
    """
    header = extension.headers[0]
    letters = [letter for letter in "ABCD" if header.get(f"DATASEC{letter}") is not None]
    if not letters:
        raise FitsError(f"{path}: {extension.label} is no raw CCD of DECam: it lacks DATASECA and BIASSECA")
    return [_amplifier(path, extension, header, letter, header_overrides) for letter in letters]


def _amplifier(
    path: Path, extension: ImageExtension, header: fits.Header, letter: str, header_overrides: dict[str, Any]
) -> Amplifier:
    parts = {}
    for word in ("DATASEC", "BIASSEC"):
        text = header.get(word + letter)
        part = section(text)
        if part is None or part[0].stop > extension.shape[0] or part[1].stop > extension.shape[1]:
            raise FitsError(
                f"{path}: expected {word}{letter} to be a part of an image of {extension.shape}, got {text!r}"
            )
        parts[word] = part
    values: dict[str, Any] = {key: header_overrides.get(key) for key in CARDS}
    values |= {"saturation": None, "exptime": 1.0}  # a known saturation is that of the frame
    for key, word in CARDS.items():
        if values[key] is None and header.get(word + letter) is not None:
            values[key] = validated_positive(path, word + letter, header[word + letter], key)
    fill_with_defaults(path, extension.headers, "decam", values)
    return Amplifier(parts["DATASEC"], parts["BIASSEC"], **{key: values[key] for key in CARDS})


def assemble_ccd(
    path: Path, raw: NDArray[np.float32], amplifiers: list[Amplifier]
) -> tuple[NDArray[np.float32], float]:
    """Assemble a CCD from the amplifiers of a raw image (H, W), ADU.

    Returns
    -------
    image : ndarray (H', W'), float32
        The trimmed image, in ADU of the mean gain above the overscan level.
    saturation : float
        Lowest saturation level of the amplifiers, in the same unit.

    Raises
    ------
    FitsError
        If an overscan lacks rows of its amplifier, or the amplifiers leave a gap.
    """
    gain = float(np.mean([amplifier.gain for amplifier in amplifiers]))
    rows, columns = (
        slice(min(a.data[axis].start for a in amplifiers), max(a.data[axis].stop for a in amplifiers))
        for axis in (0, 1)
    )
    image = np.full(raw.shape, np.nan, np.float32)
    saturations = []
    for amplifier in amplifiers:
        data, overscan = amplifier.data[0], amplifier.bias[0]
        if overscan.start > data.start or overscan.stop < data.stop:
            lines = f"{data.start + 1} to {data.stop}, got {overscan.start + 1} to {overscan.stop}"
            raise FitsError(f"{path}: expected overscan beside the rows {lines}")
        level = np.median(raw[data, amplifier.bias[1]], axis=1)
        scale = amplifier.gain / gain
        image[amplifier.data] = (raw[amplifier.data] - level[:, None]) * np.float32(scale)
        saturations.append((amplifier.saturation - float(np.median(level))) * scale)
    image = image[rows, columns]
    if np.isnan(image).any():
        raise FitsError(f"{path}: the DATASEC cards of the amplifiers leave a gap in the CCD")
    return np.ascontiguousarray(image), min(saturations)
