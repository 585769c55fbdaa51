"""Read the mask and the probabilities that ``cosmicgate mask`` has written of an image."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.io.fits.cards import CRGROW, CRMODEL, CRTHRESH, CRWEIGHT
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import FitsError, open_fits
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.masking.read_masks import (
    AmbiguousMasksError,
    find_masks,
    is_of_another_file,
    plane_of,
    probability_plane,
)
from cosmicgate.viewer.runs import to_runs, to_text


def mask_of_file(extension: ImageExtension, file: Path, weights_sha256: str, notes: list[str]) -> dict[str, Any] | None:
    """Read the mask of an image, in its file or beside it; None if there is none.

    Parameters
    ----------
    extension, file : ImageExtension, Path
        Image, and its file.
    weights_sha256 : str
        Checksum of the network that is used here.
    notes : list of str
        Gets the reason why a mask, or the probabilities in it, are not used, and that a mask is of another version of
        the file.

    Returns
    -------
    dict
        ``hits``, runs in text; ``model``, ``threshold`` and ``grow`` of the mask; ``same_network``, whether it is by
        this network; ``probability``, whether there are probabilities by this network.
    """
    try:
        side = _file_of_masks(extension, file)
        if side is None:
            return None
        with collect_astropy_warnings([]), open_fits(side) as hdus:
            hdu = plane_of(extension, hdus, "CRMASK")
            if hdu is None:
                return None
            hits, about = np.asarray(hdu.data) != 0, hdu.header
            known = {"model": about.get(CRMODEL), "threshold": about.get(CRTHRESH), "grow": about.get(CRGROW)}
            known["same_network"] = about.get(CRWEIGHT) == weights_sha256
            plane, reason = probability_plane(extension, file, hdus, weights_sha256) if side != file else (None, "")
            other = side != file and is_of_another_file(hdu, file)
    except AmbiguousMasksError as error:
        notes.append(str(error))
        return None
    except (FitsError, OSError) as error:
        notes.append(f"the mask of this image cannot be read: {error}")
        return None
    notes += [f"the probabilities in {side.name} are {reason}: not used"] * bool(reason)
    if hits.shape != extension.shape:
        notes.append(f"the mask beside the file has the shape {hits.shape}, the image {extension.shape}: not used")
        return None
    notes += [f"the mask in {side.name} is of another version of this file: check it"] * other
    return {"hits": to_text(to_runs(hits)), "probability": plane is not None} | known


def probability_of_file(
    extension: ImageExtension, file: Path, weights_sha256: str
) -> tuple[NDArray[np.float32], str] | None:
    """Read the probabilities (H, W) of an image by this network, and the name of their file; None if there are none."""
    try:
        side = _file_of_masks(extension, file)
        if side is None or side == file:
            return None
        with collect_astropy_warnings([]), open_fits(side) as hdus:
            plane = probability_plane(extension, file, hdus, weights_sha256)[0]
            return None if plane is None else (np.asarray(plane.data, np.float32), side.name)
    except (FitsError, OSError):  # the notes of the mask say why
        return None


def _file_of_masks(extension: ImageExtension, file: Path) -> Path | None:
    """Locate the file of the mask of an image, its own or one beside it; None if there is none."""
    with collect_astropy_warnings([]), open_fits(file) as hdus:
        if plane_of(extension, hdus, "CRMASK") is not None:
            return file
    try:
        return find_masks(file)
    except AmbiguousMasksError:
        raise
    except FitsError:
        return None
