"""DECam frames, downloaded from the NOIRLab archive when needed; once they are on disk, no network is needed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from scipy.sparse.csgraph import connected_components

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.download.client import DEFAULT_RETRY
from cosmicgate.data.download.manifest import RemoteFile
from cosmicgate.data.download.noirlab import NOIRLAB, Query, fetch_decam
from cosmicgate.data.download.search import exposure
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.raw_darks import RawDarks
from cosmicgate.data.splits import Split, split
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.instruments import check_keys

FIELD = 2.2 * units.deg  # width of DECam's field: exposures whose centres are closer may share sky
FRACTIONS = {"train": 0.65, "validation": 0.07, "test": 0.28}


@dataclass(frozen=True)
class Noirlab:
    """CCD images of science exposures or of darks; all CCDs of an exposure are in one split.

    All science exposures of one field are in one split too, whatever their band and night. If the archive has no
    pointings, the exposures of one night are kept together instead.

    Attributes
    ----------
    kind : str
        ``science``, with their quality masks, or ``darks``: raw frames, which are reduced when they are read; frames
        that prove to be no darks are left out (:class:`~cosmicgate.data.sources.raw_darks.RawDarks`).
    root : str
        Folder of the files and their manifests; several sources may share it.
    ccds : sequence of str
        Names of the extensions to use.
    bands, exptime, dates, limit, hdus
        As in :class:`cosmicgate.data.download.noirlab.Query`.
    fractions : mapping of split to float
        Fractions of the fields, or darks, in each split.
    header_overrides : mapping
        Values to use in place of the headers': gain, read_noise, saturation.
    connections : int
        Number of simultaneous downloads.
    base : str
        URL of the server.
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
    header_overrides: Mapping[str, float] = field(default_factory=dict)
    connections: int = 4
    base: str = NOIRLAB
    seed: int = 0
    data_origin: DataOrigin = "real"

    @property
    def camera(self) -> str:
        """Name of the camera, for tables."""
        return "decam"

    @property
    def benchmark(self) -> str:
        """Published data set to which the frames belong; other sources have none."""
        return "decam"

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List a lazy frame for each CCD image of a split, after downloading missing files."""
        check_keys(self.header_overrides)
        query = Query(self.kind, self.bands, self.exptime, self.dates, self.limit, self.hdus)
        files = self._fetched(query)
        if self.kind == "darks":
            return self._darks(files).lazy_frames(which)
        masks = self._fetched(replace(query, kind="dqmask"))
        mask_of = {mask.facts["science"]: mask for mask in masks}
        groups = by_field(files)
        try:
            selected = split(groups, self.fractions, np.random.default_rng(self.seed))[which]
        except ValueError as error:
            what = f"{len(files)} exposure(s) in {len(groups)} group(s) that share no sky"
            raise ValueError(f"{self.root}: {what}: {error}") from error
        return [
            replace(self._lazy_frame(f, mask_of.get(f.path), ccd), field=exposure(group[0].facts))
            for group in selected
            for f in group
            for ccd in self.ccds
        ]

    def _darks(self, files: Sequence[RemoteFile]) -> RawDarks:
        root = Path(self.root).expanduser()
        paths = [str(root / file.path) for file in files]
        return RawDarks(
            paths, str(root / "raw_darks.json"), self.ccds, self.fractions, self.header_overrides, seed=self.seed
        )

    def _fetched(self, query: Query) -> Sequence[RemoteFile]:
        policy = replace(DEFAULT_RETRY, connections=self.connections)
        return fetch_decam(self.root, query, self.base, policy).files

    def _lazy_frame(self, file: RemoteFile, mask: RemoteFile | None, ccd: str) -> LazyFrame:
        name = f"{exposure(file.facts)}-{ccd}"
        header_overrides = dict(self.header_overrides)
        root = Path(self.root).expanduser()

        def build() -> Frame:
            return read_frame(
                root / file.path, ext=ccd, mask=root / mask.path if mask else None, **header_overrides, name=name
            )

        return LazyFrame(
            name, ["noirlab", self.kind, file.md5, mask.md5 if mask else None, ccd, header_overrides], build
        )


def by_field(files: Iterable[RemoteFile]) -> list[list[RemoteFile]]:
    """Group exposures that may share sky; group by night if the pointing of one of them is not known."""
    ordered = sorted(files, key=lambda file: file.path)
    places = [(file.facts.get("ra_center"), file.facts.get("dec_center")) for file in ordered]
    if all(ra is not None and dec is not None for ra, dec in places):
        sky = SkyCoord(places, unit="deg")
        labels = connected_components(sky[:, None].separation(sky[None, :]) < FIELD)[1]
    else:
        labels = np.unique([str(file.facts.get("caldat")) for file in ordered], return_inverse=True)[1]
    return [[file for file, own in zip(ordered, labels, strict=True) if own == label] for label in np.unique(labels)]
