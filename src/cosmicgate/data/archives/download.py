"""One file from an archive to its place: no byte is asked for twice, and nothing unchecked gets there."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx

from cosmicgate.data.archives.client import FetchError, PassingError, Session
from cosmicgate.data.archives.listing import Remote, SpoiledError, checked

Progress = Callable[[str, int], None]


def download(session: Session, file: Remote, root: Path, progress: Progress) -> Remote:
    """Bring one file to its place below ``root`` by way of a ``.partial`` file, which a later call goes on with.

    Parameters
    ----------
    progress : callable
        Is told the path and how many of its bytes are there.

    Returns
    -------
    Remote
        The file as it is on disk.

    Raises
    ------
    SpoiledError
        It came twice, and twice was not what the archive lists.
    FetchError
        It did not come.
    """
    target = root / file.path
    partial = partial_of(file, root)
    target.parent.mkdir(parents=True, exist_ok=True)
    file = replace(file, checked="", unpacked=())
    for last in (False, True):  # once more from the start: the beginning may be an older one
        _come(session, file, partial, progress)
        try:
            whole = checked(file, partial)
            break
        except SpoiledError:
            partial.unlink()
            if last:
                raise
    partial.replace(target)
    return whole


def partial_of(file: Remote, root: Path) -> Path:
    """Return where a file is while it comes."""
    return root / f"{file.path}.partial"


def length(path: Path) -> int:
    """Return the bytes of a file, 0 if it is not there."""
    return path.stat().st_size if path.is_file() else 0


def _come(session: Session, file: Remote, partial: Path, progress: Progress) -> None:
    """Repeat until all bytes are there; give up when a whole row of attempts gained none."""
    while True:
        before = length(partial)
        try:
            return session.patient()(_stream, session, file, partial, progress)
        except PassingError:
            if length(partial) <= before:
                raise


def _stream(session: Session, file: Remote, partial: Path, progress: Progress) -> None:
    if session.stop.is_set():
        raise FetchError(f"{file.url}: stopped")
    # A part is cut anew for each request and no checksum would tell of two that do not fit: it starts again.
    have = 0 if file.part else length(partial)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.passing(file.url), session.http.stream("GET", file.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # all has come; the checksum says whether it is right
        session.check(response)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink()
            raise PassingError(f"{file.url}: asked for the bytes from {have} on, got others")
        have = have if resumed else 0
        with partial.open("ab" if resumed else "wb", buffering=0) as out:  # what has come outlives a killed process
            for piece in response.iter_raw():
                if session.stop.is_set():
                    raise FetchError(f"{file.url}: stopped")
                out.write(piece)
                have += len(piece)
                progress(file.path, have)
    if not file.part and "Content-Length" not in response.headers and have < file.size:
        raise PassingError(f"{file.url}: ended after {have} of {file.size} bytes")
