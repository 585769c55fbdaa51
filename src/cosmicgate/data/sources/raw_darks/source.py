"""A source of raw DECam darks, split by exposure; frames that prove to be no darks are left out and logged."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cosmicgate.data.cache import Recipe
from cosmicgate.data.sources.files import FRACTIONS, Files
from cosmicgate.data.sources.raw_darks.quality import NotDark
from cosmicgate.data.sources.raw_darks.reduction import Reduction
from cosmicgate.data.sources.raw_darks.repeats import compared_once
from cosmicgate.data.sources.simulated import DataOrigin
from cosmicgate.data.splits import Split, check_splits, split
from cosmicgate.io.atomic import atomic_write
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.messages import log_once

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawDarks:
    """Raw DECam exposures with a closed shutter, reduced; one recipe for each CCD in ``ccds`` of each exposure.

    All frames are read on the first call of :meth:`recipes`, to check which are darks. The results are kept in
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

    def recipes(self, which: Split) -> list[Recipe]:
        """List a recipe for each dark of a split; exposures in which no CCD is a dark are left out before the split."""
        if not self.ccds:
            raise ValueError("ccds: expected the EXTNAME of at least one CCD, for example N4")
        check_splits(self.frames or {})
        source = Files(
            self.files, self.fractions, self.header_overrides, self.seed, exts=self.ccds, read=self.reduction
        )
        candidates = {path: source.recipes_of(path) for path in source.paths()}
        darks = {path: [recipe for recipe in found if self._is_dark(recipe)] for path, found in candidates.items()}
        number, left = (sum(map(len, recipes.values())) for recipes in (candidates, darks))
        if left < number:
            of = self.files if isinstance(self.files, str) else f"{len(candidates)} files"
            log_once(log, logging.WARNING, f"{of}: {number - left} of {number} raw darks are left out")
        darks = self._compared(darks)
        exposures = [path for path, recipes in darks.items() if recipes]
        dealt = split(exposures, self.fractions, np.random.default_rng(self.seed))[which]
        recipes = [self._part(recipe) for path in dealt for recipe in darks[path]]
        return recipes if self.frames is None else recipes[: self.frames.get(which, 0)]

    def _compared(self, darks: Mapping[Path, list[Recipe]]) -> dict[Path, list[Recipe]]:
        """Compare the darks of each CCD, to mark repeating pixels as defects."""
        ccds: dict[str, list[Recipe]] = {}
        for recipes in darks.values():
            for recipe in recipes:
                ccds.setdefault(next(ccd for ccd in self.ccds if recipe.name.endswith(f"-{ccd}")), []).append(recipe)
        new: dict[str, Recipe] = {}
        for ccd, recipes in ccds.items():
            if len(recipes) > 1:
                pairs = zip(recipes, compared_once(f"decam, {ccd}", recipes), strict=True)
                new |= {old.key: recipe for old, recipe in pairs}
        return {path: [new.get(recipe.key, recipe) for recipe in recipes] for path, recipes in darks.items()}

    def _is_dark(self, recipe: Recipe) -> bool:
        """Check whether a frame is a dark, by the record or else by reading it; log the reason if it is not."""
        path = Path(self.record).expanduser()
        verdicts = json.loads(path.read_text()) if path.is_file() else {}
        if recipe.key not in verdicts:
            try:
                recipe.make()
                verdicts[recipe.key] = ""
            except NotDark as error:
                verdicts[recipe.key] = str(error)
            atomic_write(path, json.dumps(verdicts, indent=1))
        if verdicts[recipe.key]:
            log_once(
                log,
                logging.WARNING,
                f"{recipe.name} is left out: {verdicts[recipe.key].removeprefix(recipe.name + ': ')}",
            )
        return not verdicts[recipe.key]

    def _part(self, recipe: Recipe) -> Recipe:
        if self.shape is None:
            return recipe
        if len(self.shape) != 2 or min(self.shape) < 1:
            raise ValueError(f"expected a shape of rows and columns, got {list(self.shape)}")
        rows, columns = self.shape

        def make() -> Frame:
            dark = recipe.make()
            top, left = ((have - want) // 2 for have, want in zip(dark.shape, (rows, columns), strict=True))
            if min(top, left) < 0:
                raise ValueError(f"{dark.name}: expected a dark of at least {rows} x {columns} px, got {dark.shape}")
            return dark.cut(slice(top, top + rows), slice(left, left + columns), dark.name)

        return Recipe(recipe.name, [recipe.ingredients, rows, columns], make)
