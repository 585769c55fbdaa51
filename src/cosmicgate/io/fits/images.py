"""Select images of the sky, the planes that belong to them, and raw parts of a CCD among the HDUs of a file."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from cosmicgate.io.fits.hdus import FitsError, header_value, is_two_dimensional, open_fits, section
from cosmicgate.io.fits.masks import MASKS, PRODUCTS, image_suffix, words_of
from cosmicgate.io.fits.roles import Role, roles_of

Ext = str | int | tuple[str, int]
OVERSCAN = ("BIASSEC", *(f"BIASSEC{letter}" for letter in "ABCD"))
MAX_OVERSCAN = 0.25  # fraction of the image that may lie outside its TRIMSEC or DATASEC


@dataclass(frozen=True, eq=False)
class ImageExtension:
    """An image of the sky in a FITS file.

    Attributes
    ----------
    number : int
        Number of its HDU; the primary one is 0.
    name : str
        EXTNAME without surrounding blanks, in upper case; ``"PRIMARY"`` for a primary HDU without one.
    version : int
        EXTVER.
    shape : tuple of int
        Rows and columns.
    headers : tuple of Header
        Header of the HDU and primary header; the first takes precedence.
    overscan : str
        Card such as ``"BIASSEC = '[520:540,1:512]'"`` if the overscan has not been trimmed: the image is raw, and
        perhaps only the part of a CCD that one amplifier read. Empty otherwise.
    """

    number: int
    name: str
    version: int
    shape: tuple[int, int]
    headers: tuple[fits.Header, fits.Header]
    overscan: str = ""

    @property
    def label(self) -> str:
        """Name for messages and files: ``"N4"``, ``"SCI_2"``, or the HDU's number if it has no name."""
        return (self.name + f"_{self.version}" * (self.version != 1)) or str(self.number)


def extensions(path: Path) -> list[ImageExtension]:
    """List the reduced images of a file, each with its headers: for example the 62 CCDs of a DECam exposure.

    Raises
    ------
    FitsError
        There is none, or they are raw, with their overscan.
    """
    with open_fits(path) as hdus:
        return whole_ccds(path, hdus)


def whole_ccds(path: Path, hdus: fits.HDUList) -> list[ImageExtension]:
    """List the reduced images of an open file as :func:`extensions` does."""
    images = science(path, hdus)
    for image in images:
        refuse_raw(path, image, len(images))
    return images


def all_images(path: Path, hdus: fits.HDUList, roles: Mapping[int, Role] | None = None) -> list[ImageExtension]:
    """List the images of the sky in an open file; empty if there is none."""
    try:
        return science(path, hdus, roles)
    except FitsError:
        return []


def select_image(
    path: Path, hdus: fits.HDUList, ext: Ext | None = None, images: Sequence[ImageExtension] = (), raw: bool = False
) -> ImageExtension:
    """Select an image by ``ext``: EXTNAME (case and surrounding blanks do not matter), number, or (name, version).

    A text that is no EXTNAME of the file may be a number or ``NAME,VERSION``. Without ``ext`` the file must have
    exactly one of ``images``. An image with its overscan is refused unless ``raw``.
    """
    images = [_named(path, hdus, ext)] if ext is not None else images or science(path, hdus)
    if not raw:
        refuse_raw(path, images[0], len(images))
    if len(images) == 1:
        return images[0]
    names = [image.name for image in images]
    if names.count(names[0]) > 1:
        number = f"{names.count(names[0])} images named {names[0]}"
        what = "merge its amplifiers first, or choose one with ext=(name, version) or its number"
        raise FitsError(f"{path}: expected one CCD, found {number}: {what}")
    few = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise FitsError(f"{path}: expected one image, found {len(names)} ({few}): choose one with ext")


