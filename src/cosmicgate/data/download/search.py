"""Search the NOIRLab Astro Data Archive: send queries, read the rows of the response, and interpret file names."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from cosmicgate.data.download.client import FetchError, Session

# Values of `ifilter` and of the headers; the archive compares them exactly.
FILTERS = {
    "u": "u DECam c0006 3500.0 1000.0",
    "g": "g DECam SDSS c0001 4720.0 1520.0",
    "r": "r DECam SDSS c0002 6415.0 1480.0",
    "i": "i DECam SDSS c0003 7835.0 1470.0",
    "z": "z DECam SDSS c0004 9260.0 1520.0",
    "Y": "Y DECam c0005 10095.0 1130.0",
    "VR": "VR DECam c0007 6300.0 2600.0",
}
REQUIRED_FIELDS = ("md5sum", "archive_filename")
REQUESTED_FIELDS = (
    *("original_filename", "filesize", "instrument", "telescope", "proc_type", "prod_type", "obs_type", "exposure"),
    *("ifilter", "caldat", "release_date", "ra_center", "dec_center"),
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Search:
    """One search request to the archive.

    Attributes
    ----------
    proc_type, prod_type, obs_type : str
        The archive's terms, such as ``instcal``, ``image``, ``object``; ``prod_type`` None for any product.
    dates : (str, str)
        First and last night.
    exptime : (float, float), optional
        Minimum and maximum exposure time, seconds.
    band : str, optional
        Key of :data:`FILTERS`.
    limit : int
        Maximum number of rows.
    """

    proc_type: str
    prod_type: str | None
    obs_type: str
    dates: Sequence[str]
    exptime: Sequence[float] | None = None
    band: str | None = None
    limit: int = 1000
    instrument: str = "decam"

    def conditions(self) -> list[list[Any]]:
        """List the search conditions in the archive's format, without the band."""
        exact = {"proc_type": self.proc_type, "prod_type": self.prod_type, "obs_type": self.obs_type}
        return [
            ["instrument", self.instrument],
            *([key, value] for key, value in exact.items() if value),
            *([["exposure", *self.exptime]] if self.exptime else []),
            ["caldat", *self.dates],
        ]

    def find_rows(self, session: Session, base: str) -> list[Row]:
        """Send the request, and return the matching rows, with keys without prefix.

        Fields are first compared with those that the server supports. If it does not support ``ifilter``, the band is
        read from the rows. The rows are sorted by md5, which is a reproducible random order, so that the first of them
        are of many nights.

        Raises
        ------
        FetchError
            If the server does not support a field, or its response is not a list of rows.
        """
        conditions = self.conditions()
        fields = self._fields(session, base, {*REQUIRED_FIELDS, *(key for key, *_ in conditions)})
        if self.band and "ifilter" in fields:
            conditions.append(["ifilter", FILTERS[self.band]])
        outfields = [*REQUIRED_FIELDS, *(field for field in REQUESTED_FIELDS if field in fields)]
        url = f"{base}/api/adv_search/find/?rectype=file&limit={self.limit}&sort=md5sum"
        response = session.request_json("POST", url, json={"outfields": outfields, "search": conditions})
        return [row for row in _rows(response, url) if self.band is None or band_of(row) == self.band]

    def _fields(self, session: Session, base: str, needed: set[str]) -> set[str]:
        """List the server's core fields, and also the header fields (slow to search) if a needed one is missing."""
        fields: set[str] = set()
        for path in ("core_file_fields/", f"aux_file_fields/{self.instrument}/{self.proc_type}/"):
            response = session.request_json("GET", f"{base}/api/adv_search/{path}")
            names = [item.get("Field", "") for item in response] if isinstance(response, list) else list(response)
            fields |= {name.removeprefix("file:") for name in names}
            if needed <= fields:
                return fields
        unknown = ", ".join(sorted(needed - fields))
        raise FetchError(f"{base}: the archive knows no field {unknown}, only {', '.join(sorted(fields))}")


def _rows(response: Any, url: str) -> list[Row]:
    """Extract the rows of a response: drop items about the search itself, and the prefix ``file:`` of keys."""
    if not isinstance(response, list) or not all(isinstance(item, dict) for item in response):
        raise FetchError(f"{url}: expected a list of rows, got {str(response)[:60]!r}")
    about = {"META", "PARAMETERS", "HEADER"}
    rows: list[Row] = [{k.removeprefix("file:"): v for k, v in i.items()} for i in response if not about & i.keys()]
    for row in rows:
        if not re.fullmatch(r"[0-9a-f]{32}", str(row.get("md5sum"))) or not row.get("archive_filename"):
            raise FetchError(f"{url}: expected md5sum and archive_filename in each row, got {row}")
    return rows


def is_public(row: Row) -> bool:
    """Return True if the file can be downloaded today without a login."""
    return str(row.get("release_date") or "")[:10] <= datetime.now(UTC).date().isoformat()


def name_of(row: Row) -> str:
    """Read the file name of a row, without its folder in the archive."""
    return PurePosixPath(str(row["archive_filename"])).name


def band_of(row: Row) -> str:
    """Read the band of a row: the first word of its filter, or else the band in its file name."""
    words = str(row.get("ifilter") or "").split()
    named = re.search(r"_o[a-z][idw]_([A-Za-z]+)_", name_of(row))
    return words[0] if words else named[1] if named else ""


def exposure(row: Row) -> str:
    """Cut out the part of the file name that all versions of an exposure share: instrument, date and time."""
    stamp = re.match(r"c4d_\d{6}_\d{6}", name_of(row))
    return stamp[0] if stamp else name_of(row)


def mask_of(row: Row) -> str:
    """Derive the name of a science frame's quality mask: ``..._ood_g_v1`` for ``..._ooi_g_v1``."""
    return re.sub(r"_(o[a-z])i_", r"_\1d_", name_of(row))
