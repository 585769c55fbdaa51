"""Unpack zip and tar files safely: nothing can be written outside the target folder."""

import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from uuid import uuid4

from cosmicgate.data.download.manifest import Member, safe

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")
HIDDEN = ".unpacking-"
CHUNK = 1 << 20


def is_archive(name: str) -> bool:
    """Return True if a file name has an ending that :func:`unpack` supports."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, root: Path) -> tuple[Member, ...]:
    """Unpack an archive into a hidden folder in ``root``, then rename its files into place.

    Only regular files are written, from their content alone, so that the archive's links, device files and permissions
    have no effect. The filters of tarfile would accept links, and early releases of Python 3.11 lack them.

    Returns
    -------
    tuple of Member
        The unpacked files.

    Raises
    ------
    ValueError
        If the archive is damaged, or contains a link or a name that leads out of the folder; ``root`` is then
        unchanged.
    """
    for left in root.glob(f"{HIDDEN}*"):  # left by a process that was killed
        shutil.rmtree(left)
    hidden = root / f"{HIDDEN}{uuid4().hex}"
    hidden.mkdir(parents=True)
    try:
        members = {name: _copy(stream, hidden / name, name) for name, stream in _files(archive)}
        for top in sorted(hidden.iterdir()):
            _move(top, root / top.name)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError) as error:
        raise ValueError(f"{archive}: cannot be unpacked ({error})") from error
    except ValueError as error:
        raise ValueError(f"{archive}: {error}") from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return tuple(members.values())


def _files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield the name and the content of each file of an archive; raise ValueError for links and devices."""
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                if stat.S_ISLNK(info.external_attr >> 16):
                    raise ValueError(f"holds the link {info.filename!r}, expected files only")
                name = safe(info.filename)
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield name, stream
        return
    with tarfile.open(archive) as tape:
        for item in tape:
            if not item.isfile() and not item.isdir():
                raise ValueError(f"holds {item.name!r}, which is a link or a device, expected files only")
            content = tape.extractfile(item) if item.isfile() else None
            if content is not None:
                yield safe(item.name), content


def _copy(stream: IO[bytes], path: Path, name: str) -> Member:
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.md5(usedforsecurity=False)
    size = 0
    with path.open("wb") as out:
        while piece := stream.read(CHUNK):
            size += out.write(piece)
            digest.update(piece)
    return Member(name, size, digest.hexdigest())


def _move(source: Path, target: Path) -> None:
    """Rename ``source`` to ``target``; if both are folders, merge them."""
    if source.is_dir() and target.is_dir():
        for inner in source.iterdir():
            _move(inner, target / inner.name)
    else:
        source.replace(target)