def science(path: Path, hdus: fits.HDUList, roles: Mapping[int, Role] | None = None) -> list[ImageExtension]:
    """List the images of the sky in an open file, including raw ones, by the roles of its HDUs.

    Raises
    ------
    FitsError
        There is none, or several HDUs may be images but none is certain to be one.
    """
    roles = roles_of(hdus) if roles is None else roles
    images = [_extension(hdus, number) for number, role in sorted(roles.items()) if role.kind == "image"]
    if images:
        return images
    unclear = [number for number, role in sorted(roles.items()) if role.kind == "unclear"]
    if unclear:
        few = ", ".join(f"{n} {_described(hdus[n])}: {roles[n].reason}" for n in unclear[:4])
        few += "; ..." * (len(unclear) > 4)
        raise FitsError(f"{path}: none of {len(unclear)} HDUs is certain to be the image ({few}): choose one with ext")
    product = str(header_value(hdus[0].header, "PRODTYPE") or "").strip().lower()
    names = ", ".join(_described(hdu) for hdu in hdus) + f" in a {product} product" * (product in PRODUCTS)
    raise FitsError(f"{path}: expected a two-dimensional image, found only {names}")


def masks_beside(hdus: fits.HDUList, image: ImageExtension, images: Sequence[ImageExtension]) -> list[int]:
    """Find the HDU numbers of the masks that belong to one of the ``images`` of a file (see :func:`planes_beside`)."""
    return planes_beside(hdus, image, images, MASKS)


def planes_beside(
    hdus: fits.HDUList, image: ImageExtension, images: Sequence[ImageExtension], words: Collection[str]
) -> list[int]:
    """Find the HDU numbers of the planes, by words in their names, that belong to one of the ``images`` of a file.

    All planes belong to the image if it is the only one. If all images have the same name, planes are matched by
    EXTVER, if they have versions too. If the names differ, they are matched by the rest of the name (ERR1 belongs to
    SCI1). Otherwise the planes that follow an image belong to it, or those that precede it if the file begins with a
    plane and ends with an image.
    """
    others = [i for i, hdu in enumerate(hdus) if is_two_dimensional(hdu) and i != image.number]
    named = [i for i in others if words_of(hdus[i].name) & set(words)]
    if len(images) <= 1:
        return named
    versions = [other.version for other in images if other.name == image.name]
    keys = [(hdus[i].name.strip().upper(), hdus[i].ver) for i in named]
    have_versions = len(set(keys)) == len(keys) and {version for _, version in keys} <= set(versions)
    if len(versions) == len(images) == len(set(versions)) and have_versions:
        return [i for i in named if hdus[i].ver == image.version]
    owners = [image_suffix(other.name) for other in images]
    owned = all(owners) and len(set(owners)) == len(owners)
    if owned and {image_suffix(hdus[i].name) for i in named} <= set(owners):
        return [i for i in named if image_suffix(hdus[i].name) == image_suffix(image.name)]
    numbers = [other.number for other in images]
    if named and named[0] < min(numbers) and named[-1] < max(numbers):
        return [i for i in named if max((n for n in numbers if n < image.number), default=-1) < i < image.number]
    following = min((n for n in numbers if n > image.number), default=len(hdus))
    return [i for i in named if image.number < i < following]


def side_mask(path: Path, hdus: fits.HDUList, image: ImageExtension) -> int:
    """Find the HDU number of an image's mask in a file of masks: by name and version, or the only one there is."""
    numbers = [i for i, hdu in enumerate(hdus) if is_two_dimensional(hdu)]
    same = [i for i in numbers if (hdus[i].name.strip().upper(), hdus[i].ver) == (image.name, image.version)]
    if len(same) != 1 and len(numbers) != 1:
        raise FitsError(
            f"{path}: expected one mask for {image.label}, found {len(same)} of that name among {len(numbers)} images"
        )
    return same[0] if len(same) == 1 else numbers[0]


def refuse_raw(path: Path, image: ImageExtension, number: int = 1) -> None:
    """Raise FitsError if an image, one of ``number`` in its file, still has its overscan."""
    if image.overscan:
        what = f"{image.name} is raw, with its overscan ({image.overscan})" + f", one of {number} parts" * (number > 1)
        remedy = "a reduced frame, trimmed and with its amplifiers merged (LCO's e91, NOIRLab's instcal)"
        raise FitsError(
            f"{path}: {what}: give {remedy}; a DECam dark is read by "
            "cosmicgate.data.sources.raw_darks.reduction.read_dark"
        )


def parse_ext(ext: str) -> int | tuple[str, int] | None:
    """Parse an HDU's number, or ``NAME,VERSION``; None if the text is neither."""
    if ext.strip().isdecimal():
        return int(ext)
    name, comma, version = ext.rpartition(",")
    return (name, int(version)) if comma and version.strip().isdecimal() else None


