"""Read the images of a FITS file for a detector. No header keyword is required, as the networks scale by themselves."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.fits.cards import CRMODEL
from cosmicgate.io.fits.hdus import (
    FitsError,
    header_value,
    open_fits,
    pixels,
    precise_pixels,
)
from cosmicgate.io.fits.headers import header_number
from cosmicgate.io.fits.images import (
    ImageExtension,
    all_images,
    masks_beside,
    overscans,
    parse_ext,
    planes_beside,
    science,
    select_image,
)
from cosmicgate.io.fits.instruments import telescope_of
from cosmicgate.io.fits.masks import bad_pixels, words_of
from cosmicgate.io.fits.pixel_statistics import is_of_few_values
from cosmicgate.io.fits.quality_flags import QualityPlane, quality_hdu, quality_plane
from cosmicgate.io.fits.roles import roles_of, unsearched_notes
from cosmicgate.io.fits.saturation import check_saturation

Kind = Literal["std", "var", "ivar"]
# Words in the EXTNAME of uncertainty planes, by the kind of uncertainty.
UNCERTAINTIES: dict[Kind, frozenset[str]] = {
    "std": frozenset({"ERR", "ERROR", "ERRS", "SIGMA", "RMS", "UNCERT", "UNCERTAINTY", "STDDEV"}),
    "var": frozenset({"VAR", "VARIANCE", "STAT"}),
    "ivar": frozenset({"IVAR", "INVVAR", "WHT", "WEIGHT", "WGT", "WT"}),
}
KIND_CARDS: dict[str, dict[str, Kind]] = {
    "UTYPE": {"STDDEVUNCERTAINTY": "std", "VARIANCEUNCERTAINTY": "var", "INVERSEVARIANCE": "ivar"},
    "HDUCLAS3": {"RMSE": "std", "MSE": "var", "INVMSE": "ivar"},
}
# Words of planes that are no uncertainty of the image, or only one part of it (JWST): these are left unchanged.
NOT_UNCERTAINTY_WORDS = frozenset({"BKG", "BACKGROUND", "SKY", "MODEL", "PSF", "POISSON", "RNOISE", "FLAT"})
MAX_UNREPORTED_BAD = 0.05  # fraction of an image that a mask may call bad without a note


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Uncertainty plane of an image.

    Attributes
    ----------
    number : int
        Number of its HDU.
    kind : {"std", "var", "ivar"}
        Standard deviation, variance or inverse variance.
    values : ndarray (H, W), float64
        Uncertainties in the unit of the image, its square, or one over its square. float64, because float32 cannot hold
        the squares of the small numbers that physical units lead to.
    """

    number: int
    kind: Kind
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FitsImage:
    """An image of a FITS file with its bad pixels and the planes that belong to it.

    Attributes
    ----------
    extension : ImageExtension
        HDU of the image.
    image : ndarray (H, W), float32
        Pixel values in the unit of the file.
    bad : ndarray (H, W), bool
        Pixels that are not finite, saturated, in the overscan, or bad by a mask in the file.
    uncertainties : list of Uncertainty
        Uncertainty planes, if they were requested.
    notes : list of str
        Notes about parts that are not searched, with the reason.
    file_notes : list of str
        Such notes about the whole file; only the first image has them.
    quality : QualityPlane, optional
        Quality plane, if hits are to be written into it.
    exptime : float, optional
        Exposure time in seconds; None if the header has none.
    """

    extension: ImageExtension
    image: NDArray[np.float32]
    bad: NDArray[np.bool_]
    uncertainties: list[Uncertainty] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    file_notes: list[str] = field(default_factory=list)
    quality: QualityPlane | None = None
    exptime: float | None = None


