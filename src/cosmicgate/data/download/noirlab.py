"""Download DECam frames from the NOIRLab Astro Data Archive: science frames, their quality masks, raw darks.

Each query is sent once; the result is kept as a manifest, so that a later run uses the same files.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy, Session
from cosmicgate.data.download.fetch import download_missing, manifest_path
from cosmicgate.data.download.manifest import Manifest, RemoteFile, read_manifest, safe
from cosmicgate.data.download.search import (
    FILTERS,
    REQUESTED_FIELDS,
    REQUIRED_FIELDS,
    Row,
    Search,
    exposure,
    is_public,
    mask_of,
    name_of,
)

NOIRLAB = "https://astroarchive.noirlab.edu"
CITATION = "Flaugher et al. 2015, AJ 150, 150, doi:10.1088/0004-6256/150/5/150 (DECam)"
LICENCE = "public after release_date; the archive asks for its acknowledgement"

Kind = Literal["science", "dqmask", "darks"]
# Frames like those of the paper; the limits are modest defaults.
SCIENCE = Search("instcal", "image", "object", ("2012-11-01", "2013-02-28"), (90, 90), limit=4)
DARKS = Search("raw", None, "dark", ("2013-09-01", "2020-12-31"), (90, 1200), limit=14)
MASKS = replace(SCIENCE, prod_type="dqmask")
PRODUCTS: Mapping[str, Search] = {"science": SCIENCE, "dqmask": MASKS, "darks": DARKS}
ROWS = 1000  # minimum number of rows to request: some are not public yet, or are versions of the same exposure
ROWS_PER_NIGHT = 10_000
CCDS = 62
TYPES = ("instrument", "proc_type", "prod_type", "obs_type")


@dataclass(frozen=True)
class Query:
    """Query for DECam frames. Fields that are None get the values of the paper; ``limit`` gets a small default.

    Attributes
    ----------
    kind : str
        ``science``, ``darks``, or ``dqmask`` for the quality masks of the frames that ``science`` finds.
    bands : sequence of str
        Keys of :data:`FILTERS`; not used for darks.
    exptime : (float, float), optional
        Minimum and maximum exposure time, seconds.
    dates : (str, str), optional
        First and last night, as ``2012-11-01``.
    limit : int, optional
        Maximum number of exposures; for science frames and masks, in each band.
    hdus : sequence of int
        Numbers of the HDUs that the server cuts out, counted from the primary HDU, 0; all if empty.
    """

    kind: Kind
    bands: Sequence[str] = ("g", "r", "i", "z")
    exptime: Sequence[float] | None = None
    dates: Sequence[str] | None = None
    limit: int | None = None
    hdus: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.kind not in PRODUCTS:
            raise ValueError(f"unknown kind {self.kind!r}: expected one of {', '.join(PRODUCTS)}")
        paper = PRODUCTS[self.kind]
        given = {
            "bands": () if self.kind == "darks" else tuple(self.bands),
            "exptime": tuple(float(t) for t in self.exptime or paper.exptime or ()),
            "dates": tuple(str(day) for day in self.dates or paper.dates),
            "limit": paper.limit if self.limit is None else self.limit,
            "hdus": tuple(sorted({0, *self.hdus})) if self.hdus else (),
        }
        for key, value in given.items():
            object.__setattr__(self, key, value)
        self._check()

    def _check(self) -> None:
        unknown = [band for band in self.bands if band not in FILTERS]
        if unknown or (not self.bands and self.kind != "darks"):
            raise ValueError(f"unknown band {unknown[0] if unknown else ''!r}: expected some of {', '.join(FILTERS)}")
        exptime, dates = self.exptime or (), self.dates or ()
        if len(exptime) != 2 or not 0 <= exptime[0] <= exptime[1]:
            raise ValueError(f"expected a shortest and a longest exposure in seconds, got {list(exptime)}")
        try:
            days = [date.fromisoformat(day) for day in dates]
        except ValueError as error:
            raise ValueError(f"expected two nights like 2012-11-01, got {list(dates)}") from error
        if len(days) != 2 or days[0] > days[1]:
            raise ValueError(f"expected a first and a last night, got {list(dates)}")
        if (self.limit or 0) < 1 or min(self.hdus, default=0) < 0:
            raise ValueError(f"expected a limit from 1 and HDUs from 0, got {self.limit} and {list(self.hdus)}")

    @property
    def name(self) -> str:
        """Name of the query's manifest: the kind and a hash of the query."""
        return f"{self.kind}-{hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:8]}"


