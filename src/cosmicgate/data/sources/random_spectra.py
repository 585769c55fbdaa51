"""Simulated two-dimensional spectra, each of a randomised spectrograph and camera."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.simulation import spectra
from cosmicgate.data.simulation.spectra import KINDS, Kind, draw_spectrum
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.effects import Effects
from cosmicgate.data.sources.random_cameras import draw_camera
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.io.fits.frames import Frame

EXPTIME = 600.0  # seconds; it sets the charge of hot pixels alone


@dataclass(frozen=True)
class RandomSpectra:
    """Simulated spectra with lines, traces, orders or fibres; not yet read out.

    Attributes
    ----------
    frames : mapping of split to int
        Number of frames.
    shape : sequence of int
        Rows and columns.
    kinds : sequence of {"slit", "arc", "echelle", "fibres"}
        Kinds of spectra, one after the other.
    effects : Effects, optional
        Only ``defects`` is used: the fraction of the frames with warm pixels and columns.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] = (512, 512)
    seed: int = 0
    kinds: Sequence[Kind] = ("slit", "slit", "echelle", "slit", "fibres", "arc")
    effects: Effects | None = None
    data_origin: DataOrigin = "simulated"

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List the lazy frames of a split.

        Raises
        ------
        ValueError
            If a kind is unknown, or there is none.
        """
        check_splits(self.frames)
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            raise ValueError(f"kinds = {list(self.kinds)}: expected some of {', '.join(KINDS)}")
        return [self._lazy_frame(split, number) for number in range(self.frames.get(split, 0))]

    def _lazy_frame(self, split: Split, number: int) -> LazyFrame:
        name, kind = f"{split}-spectrum-{number:04d}", self.kinds[number % len(self.kinds)]
        seed = [self.seed, SPLITS.index(split), number]

        def build() -> Frame:
            rng = random_stream("spectrum", *seed)
            ccd = draw_camera(self.shape, rng)
            defects = None if self.effects is None else self.effects.defect_charge(ccd, EXPTIME, seed)
            return draw_spectrum(ccd, kind, EXPTIME, rng, name, defects)

        others = ("CCD", "KINDS", "FWHM_PER_SIGMA", "GAUSSIAN_AREA")  # no ranges; more of them would change the keys
        numbers = {name: value for name, value in vars(spectra).items() if name.isupper() and name not in others}
        effects = [] if self.effects is None else [self.effects.cache_key_parts()]
        return LazyFrame(name, ["random spectra", list(self.shape), kind, EXPTIME, numbers, seed, *effects], build)
