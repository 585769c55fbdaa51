"""List the images of a file that can be shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import FitsError, is_two_dimensional, open_fits
from cosmicgate.io.fits.images import all_images


@dataclass(frozen=True, eq=False)
class ViewableHdu:
    """One image of the given files: an HDU with two dimensions.

    Attributes
    ----------
    path : Path
        File.
    number : int
        Number of the HDU.
    label : str
        Name for the page.
    shape : tuple of int
        Rows and columns.
    searchable : bool
        Whether it is an image of the sky, in which hits can be searched.
    single_image : bool
        Whether it is the only image of the sky in the file.
    """

    path: Path
    number: int
    label: str
    shape: tuple[int, int]
    searchable: bool
    single_image: bool

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can hold; the folder of the file is left out."""
        about = {"file": self.path.name, "hdu": self.number, "label": self.label}
        return about | {"shape": list(self.shape), "searchable": self.searchable}


def viewable_hdus(path: Path) -> list[ViewableHdu]:
    """List the images of a file, those of the sky first.

    Raises
    ------
    FileNotFoundError, FitsError
        There is no such file, it is not FITS, or it has no image.
    """
    with collect_astropy_warnings([]), open_fits(path) as hdus:
        sky = {image.number for image in all_images(path, hdus)}
        flat = [number for number, hdu in enumerate(hdus) if is_two_dimensional(hdu)]
        if not flat:
            shapes = [" x ".join(map(str, hdu.shape)) for hdu in hdus if hdu.is_image and hdu.shape]
            raise FitsError(f"{path}: expected an image of two dimensions, found {' and '.join(shapes) or 'none'}")
        found = []
        for number in sorted(flat, key=lambda number: (number not in sky, number)):
            rows, columns = hdus[number].shape[-2:]
            label = f"{number} {hdus[number].name.strip()}".strip()
            searchable = number in sky or not sky
            found.append(
                ViewableHdu(path, number, label, (rows, columns), searchable, searchable and len(sky or flat) == 1)
            )
        return found


def select_hdus(path: Path, hdus: Sequence[ViewableHdu], exts: Sequence[str]) -> Sequence[ViewableHdu]:
    """Choose images by HDU number or EXTNAME; all of them if none is named.

    Raises
    ------
    FitsError
        The file has no such image.
    """
    if not exts:
        return hdus
    found = []
    for ext in exts:
        same = [one for one in hdus if ext.strip().upper() in (str(one.number), one.label.partition(" ")[2].upper())]
        if not same:
            few = ", ".join(one.label for one in hdus[:8]) + ", ..." * (len(hdus) > 8)
            raise FitsError(f"{path}: there is no image {ext!r} among its HDUs ({few})")
        found += same
    return list(dict.fromkeys(found))
