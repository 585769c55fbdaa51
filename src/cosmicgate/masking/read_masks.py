"""Find the file of masks of an image, and the mask in it."""

import hashlib
from glob import escape
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.atomic import cached_sha256
from cosmicgate.io.fits.cards import CRHDU, CRINPUT, CRKEY, CROTHERS, CRWEIGHT
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import FitsError, input_checksum, open_fits, pixels
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.masking.output_paths import name_of, side_file


class AmbiguousMasksError(FitsError):
    """Error of an image of which more than one file has masks."""


def find_masks(file: Path) -> Path:
    """Find the file of masks of an image: beside it, in the current folder, or in a subfolder of either.

    In another folder (``cosmicgate mask -o masks``) it counts only if its input had the same checksum as this file.

    Raises
    ------
    FitsError
        There is no such file.
    AmbiguousMasksError
        There is more than one.
    """
    beside = side_file(file)
    if beside.is_file():
        return beside
    names = (escape(beside.name), f"*/{escape(beside.name)}")
    places = [(folder, name) for folder in (Path(), file.parent) for name in names]
    near = {one.resolve(): one for folder, name in places for one in sorted(folder.glob(name))}
    found = [one for one in near.values() if _input_checksum(one) == cached_sha256(file)]
    if len(found) == 1:
        return found[0]
    if not found:
        missing = f"it has no masks by cosmicgate, and {beside} does not exist"
        raise FitsError(f"{file}: {missing}: run cosmicgate mask first, or name the file of its masks with --mask")
    few = ", ".join(str(one) for one in found[:4])
    raise AmbiguousMasksError(f"{file}: {len(found)} files have masks of it ({few}): choose one with --mask")


def _input_checksum(file: Path) -> str:
    """Read from a file of masks the checksum of its input; empty if it has none."""
    try:
        with collect_astropy_warnings([]), open_fits(file) as hdus:
            return input_checksum(hdus)
    except (FitsError, OSError):
        return ""


def hits_of(extension: ImageExtension, hdus: fits.HDUList) -> NDArray[np.bool_] | None:
    """Find the mask (H, W) of an image by name and HDU number (amplifiers may share a name); None if there is none."""
    found = plane_of(extension, hdus, "CRMASK")
    return None if found is None else np.asarray(found.data) != 0


def plane_of(extension: ImageExtension, hdus: fits.HDUList, what: str) -> Any:
    """Find the HDU of a plane of an image, such as CRMASK, by name and HDU number; None if there is none."""
    name = name_of(extension, what)
    return next((hdu for hdu in hdus if hdu.name == name and hdu.header.get(CRHDU) == extension.number), None)


def others_checksum(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> str:
    """Hash the pixels of an image (H, W) outside a mask (H, W): they stay as they are when it is cleaned."""
    values = np.where(np.isnan(image), np.float32(np.nan), image)[~mask]  # one pattern of bits for all NaN
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()[:32]


def changed_since_masked(extension: ImageExtension, hdus: fits.HDUList) -> bool:
    """Check whether an image of a file was changed since its mask was written into the same file.

    False if there is no mask, or one of an earlier version, which does not tell.
    """
    mask = plane_of(extension, hdus, "CRMASK")
    if mask is None or CROTHERS not in mask.header:
        return False
    image, hits = pixels(hdus[extension.number]), np.asarray(mask.data) != 0
    return image.shape != hits.shape or others_checksum(image, hits) != str(mask.header[CROTHERS])


def is_of_another_file(mask: Any, file: Path) -> bool:
    """Check whether the HDU of a mask names the checksum of another input than a file, or of an earlier version."""
    checksum = str(mask.header.get(CRINPUT, ""))
    return bool(checksum) and checksum != cached_sha256(file)


def probability_plane(
    extension: ImageExtension, file: Path, hdus: fits.HDUList, weights_sha256: str
) -> tuple[Any, str]:
    """Find the HDU of probabilities that ``cosmicgate mask --probability`` wrote after the mask of an image.

    Parameters
    ----------
    extension, file : ImageExtension, Path
        Image, and its file.
    hdus : HDUList
        File of masks.
    weights_sha256 : str
        Checksum of the network whose probabilities are wanted.

    Returns
    -------
    hdu : HDU, or None
        Probabilities of this very file by this network, according to the cards of the mask; None if there are none.
    reason : str
        What those in the file are of instead, in words; empty if there are none.
    """
    mask = plane_of(extension, hdus, "CRMASK")
    after = hdus[hdus.index(mask) + 1 :] if mask is not None else []
    for hdu in takewhile(lambda one: not one.name.endswith("CRMASK"), after):  # the mask of the next image
        if hdu.name == name_of(extension, "CRPROB") and hdu.shape == extension.shape:
            if (mask.header.get(CRKEY), mask.header.get(CRWEIGHT)) != (hdu.header.get(CRKEY), weights_sha256):
                return None, "of another network"
            if mask.header.get(CRINPUT) != cached_sha256(file):
                return None, "of another version of this file"
            return hdu, ""
    return None, ""
