"""Raw frames of LCO's cameras with several amplifiers, each an image of its own in the file, put together."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.fits.hdus import opened, said
from cosmicgate.data.lco.masked_fits import telescope_class

SECTION = re.compile(r"\[(\d+):(\d+),(\d+):(\d+)\]")


def read_amplifiers(path: Path) -> Frame:
    """Read a raw frame: each amplifier loses its overscan, row by row, and becomes electrons by its own gain.

    It lies in the image where its DETSEC says, mirrored where that runs backwards. There is no flat field and no dark:
    this is for a look at a raw frame, not for the data set, whose frames LCO's pipeline has reduced.

    Returns
    -------
    Frame
        Electrons, with ``gain`` 1.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is broken, or its cards do not say how the amplifiers fit together; names what is missing.
    """
    with opened(path) as hdus:
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
    """Return the number of a card in the first of the headers that has it."""
    found = next((value for header in headers if (value := said(header, word)) is not None), None)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(f"{path}: expected a number as {word} in the first two headers, found {found!r}")
    return float(found)


def _section(header: fits.Header, word: str, where: str) -> tuple[tuple[slice, slice], tuple[bool, bool]]:
    """Return rows and columns of a card like ``[1:512,1:512]``, and which of them it names backwards."""
    found = SECTION.fullmatch(str(header.get(word, "")).strip())
    if found is None:
        raise ValueError(f"{where}: expected {word} as [x1:x2,y1:y2], found {header.get(word)!r}")
    x1, x2, y1, y2 = map(int, found.groups())
    rows, columns = slice(min(y1, y2) - 1, max(y1, y2)), slice(min(x1, x2) - 1, max(x1, x2))
    return (rows, columns), (y2 < y1, x2 < x1)


def _mosaic(path: Path, pieces: list[NDArray[np.float32]], places: list[tuple[slice, slice]]) -> NDArray[np.float32]:
    """Lay the pieces where DETSEC, in pixels before binning and of a larger detector, says."""
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
