"""The protocol of frame sources, and simulated science frames and darks.

The other modules of :mod:`cosmicgate.data.sources` have the sources that read files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.simulation.ccd import CCD, CCDS
from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
from cosmicgate.data.simulation.readout import dark, read_out
from cosmicgate.data.simulation.sky import BANDS, scene
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.io.fits.frames import Frame

DataOrigin = Literal["simulated", "semi-real", "real"]
# Exposure times of the paper's 42 darks, seconds, longest first.
DARK_EXPTIMES = (1200, 800, 720, 600, 400, 360, 330, 300, 200, 180, 150, 120, 100, 90)


class FrameSource(Protocol):
    """Source of science frames or of darks. A frame, and everything it is made from, belongs to one split only."""

    @property
    def data_origin(self) -> DataOrigin:
        """Data origin of the pixels."""

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List a lazy frame for each frame of ``split``; their names are unique over all splits."""


def resolve_ccd(ccd: str | CCD, shape: Sequence[int] | None = None) -> CCD:
    """Look up a CCD if it is given by name, and set its ``shape`` (rows, columns) if that is given."""
    if isinstance(ccd, str):
        if ccd not in CCDS:
            raise ValueError(f"unknown CCD {ccd!r}: expected one of {', '.join(CCDS)}, or a description of one")
        ccd = CCDS[ccd]
    shape = ccd.shape if shape is None else shape  # a list if it comes from a configuration
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected a shape of rows and columns, got {list(shape)}")
    return replace(ccd, shape=(shape[0], shape[1]))


def telescope_name(ccd: str | CCD) -> str:
    """Look up the telescope name, by which detectors choose their settings; empty for a user-defined CCD."""
    return ccd if isinstance(ccd, str) else ""


def check_bands(bands: Sequence[str]) -> None:
    """Raise ValueError if a band is unknown, or there is none."""
    unknown = [band for band in bands if band not in BANDS]
    if unknown or not bands:
        raise ValueError(f"unknown band {unknown[0] if unknown else ''!r}: expected some of {', '.join(BANDS)}")


@dataclass(frozen=True)
class SimulatedScience:
    """Scenes drawn with GalSim, not yet read out; the hits of the same exposure are kept separately in ``hits``.

    Attributes
    ----------
    frames : mapping of split to int
        Number of frames in each band.
    bands : sequence of str
        Bands to simulate.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    exptime : float
        Exposure time, seconds.
    ccd : str or CCD
        Name of one of :data:`~cosmicgate.data.simulation.ccd.CCDS`, or a CCD.
    """

    frames: Mapping[str, int]
    bands: Sequence[str] = ("g", "r", "i", "z")
    shape: Sequence[int] | None = None
    exptime: float = 90.0
    ccd: str | CCD = "decam"
    seed: int = 0
    data_origin: DataOrigin = "simulated"

    @property
    def camera(self) -> str:
        """Name of the camera, for tables."""
        return telescope_name(self.ccd)

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List the lazy frames of a split, band after band."""
        check_splits(self.frames)
        check_bands(self.bands)
        ccd = resolve_ccd(self.ccd, self.shape)
        numbers = range(self.frames.get(split, 0))
        return [self._lazy_frame(ccd, split, band, number) for band in self.bands for number in numbers]

    def _lazy_frame(self, ccd: CCD, split: Split, band: str, number: int) -> LazyFrame:
        name = f"{split}-{band}-{number:03d}"
        seed = [self.seed, 1, SPLITS.index(split), list(BANDS).index(band), number]

        def build() -> Frame:
            rng = np.random.default_rng(seed)
            frame = scene(ccd, band, self.exptime, rng, name)
            return replace(frame, hits=cosmic_rays(ccd, self.exptime, rng), telescope=telescope_name(self.ccd))

        return LazyFrame(name, ["simulated science", ccd, band, self.exptime, seed], build)


@dataclass(frozen=True)
class SimulatedDarks:
    """Simulated darks with simulated hits, read out; exposure times cycle through :data:`DARK_EXPTIMES`.

    Attributes
    ----------
    frames : mapping of split to int
        Number of darks.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    ccd : str or CCD
        As in :class:`SimulatedScience`.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] | None = None
    ccd: str | CCD = "decam"
    seed: int = 0
    data_origin: DataOrigin = "simulated"

    @property
    def camera(self) -> str:
        """Name of the camera, for tables."""
        return telescope_name(self.ccd)

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List the lazy frames of a split."""
        check_splits(self.frames)
        ccd = resolve_ccd(self.ccd, self.shape)
        return [self._lazy_frame(ccd, split, number) for number in range(self.frames.get(split, 0))]

    def _lazy_frame(self, ccd: CCD, split: Split, number: int) -> LazyFrame:
        name = f"{split}-dark-{number:03d}"
        exptime = float(DARK_EXPTIMES[number % len(DARK_EXPTIMES)])
        seed = [self.seed, 2, SPLITS.index(split), number]

        def build() -> Frame:
            rng = np.random.default_rng(seed)
            hits = cosmic_rays(ccd, exptime, rng)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return LazyFrame(name, ["simulated dark", ccd, exptime, seed], build)
