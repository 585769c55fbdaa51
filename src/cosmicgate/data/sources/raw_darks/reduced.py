"""Reduced darks of a user's own camera, compared with each other so that hot pixels do not count as hits."""

from dataclasses import dataclass

from cosmicgate.data.cache import Recipe
from cosmicgate.data.sources.files import Files, detector, file_fingerprint
from cosmicgate.data.sources.raw_darks.repeats import compared_once
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

    def recipes(self, which: Split) -> list[Recipe]:
        """List the recipes of a split."""
        dealt = super().recipes(which)
        if not self.compare:
            return dealt
        detectors: dict[tuple[str, ...], list[Recipe]] = {}
        for path in self.paths():
            for ext, recipe in zip(self.exts or (None,), self.recipes_of(path), strict=True):
                detectors.setdefault(detector(path, ext, *file_fingerprint(path)), []).append(recipe)
        new: dict[str, Recipe] = {}
        for key, recipes in detectors.items():
            pairs = zip(recipes, compared_once(key[0], recipes), strict=True)
            new |= {old.key: recipe for old, recipe in pairs}
        return [new[recipe.key] for recipe in dealt]
