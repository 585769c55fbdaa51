"""Download the small real data from their public origins, which ``real.csv`` lists.

A file comes from a GitHub repository at one commit, or from a source package of the Python package index. Its checksum
is compared; where none is listed, the checksum of its pixel values is. It is then used as it is or prepared
(:mod:`~cosmicgate.data.download.prepare`).
"""

import csv
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from cosmicgate.data.download.fetch import manifest_path
from cosmicgate.data.download.manifest import Manifest, RemoteFile, read_manifest, safe
from cosmicgate.data.download.pip_source import SCHEME
from cosmicgate.data.download.prepare import STEPS
from cosmicgate.io.atomic import sha256_of

GITHUB = "https://raw.githubusercontent.com"
TABLE = Path(__file__).with_name("real.csv")
AS_IT_IS = "copy"  # step of a file that needs no preparation
CITATION = "data/README.md names each origin and what it asks to cite"
LICENCE = "each origin's own, in data/README.md; some state none: use the files, do not pass them on"


def list_real(root: Path, base: str = GITHUB) -> Manifest:
    """Read the manifest from disk, or make it from the table; nothing is requested or written."""
    manifest = read_manifest(manifest_path(root, real_name()))
    if manifest is not None:
        return manifest
    with TABLE.open(newline="") as file:
        files = tuple(_remote(row, base) for row in csv.DictReader(file))
    return Manifest(
        archive=f"GitHub, {base}; Python package index",
        citation=CITATION,
        licence=LICENCE,
        query={"table": TABLE.name, "sha256": sha256_of(TABLE)},
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        files=files,
    )


def real_name() -> str:
    """Name the manifest after the table, so that a later version of the table is compared with the disk again."""
    return f"real-{sha256_of(TABLE)[:8]}"


def _remote(row: dict[str, str], base: str) -> RemoteFile:
    path, there = PurePosixPath(safe(row["file"])), PurePosixPath(row["path"])
    index, _, name = row["origin"].partition(":")
    if index == "pip":
        url = f"{SCHEME}{name}=={row['version']}"
    elif index == "github":
        url = f"{base}/{name}/{row['version']}/{quote(row['path'])}"
    else:
        raise ValueError(f"{TABLE}: expected an origin like github:OWNER/NAME or pip:NAME, got {row['origin']!r}")
    if row["step"] not in (AS_IT_IS, *STEPS):
        raise ValueError(f"{TABLE}: expected one of the steps {AS_IT_IS}, {', '.join(STEPS)}, got {row['step']!r}")
    facts = {key: row[key] for key in ("origin", "version", "path")}
    if row["step"] != AS_IT_IS:
        facts |= {"step": row["step"], "becomes": str(path)}
        path = path.with_name(there.name)
    sha256, of_pixels = row["sha256"], row["pixels_sha256"]
    return RemoteFile(str(path), url, int(row["size"]), "", facts=facts, sha256=sha256, pixels_sha256=of_pixels)
