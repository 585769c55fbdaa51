"""FITS files as sources of frames, and file helpers for the other sources."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.splits import Split, split
from cosmicgate.io.fits.frames import Frame, read_frame, read_mask
from cosmicgate.io.fits.hdus import open_fits, stem
from cosmicgate.io.fits.images import Ext, select_image
from cosmicgate.io.fits.instruments import check_keys, detector_of
from cosmicgate.io.fits.truth_files import is_mask_file
from cosmicgate.io.messages import log_once

log = logging.getLogger(__name__)

FRACTIONS = {"train": 0.6, "validation": 0.1, "test": 0.3}


@dataclass(frozen=True)
class ReaderWithMask:
    """Image reader that adds the bad pixels of a mask file.

    Attributes
    ----------
    read : callable
        Reader of the image alone.
    mask : str
        FITS file with a mask of the image's EXTNAME, or a single mask.
    facts : tuple
        Name, size and modification time of the mask file (:func:`file_fingerprint`).
    """

    read: Callable[..., Frame]
    mask: str
    facts: tuple[str | int, ...] = ()

    def __call__(self, path: Path, ext: Ext | None = None, **header_overrides: Any) -> Frame:
        """Read the frame, and add the mask's bad pixels to its own."""
        frame = self.read(path, ext=ext, **header_overrides)
        with open_fits(path) as hdus:
            extension = select_image(path, hdus, ext, raw=True)
        return replace(frame, bad=frame.bad | read_mask(find_file(self.mask), extension, frame.shape, frame.telescope))


@dataclass(frozen=True)
class Files:
    """FITS images, science frames or darks, split file by file; no two files may have the same name.

    Put files that share sky (dithers of a field, CCDs of an exposure) into one folder, and set ``by_folder``.

    Attributes
    ----------
    files : str, or sequence of str
        One or several glob patterns.
    fractions : mapping of split to float
        Fractions of the files, or of their folders, in each split.
    header_overrides : mapping
        Values to use in place of the headers': gain, read_noise, saturation, exptime.
    exts : sequence of str or int
        EXTNAMEs or numbers of the images to use in each file; if empty, its only image.
    read : callable
        Reader, called with a path, ``ext`` and the values of ``header_overrides``:
        :func:`~cosmicgate.io.fits.frames.read_frame`, or a dataclass of settings such as
        :class:`cosmicgate.data.sources.raw_darks.reduction.Reduction`.
    by_folder : bool
        Whether all files of a folder are kept in one split.
    mask : str, mapping of str to str, or None
        File of known bad pixels, or one file per camera name (:mod:`cosmicgate.io.fits.instruments`).
    """

    files: str | Sequence[str]
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    data_origin: DataOrigin = "real"
    exts: Sequence[str | int] = ()
    read: Callable[..., Frame] = read_frame
    by_folder: bool = False
    mask: str | Mapping[str, str] | None = None

    @property
    def camera(self) -> str:
        """Name of the camera according to the headers, for tables; several are joined by "+"."""
        ext = next(iter(self.exts), None)
        return "+".join(sorted({detector_of_file(path, ext, *file_fingerprint(path))[0] for path in self.paths()}))

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List the lazy frames of a split."""
        groups: dict[Path, list[Path]] = {}
        for path in self.paths():
            groups.setdefault(path.parent if self.by_folder else path, []).append(path)
        selected = split(list(groups.values()), self.fractions, np.random.default_rng(self.seed))[which]
        return [
            replace(lazy, field=str(path.parent if self.by_folder else path))
            for group in selected
            for path in group
            for lazy in self.lazy_frames_of(path)
        ]

    def paths(self) -> list[Path]:
        """List the files, sorted; raise ValueError if two have the same name."""
        patterns = [self.files] if isinstance(self.files, str) else self.files
        paths = sorted({path for pattern in patterns for path in find_frames(pattern)})
        twins = [name for name, files in Counter(map(stem, paths)).items() if files > 1]
        if twins:
            raise ValueError(f"{self.files}: expected a name for each file, found more than one {twins[0]!r}")
        return paths

    def lazy_frames_of(self, path: Path) -> list[LazyFrame]:
        """List a lazy frame for each image of a file that is used."""
        check_keys(self.header_overrides)
        return [self._lazy_frame(path, ext) for ext in self.exts or (None,)]

    def _lazy_frame(self, path: Path, ext: str | int | None) -> LazyFrame:
        name, header_overrides = stem(path) + (f"-{ext}" if ext is not None else ""), dict(self.header_overrides)
        read = self._reader(path, ext)
        settings = _reader_key_parts(self.read)
        if own_mask := getattr(self.read, "mask", None):
            settings += file_fingerprint(find_file(own_mask))
        settings += [read.mask, *read.facts] if isinstance(read, ReaderWithMask) else []
        settings = [header_overrides, *([ext] if ext is not None else []), *settings]
        parts = ["FITS file", *file_fingerprint(path), *settings]
        return LazyFrame(name, parts, lambda: read(path, ext=ext, **header_overrides, name=name))

    def _reader(self, path: Path, ext: str | int | None) -> Callable[..., Frame]:
        """Choose the reader of an image; it adds the camera's mask if there is one."""
        mask = self.mask
        if mask is not None and not isinstance(mask, str):
            camera = detector_of_file(path, ext, *file_fingerprint(path))[0]
            mask = next((file for name, file in mask.items() if name.strip().lower() == camera), None)
            if mask is None:
                raise ValueError(
                    f"{path}: expected a mask of camera {camera!r}, got some of {', '.join(self.mask or ())}"
                )
        return self.read if mask is None else ReaderWithMask(self.read, mask, tuple(file_fingerprint(find_file(mask))))


