"""FITS files as sources of frames; what the other sources of this package also ask of files."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path

import numpy as np

from cosmicgate.data.fits.frames import Frame, read_frame
from cosmicgate.data.fits.hdus import stem
from cosmicgate.data.fits.instruments import KEYWORDS
from cosmicgate.data.sources import Provenance
from cosmicgate.data.splits import Split, split
from cosmicgate.data.store import Recipe

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


@dataclass(frozen=True)
class Files:
    """FITS images, science frames or darks, dealt to the splits file by file; no two files may have one name.

    Files that share sky, dithers of a field or CCDs of an exposure, belong into a folder, dealt with ``by_folder``.

    Attributes
    ----------
    files : str, or sequence of str
        Glob pattern, or several.
    fractions : mapping of split to float
        How many of them, or of their folders, go where.
    header : mapping
        What the headers lack: gain, read_noise, saturation, exptime.
    exts : sequence of str or int
        The images of each file by EXTNAME or number, all in the file's split; its only one if there are none here.
    read : callable
        Called with a path, ``ext`` and the fields that are known: :func:`~cosmicgate.data.fits.frames.read_frame`, or a
        dataclass of settings such as :class:`cosmicgate.data.darks.raw.Reduction`.
    by_folder : bool
        All files of a folder go to one split.
    """

    files: str | Sequence[str]
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    provenance: Provenance = "real"
    exts: Sequence[str | int] = ()
    read: Callable[..., Frame] = read_frame
    by_folder: bool = False

    def recipes(self, which: Split) -> list[Recipe]:
        """Return the recipes of a split."""
        groups: dict[Path, list[Path]] = {}
        for path in self.paths():
            groups.setdefault(path.parent if self.by_folder else path, []).append(path)
        dealt = split(list(groups.values()), self.fractions, np.random.default_rng(self.seed))[which]
        return [recipe for group in dealt for path in group for recipe in self.recipes_of(path)]

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
        ingredients = ["FITS file", *identity(path), known, *([ext] if ext is not None else []), *settings]
        return Recipe(name, ingredients, lambda: self.read(path, ext=ext, **known, name=name))


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


def identity(path: Path) -> list[str | int]:
    """Return what tells that a file is still the same: its name, its size and when it was changed."""
    facts = path.stat()
    return [path.name, facts.st_size, facts.st_mtime_ns]
