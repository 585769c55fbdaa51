"""Which HDU of a file is meant: what is an image of the sky, what a mask beside it, what a part of a CCD."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from astropy.io import fits

from cosmicgate.data.fits.hdus import FitsError, opened, said, section
from cosmicgate.data.fits.masks import MASKS, OTHERS, PRODUCTS, whose, words_of

Ext = str | int | tuple[str, int]


@dataclass(frozen=True, eq=False)
class Extension:
    """An image of the sky in a FITS file.

    Attributes
    ----------
    number : int
        Of its HDU; the primary one is 0.
    name : str
        EXTNAME without blanks, in capitals; ``"PRIMARY"`` where a first HDU has none.
    version : int
        EXTVER.
    shape : tuple of int
        Rows and columns.
    headers : tuple of Header
        Its own and the primary one; what the first says wins.
    overscan : str
        ``"BIASSEC = '[520:540,1:512]'"`` where the image has its overscan still: it is raw, and perhaps only one
        amplifier's part of a CCD. Empty otherwise.
    """

    number: int
    name: str
    version: int
    shape: tuple[int, int]
    headers: tuple[fits.Header, fits.Header]
    overscan: str = ""

    @property
    def label(self) -> str:
        """A name for people and files: ``"N4"``, ``"SCI_2"``, ``"3"`` of one without a name."""
        return (self.name + f"_{self.version}" * (self.version != 1)) or str(self.number)


def extensions(path: Path) -> list[Extension]:
    """List the images of a file: all 62 CCDs of an exposure with DECam, say, each with its headers.

    Raises
    ------
    FitsError
        There is none, or they are raw, with their overscan.
    """
    with opened(path) as hdus:
        return whole_ccds(path, hdus)


def whole_ccds(path: Path, hdus: fits.HDUList) -> list[Extension]:
    """Return the images of an open file as :func:`extensions` does."""
    images = science(path, hdus)
    for image in images:
        refuse_raw(path, image, len(images))
    return images


def chosen(path: Path, hdus: fits.HDUList, ext: Ext | None = None, raw: bool = False) -> Extension:
    """Return the image that ``ext`` names: EXTNAME, in any letters and with any blanks, number, or (name, version).

    Without ``ext`` it is the only one. One with its overscan is refused unless ``raw``.
    """
    images = [_named(path, hdus, ext)] if ext is not None else science(path, hdus)
    if not raw:
        refuse_raw(path, images[0], len(images))
    if len(images) == 1:
        return images[0]
    names = [image.name for image in images]
    if names.count(names[0]) > 1:
        number = f"{names.count(names[0])} images named {names[0]}"
        what = "put its amplifiers together first, or choose one by ext=(name, version) or its number"
        raise FitsError(f"{path}: expected one CCD, found {number}: {what}")
    few = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    raise FitsError(f"{path}: expected one image, found {len(names)} ({few}): choose one by ext")


def science(path: Path, hdus: fits.HDUList) -> list[Extension]:
    """Return the images of the sky in an open file, raw ones among them; refuse a file that has none."""
    product = str(said(hdus[0].header, "PRODTYPE") or "").strip().lower()
    images = [] if product in PRODUCTS else [_extension(hdus, i) for i, hdu in enumerate(hdus) if _is_science(hdu)]
    if not images:
        names = ", ".join(_described(hdu) for hdu in hdus) + (f" in a {product} product" if product in PRODUCTS else "")
        raise FitsError(f"{path}: expected an image of two dimensions, found only {names}")
    return images


def masks_beside(hdus: fits.HDUList, image: Extension, images: Sequence[Extension]) -> list[int]:
    """Return the numbers of the masks that belong to one of the ``images`` of a file, as :func:`planes_beside` says."""
    return planes_beside(hdus, image, images, MASKS)


def planes_beside(
    hdus: fits.HDUList, image: Extension, images: Sequence[Extension], words: Collection[str]
) -> list[int]:
    """Return the numbers of the planes, by words in their names, that belong to one of the ``images`` of a file.

    To the only image all of them. Among images of one name those of its version, if the planes have versions as well;
    of names that differ, those that name it too (ERR1 belongs to SCI1); else those that follow it, or that stand before
    it where the file begins with a plane and ends with an image.
    """
    named = [i for i, hdu in enumerate(hdus) if _is_flat(hdu) and words_of(hdu.name) & set(words) and i != image.number]
    if len(images) <= 1:
        return named
    versions = [other.version for other in images if other.name == image.name]
    told = [(hdus[i].name.strip().upper(), hdus[i].ver) for i in named]
    have_versions = len(set(told)) == len(told) and {version for _, version in told} <= set(versions)
    if len(versions) == len(images) == len(set(versions)) and have_versions:
        return [i for i in named if hdus[i].ver == image.version]
    owners = [whose(other.name) for other in images]
    owned = all(owners) and len(set(owners)) == len(owners)
    if owned and {whose(hdus[i].name) for i in named} <= set(owners):
        return [i for i in named if whose(hdus[i].name) == whose(image.name)]
    numbers = [other.number for other in images]
    if named and named[0] < min(numbers) and named[-1] < max(numbers):
        return [i for i in named if max((n for n in numbers if n < image.number), default=-1) < i < image.number]
    following = min((n for n in numbers if n > image.number), default=len(hdus))
    return [i for i in named if image.number < i < following]


def side_mask(path: Path, hdus: fits.HDUList, image: Extension) -> int:
    """Return the number of the mask of an image in a file of masks: by name and version, or the only one there is."""
    flat = [i for i, hdu in enumerate(hdus) if _is_flat(hdu)]
    same = [i for i in flat if (hdus[i].name.strip().upper(), hdus[i].ver) == (image.name, image.version)]
    if len(same) != 1 and len(flat) != 1:
        raise FitsError(f"{path}: expected one mask for {image.label}, found {len(same)} of that name in {len(flat)}")
    return same[0] if len(same) == 1 else flat[0]


def refuse_raw(path: Path, image: Extension, number: int = 1) -> None:
    """Refuse an image, one of ``number`` in its file, that has its overscan still."""
    if image.overscan:
        what = f"{image.name} is raw, with its overscan ({image.overscan})" + f", one of {number} parts" * (number > 1)
        wanted = "a reduced frame, trimmed and its amplifiers put together (LCO's e91, NOIRLab's instcal)"
        raise FitsError(f"{path}: {what}: give {wanted}; a DECam dark is read by cosmicgate.data.darks.raw.read_dark")


def _named(path: Path, hdus: fits.HDUList, ext: Ext) -> Extension:
    if isinstance(ext, int):
        numbers = [ext] if 0 <= ext < len(hdus) else []
    else:
        name, version = (ext, None) if isinstance(ext, str) else ext
        wanted = name.strip().upper()
        numbers = [i for i, hdu in enumerate(hdus) if hdu.name.strip().upper() == wanted]
        numbers = [i for i in numbers if version in (None, hdus[i].ver)]
    if not numbers:
        few = ", ".join(f"{i} {_described(hdu)}" for i, hdu in enumerate(hdus[:8])) + ", ..." * (len(hdus) > 8)
        raise FitsError(f"{path}: no HDU {ext!r} among {len(hdus)} ({few})")
    if len(numbers) > 1:
        raise FitsError(f"{path}: {len(numbers)} HDUs are named {ext!r}: choose one by its number, from {numbers}")
    if not _is_flat(hdus[numbers[0]]):
        raise FitsError(f"{path}: expected an image of two dimensions in {ext!r}, found {_described(hdus[numbers[0]])}")
    return _extension(hdus, numbers[0])


def _extension(hdus: fits.HDUList, number: int) -> Extension:
    hdu = hdus[number]
    rows, columns = hdu.shape[-2:]
    headers = (hdu.header, hdus[0].header)
    version = int(hdu.ver) if isinstance(hdu.ver, int | float) and hdu.ver % 1 == 0 else 1  # FITS allows no other
    return Extension(number, hdu.name.strip().upper(), version, (rows, columns), headers, _overscan(hdu))


def _overscan(hdu: Any) -> str:
    """Return the first BIASSEC card, if all of them lie within the image.

    Reduced frames may keep theirs: then these, or the parts that were kept (TRIMSEC, DATASEC), do not.
    """
    cards = [(word, said(hdu.header, word)) for word in ("BIASSEC", *(f"BIASSEC{letter}" for letter in "ABCD"))]
    found = [(word, text, section(text)) for word, text in cards if section(text)]
    rows, columns = hdu.shape[-2:]
    kept = [section(said(hdu.header, word)) for word in ("TRIMSEC", "DATASEC")]
    inside = [s[0].stop <= rows and s[1].stop <= columns for s in (*(s for _, _, s in found), *kept) if s is not None]
    return f"{found[0][0]} = {found[0][1]!r}" if found and all(inside) else ""


def _is_science(hdu: Any) -> bool:
    return _is_flat(hdu) and not words_of(hdu.name) & (MASKS | OTHERS)


def _is_flat(hdu: Any) -> bool:
    """Say whether an HDU is an image of two dimensions, or of three of which the first is 1, and not empty."""
    shape: tuple[int, ...] = hdu.shape if hdu.is_image else ()
    return len(shape) in (2, 3) and 0 not in shape and (len(shape) == 2 or shape[0] == 1)


def _described(hdu: Any) -> str:
    name = hdu.name.strip() or type(hdu).__name__
    return f"{name} {tuple(hdu.shape)}" if hdu.is_image and len(hdu.shape) not in (0, 2) else name
