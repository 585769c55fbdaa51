"""Test set of real exposures with real hits added at known positions, so that noise, stars and hits are all real."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.background import dilate
from cosmicgate.data.cache import LazyLabelledFrame, classes_of_others
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.random_streams import random_stream
from cosmicgate.data.simulation.readout import read_out
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.exposures import Exposures
from cosmicgate.data.sources.files import find_file
from cosmicgate.data.sources.footprints import Footprints, scatter, stamps
from cosmicgate.data.splits import Split
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import stem

Facts = dict[str, Any]


@dataclass(frozen=True)
class HitInjector:
    """Add charge to a frame that is read out, and label the pixels in which it is visible, with a 3x3 ring.

    As in :class:`~cosmicgate.data.contamination.PhysicalRecipe`, a hit is visible if it exceeds the noise of its pixel
    (photons and read noise). Subtracted sky is not estimated, because a crowded cutout would look as if it had some.

    Attributes
    ----------
    n_sigma : float
        Minimum charge of a core pixel, in sigma of that pixel's own noise.
    ignore_sigma : float
        Fainter pixels down to this many sigma are ignored: neither hit nor sky. So are pixels that the charge
        saturates.
    """

    n_sigma: float = 3.0
    ignore_sigma: float = 1.0

    def __call__(
        self, frame: Frame, hits: NDArray[np.float32], ignored: NDArray[np.bool_]
    ) -> tuple[Frame, NDArray[np.uint8]]:
        """Add hits (H, W), electrons, to a frame; return it with its truth (H, W). ``ignored`` pixels are not scored.

        Raises
        ------
        ValueError
            If the frame is not read out.
        """
        if not frame.read_out:
            raise ValueError(f"{frame.name}: expected a frame that is read out, with the noise that it has")
        noise = np.sqrt(np.maximum(frame.image * frame.gain, 0) + frame.read_noise**2)
        exposed = read_out(frame, np.random.default_rng(0), hits)  # draws nothing for a frame that is read out
        full = exposed.image >= 0.99 * frame.saturation
        core = (hits > self.n_sigma * noise) & ~full & ~ignored
        faint = hits > self.ignore_sigma * noise
        truth = np.select([ignored, core, dilate(core), faint], [IGNORED, CORE, RING, IGNORED], SKY)
        return exposed, truth.astype(np.uint8)


@dataclass(frozen=True)
class InjectedHits:
    """Test set that repeats each exposure ``injections_per_exposure`` times, with other hits at other positions.

    A frame's fact ``field`` names its exposure: draws of one exposure share its sky, so the bootstrap for confidence
    intervals resamples exposures, not frames.

    Attributes
    ----------
    exposures : Exposures
        Real frames.
    hits : Footprints
        Table of real hits, placed at random positions in eight random orientations. Its ``frames`` and ``rate`` are not
        used.
    contamination : HitInjector
        Recipe that adds the hits to a frame.
    name : str
        Name of the test set in tables.
    injections_per_exposure : int
        Number of frames made from each exposure.
    density : float
        Mean number of hits per megapixel. Most false positives lie next to a hit: the more hits there are, the lower
        is the TPR at a given false-positive rate.
    split : str
        Split whose hits are used. The hits of ``test`` have not trained a network that used the same footprints,
        fractions and seed.
    seed : int
        Seed of the choice and the positions of the hits.
    """

    exposures: Exposures
    hits: Footprints
    contamination: HitInjector
    name: str
    injections_per_exposure: int = 5
    density: float = 50.0
    split: Split = "test"
    seed: int = 0
    data_origin: DataOrigin = "semi-real"

    def __post_init__(self) -> None:
        if self.injections_per_exposure < 1 or not self.density > 0:
            given = f"injections_per_exposure={self.injections_per_exposure}, density={self.density:g}"
            raise ValueError(f"{given}: expected one injection or more, and a density above 0")

    def lazy_labelled_frames(self) -> list[LazyLabelledFrame]:
        """List a lazy frame for every draw of every exposure."""
        paths = self.exposures.paths()
        return [self._lazy_frame(path, draw) for draw in range(self.injections_per_exposure) for path in paths]

    def _lazy_frame(self, path: Path, draw: int) -> LazyLabelledFrame:
        table = self._table()
        stream = (f"hits in {stem(path)}", self.seed, draw)  # by name, so that other files do not change it
        hits = self.hits.table_cache_key_parts()
        parts = ["injected", self.exposures.cache_key_parts(path), hits, asdict(self.contamination)]
        parts += classes_of_others(self.contamination)
        name = f"{stem(path)}-draw{draw}"

        def build() -> tuple[Frame, NDArray[np.uint8], Facts]:
            rng = random_stream(*stream)
            frame, ignored = self.exposures.read(path)
            numbers = self._numbers(frame, rng)
            charge = scatter(numbers, stamps(table, self.hits.min_pixels, self.hits.min_charge), frame.shape, rng)
            exposed, truth = self.contamination(frame, charge, ignored)
            facts = {"name": name, "field": stem(path), "draw": draw, "hits": numbers, "dilated": True}
            return replace(exposed, name=name), truth, facts

        return LazyLabelledFrame(name, [*parts, self.density, self.split, stream], build)

    def _table(self) -> Path:
        try:
            return find_file(self.hits.file)
        except FileNotFoundError as error:
            what = "a table of real hits, data/cosmic_rays_itl_2017.fits.gz of LSSTDESC/imSim"
            raise FileNotFoundError(f"{error}; needed: {what}. make data-real, or real=DIR with cr/ in it") from error

    def _numbers(self, frame: Frame, rng: np.random.Generator) -> list[int]:
        """Draw the identifiers of the hits that are added to a frame."""
        all_hits = self.hits.hits(self.split)
        if not all_hits:
            raise ValueError(f"{self.hits.file}: the {self.split!r} split has no hits; raise its fraction")
        number = rng.poisson(self.density * frame.image.size / 1e6)
        return [int(hit) for hit in rng.choice(all_hits, number)]