def read_images(
    path: Path, exts: Sequence[str | int] = (), uncertain: bool = False, masked: bool = True, bit: str = ""
) -> Generator[FitsImage, None, None]:
    """Yield the images of a file one after the other, so that only one is in memory.

    Parameters
    ----------
    path : Path
        FITS file: plain, ``.fz`` or ``.gz``.
    exts : sequence of str or int
        Images to read: each a text, by EXTNAME (all images of that name), number, or ``NAME,VERSION``; or the number
        of an HDU whatever the names are. Empty: every image of the sky.
    uncertain : bool
        Read the uncertainty planes as well.
    masked : bool
        Mark the pixels as bad that a mask in the file calls bad.
    bit : str
        Bit to set in the quality plane (:func:`~cosmicgate.io.fits.quality_flags.validated_bit`); if not empty, that
        plane is read as well.

    Yields
    ------
    FitsImage
        Image with its bad pixels and planes.

    Raises
    ------
    FileNotFoundError, FitsError
        There is no such file, it is not FITS or truncated, or it has no such image; or a plane that would be changed
        belongs to two of the images.
    """
    with open_fits(path) as hdus:
        roles = roles_of(hdus)
        sky = all_images(path, hdus, roles)
        images, notes = select_images(path, hdus, exts, sky) if exts else (science(path, hdus, roles), [])
        notes += [] if exts else unsearched_notes(hdus, roles)
        sky_numbers = {image.number for image in sky}
        searched = [(extension, sky if extension.number in sky_numbers else [*sky, extension]) for extension in images]
        _refuse_shared_planes(path, hdus, searched, uncertain, bool(bit))
        for extension, beside in searched:
            plane = _read(path, hdus, extension, beside, uncertain, masked)
            quality = quality_plane(path, hdus, extension, beside, bit) if bit else None
            yield replace(plane, file_notes=notes, quality=quality)
            notes = []
            del hdus[extension.number].data


def _refuse_shared_planes(
    path: Path,
    hdus: fits.HDUList,
    searched: Sequence[tuple[ImageExtension, Sequence[ImageExtension]]],
    uncertain: bool,
    flagged: bool,
) -> None:
    """Raise FitsError if an HDU would be changed for two of the images, each given with all images beside it."""
    owners: dict[int, ImageExtension] = {}
    for extension, beside in searched:
        changed: set[int] = set()
        if uncertain:
            changed |= {extension.number, *(number for number, _ in uncertainty_planes(hdus, extension, beside))}
        if flagged:
            changed.add(quality_hdu(path, hdus, extension, beside))
        for number in sorted(changed):
            if (other := owners.setdefault(number, extension)) is not extension:
                raise FitsError(
                    f"{path}: HDU {number} ({hdus[number].name}) belongs to two of the images that are searched, "
                    f"{other.label} and {extension.label}: mask each with an output of its own"
                )


def images_of(path: Path, hdus: fits.HDUList, exts: Sequence[str] = ()) -> list[ImageExtension]:
    """List the requested images, each once, in the order of the file; by default all images of the sky."""
    return select_images(path, hdus, exts, all_images(path, hdus))[0] if exts else science(path, hdus)


def select_images(
    path: Path, hdus: fits.HDUList, exts: Sequence[str | int], sky: Sequence[ImageExtension]
) -> tuple[list[ImageExtension], list[str]]:
    """Find the requested images among all HDUs of a file.

    A text that is an EXTNAME of the file is taken as such, even if it could also be a number or ``NAME,VERSION``.

    Returns
    -------
    images : list of ImageExtension
        Images, each once, in the order of the file.
    notes : list of str
        For each text that could mean two HDUs, which of them was taken.
    """
    found: dict[int, ImageExtension] = {}
    notes: list[str] = []
    for ext in exts:
        if isinstance(ext, int):
            found[ext] = select_image(path, hdus, ext, raw=True)
            continue
        other = parse_ext(ext)
        same = [image for image in sky if image.name == ext.strip().upper()]
        if not same and (other is None or any(hdu.name.strip().upper() == ext.strip().upper() for hdu in hdus)):
            same = [select_image(path, hdus, ext, raw=True)]
        if not same and other is not None:
            same = [select_image(path, hdus, other, raw=True)]
        elif isinstance(other, int) and other < len(hdus) and [image.number for image in same] != [other]:
            notes.append(f"--ext {ext} is the HDU of that name, not HDU {other}")
        found |= {image.number: image for image in same}
    return [found[number] for number in sorted(found)], notes


