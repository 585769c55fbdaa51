"""A source of raw DECam darks: each exposure in one split, what is no dark left out with its reason in the log."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cosmicgate.data.darks.darkness import NotDark
from cosmicgate.data.darks.raw import Reduction
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.real.files import FRACTIONS, Files
from cosmicgate.data.sources import Provenance
from cosmicgate.data.splits import Split, check_splits, split
from cosmicgate.data.store import Recipe
from cosmicgate.data.telling import tell_once
from cosmicgate.files import write_whole

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RawDarks:
    """Raw exposures of DECam behind a closed shutter, reduced; a recipe for each wanted CCD of each exposure.

    All frames are read when the recipes are first asked for, because only then is it known which are darks. The
    verdicts are kept in ``record``, so that this happens once. What is refused is named in the log, with the reason.

    Attributes
    ----------
    files : str, or sequence of str
        Glob pattern of the exposures, or several.
    record : str
        JSON file of the verdicts; it may be deleted.
    ccds : sequence of str
        EXTNAMEs. All CCDs of an exposure are in one split: a light leak, and many a particle, is in several.
    fractions : mapping of split to float
        How many of the exposures go where.
    header : mapping
        What the headers lack, as in :class:`~cosmicgate.data.real.Files`.
    frames : mapping of split to int, optional
        The most frames of a split; all there are if None.
    shape : sequence of int, optional
        Rows and columns from the middle of each CCD; the whole CCD if None.
    reduction : Reduction
        How a frame is reduced, and when it is refused.
    """

    files: str | Sequence[str]
    record: str
    ccds: Sequence[str] = ("N4",)
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header: Mapping[str, float] = field(default_factory=dict)
    frames: Mapping[str, int] | None = None
    shape: Sequence[int] | None = None
    reduction: Reduction = field(default_factory=Reduction)
    seed: int = 0
    provenance: Provenance = "real"

    def recipes(self, which: Split) -> list[Recipe]:
        """Return a recipe for each dark of a split; exposures without one are not dealt."""
        if not self.ccds:
            raise ValueError("ccds: expected the EXTNAME of at least one CCD, N4 say")
        check_splits(self.frames or {})
        source = Files(self.files, self.fractions, self.header, self.seed, exts=self.ccds, read=self.reduction)
        candidates = {path: source.recipes_of(path) for path in source.paths()}
        darks = {path: [recipe for recipe in found if self._is_dark(recipe)] for path, found in candidates.items()}
        number, left = (sum(map(len, recipes.values())) for recipes in (candidates, darks))
        if left < number:
            of = self.files if isinstance(self.files, str) else f"{len(candidates)} files"
            tell_once(log, logging.WARNING, f"{of}: {number - left} of {number} raw darks are left out")
        exposures = [path for path, recipes in darks.items() if recipes]
        dealt = split(exposures, self.fractions, np.random.default_rng(self.seed))[which]
        recipes = [self._part(recipe) for path in dealt for recipe in darks[path]]
        return recipes if self.frames is None else recipes[: self.frames.get(which, 0)]

    def _is_dark(self, recipe: Recipe) -> bool:
        """Say whether a frame is a dark, by the record or by reading it; if it is none, tell why."""
        path = Path(self.record).expanduser()
        verdicts = json.loads(path.read_text()) if path.is_file() else {}
        if recipe.key not in verdicts:
            try:
                recipe.make()
                verdicts[recipe.key] = ""
            except NotDark as error:
                verdicts[recipe.key] = str(error)
            write_whole(path, json.dumps(verdicts, indent=1))
        if verdicts[recipe.key]:
            tell_once(
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
