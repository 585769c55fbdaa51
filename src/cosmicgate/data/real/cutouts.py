"""Real exposures with the flags of their pipeline: a test set."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.clean import dilate
from cosmicgate.data.fits.frames import Frame, read_frame
from cosmicgate.data.fits.hdus import opened, stem
from cosmicgate.data.fits.headers import first
from cosmicgate.data.fits.masks import decam_flags
from cosmicgate.data.real.files import identity, matching
from cosmicgate.data.sources import Provenance
from cosmicgate.data.store import Recipe
from cosmicgate.data.telling import tell_once
from cosmicgate.truth import CORE, IGNORED, RING, SKY

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FlaggedCutouts:
    """Real single exposures whose pipeline flagged their hits: a test set, never mixed with another.

    The truth is the pipeline's, whose flags are grown already: they are the core, the pixels around them the ring.
    Bad pixels are ignored; saturated stars and their bleeding are sky, because a detector must not mask them.
    Of pixels that two versions of the pipeline have reduced, the newest counts (:func:`newest`).

    Attributes
    ----------
    files : str
        Glob pattern; each file has HDUs SCI and DQ.
    """

    files: str
    name: str = "cutouts"
    provenance: Provenance = "real"

    def labelled(self) -> list[tuple[Recipe, NDArray[np.uint8]]]:
        """Return a recipe and its truth for each file that is not left out."""
        return [self._labelled(path) for path in newest(matching(self.files))]

    def _labelled(self, path: Path) -> tuple[Recipe, NDArray[np.uint8]]:
        with opened(path) as hdus:
            names = [hdu.name for hdu in hdus]
            flags = np.asarray(hdus["DQ"].data) if "DQ" in names else None
        if flags is None:
            raise ValueError(f"{path}: no HDU named DQ among {', '.join(names)}")
        bad, core = decam_flags(flags)
        truth = np.select([bad, core, dilate(core)], [IGNORED, CORE, RING], SKY).astype(np.uint8)
        name = stem(path)

        def make() -> Frame:
            frame = read_frame(path, mask="none", name=name)
            return replace(frame, bad=frame.bad | bad)  # of the flags, the bad pixels only: its hits are the truth

        return Recipe(name, ["flagged cutout", *identity(path)], make), truth


@dataclass(frozen=True)
class Place:
    """Which pixels a cutout has: exposure and CCD, rows and columns (first, end) from one origin; who reduced them."""

    exposure: tuple[Any, Any]
    sides: tuple[tuple[float, float], ...]
    version: list[tuple[int, str]]

    def replaces(self, other: "Place") -> bool:
        """Say whether some of its pixels are the other's, reduced by a newer pipeline."""
        shared = all(max(a[0], b[0]) < min(a[1], b[1]) for a, b in zip(self.sides, other.sides, strict=True))
        return self.exposure == other.exposure and shared and self.version > other.version


def newest(paths: Sequence[Path]) -> list[Path]:
    """Leave out the files that overlap with a newer pipeline's (PLVER) of one exposure (MJD-OBS) and CCD (CCDNUM).

    Where a cutout lies is known by CRPIX. A file that lacks one of these cards stays.
    """
    places = {path: place for path in paths if (place := _place(path)) is not None}
    kept = []
    for path in paths:
        own = places.get(path)
        newer = [other for other, place in places.items() if own is not None and place.replaces(own)]
        if newer:
            said = f"{path} is left out: a newer pipeline reduced the same pixels, {newer[0].name}"
            tell_once(log, logging.INFO, said)
        else:
            kept.append(path)
    return kept


def _place(path: Path) -> Place | None:
    with opened(path) as hdus:
        image = next((hdu for hdu in hdus if hdu.name == "SCI"), hdus[0])
        headers = [image.header, hdus[0].header]
        found = [first(headers, word) for word in ("MJD-OBS", "CCDNUM", "PLVER", "CRPIX2", "CRPIX1")]
        shape = image.shape
    if None in found or len(shape) != 2:
        return None
    start, ccd, version, *reference = found
    sides = tuple((-float(pixel), size - float(pixel)) for pixel, size in zip(reference, shape, strict=True))
    steps = [(int(digits), letter) for digits, letter in re.findall(r"(\d+)([a-z]?)", str(version).lower())]
    return Place((start, ccd), sides, steps)