def _reader_key_parts(read: Callable[..., Frame]) -> list[Any]:
    """List what is known of a reader, for a cache key: its settings, or its name; nothing for our own."""
    if isinstance(read, partial):
        return [*_reader_key_parts(read.func), list(read.args), read.keywords]
    if read is read_frame:
        return []
    if is_dataclass(read):
        return [read]
    named = read if hasattr(read, "__qualname__") else type(read)
    return [f"{named.__module__}.{named.__qualname__}"]


@cache
def detector_of_file(path: Path, ext: Ext | None, *facts: str | int) -> tuple[str, ...]:  # noqa: ARG001 (part of the key)
    """Identify the detector that took an image, its camera first; ``facts`` renew the cached result of a changed file.

    See :func:`file_fingerprint` for ``facts``.
    """
    with open_fits(path) as hdus:
        extension = select_image(path, hdus, ext, raw=True)
        return detector_of(extension.headers, path, extension.shape)


def find_frames(pattern: str) -> list[Path]:
    """List the files that match a glob pattern, sorted; raise FileNotFoundError if there are none.

    Masks and truth planes of this package, which lie beside the frames, are left out.
    """
    path = Path(pattern).expanduser()
    fixed = next((p for p in path.parents if not any(c in str(p) for c in "*?[")), Path())
    found = sorted(p for p in fixed.glob(str(path.relative_to(fixed))) if p.is_file())
    files = [p for p in found if not is_mask_file(p)]
    if len(files) < len(found):
        log_once(log, logging.INFO, f"{pattern}: {len(found) - len(files)} files of masks or labels are left out")
    if not files:
        only = ", except masks or labels of cosmicgate" if found else ""
        raise FileNotFoundError(f"no file matches {pattern!r}{only}")
    return files


def find_file(name: str) -> Path:
    """Convert a path, and raise FileNotFoundError if no file is there."""
    path = Path(name).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {name!r}")
    return path


def file_fingerprint(path: Path) -> list[str | int]:
    """Read name, size and modification time of a file, by which a cache notices that it has changed."""
    facts = path.stat()
    return [path.name, facts.st_size, facts.st_mtime_ns]
