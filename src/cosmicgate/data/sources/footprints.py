"""Simulate darks from a table of real hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.simulation.ccd import CCD, resolve_ccd
from cosmicgate.data.simulation.readout import dark, read_out
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import FRACTIONS, file_fingerprint, find_file
from cosmicgate.data.sources.simulated import DARK_EXPTIMES
from cosmicgate.data.splits import SPLITS, Split, check_splits, split
from cosmicgate.io.atomic import atomic_path
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.fits.hdus import open_fits


@dataclass(frozen=True)
class Footprints:
    """Simulated darks with real hits from a table, at random positions and in eight random orientations.

    Each hit is assigned to one split, so that the same hit is never used for both training and testing.

    Attributes
    ----------
    file : str
        FITS table with one row per run of pixels in an image row: fp_id, x0, y0, pixel_values (electrons).
    shape : sequence of int
        Rows and columns of the darks.
    frames : mapping of split to int
        Number of darks.
    fractions : mapping of split to float
        Fractions of the hits in each split.
    rate : float
        Hits per second on a whole CCD.
    min_pixels : int
        Minimum number of pixels of a hit; smaller ones are taken for noise.
    min_charge : float
        Minimum charge of a hit, electrons; fainter ones are taken for noise.
    ccd : str or CCD
        Detector whose dark current and electronics are simulated.
    """

    file: str
    shape: Sequence[int] = (2048, 2560)
    frames: Mapping[str, int] = field(default_factory=lambda: {"train": 8, "validation": 4, "test": 4})
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    rate: float = 0.57
    min_pixels: int = 3
    min_charge: float = 400.0
    ccd: str | CCD = "decam"
    seed: int = 0
    data_origin: DataOrigin = "semi-real"

    def hits(self, which: Split) -> list[int]:
        """List the identifiers (fp_id) of the hits of a split."""
        all_stamps = stamps(find_file(self.file), self.min_pixels, self.min_charge)
        return split(sorted(all_stamps), self.fractions, np.random.default_rng(self.seed))[which]

    def stamps_of(self, which: Split) -> list[NDArray[np.float32]]:
        """List the hits of a split as small images (h, w), electrons."""
        all_stamps = stamps(find_file(self.file), self.min_pixels, self.min_charge)
        return [all_stamps[hit] for hit in self.hits(which)]

    def table_cache_key_parts(self) -> list[Any]:
        """List everything that determines the hits of each split, for a cache key."""
        settings = [dict(self.fractions), self.min_pixels, self.min_charge, self.seed]
        return [*file_fingerprint(find_file(self.file)), *settings]

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List the lazy frames of a split.

        Exposure times cycle through :data:`~cosmicgate.data.sources.simulated.DARK_EXPTIMES`.
        """
        check_splits(self.frames)
        return [self._lazy_frame(which, number) for number in range(self.frames.get(which, 0))]

    def _lazy_frame(self, which: Split, number: int) -> LazyFrame:
        path = find_file(self.file)
        name = f"{which}-footprints-{number:03d}"
        exptime = float(DARK_EXPTIMES[number % len(DARK_EXPTIMES)])
        seed = [self.seed, 4, SPLITS.index(which), number]
        rows, columns = self.shape
        parts = [
            "footprints",
            *file_fingerprint(path),
            rows,
            columns,
            dict(self.fractions),
            self.rate,
            exptime,
        ]

        def build() -> Frame:
            rng = np.random.default_rng(seed)
            all_stamps = stamps(path, self.min_pixels, self.min_charge)
            hits = scatter(self._draw(which, exptime, rng), all_stamps, (rows, columns), rng)
            ccd = resolve_ccd(self.ccd, self.shape)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return LazyFrame(name, [*parts, self.min_pixels, self.min_charge, self.ccd, seed], build)

    def _draw(self, which: Split, exptime: float, rng: np.random.Generator) -> list[int]:
        whole, part = resolve_ccd(self.ccd), resolve_ccd(self.ccd, self.shape)
        number = rng.poisson(self.rate * exptime * part.area / whole.area)
        hits = self.hits(which)
        if not hits:
            raise ValueError(f"{self.file}: the {which!r} split has no hits; raise its fraction")
        return [int(hit) for hit in rng.choice(hits, number)]


def scatter(
    numbers: Sequence[int], stamps: Mapping[int, NDArray[np.float32]], shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Add hits (electrons) to an empty image (H, W), rotated and mirrored at random, cut off at the edges."""
    image = np.zeros(shape, np.float32)
    for number in numbers:
        stamp = np.rot90(stamps[number], int(rng.integers(4)))
        stamp = np.fliplr(stamp) if rng.integers(2) else stamp
        top, left = (int(rng.integers(1 - size, side)) for size, side in zip(stamp.shape, shape, strict=True))
        rows, columns = slice(max(top, 0), top + stamp.shape[0]), slice(max(left, 0), left + stamp.shape[1])
        part = image[rows, columns]
        above, before = rows.start - top, columns.start - left
        part += stamp[above : above + part.shape[0], before : before + part.shape[1]]
    return image


@cache
def stamps(path: Path, min_pixels: int, min_charge: float) -> dict[int, NDArray[np.float32]]:
    """Read a table's hits as small images (h, w), electrons, keyed by fp_id; small and faint hits are left out."""
    wanted = ("fp_id", "x0", "y0", "pixel_values")
    with open_fits(path) as hdus:
        tables = [h for h in hdus if isinstance(h, fits.BinTableHDU) and set(wanted) <= set(h.columns.names)]
        columns = [list(tables[0].data[name]) for name in wanted] if tables else []
    if not columns:
        raise ValueError(f"{path}: expected a table with the columns {', '.join(wanted)}")
    lines: dict[int, list[tuple[int, int, NDArray[Any]]]] = {}
    for hit, x, y, values in zip(*columns, strict=True):
        lines.setdefault(int(hit), []).append((int(x), int(y), np.asarray(values, np.float32)))
    large = {}
    for hit, parts in lines.items():
        left, top = min(x for x, _, _ in parts), min(y for _, y, _ in parts)
        width, height = max(x + v.size for x, _, v in parts) - left, max(y for _, y, _ in parts) - top + 1
        stamp = np.zeros((height, width), np.float32)
        for x, y, values in parts:
            stamp[y - top, x - left : x - left + values.size] = values
        if np.count_nonzero(stamp) >= min_pixels and stamp.sum() >= min_charge:
            large[hit] = stamp
    return large


def write_stamps(stamps: Sequence[NDArray[np.float32]], path: Path) -> None:
    """Write small images (h, w) of hits, electrons, as a table that :func:`stamps` reads, atomically."""
    rows = [(hit, y, line) for hit, stamp in enumerate(stamps) for y, line in enumerate(stamp)]
    columns = [
        fits.Column("fp_id", "K", array=np.array([hit for hit, _, _ in rows], np.int64)),
        fits.Column("x0", "J", array=np.zeros(len(rows), np.int32)),
        fits.Column("y0", "J", array=np.array([y for _, y, _ in rows], np.int32)),
        fits.Column("pixel_values", "PE()", array=np.array([*(line for _, _, line in rows), None], object)[:-1]),
    ]
    with atomic_path(path) as partial:
        fits.BinTableHDU.from_columns(columns).writeto(partial)