def _named(path: Path, hdus: fits.HDUList, ext: Ext) -> ImageExtension:
    if isinstance(ext, int):
        numbers = [ext] if 0 <= ext < len(hdus) else []
    else:
        name, version = (ext, None) if isinstance(ext, str) else ext
        wanted = name.strip().upper()
        numbers = [i for i, hdu in enumerate(hdus) if hdu.name.strip().upper() == wanted]
        numbers = [i for i in numbers if version in (None, hdus[i].ver)]
        if not numbers and isinstance(ext, str) and (other := parse_ext(ext)) is not None:
            return _named(path, hdus, other)
    if not numbers:
        few = ", ".join(f"{i} {_described(hdu)}" for i, hdu in enumerate(hdus[:8])) + ", ..." * (len(hdus) > 8)
        raise FitsError(f"{path}: there is no HDU {ext!r} among its {len(hdus)} HDUs ({few})")
    if len(numbers) > 1:
        raise FitsError(f"{path}: {len(numbers)} HDUs are named {ext!r}: choose one by its number, from {numbers}")
    if not is_two_dimensional(hdus[numbers[0]]):
        raise FitsError(f"{path}: expected a two-dimensional image in {ext!r}, found {_described(hdus[numbers[0]])}")
    return _extension(hdus, numbers[0])


def _extension(hdus: fits.HDUList, number: int) -> ImageExtension:
    hdu = hdus[number]
    rows, columns = hdu.shape[-2:]
    headers = (hdu.header, hdus[0].header)
    version = int(hdu.ver) if isinstance(hdu.ver, int | float) and hdu.ver % 1 == 0 else 1  # must be an integer
    overscan = next((card for card, _ in overscans(hdu.header, (rows, columns))), "")
    return ImageExtension(number, hdu.name.strip().upper(), version, (rows, columns), headers, overscan)


def overscans(header: fits.Header, shape: tuple[int, int]) -> list[tuple[str, tuple[slice, slice]]]:
    """List the overscans (rows, columns) of an image of this shape, each with its card; none if it has been trimmed.

    What lies outside the TRIMSEC or, without one, the DATASEC is overscan or prescan as well, unless it is so large
    that the card must be that of one amplifier of the image. Trimmed frames may keep the cards of the raw frame, but
    then a BIASSEC, TRIMSEC or DATASEC reaches beyond the image, or the BIASSEC is part of the data.
    """
    cards = [(word, header_value(header, word)) for word in OVERSCAN]
    found = [(f"{word} = {text!r}", one) for word, text in cards if (one := section(text))]
    kept = [(word, one) for word in ("TRIMSEC", "DATASEC") if (one := section(header_value(header, word)))]
    image = (slice(0, shape[0]), slice(0, shape[1]))
    if not all(_is_part(one, image) for _, one in (*kept, *found)):
        return []
    if not kept:
        return found
    word, data = kept[0]
    found = [(card, one) for card, one in found if not _is_part(one, data)]
    parts = _outside(data, image)
    pixels = sum((rows.stop - rows.start) * (columns.stop - columns.start) for rows, columns in parts)
    if pixels > MAX_OVERSCAN * shape[0] * shape[1]:
        return found
    return found + [(f"outside {word} = {header_value(header, word)!r}", part) for part in parts]


def _outside(data: tuple[slice, slice], image: tuple[slice, slice]) -> list[tuple[slice, slice]]:
    """List the parts of an image (rows, columns) below, above, left and right of its data."""
    (rows, columns), (all_rows, all_columns) = data, image
    parts = [
        (slice(0, rows.start), all_columns),
        (slice(rows.stop, all_rows.stop), all_columns),
        (rows, slice(0, columns.start)),
        (rows, slice(columns.stop, all_columns.stop)),
    ]
    return [one for one in parts if all(side.stop > side.start for side in one)]


def _is_part(one: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    """Check whether a section of an image lies within another."""
    return all(a.start >= b.start and a.stop <= b.stop for a, b in zip(one, other, strict=True))


def _described(hdu: Any) -> str:
    name = hdu.name.strip() or type(hdu).__name__
    return f"{name} {tuple(hdu.shape)}" if hdu.is_image and len(hdu.shape) not in (0, 2) else name
