"""Download the LCO cosmic-ray data set from Zenodo; the list of its files is read from the record."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy, Session
from cosmicgate.data.download.fetch import download_missing, manifest_path
from cosmicgate.data.download.manifest import Manifest, RemoteFile, missing_files, read_manifest, safe

ZENODO = "https://zenodo.org"
LCO_RECORD = 5034763
LCO_FOLDER = "LCO_CR_dataset"
CITATION = (
    "Xu, McCully, Dong, Howell, Sen 2023, ApJ 942, 73, doi:10.3847/1538-4357/ac9d91, arXiv:2106.14922; "
    "data: doi:10.5281/zenodo.5034763"
)


def fetch_lco(root: str | Path, base: str = ZENODO, policy: RetryPolicy = DEFAULT_RETRY, verify: bool = False) -> Path:
    """Download and unpack the data set below ``root``, if it is not complete there; return its ``LCO_CR_dataset``.

    Raises
    ------
    OSError
        If the download failed, or the files contain no such folder.
    """
    folder = Path(root).expanduser()
    manifest = list_lco(folder, base, policy)
    manifest = download_missing(manifest, folder, str(LCO_RECORD), policy, verify)
    paths = [PurePosixPath(member.path) for file in manifest.files for member in file.unpacked or (file,)]
    above = {path.parts[: path.parts.index(LCO_FOLDER)] for path in paths if LCO_FOLDER in path.parts[:-1]}
    if not above:
        raise FetchError(f"{folder}: expected a folder {LCO_FOLDER} in what record {LCO_RECORD} holds, found none")
    return folder.joinpath(*min(above), LCO_FOLDER)


@dataclass(frozen=True)
class LCOArchive:
    """Download the data set when it is needed: :func:`fetch_lco` as a class, which a checkpoint may name."""

    root: str
    base: str = ZENODO

    def __call__(self) -> Path:
        """Download what is missing of ``LCO_CR_dataset``, and locate the folder."""
        return fetch_lco(self.root, self.base)


def list_lco(root: Path, base: str = ZENODO, policy: RetryPolicy = DEFAULT_RETRY) -> Manifest:
    """Read the record's manifest from disk, or request the record from Zenodo if there is none; nothing is written."""
    manifest = read_manifest(manifest_path(root, str(LCO_RECORD)))
    if manifest is not None:
        return manifest
    url = f"{base}/api/records/{LCO_RECORD}"
    with Session(policy) as session:
        record = session.request_json("GET", url)
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


def lco_is_fetched(root: Path) -> bool:
    """Return True if all files of the record are below ``root``, by manifest and sizes; the network is not used."""
    manifest = read_manifest(manifest_path(root, str(LCO_RECORD)))
    return manifest is not None and not missing_files(manifest, root)


def _remote(item: Any, url: str) -> RemoteFile:
    """Read one file entry of a record, in Zenodo's current or previous format."""
    try:
        links = item["links"]
        name, size = (item["key"], item["size"]) if "key" in item else (item["filename"], item["filesize"])
        link = links["self"] if "key" in item else links["download"]
        md5 = re.fullmatch(r"(?:md5:)?([0-9a-f]{32})", item["checksum"])
    except (KeyError, TypeError) as error:
        raise FetchError(f"{url}: expected name, size, checksum and link of each file, got {item}") from error
    if md5 is None:
        raise FetchError(f"{url}: expected an md5 sum for {name}, got {item['checksum']!r}")
    return RemoteFile(safe(name), link, int(size), md5[1])
