"""Simulate science frames and darks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.simulation.ccd import CCD, resolve_ccd, telescope_name
from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
from cosmicgate.data.simulation.readout import dark, read_out
from cosmicgate.data.simulation.sky import BANDS, check_bands, scene
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.io.fits.frames import Frame

# Exposure times of the paper's 42 darks, seconds, longest first.
DARK_EXPTIMES = (1200, 800, 720, 600, 400, 360, 330, 300, 200, 180, 150, 120, 100, 90)


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
