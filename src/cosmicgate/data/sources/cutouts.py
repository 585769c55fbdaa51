"""Test set of real exposures whose hits were flagged by their pipeline."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.background import dilate
from cosmicgate.data.cache import LazyLabelledFrame
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import file_fingerprint, find_frames
from cosmicgate.data.sources.ignored_objects import IgnoreList
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import first_header_value, open_fits, stem
from cosmicgate.io.fits.masks import decam_flags
from cosmicgate.io.messages import log_once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlaggedCutouts:
    """Test set of real single exposures whose hits were flagged by their pipeline.

    The truth is taken from the pipeline's flags, which are already dilated: flagged pixels are the core, the pixels
    around them the ring. Bad pixels and the objects of a list (hits without a flag, and objects that look like hits)
    are ignored. Saturated stars and their bleed trails are sky, because a detector must not mask them. If two versions
    of the pipeline have reduced the same pixels, only the newest is used (:func:`newest`).

    Attributes
    ----------
    files : str
        Glob pattern; each file has HDUs SCI and DQ.
    name : str
        Name of the test set in tables.
    ignored : str, optional
        List of objects that are not scored: :class:`~cosmicgate.data.sources.ignored_objects.IgnoreList`.
    """

    files: str
    name: str = "cutouts"
    data_origin: DataOrigin = "real"
    ignored: str | None = None

    def lazy_labelled_frames(self) -> list[LazyLabelledFrame]:
        """List a labelled frame, read when it is needed, for each file that is used."""
        try:
            paths = find_frames(self.files)
        except FileNotFoundError as error:
            needed = "cutouts of exposures (HDUs SCI and DQ), test data of the repository legacysurvey/legacypipe"
            raise FileNotFoundError(f"{error}; needed: {needed}. real=DIR names their folder") from error
        listed = IgnoreList.read(self.ignored) if self.ignored else None
        if listed:
            listed.check_files(paths)
        return [self._labelled(path, listed) for path in newest(paths)]

    def _labelled(self, path: Path, listed: IgnoreList | None) -> LazyLabelledFrame:
        with open_fits(path) as hdus:
            names, headers = [hdu.name for hdu in hdus], [hdu.header for hdu in hdus]
            flags = np.asarray(hdus["DQ"].data) if "DQ" in names else None
        if flags is None:
            raise ValueError(f"{path}: no HDU named DQ among {', '.join(names)}")
        bad, core = decam_flags(flags, headers)
        objects = listed.of(path.name) if listed else []
        left_out = bad | listed.mask(path.name, bad.shape) if listed else bad
        truth = np.select([left_out, core, dilate(core)], [IGNORED, CORE, RING], SKY).astype(np.uint8)
        name = stem(path)

        def build() -> tuple[Frame, NDArray[np.uint8], dict[str, str]]:
            frame = read_frame(path, mask="none", name=name)
            without_hits = replace(frame, bad=frame.bad | bad)  # not the flagged hits: they are the truth
            return without_hits, truth, {"name": name}

        return LazyLabelledFrame(name, ["flagged cutout", *file_fingerprint(path), *objects], build)


@dataclass(frozen=True)
class CutoutRegion:
    """Pixels of a cutout: exposure and CCD, the limits of its rows and columns on the CCD, and the pipeline version."""

    exposure: tuple[Any, Any]
    sides: tuple[tuple[float, float], ...]
    version: list[tuple[int, str]]

    def replaces(self, other: "CutoutRegion") -> bool:
        """Return True if the two cutouts overlap and this one was reduced by a newer pipeline."""
        shared = all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(self.sides, other.sides, strict=True))
        return self.exposure == other.exposure and shared and self.version > other.version


def newest(paths: Sequence[Path]) -> list[Path]:
    """Drop files that a newer pipeline version (PLVER) replaces, for the same exposure (MJD-OBS) and CCD (CCDNUM).

    Two files are compared only where they overlap, by CRPIX. A file that lacks one of these cards is kept.
    """
    regions = {path: region for path in paths if (region := _read_region(path)) is not None}
    kept = []
    for path in paths:
        own = regions.get(path)
        newer = [other for other, region in regions.items() if own is not None and region.replaces(own)]
        if newer:
            text = f"{path} is left out: a newer pipeline reduced the same pixels, {newer[0].name}"
            log_once(log, logging.INFO, text)
        else:
            kept.append(path)
    return kept


def _read_region(path: Path) -> CutoutRegion | None:
    """Read the region of a cutout from its headers; None if they lack one of the cards."""
    with open_fits(path) as hdus:
        image = next((hdu for hdu in hdus if hdu.name == "SCI"), hdus[0])
        headers = [image.header, hdus[0].header]
        found = [first_header_value(headers, word) for word in ("MJD-OBS", "CCDNUM", "PLVER", "CRPIX2", "CRPIX1")]
        shape = image.shape
    if None in found or len(shape) != 2:
        return None
    start, ccd, version, *reference_pixel = found
    sides = tuple((-float(pixel), size - float(pixel)) for pixel, size in zip(reference_pixel, shape, strict=True))
    numbers = [(int(digits), letter) for digits, letter in re.findall(r"(\d+)([a-z]?)", str(version).lower())]
    return CutoutRegion((start, ccd), sides, numbers)