def fetch_decam(
    root: str | Path, query: Query, base: str = NOIRLAB, policy: RetryPolicy = DEFAULT_RETRY, verify: bool = False
) -> Manifest:
    """Download all files of a query, and return its manifest; once they are on disk, no network is needed."""
    folder = Path(root).expanduser()
    return download_missing(list_decam(folder, query, base, policy), folder, query.name, policy, verify)


def list_decam(root: Path, query: Query, base: str = NOIRLAB, policy: RetryPolicy = DEFAULT_RETRY) -> Manifest:
    """Read a query's manifest from disk, or query the archive if there is none; nothing is written."""
    manifest = read_manifest(manifest_path(root, query.name))
    if manifest is not None:
        return manifest
    if query.kind == "dqmask":
        science = list_decam(root, replace(query, kind="science"), base, policy)
    with Session(policy) as session:
        rows, left_out = _masks(session, science, base) if query.kind == "dqmask" else _frames(session, query, base)
    return Manifest(
        archive=f"NOIRLab Astro Data Archive, {base}",
        citation=CITATION,
        licence=LICENCE,
        query={key: getattr(PRODUCTS[query.kind], key) for key in TYPES} | asdict(query),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        files=tuple(_remote(row, query, base) for row in rows),
        left_out={reason: number for reason, number in left_out.items() if number},
    )


def _frames(session: Session, query: Query, base: str) -> tuple[list[Row], dict[str, int]]:
    """Find up to ``limit`` public exposures (in each band, if there are bands), and count the rows left out."""
    paper, limit = PRODUCTS[query.kind], query.limit or 0
    chosen: list[Row] = []
    left_out = {"not yet released": 0, "another version of an exposure": 0}
    for band in query.bands or (None,):
        search = replace(paper, dates=query.dates or (), exptime=query.exptime, band=band, limit=max(ROWS, limit))
        rows = search.find_rows(session, base)
        public = [row for row in rows if is_public(row)]
        single = {exposure(row): row for row in reversed(public)}
        left_out["not yet released"] += len(rows) - len(public)
        left_out["another version of an exposure"] += len(public) - len(single)
        if not single:
            what = f"{paper.proc_type} {paper.obs_type} frame{f' in {band}' if band else ''}"
            found = f"{len(rows)} are not yet released" if rows else "there is none at all"
            raise FetchError(f"{base} has no public {what} of {query.exptime} s from {query.dates}: {found}")
        chosen += [row for row in public if single[exposure(row)] is row][:limit]
    return chosen, left_out


def _masks(session: Session, science: Manifest, base: str) -> tuple[list[Row], dict[str, int]]:
    """Find the quality masks of science frames, night by night, and count the frames without one."""
    frames = {mask_of(file.facts): file for file in science.files}
    found: dict[str, Row] = {}
    for night in sorted({str(file.facts["caldat"]) for file in science.files}):
        rows = replace(MASKS, dates=(night, night), exptime=None, limit=ROWS_PER_NIGHT).find_rows(session, base)
        found |= {name: dict(row) | {"science": frames[name].path} for row in rows if (name := name_of(row)) in frames}
    public = [row for row in found.values() if is_public(row)]
    left_out = {"not yet released": len(found) - len(public), "science frames without a mask": len(frames) - len(found)}
    return public, left_out


def _remote(row: Row, query: Query, base: str) -> RemoteFile:
    # The archive's own folders (night, telescope, proposal) separate files with the same name.
    path = PurePosixPath(query.kind, *PurePosixPath(row["archive_filename"]).parts[-4:])
    md5, size = str(row["md5sum"]), int(row.get("filesize") or 0)
    facts = {key: row[key] for key in (*REQUIRED_FIELDS, *REQUESTED_FIELDS, "science") if row.get(key) is not None}
    url = f"{base}/api/retrieve/{md5}/"
    if not query.hdus:
        return RemoteFile(safe(str(path)), url, size, md5, facts=facts)
    parted = path.with_name(re.sub(r"(\.fits)?(\.fz)?$", rf".hdus-{_joined(query.hdus, '-')}\g<0>", path.name, count=1))
    guess = size * len(query.hdus) // CCDS
    facts["hdus"] = list(query.hdus)
    return RemoteFile(safe(str(parted)), f"{url}?hdus={_joined(query.hdus, ',')}", guess, "", part=True, facts=facts)


def _joined(numbers: Sequence[int], sign: str) -> str:
    return sign.join(map(str, numbers))
