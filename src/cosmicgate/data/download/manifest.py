"""Manifest of a query: the query, the files that the archive listed, and their state on disk; stored as JSON."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cosmicgate.io.atomic import atomic_write, sha256_of
from cosmicgate.io.fits.hdus import open_fits

BY_MD5 = "md5 of the archive"
BY_SHA256 = "sha256 of the origin"
BY_PIXELS = "sha256 of the pixel values: that of the file is not known"
BY_STRUCTURE = "FITS structure only: the service cut this part out of a file whose md5 says nothing about it"


class CorruptDownloadError(OSError):
    """Raised for a downloaded file that is damaged, or differs from what the archive lists."""


@dataclass(frozen=True)
class Member:
    """A file from an unpacked archive: its path below the root, its size in bytes, and its md5."""

    path: str
    size: int
    md5: str


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes
    ----------
    path : str
        Path below the root.
    url : str
        URL of the file.
    size : int
        Listed size in bytes, 0 if the archive gives none; without a listed md5, an estimate until it is downloaded.
    md5 : str
        Listed md5; if none is listed, empty until the file is downloaded.
    part : bool
        Whether the server cuts single CCDs out of a larger file, so that its checksum is not known beforehand.
    facts : mapping
        The archive's metadata: night, filter, exposure.
    checked : str
        How the file on disk was verified; empty until then.
    unpacked : tuple of Member
        Files unpacked from it or prepared from it; it is then no longer needed.
    sha256, pixels_sha256 : str
        Listed sha256 of the file, and of its pixel values (:func:`file_pixels_sha256`); empty if none is listed.
    """

    path: str
    url: str
    size: int
    md5: str
    part: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    checked: str = ""
    unpacked: tuple[Member, ...] = ()
    sha256: str = ""
    pixels_sha256: str = ""


@dataclass(frozen=True)
class Manifest:
    """The files that match a query, and their state; while it is on disk, the query is not sent again.

    Attributes
    ----------
    archive, citation, licence : str
        Source of the data, reference to cite, and terms of use.
    query : mapping
        The query, in the archive's terms.
    date : str
        Date of the query (ISO 8601, UTC).
    files : tuple of RemoteFile
        The files.
    left_out : mapping of str to int
        Number of files that were left out, by reason.
    provenance : str
        Data origin of the pixels.
    """

    archive: str
    citation: str
    licence: str
    query: Mapping[str, Any]
    date: str
    files: tuple[RemoteFile, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    provenance: str = "real"

    def write(self, path: Path) -> None:
        """Write the manifest atomically."""
        atomic_write(path, json.dumps(asdict(self), indent=1) + "\n")

    def with_file(self, file: RemoteFile) -> "Manifest":
        """Copy the manifest with a new state of one file."""
        return replace(self, files=tuple(file if f.path == file.path else f for f in self.files))


def read_manifest(path: Path) -> Manifest | None:
    """Read the manifest at ``path``; return None if there is none.

    Raises
    ------
    ValueError
        If the file is not a manifest.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        files = [
            RemoteFile(**(f | {"path": safe(f["path"]), "unpacked": tuple(Member(**m) for m in f["unpacked"])}))
            for f in content.pop("files")
        ]
        return Manifest(files=tuple(files), **content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest ({error}): delete it to ask the archive again") from error


def safe(name: str) -> str:
    """Normalise a relative path to forward slashes; raise ValueError if it leads out of its folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise ValueError(f"unsafe file name {name!r}: expected a path that stays in its folder")
    return path.as_posix()


def missing_files(manifest: Manifest, root: Path, verify: bool = False) -> list[RemoteFile]:
    """List the files that are not on disk with the right size or, with ``verify``, the right md5."""
    return [file for file in manifest.files if not _present(file, root, verify)]


def _present(file: RemoteFile, root: Path, verify: bool) -> bool:
    if not file.checked:
        return False
    parts: Sequence[Member | RemoteFile] = file.unpacked or (file,)
    paths = [root / part.path for part in parts]
    if not all(path.is_file() and path.stat().st_size == part.size for path, part in zip(paths, parts, strict=True)):
        return False
    return not verify or all(md5_of(path) == part.md5 for path, part in zip(paths, parts, strict=True))


def md5_of(path: Path) -> str:
    """Compute the md5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def file_pixels_sha256(path: Path) -> str:
    """Compute the sha256 of the images of a FITS file: of their shapes, types and values, not of headers."""
    digest = hashlib.sha256()
    with open_fits(path) as hdus:
        for image in (np.asarray(hdu.data) for hdu in hdus if hdu.is_image and hdu.data is not None):
            digest.update(f"{image.shape} {image.dtype.kind}{image.dtype.itemsize} ".encode())
            digest.update(image.astype(image.dtype.newbyteorder(">")).tobytes())
    return digest.hexdigest()


def verify_download(file: RemoteFile, path: Path) -> RemoteFile:
    """Verify the downloaded file at ``path``; return ``file`` with its true size and md5.

    The listed checksum must match. None is known beforehand for a part, which must be a complete FITS file with all its
    HDUs.

    Raises
    ------
    CorruptDownloadError
        If the file is incomplete, or differs from the listed one.
    """
    size, md5 = path.stat().st_size, md5_of(path)
    if file.sha256:
        if (sha256 := sha256_of(path)) != file.sha256:
            raise CorruptDownloadError(f"downloaded {size} bytes with SHA-256 {sha256}, expected {file.sha256}")
        return replace(file, size=size, md5=md5, checked=BY_SHA256)
    if file.pixels_sha256:
        try:
            found = file_pixels_sha256(path)
        except ValueError as error:
            raise CorruptDownloadError(f"downloaded {size} bytes: {error}") from error
        if found != file.pixels_sha256:
            raise CorruptDownloadError(f"downloaded pixel values with SHA-256 {found}, expected {file.pixels_sha256}")
        return replace(file, size=size, md5=md5, checked=BY_PIXELS)
    if not file.part:
        if md5 != file.md5:
            listed = f"{file.size} bytes with MD5 {file.md5}"
            raise CorruptDownloadError(f"downloaded {size} bytes with MD5 {md5}, but the archive lists {listed}")
        return replace(file, size=size, checked=BY_MD5)
    wanted = len(file.facts["hdus"])
    try:
        with open_fits(path) as hdus:
            count = len(hdus)  # reads every header, and compares the size of the data with that of the file
    except ValueError as error:
        raise CorruptDownloadError(f"downloaded {size} bytes: {error}") from error
    if count < wanted:
        raise CorruptDownloadError(f"downloaded {count} HDUs, expected {wanted}")
    return replace(file, size=size, md5=md5, checked=BY_STRUCTURE)
