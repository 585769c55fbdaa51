"""Real exposures with the flags of their pipeline: a test set."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.clean import dilate
from cosmicgate.data.fits.frames import Frame, read_frame
from cosmicgate.data.fits.hdus import opened, stem
from cosmicgate.data.fits.masks import decam_flags
from cosmicgate.data.real.files import identity, matching
from cosmicgate.data.sources import Provenance
from cosmicgate.data.store import Recipe
from cosmicgate.truth import CORE, IGNORED, RING, SKY


@dataclass(frozen=True)
class FlaggedCutouts:
    """Real single exposures whose pipeline flagged their hits: a test set, never mixed with another.

    The truth is the pipeline's, whose flags are grown already: they are the core, the pixels around them the ring.
    Bad pixels are ignored; saturated stars and their bleeding are sky, because a detector must not mask them.

    Attributes
    ----------
    files : str
        Glob pattern; each file has HDUs SCI and DQ.
    """

    files: str
    name: str = "cutouts"
    provenance: Provenance = "real"

    def labelled(self) -> list[tuple[Recipe, NDArray[np.uint8]]]:
        """Return a recipe and its truth for each file."""
        return [self._labelled(path) for path in matching(self.files)]

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
