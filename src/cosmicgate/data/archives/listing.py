"""What was asked, what the archive listed and what is on disk: a manifest, one JSON file beside the data."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from cosmicgate.data.fits.hdus import opened
from cosmicgate.files import write_whole

BY_MD5 = "md5 of the archive"
BY_STRUCTURE = "FITS structure only: the service cut this part out of a file whose md5 says nothing about it"


class SpoiledError(OSError):
    """A file that is not what the archive listed."""


@dataclass(frozen=True)
class Member:
    """A file out of an unpacked archive: its path below the root, its size in bytes, its md5."""

    path: str
    size: int
    md5: str


@dataclass(frozen=True)
class Remote:
    """A file of an archive.

    Attributes
    ----------
    path : str
        Where it goes, below the root.
    size : int
        Bytes as listed, 0 where the archive does not say; of a part a guess until it is there.
    md5 : str
        As listed; of a part empty until it is there.
    part : bool
        Single CCDs that the service cut out of a file; nobody knows its checksum before.
    facts : mapping
        What the archive says of it: night, filter, exposure.
    checked : str
        How the file on disk was found whole; empty until then.
    unpacked : tuple of Member
        What came out of it, if it was an archive of files; it is then no longer needed itself.
    """

    path: str
    url: str
    size: int
    md5: str
    part: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    checked: str = ""
    unpacked: tuple[Member, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """The files that answer one query, and their state; the query is not asked again while this is there.

    Attributes
    ----------
    archive, citation, licence : str
        Where the data are from, whom to cite, under what terms.
    query : mapping
        What was asked, in the words of the archive.
    date : str
        When it was asked (ISO 8601, UTC).
    left_out : mapping of str to int
        How many files were not taken, by reason.
    provenance : str
        What the pixels are.
    """

    archive: str
    citation: str
    licence: str
    query: Mapping[str, Any]
    date: str
    files: tuple[Remote, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
    provenance: str = "real"

    def write(self, path: Path) -> None:
        """Write the manifest, whole or not at all."""
        write_whole(path, json.dumps(asdict(self), indent=1) + "\n")

    def having(self, file: Remote) -> "Manifest":
        """Return the manifest with a newer state of one file."""
        return replace(self, files=tuple(file if f.path == file.path else f for f in self.files))


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest at ``path``, None if there is none.

    Raises
    ------
    ValueError
        The file is no manifest.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        files = [
            Remote(**(f | {"path": safe(f["path"]), "unpacked": tuple(Member(**m) for m in f["unpacked"])}))
            for f in content.pop("files")
        ]
        return Manifest(files=tuple(files), **content)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a manifest ({error}): delete it to ask the archive again") from error


def safe(name: str) -> str:
    """Return a path below the root with plain slashes; refuse one that leads out of it."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or any(c in name for c in "\\:\0"):
        raise ValueError(f"unsafe file name {name!r}: expected a path that stays in its folder")
    return path.as_posix()


def missing(manifest: Manifest, root: Path, verify: bool = False) -> list[Remote]:
    """Return the files that are not on disk with their right size, or with ``verify`` their right md5."""
    return [file for file in manifest.files if not _present(file, root, verify)]


def _present(file: Remote, root: Path, verify: bool) -> bool:
    if not file.checked:
        return False
    parts: Sequence[Member | Remote] = file.unpacked or (file,)
    paths = [root / part.path for part in parts]
    if not all(path.is_file() and path.stat().st_size == part.size for path, part in zip(paths, parts, strict=True)):
        return False
    return not verify or all(md5_of(path) == part.md5 for path, part in zip(paths, parts, strict=True))


def md5_of(path: Path) -> str:
    """Return the md5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def checked(file: Remote, path: Path) -> Remote:
    """Return what ``file`` is now that it lies at ``path``, with its true size and md5.

    The md5 decides. A part has none that is known before; it must be FITS from end to end, with all its HDUs.

    Raises
    ------
    SpoiledError
        It is not whole, or something else.
    """
    size, md5 = path.stat().st_size, md5_of(path)
    if not file.part:
        if md5 != file.md5:
            raise SpoiledError(f"came as {size} bytes with md5 {md5}, the archive lists {file.size} with {file.md5}")
        return replace(file, size=size, checked=BY_MD5)
    wanted = len(file.facts["hdus"])
    try:
        with opened(path) as hdus:
            found = len(hdus)  # which reads every header and compares the size of its data with the file's
    except ValueError as error:
        raise SpoiledError(f"came as {size} bytes: {error}") from error
    if found < wanted:
        raise SpoiledError(f"came with {found} HDUs, {wanted} were asked for")
    return replace(file, size=size, md5=md5, checked=BY_STRUCTURE)
