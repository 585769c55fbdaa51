"""Darks made of a table of real hits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.fits.hdus import opened
from cosmicgate.data.real.files import FRACTIONS, existing, identity
from cosmicgate.data.simulate.ccd import CCD
from cosmicgate.data.simulate.readout import dark, read_out
from cosmicgate.data.sources import DARK_EXPTIMES, Provenance, chosen_ccd
from cosmicgate.data.splits import SPLITS, Split, check_splits, split
from cosmicgate.data.store import Recipe


@dataclass(frozen=True)
class Footprints:
    """Darks made of real hits: those of a table, each at a random place in a random one of its eight positions.

    The hits are dealt to the splits by their number in the table, so that a hit trains or tests, never both.

    Attributes
    ----------
    file : str
        FITS table with a row for each line of pixels: fp_id, x0, y0, pixel_values (electrons).
    shape : sequence of int
        Rows and columns of the darks.
    frames : mapping of split to int
        How many darks.
    rate : float
        Hits per second on a whole CCD.
    min_pixels, min_charge
        Smaller hits are noise.
    """

    file: str
    shape: Sequence[int]
    frames: Mapping[str, int] = field(default_factory=lambda: {"train": 8, "validation": 4, "test": 4})
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    rate: float = 0.57
    min_pixels: int = 3
    min_charge: float = 400.0
    ccd: str | CCD = "decam"
    seed: int = 0
    provenance: Provenance = "semi-real"

    def hits(self, which: Split) -> list[int]:
        """Return the numbers of the hits of a split."""
        known = stamps(existing(self.file), self.min_pixels, self.min_charge)
        return split(sorted(known), self.fractions, np.random.default_rng(self.seed))[which]

    def recipes(self, which: Split) -> list[Recipe]:
        """Return the recipes of a split; exposures as in :data:`~cosmicgate.data.sources.DARK_EXPTIMES`."""
        check_splits(self.frames)
        return [self._recipe(which, number) for number in range(self.frames.get(which, 0))]

    def _recipe(self, which: Split, number: int) -> Recipe:
        path = existing(self.file)
        name = f"{which}-footprints-{number:03d}"
        exptime = float(DARK_EXPTIMES[number % len(DARK_EXPTIMES)])
        seed = [self.seed, 4, SPLITS.index(which), number]
        rows, columns = self.shape
        ingredients = ["footprints", *identity(path), rows, columns, dict(self.fractions), self.rate, exptime]

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            known = stamps(path, self.min_pixels, self.min_charge)
            hits = scatter(self._draw(which, exptime, rng), known, (rows, columns), rng)
            ccd = chosen_ccd(self.ccd, self.shape)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return Recipe(name, [*ingredients, self.min_pixels, self.min_charge, self.ccd, seed], make)

    def _draw(self, which: Split, exptime: float, rng: np.random.Generator) -> list[int]:
        whole, part = chosen_ccd(self.ccd), chosen_ccd(self.ccd, self.shape)
        number = rng.poisson(self.rate * exptime * part.area / whole.area)
        hits = self.hits(which)
        if not hits:
            raise ValueError(f"{self.file}: no hit is dealt to the {which!r} split, which wants some")
        return [int(hit) for hit in rng.choice(hits, number)]


def scatter(
    numbers: Sequence[int], stamps: Mapping[int, NDArray[np.float32]], shape: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Lay hits (electrons) on an empty image (H, W), turned and mirrored at random, cut off at the edges."""
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
    """Read a table's hits as small images (h, w), electrons, by number: those of enough pixels and charge."""
    wanted = ("fp_id", "x0", "y0", "pixel_values")
    with opened(path) as hdus:
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
