"""A source of raw DECam darks, split by exposure; frames that prove to be no darks are left out and logged."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import FRACTIONS, Files
from cosmicgate.data.sources.raw_darks.quality import NotADarkError
from cosmicgate.data.sources.raw_darks.reduction import Reduction
from cosmicgate.data.sources.raw_darks.repeats import compare_darks_once
from cosmicgate.data.splits import Split, check_splits, split
from cosmicgate.io.atomic import atomic_write
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.messages import log_once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawDarks:
    """Raw DECam exposures with a closed shutter, reduced; one lazy frame for each CCD in ``ccds`` of each exposure.

    All frames are read on the first call of :meth:`lazy_frames`, to check which are darks. The results are kept in
    ``record``, so that this is done only once. Rejected frames are logged with the reason.

    Attributes
    ----------
    files : str, or sequence of str
        One or several glob patterns of the exposures.
    record : str
        JSON file with the results of the checks; it may be deleted.
    ccds : sequence of str
        EXTNAMEs of the CCDs to use. All CCDs of an exposure are in one split, because light leaks, and many particles,
        affect several CCDs.
    fractions : mapping of split to float
        Fractions of the exposures in each split.
    header_overrides : mapping
        Values to use in place of the headers', as in :class:`~cosmicgate.data.sources.Files`.
    frames : mapping of split to int, optional
        Maximum number of frames in each split; None for all.
    shape : sequence of int, optional
        Rows and columns to cut from the middle of each CCD; the whole CCD if None.
    reduction : Reduction
        Reduction and quality limits.
    """

    files: str | Sequence[str]
    record: str
    ccds: Sequence[str] = ("N4",)
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    frames: Mapping[str, int] | None = None
    shape: Sequence[int] | None = None
    reduction: Reduction = field(default_factory=Reduction)
    seed: int = 0
    data_origin: DataOrigin = "real"

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List a lazy frame for each dark of a split; exposures without a dark are left out before the split."""
        if not self.ccds:
            raise ValueError("ccds: expected the EXTNAME of at least one CCD, for example N4")
        check_splits(self.frames or {})
        source = Files(
            self.files, self.fractions, self.header_overrides, self.seed, exts=self.ccds, read=self.reduction
        )
        candidates = {path: source.lazy_frames_of(path) for path in source.paths()}
        darks = {path: [lazy for lazy in found if self._is_dark(lazy)] for path, found in candidates.items()}
        number, left = (sum(map(len, lazy_frames.values())) for lazy_frames in (candidates, darks))
        if left < number:
            of = self.files if isinstance(self.files, str) else f"{len(candidates)} files"
            log_once(log, logging.WARNING, f"{of}: {number - left} of {number} raw darks are left out")
        darks = self._compared(darks)
        exposures = [path for path, lazy_frames in darks.items() if lazy_frames]
        selected = split(exposures, self.fractions, np.random.default_rng(self.seed))[which]
        lazy_frames = [self._part(lazy) for path in selected for lazy in darks[path]]
        return lazy_frames if self.frames is None else lazy_frames[: self.frames.get(which, 0)]

    def _compared(self, darks: Mapping[Path, list[LazyFrame]]) -> dict[Path, list[LazyFrame]]:
        """Compare the darks of each CCD, to mark repeating pixels as defects."""
        ccds: dict[str, list[LazyFrame]] = {}
        for lazy_frames in darks.values():
            for lazy in lazy_frames:
                ccds.setdefault(next(ccd for ccd in self.ccds if lazy.name.endswith(f"-{ccd}")), []).append(lazy)
        new: dict[str, LazyFrame] = {}
        for ccd, lazy_frames in ccds.items():
            if len(lazy_frames) > 1:
                pairs = zip(lazy_frames, compare_darks_once(f"decam, {ccd}", lazy_frames), strict=True)
                new |= {old.key: lazy for old, lazy in pairs}
        return {path: [new.get(lazy.key, lazy) for lazy in lazy_frames] for path, lazy_frames in darks.items()}

    def _is_dark(self, lazy: LazyFrame) -> bool:
        """Check whether a frame is a dark, by the record or else by reading it; log the reason if it is not."""
        path = Path(self.record).expanduser()
        verdicts = json.loads(path.read_text()) if path.is_file() else {}
        if lazy.key not in verdicts:
            try:
                lazy.build()
                verdicts[lazy.key] = ""
            except NotADarkError as error:
                verdicts[lazy.key] = str(error)
            atomic_write(path, json.dumps(verdicts, indent=1))
        if verdicts[lazy.key]:
            log_once(
                log,
                logging.WARNING,
                f"{lazy.name} is left out: {verdicts[lazy.key].removeprefix(lazy.name + ': ')}",
            )
        return not verdicts[lazy.key]

    def _part(self, lazy: LazyFrame) -> LazyFrame:
        if self.shape is None:
            return lazy
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"expected a shape of rows and columns, got {list(self.shape)}")
        rows, columns = self.shape

        def build() -> Frame:
            dark = lazy.build()
            top, left = ((have - want) // 2 for have, want in zip(dark.shape, (rows, columns), strict=True))
            if min(top, left) < 0:
                raise ValueError(f"{dark.name}: expected a dark of at least {rows} x {columns} px, got {dark.shape}")
            return dark.cut(slice(top, top + rows), slice(left, left + columns), dark.name)

        return LazyFrame(lazy.name, [lazy.cache_key_parts, rows, columns], build)