def _read(
    path: Path,
    hdus: fits.HDUList,
    extension: ImageExtension,
    images: Sequence[ImageExtension],
    uncertain: bool,
    masked: bool,
) -> FitsImage:
    """Read one of the ``images`` of a file; all of them are needed to decide which planes belong to it."""
    image = pixels(hdus[extension.number])
    notes: list[str] = []
    bad = ~np.isfinite(image)
    if 2 * np.count_nonzero(np.isinf(image)) > image.size:
        notes.append(
            "most of its values are infinite or beyond 3.4e38, too large to be searched: divide the image by a constant"
        )
    for _, (rows, columns) in overscans(extension.headers[0], extension.shape):
        bad[rows, columns] = True
    if header_value(extension.headers[0], CRMODEL) is not None:
        notes.append("cosmicgate has cleaned it before: hits that were replaced then cannot be found again")
    if extension.overscan:
        notes.append(f"its overscan ({extension.overscan}) is not searched")
    telescope = telescope_of(extension.headers, path)
    for beside in masks_beside(hdus, extension, images) if masked else ():
        hdu = hdus[beside]
        flags = np.asarray(hdu.data).reshape(hdu.shape[-2:])
        if flags.shape == extension.shape:
            here = bad_pixels(flags, hdu.name, telescope, (hdu.header, *extension.headers))
            bad |= here
            if (part := here.mean()) > MAX_UNREPORTED_BAD:
                notes.append(f"the mask {hdu.name} marks {part:.0%} of the image as bad, which is not searched")
        else:
            notes.append(
                f"the mask {hdu.name} has the shape {flags.shape}, the image {extension.shape}: it is not used"
            )
        del hdu.data
    if (saturation := number_of(path, extension, "saturation")) is not None:
        usable, note = check_saturation(image, bad, saturation)
        notes += [note] if note else []
        if usable:
            bad |= image >= saturation
    uncertainties = _uncertainties(hdus, extension, images, notes) if uncertain else []
    return FitsImage(extension, image, bad, uncertainties, notes, exptime=number_of(path, extension, "exptime"))


def number_of(path: Path, extension: ImageExtension, key: str) -> float | None:
    """Look up a number in the headers of an image (saturation in its unit); None if it is missing or not plausible."""
    try:
        return header_number(path, extension.headers, key)
    except FitsError:
        return None


def kind_of(name: str, header: fits.Header) -> Kind | None:
    """Find the kind of an uncertainty plane; None if it is none, or of an unknown kind.

    The card UTYPE of astropy or HDUCLAS3 of ESO says it, otherwise the EXTNAME.
    """
    for card, kinds in KIND_CARDS.items():
        if (value := header_value(header, card)) is not None:
            return kinds.get(str(value).strip().upper())
    words = words_of(name)
    if words & NOT_UNCERTAINTY_WORDS:
        return None
    return next((kind for kind, one in UNCERTAINTIES.items() if one & words), None)


def _uncertainties(
    hdus: fits.HDUList, extension: ImageExtension, images: Sequence[ImageExtension], notes: list[str]
) -> list[Uncertainty]:
    """Read the uncertainty planes of an image, except those that hold flags in spite of their names."""
    found = []
    for number, kind in uncertainty_planes(hdus, extension, images):
        values = precise_pixels(hdus[number])
        del hdus[number].data
        if is_of_few_values(values) and values.min() != values.max():
            notes.append(
                f"{hdus[number].name} has only a few different integers, like a plane of flags: it is not changed"
            )
        else:
            found.append(Uncertainty(number, kind, values))
    return found


def uncertainty_planes(
    hdus: fits.HDUList, extension: ImageExtension, images: Sequence[ImageExtension]
) -> list[tuple[int, Kind]]:
    """List the HDU numbers and kinds of the uncertainty planes of an image that have its shape."""
    words = frozenset().union(*UNCERTAINTIES.values())
    numbers = [i for i in planes_beside(hdus, extension, images, words) if hdus[i].shape[-2:] == extension.shape]
    return [(i, kind) for i in numbers if (kind := kind_of(hdus[i].name, hdus[i].header)) is not None]
