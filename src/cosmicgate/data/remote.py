"""DECam frames that are fetched from the NOIRLab archive when they are needed; a run that has them needs no network."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from scipy.sparse.csgraph import connected_components

from cosmicgate.data.archives import NOIRLAB, POLITE, Query, Remote, fetch_decam
from cosmicgate.data.archives.search import exposure
from cosmicgate.data.darks import RawDarks
from cosmicgate.data.fits.frames import Frame, read_frame
from cosmicgate.data.fits.instruments import KEYWORDS
from cosmicgate.data.sources import Provenance
from cosmicgate.data.splits import Split, split
from cosmicgate.data.store import Recipe

FIELD = 2.2 * units.deg  # the width of DECam's field: two exposures may share sky until their centres are as far apart
FRACTIONS = {"train": 0.65, "validation": 0.07, "test": 0.28}


@dataclass(frozen=True)
class Noirlab:
    """CCDs of science exposures or of darks; all CCDs of an exposure are in one split.

    All science exposures of one field are in one split too, whatever their band and night. If the archive does not tell
    where the telescope pointed, those of one night stay together.

    Attributes
    ----------
    kind : str
        ``science``, whose quality masks come along, or ``darks``, raw, which are reduced as they are read; what is no
        dark is left out (:class:`~cosmicgate.data.darks.RawDarks`).
    root : str
        Folder of the files and their manifests; several sources may share it.
    ccds : sequence of str
        Names of the extensions to use.
    bands, exptime, dates, limit, hdus
        As in :class:`cosmicgate.data.archives.Query`.
    fractions : mapping of split to float
        How many fields, or darks, go where.
    header : mapping
        What the headers lack: gain, read_noise, saturation.
    connections : int
        Files at a time.
    base : str
        The server.
    """

    kind: Literal["science", "darks"]
    root: str
    ccds: Sequence[str] = ("N4", "S4")
    bands: Sequence[str] = ("g", "r", "i", "z")
    exptime: Sequence[float] | None = None
    dates: Sequence[str] | None = None
    limit: int | None = None
    hdus: Sequence[int] = ()
    fractions: Mapping[str, float] = field(default_factory=lambda: dict(FRACTIONS))
    header: Mapping[str, float] = field(default_factory=dict)
    connections: int = 4
    base: str = NOIRLAB
    seed: int = 0
    provenance: Provenance = "real"

    def recipes(self, which: Split) -> list[Recipe]:
        """Return a recipe for each CCD of a split, after fetching what is not there."""
        unknown = sorted(set(self.header) - set(KEYWORDS))
        if unknown:
            raise ValueError(f"header: unknown key {unknown[0]!r}, expected some of {', '.join(KEYWORDS)}")
        query = Query(self.kind, self.bands, self.exptime, self.dates, self.limit, self.hdus)
        files = self._fetched(query)
        if self.kind == "darks":
            return self._darks(files).recipes(which)
        masks = self._fetched(replace(query, kind="dqmask"))
        mask_of = {mask.facts["science"]: mask for mask in masks}
        groups = by_field(files)
        try:
            dealt = split(groups, self.fractions, np.random.default_rng(self.seed))[which]
        except ValueError as error:
            what = f"{len(files)} exposure(s) in {len(groups)} group(s) that share no sky"
            raise ValueError(f"{self.root}: {what}: {error}") from error
        return [self._recipe(f, mask_of.get(f.path), ccd) for group in dealt for f in group for ccd in self.ccds]

    def _darks(self, files: Sequence[Remote]) -> RawDarks:
        root = Path(self.root).expanduser()
        paths = [str(root / file.path) for file in files]
        return RawDarks(paths, str(root / "raw_darks.json"), self.ccds, self.fractions, self.header, seed=self.seed)

    def _fetched(self, query: Query) -> Sequence[Remote]:
        manners = replace(POLITE, connections=self.connections)
        return fetch_decam(self.root, query, self.base, manners).files

    def _recipe(self, file: Remote, mask: Remote | None, ccd: str) -> Recipe:
        name = f"{exposure(file.facts)}-{ccd}"
        known = dict(self.header)
        root = Path(self.root).expanduser()

        def make() -> Frame:
            return read_frame(root / file.path, ext=ccd, mask=root / mask.path if mask else None, **known, name=name)

        return Recipe(name, ["noirlab", self.kind, file.md5, mask.md5 if mask else None, ccd, known], make)


def by_field(files: Iterable[Remote]) -> list[list[Remote]]:
    """Put together exposures that share sky; those of one night if their places are not all known."""
    ordered = sorted(files, key=lambda file: file.path)
    places = [(file.facts.get("ra_center"), file.facts.get("dec_center")) for file in ordered]
    if all(ra is not None and dec is not None for ra, dec in places):
        sky = SkyCoord(places, unit="deg")
        labels = connected_components(sky[:, None].separation(sky[None, :]) < FIELD)[1]
    else:
        labels = np.unique([str(file.facts.get("caldat")) for file in ordered], return_inverse=True)[1]
    return [[file for file, own in zip(ordered, labels, strict=True) if own == label] for label in np.unique(labels)]
