"""The LCO cosmic-ray data set from Zenodo; its file list is read when it is needed, never written here."""

import re
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from cosmicgate.data.archives.client import POLITE, FetchError, Manners, Session
from cosmicgate.data.archives.fetch import complete, manifest_path
from cosmicgate.data.archives.listing import Manifest, Remote, read_manifest, safe

ZENODO = "https://zenodo.org"
LCO_RECORD = 5034763
LCO_FOLDER = "LCO_CR_dataset"
CITATION = (
    "Xu, McCully, Dong, Howell, Sen 2023, ApJ 942, 73, doi:10.3847/1538-4357/ac9d91, arXiv:2106.14922; "
    "data: doi:10.5281/zenodo.5034763"
)


def fetch_lco(root: str | Path, base: str = ZENODO, manners: Manners = POLITE, verify: bool = False) -> Path:
    """Return the folder ``LCO_CR_dataset`` below ``root``, fetched and unpacked if it is not whole there.

    Raises
    ------
    OSError
        It did not come, or what came has no such folder.
    """
    folder = Path(root).expanduser()
    manifest = list_lco(folder, base, manners)
    manifest = complete(manifest, folder, str(LCO_RECORD), manners, verify)
    paths = [PurePosixPath(member.path) for file in manifest.files for member in file.unpacked or (file,)]
    above = {path.parts[: path.parts.index(LCO_FOLDER)] for path in paths if LCO_FOLDER in path.parts[:-1]}
    if not above:
        raise FetchError(f"{folder}: expected a folder {LCO_FOLDER} in what record {LCO_RECORD} holds, found none")
    return folder.joinpath(*min(above), LCO_FOLDER)


def list_lco(root: Path, base: str = ZENODO, manners: Manners = POLITE) -> Manifest:
    """Return the manifest of the record: from disk if it was asked before, else from Zenodo, not yet written."""
    known = read_manifest(manifest_path(root, str(LCO_RECORD)))
    if known is not None:
        return known
    url = f"{base}/api/records/{LCO_RECORD}"
    with Session(manners) as session:
        record = session.ask("GET", url)
    if not isinstance(record, dict) or not record.get("files"):
        raise FetchError(f"{url}: expected a record with a list of files, got {str(record)[:60]!r}")
    licence = (record.get("metadata") or {}).get("license")
    return Manifest(
        archive=f"Zenodo record {LCO_RECORD}, {base}",
        citation=CITATION,
        licence=str(licence.get("id", licence) if isinstance(licence, dict) else licence or "not stated in the record"),
        query={"record": LCO_RECORD},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        files=tuple(_remote(item, url) for item in record["files"]),
    )


def _remote(item: Any, url: str) -> Remote:
    """Read one file of a record, as Zenodo writes it now or as it did before."""
    try:
        links = item["links"]
        name, size = (item["key"], item["size"]) if "key" in item else (item["filename"], item["filesize"])
        link = links["self"] if "key" in item else links["download"]
        md5 = re.fullmatch(r"(?:md5:)?([0-9a-f]{32})", item["checksum"])
    except (KeyError, TypeError) as error:
        raise FetchError(f"{url}: expected name, size, checksum and link of each file, got {item}") from error
    if md5 is None:
        raise FetchError(f"{url}: expected an md5 sum for {name}, got {item['checksum']!r}")
    return Remote(safe(name), link, int(size), md5[1])
