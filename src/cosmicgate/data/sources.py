"""Where frames come from: recipes for science frames and for darks, each in one split only.

The default is our simulation. :mod:`cosmicgate.data.real` has the sources that read files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.simulate.ccd import CCD, CCDS
from cosmicgate.data.simulate.cosmic_rays import cosmic_rays
from cosmicgate.data.simulate.readout import dark, read_out
from cosmicgate.data.simulate.sky import BANDS, scene
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.data.store import Recipe

Provenance = Literal["simulated", "semi-real", "real"]
# Seconds, longest first: the exposures of the paper's 42 darks.
DARK_EXPTIMES = (1200, 800, 720, 600, 400, 360, 330, 300, 200, 180, 150, 120, 100, 90)


class FrameSource(Protocol):
    """Frames of one kind. A frame, and whatever it was made from, is in one split and no other."""

    @property
    def provenance(self) -> Provenance:
        """What its pixels are."""

    def recipes(self, split: Split) -> list[Recipe]:
        """Return a recipe for each frame of ``split``; their names are unique over all splits."""


def chosen_ccd(ccd: str | CCD, shape: Sequence[int] | None = None) -> CCD:
    """Return a CCD, given itself or by name, cut to ``shape`` (rows, columns) if that is given."""
    if isinstance(ccd, str):
        if ccd not in CCDS:
            raise ValueError(f"unknown CCD {ccd!r}: expected one of {', '.join(CCDS)}, or a description of one")
        ccd = CCDS[ccd]
    shape = ccd.shape if shape is None else shape  # of a configuration's CCD a list
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected a shape of rows and columns, got {list(shape)}")
    return replace(ccd, shape=(shape[0], shape[1]))


def telescope_name(ccd: str | CCD) -> str:
    """Return what a frame's telescope is called, by which detectors choose settings: nothing for a CCD of one's own."""
    return ccd if isinstance(ccd, str) else ""


def check_bands(bands: Sequence[str]) -> None:
    """Refuse a band that no table knows."""
    unknown = [band for band in bands if band not in BANDS]
    if unknown or not bands:
        raise ValueError(f"unknown band {unknown[0] if unknown else ''!r}: expected some of {', '.join(BANDS)}")


@dataclass(frozen=True)
class SimulatedScience:
    """Scenes drawn by GalSim, not yet read out, with the hits of their own exposure beside them.

    Attributes
    ----------
    frames : mapping of split to int
        How many in each band.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    exptime : float
        Seconds.
    ccd : str or CCD
        One of :data:`~cosmicgate.data.simulate.ccd.CCDS`, or one of your own.
    """

    frames: Mapping[str, int]
    bands: Sequence[str] = ("g", "r", "i", "z")
    shape: Sequence[int] | None = None
    exptime: float = 90.0
    ccd: str | CCD = "decam"
    seed: int = 0
    provenance: Provenance = "simulated"

    def recipes(self, split: Split) -> list[Recipe]:
        """Return the recipes of a split, band after band."""
        check_splits(self.frames)
        check_bands(self.bands)
        ccd = chosen_ccd(self.ccd, self.shape)
        numbers = range(self.frames.get(split, 0))
        return [self._recipe(ccd, split, band, number) for band in self.bands for number in numbers]

    def _recipe(self, ccd: CCD, split: Split, band: str, number: int) -> Recipe:
        name = f"{split}-{band}-{number:03d}"
        seed = [self.seed, 1, SPLITS.index(split), list(BANDS).index(band), number]

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            frame = scene(ccd, band, self.exptime, rng, name)
            return replace(frame, hits=cosmic_rays(ccd, self.exptime, rng), telescope=telescope_name(self.ccd))

        return Recipe(name, ["simulated science", ccd, band, self.exptime, seed], make)


@dataclass(frozen=True)
class SimulatedDarks:
    """Darks with the hits of our particle physics, read out; the exposures of :data:`DARK_EXPTIMES` in turn.

    Attributes
    ----------
    frames : mapping of split to int
        How many.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    ccd : str or CCD
        As in :class:`SimulatedScience`.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] | None = None
    ccd: str | CCD = "decam"
    seed: int = 0
    provenance: Provenance = "simulated"

    def recipes(self, split: Split) -> list[Recipe]:
        """Return the recipes of a split."""
        check_splits(self.frames)
        ccd = chosen_ccd(self.ccd, self.shape)
        return [self._recipe(ccd, split, number) for number in range(self.frames.get(split, 0))]

    def _recipe(self, ccd: CCD, split: Split, number: int) -> Recipe:
        name = f"{split}-dark-{number:03d}"
        exptime = float(DARK_EXPTIMES[number % len(DARK_EXPTIMES)])
        seed = [self.seed, 2, SPLITS.index(split), number]

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            hits = cosmic_rays(ccd, exptime, rng)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return Recipe(name, ["simulated dark", ccd, exptime, seed], make)
