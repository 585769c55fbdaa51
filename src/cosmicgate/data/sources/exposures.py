"""Unmodified single real exposures, with their pipeline's pixel flags."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.background import dilate
from cosmicgate.data.sources.cutouts import newest
from cosmicgate.data.sources.files import file_fingerprint, find_frames
from cosmicgate.data.sources.ignored_objects import IgnoreList
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import open_fits, stem
from cosmicgate.io.fits.masks import decam_flags


@dataclass(frozen=True)
class Exposures:
    """Unmodified real exposures, with their own noise, stars and defects.

    If two versions of DECam's pipeline have reduced the same pixels, only the newest is used.

    Attributes
    ----------
    files : str, or sequence of str
        One or several glob patterns.
    origin : str
        Description of the files and their origin, for the message when they are missing.
    flags : str, optional
        EXTNAME of DECam's mask in each file; None for files without flags. Detectors get its bad pixels. Bad pixels,
        saturated and bleeding ones, and the pipeline's own hits with a ring around them are not scored.
    ignored : str, optional
        List of further objects that are not scored: :class:`~cosmicgate.data.sources.ignored_objects.IgnoreList`.
    header_overrides : mapping
        Values that override the headers: gain, read_noise, saturation, exptime.
    """

    files: str | Sequence[str]
    origin: str
    flags: str | None = "DQ"
    ignored: str | None = None
    header_overrides: Mapping[str, float] = field(default_factory=dict)

    def paths(self) -> list[Path]:
        """List the files, sorted by pattern and name.

        Raises
        ------
        FileNotFoundError
            If a pattern matches no file; the message names the ``origin``.
        ValueError
            If two files have the same name, by which the draws of hits and the fields are told apart.
        """
        patterns = [self.files] if isinstance(self.files, str) else self.files
        try:
            paths = list(dict.fromkeys(path for pattern in patterns for path in find_frames(pattern)))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; needed: {self.origin}. real=DIR names their folder") from error
        if twins := [name for name, number in Counter(map(stem, paths)).items() if number > 1]:
            raise ValueError(f"{self.files}: expected a name for each exposure, found more than one {twins[0]!r}")
        if self.ignored:
            IgnoreList.read(self.ignored).check_files(paths)
        return newest(paths)

    def cache_key_parts(self, path: Path) -> list[Any]:
        """List everything that determines what :meth:`read` returns, for a cache key."""
        objects = IgnoreList.read(self.ignored).of(path.name) if self.ignored else []
        return ["exposure", *file_fingerprint(path), self.flags, objects, dict(self.header_overrides)]

    def read(self, path: Path) -> tuple[Frame, NDArray[np.bool_]]:
        """Read a frame (ADU) and the mask (H, W) of its pixels that are not scored."""
        header_overrides: dict[str, Any] = dict(self.header_overrides)
        frame = read_frame(path, mask="none", name=stem(path), **header_overrides)
        bad, ignored = frame.bad, frame.image >= 0.99 * frame.saturation
        if self.flags:
            of_mask, flagged = _flagged(path, self.flags)
            bad, ignored = bad | of_mask, ignored | flagged
        if self.ignored:
            ignored = ignored | IgnoreList.read(self.ignored).mask(path.name, frame.shape)
        return replace(frame, bad=bad), ignored | bad


def _flagged(path: Path, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Read the bad pixels of DECam's mask, and all flagged pixels, with a 3x3 ring around its hits."""
    with open_fits(path) as hdus:
        if name not in hdus:
            raise ValueError(f"{path}: no HDU named {name} among {', '.join(hdu.name for hdu in hdus)}")
        flags, headers = np.asarray(hdus[name].data), [hdu.header for hdu in hdus]
    bad, hits = decam_flags(flags, headers)
    return bad, (flags != 0) | dilate(hits)
