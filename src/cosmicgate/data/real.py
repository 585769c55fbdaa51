"""Real sky and real hits from files: FITS images, a coadd re-exposed, a table of hit footprints, flagged cutouts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cosmicgate.data.clean import dilate
from cosmicgate.data.frames import Frame, read_frame
from cosmicgate.data.hdus import opened, stem
from cosmicgate.data.instruments import KEYWORDS
from cosmicgate.data.masks import decam_flags
from cosmicgate.data.simulate.readout import dark, electronics, read_out
from cosmicgate.data.simulate.sky import BANDS
from cosmicgate.data.sources import DARK_EXPTIMES, Provenance, check_bands, named_ccd
from cosmicgate.data.splits import SPLITS, Split, check_splits, split
from cosmicgate.data.store import Recipe
from cosmicgate.truth import CORE, IGNORED, RING, SKY

STEEP = 1.5  # by which a saturated star's light grows with each pixel towards its centre
FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


@dataclass(frozen=True)
class Files:
    """FITS images, science frames or darks, dealt to the splits file by file; no two files may have one name.

    Attributes
    ----------
    files : str, or sequence of str
        Glob pattern, or several.
    fractions : mapping of split to float
        How many of them go where.
    header : mapping
        What the headers lack: gain, read_noise, saturation, exptime.
    exts : sequence of str or int
        The images of each file by EXTNAME or number, all in the file's split; its only one if there are none here.
    read : callable
        Called with a path, ``ext`` and the fields that are known: :func:`~cosmicgate.data.frames.read_frame`, or a
        dataclass of settings such as :class:`cosmicgate.data.raw.Reduction`.
    """

    files: str | Sequence[str]
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    provenance: Provenance = "real"
    exts: Sequence[str | int] = ()
    read: Callable[..., Frame] = read_frame

    def recipes(self, which: Split) -> list[Recipe]:
        """Return the recipes of a split."""
        dealt = split(self.paths(), self.fractions, np.random.default_rng(self.seed))[which]
        return [recipe for path in dealt for recipe in self.recipes_of(path)]

    def paths(self) -> list[Path]:
        """Return the files, sorted."""
        patterns = [self.files] if isinstance(self.files, str) else self.files
        paths = sorted({path for pattern in patterns for path in matching(pattern)})
        twins = [name for name, files in Counter(map(stem, paths)).items() if files > 1]
        if twins:
            raise ValueError(f"{self.files}: expected a name for each file, found more than one {twins[0]!r}")
        return paths

    def recipes_of(self, path: Path) -> list[Recipe]:
        """Return a recipe for each wanted image of a file."""
        unknown = sorted(set(self.header) - set(KEYWORDS))
        if unknown:
            raise ValueError(f"header: unknown key {unknown[0]!r}, expected some of {', '.join(KEYWORDS)}")
        return [self._recipe(path, ext) for ext in self.exts or (None,)]

    def _recipe(self, path: Path, ext: str | int | None) -> Recipe:
        name, known = stem(path) + (f"-{ext}" if ext is not None else ""), dict(self.header)
        settings = [self.read] if is_dataclass(self.read) else []
        ingredients = ["FITS file", *_identity(path), known, *([ext] if ext is not None else []), *settings]
        return Recipe(name, ingredients, lambda: self.read(path, ext=ext, **known, name=name))


@dataclass(frozen=True)
class Coadd:
    """A deep coadd, free of hits, exposed again: scaled to counts, given a sky and its noise, not yet read out.

    Each split has a vertical strip of its own, ``gap`` pixels from the next, so that no star is in two. A g-band
    coadd stands in for the others by their zero points, skies and the median colour of sources.

    Attributes
    ----------
    file : str
        FITS file with an image of ``zero_point`` and, optionally, an HDU ``MASK`` of the cores of saturated stars:
        they are raised until they bleed. They are sky in the truth, so that a network learns to spare them.
    strips : mapping of split to (float, float)
        Fractions of the width where each strip begins and ends.
    frames : mapping of split to int
        Exposures of the strip in each band.
    zero_point : float
        Magnitude of one count per second.
    """

    file: str
    strips: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"train": (0.0, 0.6), "validation": (0.6, 0.7), "test": (0.7, 1.0)}
    )
    frames: Mapping[str, int] = field(default_factory=lambda: {"train": 2, "validation": 1, "test": 1})
    bands: Sequence[str] = ("g", "r", "i", "z")
    exptime: float = 90.0
    zero_point: float = 30.0
    gap: int = 64
    ccd: str = "decam"
    seed: int = 0
    provenance: Provenance = "semi-real"

    def recipes(self, which: Split) -> list[Recipe]:
        """Return the recipes of a split, band after band."""
        check_splits(self.strips)
        check_splits(self.frames)
        check_bands(self.bands)
        for name, strip in self.strips.items():
            if len(strip) != 2 or not 0 <= strip[0] < strip[1] <= 1:
                raise ValueError(f"strip of {name}: expected where it begins and ends, from 0 to 1, got {list(strip)}")
        ordered = sorted((tuple(strip), name) for name, strip in self.strips.items())
        for ((_, end), left), ((start, _), right) in pairwise(ordered):
            if start < end:
                raise ValueError(f"the strips of {left} and {right} share sky: {start} lies before {end}")
        numbers = range(self.frames.get(which, 0)) if which in self.strips else ()
        return [self._recipe(which, band, number) for band in self.bands for number in numbers]

    def _recipe(self, which: Split, band: str, number: int) -> Recipe:
        path = existing(self.file)
        seed = [self.seed, 3, SPLITS.index(which), list(BANDS).index(band), number]
        name = f"{which}-coadd-{band}-{number:03d}"
        ingredients = ["coadd", *_identity(path), list(self.strips[which]), band, self.exptime, self.zero_point]

        def make() -> Frame:
            return self._expose(path, which, band, name, np.random.default_rng(seed))

        return Recipe(name, [*ingredients, self.gap, self.ccd, seed], make)

    def _expose(self, path: Path, which: Split, band: str, name: str, rng: np.random.Generator) -> Frame:
        image, bad, saturation = _coadd(path)
        start, end = (round(fraction * image.shape[1]) for fraction in self.strips[which])
        columns = slice(start + self.gap // 2 * (start > 0), end - self.gap // 2 * (end < image.shape[1]))
        of_band = BANDS[band]
        scale = 10 ** (0.4 * (of_band.zero_point + of_band.colour - self.zero_point)) * self.exptime
        sky = rng.uniform(*of_band.sky) * self.exptime
        gain, read_noise, full = electronics(named_ccd(self.ccd), rng)
        light = np.maximum(image[:, columns] * scale + sky, 0)
        # The coadd has a plateau where stars saturated: from its rim on, let them rise until they bleed.
        depth = distance_transform_edt(bad[:, columns])
        light = np.minimum(light * STEEP**depth, 10 * full)
        electrons = rng.poisson(light * gain)
        return Frame(
            image=(electrons / gain).astype(np.float32),
            gain=gain,
            read_noise=read_noise,
            saturation=min(full, saturation * scale + sky),
            exptime=self.exptime,
            band=band,
            telescope=self.ccd,
            name=name,
            read_out=False,
        )


@cache
def _coadd(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    """Read image (counts per second at the coadd's zero point), bad pixels and saturation."""
    frame = read_frame(path, gain=1.0, read_noise=0.0, exptime=1.0)  # a coadd's own play no part
    with opened(path) as hdus:
        mask = np.asarray(hdus["MASK"].data) != 0 if "MASK" in hdus else frame.bad
    if mask.shape != frame.shape:
        raise ValueError(f"{path}: the HDU MASK is {mask.shape}, the image {frame.shape}")
    return frame.image, frame.bad | mask, frame.saturation


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
    ccd: str = "decam"
    seed: int = 0
    provenance: Provenance = "semi-real"

    def hits(self, which: Split) -> list[int]:
        """Return the numbers of the hits of a split."""
        stamps = _stamps(existing(self.file), self.min_pixels, self.min_charge)
        return split(sorted(stamps), self.fractions, np.random.default_rng(self.seed))[which]

    def recipes(self, which: Split) -> list[Recipe]:
        """Return the recipes of a split; exposures as in :data:`DARK_EXPTIMES`."""
        check_splits(self.frames)
        return [self._recipe(which, number) for number in range(self.frames.get(which, 0))]

    def _recipe(self, which: Split, number: int) -> Recipe:
        path = existing(self.file)
        name = f"{which}-footprints-{number:03d}"
        exptime = float(DARK_EXPTIMES[number % len(DARK_EXPTIMES)])
        seed = [self.seed, 4, SPLITS.index(which), number]
        rows, columns = self.shape
        ingredients = ["footprints", *_identity(path), rows, columns, dict(self.fractions), self.rate, exptime]

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            stamps = _stamps(path, self.min_pixels, self.min_charge)
            hits = scatter(self._draw(which, exptime, rng), stamps, (rows, columns), rng)
            ccd = named_ccd(self.ccd, self.shape)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return Recipe(name, [*ingredients, self.min_pixels, self.min_charge, self.ccd, seed], make)

    def _draw(self, which: Split, exptime: float, rng: np.random.Generator) -> list[int]:
        whole, part = named_ccd(self.ccd), named_ccd(self.ccd, self.shape)
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
def _stamps(path: Path, min_pixels: int, min_charge: float) -> dict[int, NDArray[np.float32]]:
    """Read the footprints as small images (electrons), by number."""
    wanted = ("fp_id", "x0", "y0", "pixel_values")
    with opened(path) as hdus:
        tables = [h for h in hdus if isinstance(h, fits.BinTableHDU) and set(wanted) <= set(h.columns.names)]
        columns = [list(tables[0].data[name]) for name in wanted] if tables else []
    if not columns:
        raise ValueError(f"{path}: expected a table with the columns {', '.join(wanted)}")
    lines: dict[int, list[tuple[int, int, NDArray[Any]]]] = {}
    for hit, x, y, values in zip(*columns, strict=True):
        lines.setdefault(int(hit), []).append((int(x), int(y), np.asarray(values, np.float32)))
    stamps = {}
    for hit, parts in lines.items():
        left, top = min(x for x, _, _ in parts), min(y for _, y, _ in parts)
        width, height = max(x + v.size for x, _, v in parts) - left, max(y for _, y, _ in parts) - top + 1
        stamp = np.zeros((height, width), np.float32)
        for x, y, values in parts:
            stamp[y - top, x - left : x - left + values.size] = values
        if np.count_nonzero(stamp) >= min_pixels and stamp.sum() >= min_charge:
            stamps[hit] = stamp
    return stamps


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

        return Recipe(name, ["flagged cutout", *_identity(path)], make), truth


def matching(pattern: str) -> list[Path]:
    """Return the files that a glob pattern names, sorted; refuse a pattern that names none."""
    path = Path(pattern).expanduser()
    fixed = next((p for p in path.parents if not any(c in str(p) for c in "*?[")), Path())
    files = sorted(p for p in fixed.glob(str(path.relative_to(fixed))) if p.is_file())
    if not files:
        raise FileNotFoundError(f"no file matches {pattern!r}")
    return files


def existing(name: str) -> Path:
    """Return the path of a file; refuse one that is not there."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {name!r}")
    return path


def _identity(path: Path) -> list[str | int]:
    facts = path.stat()
    return [path.name, facts.st_size, facts.st_mtime_ns]
