"""Reduced darks of a user's own camera, compared with each other so that hot pixels do not count as hits."""

from dataclasses import dataclass

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.sources.files import Files, detector_of_file, file_fingerprint
from cosmicgate.data.sources.raw_darks.repeats import compare_darks_once
from cosmicgate.data.splits import Split


@dataclass(frozen=True)
class Darks(Files):
    """Reduced darks as FITS images, split file by file; the darks of one detector are compared with each other.

    The smooth level of each dark (bias, dark current, amplifier glow) is subtracted, so that only the charge of hits
    is added to science frames. Pixels that repeat from dark to dark are marked as defects. This needs two darks or
    more; the defects of a single dark are known only from a ``mask``.

    Attributes
    ----------
    compare : bool
        Whether to compare the darks. If False, files are used as they are.
    """

    compare: bool = True

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List the lazy frames of a split."""
        selected = super().lazy_frames(which)
        if not self.compare:
            return selected
        detectors: dict[tuple[str, ...], list[LazyFrame]] = {}
        for path in self.paths():
            for ext, lazy in zip(self.exts or (None,), self.lazy_frames_of(path), strict=True):
                detectors.setdefault(detector_of_file(path, ext, *file_fingerprint(path)), []).append(lazy)
        new: dict[str, LazyFrame] = {}
        for key, lazy_frames in detectors.items():
            pairs = zip(lazy_frames, compare_darks_once(key[0], lazy_frames), strict=True)
            new |= {old.key: lazy for old, lazy in pairs}
        return [new[lazy.key] for lazy in selected]
