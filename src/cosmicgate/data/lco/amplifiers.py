"""Read raw frames of LCO's multi-amplifier cameras, whose files have one image per amplifier."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.lco.io import telescope_class
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import header_value, open_fits

SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")


def read_amplifiers(path: Path) -> Frame:
    """Read a raw frame: subtract each amplifier's overscan row by row, multiply by its gain, and assemble the image.

    DETSEC gives each amplifier's position, and mirrors it if the range runs backwards. No flat field and no dark is
    applied: this is for inspecting raw frames, not for the data set, whose frames LCO's pipeline has reduced.

    Returns
    -------
    Frame
        The frame in electrons, with ``gain`` 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or cards that are needed to assemble the amplifiers are missing or disagree.
    """
    with open_fits(path) as hdus:
        primary = hdus[0].header.copy()
        images = [hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2 and 0 not in hdu.shape]
        parts = [(hdu.header.copy(), np.array(hdu.data, np.float32)) for hdu in images]
    if len(parts) < 2:
        raise ValueError(f"{path}: expected an image for each of several amplifiers, found {len(parts)}")
    pieces, places = [], []
    for number, (header, data) in enumerate(parts, start=1):
        where = f"{path}: amplifier {number}"
        rows, columns = _section(header, "DATASEC", where)[0]
        overscan = data[rows, _section(header, "BIASSEC", where)[0][1]]
        image = data[rows, columns] - np.median(overscan, axis=1, keepdims=True)
        place, (flip_y, flip_x) = _section(header, "DETSEC", where)
        gain = float(header.get("GAIN", 0))
        if not gain > 0:
            raise ValueError(f"{where}: expected its GAIN, electrons per ADU, found {header.get('GAIN')!r}")
        pieces.append(image[:: -1 if flip_y else 1, :: -1 if flip_x else 1] * np.float32(gain))
        places.append(place)
    read_noise, saturation, exptime = (
        _number((primary, parts[0][0]), word, path) for word in ("RDNOISE", "SATURATE", "EXPTIME")
    )
    return Frame(
        image=_mosaic(path, pieces, places),
        gain=1.0,
        read_noise=read_noise,
        saturation=saturation * min(float(header["GAIN"]) for header, _ in parts),
        exptime=exptime,
        band=str(primary.get("FILTER", ""))[:1],
        name=path.name.split(".")[0],
        telescope=telescope_class(path, primary),
    )


def _number(headers: Sequence[fits.Header], word: str, path: Path) -> float:
    """Read the number of a card from the first header that has it."""
    found = next((value for header in headers if (value := header_value(header, word)) is not None), None)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{path}: expected a number as {word} in the first two headers, found {found!r}")
    return float(found)


def _section(header: fits.Header, word: str, where: str) -> tuple[tuple[slice, slice], tuple[bool, bool]]:
    """Parse a card like ``[1:512,1:512]`` into slices of rows and columns, and whether each range runs backwards."""
    found = SECTION.fullmatch(str(header.get(word, "")).strip())
    if found is None:
        raise ValueError(f"{where}: expected {word} as [x1:x2,y1:y2], found {header.get(word)!r}")
    x1, x2, y1, y2 = map(int, found.groups())
    rows, columns = slice(min(y1, y2) - 1, max(y1, y2)), slice(min(x1, x2) - 1, max(x1, x2))
    return (rows, columns), (y2 < y1, x2 < x1)


def _mosaic(path: Path, pieces: list[NDArray[np.float32]], places: list[tuple[slice, slice]]) -> NDArray[np.float32]:
    """Assemble the pieces at their DETSEC ``places``, which count unbinned pixels of the whole detector."""
    top, left = (min(place[axis].start for place in places) for axis in (0, 1))
    bottom, right = (max(place[axis].stop for place in places) for axis in (0, 1))
    binning = [
        (place[axis].stop - place[axis].start) / piece.shape[axis]
        for place, piece in zip(places, pieces, strict=True)
        for axis in (0, 1)
    ]
    if len(set(binning)) > 1 or binning[0] != int(binning[0]):
        raise ValueError(f"{path}: DETSEC and DATASEC do not agree on one binning, they give {sorted(set(binning))}")
    step = int(binning[0])
    image = np.full(((bottom - top) // step, (right - left) // step), np.nan, np.float32)
    for piece, (rows, columns) in zip(pieces, places, strict=True):
        y, x = (rows.start - top) // step, (columns.start - left) // step
        image[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    if not np.isfinite(image).all():
        raise ValueError(f"{path}: the amplifiers leave a part of {image.shape} without data")
    return image
