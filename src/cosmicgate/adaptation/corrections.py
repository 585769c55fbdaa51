"""Apply manual labels (``cosmicgate view``) to masks that come from comparing exposures."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.lco.io import IGNORE_NO_DATA, MaskedSequence
from cosmicgate.data.sources.files import file_fingerprint
from cosmicgate.data.sources.frames_with_truth import check_version
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.io.fits.images import all_images, select_image
from cosmicgate.viewer.labels import HIT, MANUAL_UNKNOWN, NO_HIT, Labels, check_unshared, labels_path, read_labels

ManualLabels = NDArray[np.uint8]


def find_corrections(frames: Sequence[str], folder: str | None, ext: str = "") -> list[dict[str, Any]]:
    """Find the file of manual labels of each exposure, beside the exposure or in ``folder``.

    Returns
    -------
    list of dict
        For each file found: "frame" (path of the exposure), "path" (of the labels) and "identity" (name, size and time
        of the labels). "other_images" is true if only other images of the exposure's file are labelled by hand.

    Raises
    ------
    ValueError
        If ``folder`` has no labels of these exposures, if two exposures would have the same file of labels, or if the
        labels were made for another version of the exposure.
    """
    paths = [labels_path(Path(frame), None if folder is None else Path(folder)) for frame in frames]
    found: list[dict[str, Any]] = [
        {"frame": frame, "path": str(path), "identity": file_fingerprint(path)}
        for frame, path in zip(frames, paths, strict=True)
        if path.is_file()
    ]
    if folder is not None and not found:
        raise ValueError(f"{folder}: expected labels of the exposures, such as {paths[-1].name}, found none")
    check_unshared([Path(one["frame"]) for one in found], None if folder is None else Path(folder))
    for one in found:
        path = Path(one["path"])
        if _read(Path(one["frame"]), path, ext) is None:
            with open_fits(path) as hdus:
                one |= {"other_images": True} if any(hdu.name.endswith("TOUCHED") for hdu in hdus) else {}
    return found


def read_manual_labels(frame: Path, path: Path, ext: str = "") -> ManualLabels | None:
    """Read the manual labels (H, W) of an exposure, or of its image ``ext``; None if no pixel is labelled by hand.

    Raises
    ------
    ValueError
        The labels are not readable, of another shape, or were made for another version of the exposure.
    """
    labels = _read(frame, path, ext)
    return labels.manual if labels is not None and labels.manual.any() else None


def _read(frame: Path, path: Path, ext: str) -> Labels | None:
    """Read the labels of an exposure, or of its image ``ext``; None if the file has none of it."""
    with open_fits(frame) as hdus:
        extension = select_image(frame, hdus, ext or None)
        single_image = [one.number for one in all_images(frame, hdus)] == [extension.number]
    labels = read_labels(path, extension, single_image)
    if labels is not None and labels.manual.any():
        check_version(frame, path, labels.input_sha256)
    return labels


def correct(masked: MaskedSequence, manual: Sequence[ManualLabels | None]) -> MaskedSequence:
    """Replace the labels of the pixels that were labelled by hand, and note their number.

    Parameters
    ----------
    masked : MaskedSequence
        Exposures and their masks by comparison.
    manual : sequence of ndarray (H, W), or None
        Manual labels of each exposure: 0 none, 1 hit, 2 no hit, 3 not known.
    """
    hits, ignore, notes = list(masked.hits), list(masked.ignore), list(masked.notes)
    for number, plane in enumerate(manual):
        if plane is None:
            continue
        hits[number] = np.where(plane > 0, plane == HIT, hits[number])
        known = (plane == HIT) | (plane == NO_HIT)
        unknown = np.where(plane == MANUAL_UNKNOWN, IGNORE_NO_DATA, 0)
        ignore[number] = np.where(known, 0, ignore[number] | unknown).astype(np.uint8)
        name = masked.exposures[number].frame.name
        notes.append(f"{name}: {np.count_nonzero(plane)} pixels were labelled by hand")
    return replace(masked, hits=tuple(hits), ignore=tuple(ignore), notes=tuple(notes))
