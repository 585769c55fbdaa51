"""The images of a FITS file as a detector wants them. No keyword is needed: the networks scale by themselves."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.hdus import NETWORK, FitsError, opened, pixels, precise_pixels, said, section
from cosmicgate.data.fits.headers import first, number
from cosmicgate.data.fits.images import Extension, chosen, masks_beside, planes_beside, science
from cosmicgate.data.fits.instruments import telescope_of
from cosmicgate.data.fits.masks import bad_pixels, words_of

Kind = Literal["std", "var", "ivar"]
# Words in the EXTNAME of planes that say how sure an image is, and what their numbers are.
UNCERTAINTIES: dict[Kind, frozenset[str]] = {
    "std": frozenset({"ERR", "ERROR", "ERRS", "SIGMA", "RMS", "UNCERT", "UNCERTAINTY", "STDDEV"}),
    "var": frozenset({"VAR", "VARIANCE", "STAT"}),
    "ivar": frozenset({"IVAR", "INVVAR", "WHT", "WEIGHT", "WGT", "WT"}),
}
# Words of planes that are no uncertainty of the image, or one part of it (JWST's): they stay as they are.
NO_UNCERTAINTY = frozenset({"BKG", "BACKGROUND", "SKY", "MODEL", "PSF", "POISSON", "RNOISE", "FLAT"})
OVERSCAN = ("BIASSEC", *(f"BIASSEC{letter}" for letter in "ABCD"))
MUCH = 0.05  # of an image, called bad by a mask: worth a word


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """A plane beside an image that says how sure its values are.

    Attributes
    ----------
    number : int
        Of its HDU.
    kind : {"std", "var", "ivar"}
        What its numbers are.
    values : ndarray (H, W), float64
        In the unit of the image, or that squared, or one over that squared: of the small numbers of physical units
        float32 cannot hold the squares.
    """

    number: int
    kind: Kind
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plane:
    """An image of a file.

    Attributes
    ----------
    place : Extension
        Where it is.
    image : ndarray (H, W), float32
        In its own unit.
    bad : ndarray (H, W), bool
        Not finite, saturated, overscan, or bad by a mask beside it.
    uncertainties : list of Uncertainty
        Beside it, where they were asked for.
    notes : list of str
        What was left aside, and why.
    """

    place: Extension
    image: NDArray[np.float32]
    bad: NDArray[np.bool_]
    uncertainties: list[Uncertainty] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def planes(
    path: Path, exts: Sequence[str] = (), uncertain: bool = False, masked: bool = True
) -> Generator[Plane, None, None]:
    """Read the images of a file one after the other; one at a time is in memory.

    Parameters
    ----------
    path : Path
        Plain, ``.fz`` or ``.gz``.
    exts : sequence of str
        EXTNAME (all images of that name), number, or ``NAME,VERSION``; none: every image of the sky.
    uncertain : bool
        Read the planes of uncertainty as well.
    masked : bool
        What a mask beside an image calls bad is bad.

    Raises
    ------
    FileNotFoundError, FitsError
        There is no such file, it is not FITS or cut short, or it has no such image.
    """
    with opened(path) as hdus:
        images = images_of(path, hdus, exts)
        others = _science(path, hdus) or images
        for place in images:
            beside = others if place.number in {other.number for other in others} else [*others, place]
            yield _read(path, hdus, place, beside, uncertain, masked)
            del hdus[place.number].data


def images_of(path: Path, hdus: fits.HDUList, exts: Sequence[str] = ()) -> list[Extension]:
    """Return the images that were asked for, each once, in the order of the file."""
    found = [image for ext in exts for image in _named(path, hdus, ext)] if exts else science(path, hdus)
    return sorted({image.number: image for image in found}.values(), key=lambda image: image.number)


def _named(path: Path, hdus: fits.HDUList, ext: str) -> list[Extension]:
    if ext.strip().isdigit():
        return [chosen(path, hdus, int(ext), raw=True)]
    name, comma, version = ext.rpartition(",")
    if comma and version.strip().isdigit():
        return [chosen(path, hdus, (name, int(version)), raw=True)]
    same = [image for image in _science(path, hdus) if image.name == ext.strip().upper()]
    return same or [chosen(path, hdus, ext, raw=True)]


def _science(path: Path, hdus: fits.HDUList) -> list[Extension]:
    """Return the images of the sky in a file, which may be none."""
    try:
        return science(path, hdus)
    except FitsError:
        return []


def _read(
    path: Path, hdus: fits.HDUList, place: Extension, images: Sequence[Extension], uncertain: bool, masked: bool
) -> Plane:
    """Read one of the ``images`` of a file: what lies beside which of them is told by all, asked for or not."""
    image = pixels(hdus[place.number])
    notes: list[str] = []
    bad = ~np.isfinite(image)
    for rows, columns in _overscans(place):
        bad[rows, columns] = True
    if said(place.headers[0], NETWORK) is not None:
        notes.append("cosmicgate has cleaned it already: hits that were replaced are not in it any more")
    if place.overscan:
        notes.append(f"its overscan ({place.overscan}) is not searched")
    telescope = telescope_of(place.headers, path)
    for beside in masks_beside(hdus, place, images) if masked else ():
        hdu = hdus[beside]
        flags = np.asarray(hdu.data).reshape(hdu.shape[-2:])
        if flags.shape == place.shape:
            here = bad_pixels(flags, hdu.name, telescope, (hdu.header, *place.headers))
            bad |= here
            if (part := here.mean()) > MUCH:
                notes.append(f"the mask {hdu.name} calls {part:.0%} of the image bad: not searched there")
        else:
            notes.append(f"the mask {hdu.name} is {flags.shape}, the image {place.shape}: it was left aside")
        del hdu.data
    if (saturation := saturation_of(path, place)) is not None:
        full = image >= saturation
        if 2 * np.count_nonzero(full) < full.size:
            bad |= full
        else:
            notes.append(f"more than half of the image is above the header's saturation of {saturation:g}: not used")
    return Plane(place, image, bad, _uncertainties(hdus, place, images) if uncertain else [], notes)


def saturation_of(path: Path, place: Extension) -> float | None:
    """Return the saturation of a header, in the unit of the image; None if it gives none that can be meant."""
    try:
        return number(path, place.headers, "saturation")
    except FitsError:
        return None


def _overscans(place: Extension) -> list[tuple[slice, slice]]:
    """Return rows and columns of the overscans that the image still has."""
    if not place.overscan:
        return []
    found = [section(first(place.headers[:1], word)) for word in OVERSCAN]
    return [one for one in found if one]


def kind_of(name: str) -> Kind | None:
    """Return what an EXTNAME says of the numbers of a plane of uncertainty, None if it is of none."""
    words = words_of(name)
    return None if words & NO_UNCERTAINTY else next((kind for kind, one in UNCERTAINTIES.items() if one & words), None)


def _uncertainties(hdus: fits.HDUList, place: Extension, images: Sequence[Extension]) -> list[Uncertainty]:
    found = []
    for number_, kind in uncertain_planes(hdus, place, images):
        found.append(Uncertainty(number_, kind, precise_pixels(hdus[number_])))
        del hdus[number_].data
    return found


def uncertain_planes(hdus: fits.HDUList, place: Extension, images: Sequence[Extension]) -> list[tuple[int, Kind]]:
    """Return the numbers and kinds of the planes of uncertainty of an image, those of its shape."""
    words = frozenset().union(*UNCERTAINTIES.values())
    numbers = [i for i in planes_beside(hdus, place, images, words) if hdus[i].shape[-2:] == place.shape]
    return [(i, kind) for i in numbers if (kind := kind_of(hdus[i].name)) is not None]
