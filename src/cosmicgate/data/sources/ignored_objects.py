"""List of objects in real frames that are not scored: hits without a flag, and objects that look like hits."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

LISTS = Path(__file__).with_name("lists")  # lists that are part of the package
COLUMNS = ("file", "x0", "y0", "x1", "y1", "radius", "reason")


@dataclass(frozen=True)
class IgnoredObject:
    """The pixels within ``radius`` of a line from (x0, y0) to (x1, y1): column and row, counted from 0."""

    file: str
    x0: float
    y0: float
    x1: float
    y1: float
    radius: float
    reason: str

    def mark(self, pixels: NDArray[np.bool_]) -> None:
        """Set the object's pixels of a mask (H, W) to True, in place."""
        starts = [max(int(min(ends) - self.radius), 0) for ends in ((self.y0, self.y1), (self.x0, self.x1))]
        ends = [int(max(ends) + self.radius) + 2 for ends in ((self.y0, self.y1), (self.x0, self.x1))]
        part = pixels[starts[0] : ends[0], starts[1] : ends[1]]
        y, x = np.indices(part.shape) + np.reshape(starts, (2, 1, 1))
        dx, dy = self.x1 - self.x0, self.y1 - self.y0
        along = ((x - self.x0) * dx + (y - self.y0) * dy) / max(dx**2 + dy**2, 1e-9)
        along = np.clip(along, 0, 1)
        part |= np.hypot(x - self.x0 - along * dx, y - self.y0 - along * dy) <= self.radius


@dataclass(frozen=True)
class IgnoreList:
    """The ignored objects of a set of files.

    Attributes
    ----------
    path : Path
        File of the list, for messages.
    objects : tuple of IgnoredObject
        Rows of the list.
    """

    path: Path
    objects: tuple[IgnoredObject, ...]

    @classmethod
    def read(cls, name: str) -> "IgnoreList":
        """Read a CSV file with the columns of :data:`COLUMNS`; lines that begin with # are comments.

        Parameters
        ----------
        name : str
            A path, or the name of a list that is part of the package.

        Raises
        ------
        FileNotFoundError
            If there is no such list.
        ValueError
            If it has other columns, or a value is not a valid number.
        """
        given = Path(name).expanduser()
        path = given if given.is_file() else LISTS / name
        if not path.is_file():
            raise FileNotFoundError(f"no such list of ignored objects: {name!r}, neither as a path nor in {LISTS}")
        with path.open(newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise ValueError(f"{path}: expected the columns {', '.join(COLUMNS)}, got {rows.fieldnames}")
            return cls(path, tuple(_object(path, row) for row in rows))

    def check_files(self, paths: Iterable[Path]) -> None:
        """Raise ValueError if a row names none of the files."""
        names = {path.name for path in paths}
        for row in self.objects:
            if row.file not in names:
                some = ", ".join(sorted(names)[:3])
                raise ValueError(f"{self.path}: expected one of the {len(names)} files ({some}, ...), got {row.file!r}")

    def of(self, file: str) -> list[IgnoredObject]:
        """List the objects of a file."""
        return [row for row in self.objects if row.file == file]

    def mask(self, file: str, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        """Mark the ignored pixels (H, W) of a file; raise ValueError if an object lies outside the image."""
        pixels = np.zeros(shape, bool)
        for row in self.of(file):
            places = np.array([(row.y0, row.x0), (row.y1, row.x1)])
            if (places < 0).any() or (places > np.array(shape) - 1).any():
                line = f"({row.x0:g}, {row.y0:g}) to ({row.x1:g}, {row.y1:g})"
                raise ValueError(f"{self.path}: {line} is outside of {file}, {shape[1]} x {shape[0]} pixels (x, y)")
            row.mark(pixels)
        return pixels


def _object(path: Path, row: dict[str, str]) -> IgnoredObject:
    try:
        x0, y0, x1, y1, radius = (float(row[name]) for name in COLUMNS[1:6])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected five numbers in the row of {row['file']!r}, got {row}") from error
    if not (np.isfinite([x0, y0, x1, y1]).all() and 0 <= radius < np.inf):
        raise ValueError(f"{path}: {row['file']!r}: expected finite places and a radius from 0, got {row}")
    return IgnoredObject(row["file"], x0, y0, x1, y1, radius, row["reason"] or "")
