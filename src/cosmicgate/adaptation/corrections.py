"""Apply what a person has said of pixels (``cosmicgate view``) to masks that come from comparing exposures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.lco.io import NO_DATA, MaskedSequence
from cosmicgate.data.sources.files import identity
from cosmicgate.io.fits.hdus import opened
from cosmicgate.io.fits.images import select_image
from cosmicgate.viewer.labels import HIT, NO_HIT, UNKNOWN, labels_path, read_labels

Touched = NDArray[np.uint8]


def find_corrections(frames: Sequence[str], folder: str | None) -> list[dict[str, Any]]:
    """List the files of labels of exposures, beside them or in a folder: path of the exposure, path and identity.

    Raises
    ------
    ValueError
        If the folder has no labels of these exposures.
    """
    found = []
    for frame in frames:
        path = labels_path(Path(frame), None if folder is None else Path(folder))
        if path.is_file():
            found.append({"frame": frame, "path": str(path), "identity": identity(path)})
    if folder is not None and not found:
        raise ValueError(f"{folder}: expected labels of the exposures, such as {path.name}, found none")
    return found


def read_touched(frame: Path, path: Path, ext: str = "") -> Touched | None:
    """Read what a person said of the pixels (H, W) of an exposure, or of its image ``ext``; None if nothing.

    Raises
    ------
    ValueError
        The labels are not readable, or of another shape.
    """
    with opened(frame) as hdus:
        place = select_image(frame, hdus, ext or None)
    labels = read_labels(path, place, alone=False) or read_labels(path, place, alone=True)
    return labels.touched if labels is not None and labels.touched.any() else None


def correct(masked: MaskedSequence, touched: Sequence[Touched | None]) -> MaskedSequence:
    """Replace the labels of the pixels that a person has touched, and say how many these are.

    Parameters
    ----------
    masked : MaskedSequence
        Exposures and their masks by comparison.
    touched : sequence of ndarray (H, W), or None
        For each exposure what a person said: 0 nothing, 1 hit, 2 no hit, 3 not known.
    """
    hits, ignore, notes = list(masked.hits), list(masked.ignore), list(masked.notes)
    for number, plane in enumerate(touched):
        if plane is None:
            continue
        hits[number] = np.where(plane > 0, plane == HIT, hits[number])
        known = (plane == HIT) | (plane == NO_HIT)
        ignore[number] = np.where(known, 0, ignore[number] | np.where(plane == UNKNOWN, NO_DATA, 0)).astype(np.uint8)
        name = masked.exposures[number].frame.name
        notes.append(f"{name}: {np.count_nonzero(plane)} pixels are labelled as a person said")
    return replace(masked, hits=tuple(hits), ignore=tuple(ignore), notes=tuple(notes))
