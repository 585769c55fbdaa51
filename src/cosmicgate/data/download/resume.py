"""Download one file: resume partial downloads, and move the file into place only after it is verified."""

from dataclasses import replace
from pathlib import Path

from cosmicgate.data.download.client import FetchError, Progress, RetryableError, Session
from cosmicgate.data.download.manifest import CorruptDownloadError, RemoteFile, verify_download
from cosmicgate.data.download.pip_source import SCHEME, download_by_pip
from cosmicgate.extras import extra

with extra("train"):
    import httpx


def download(session: Session, file: RemoteFile, root: Path, progress: Progress) -> RemoteFile:
    """Download one file to its path below ``root``, through a ``.partial`` file, from which a later call resumes.

    Parameters
    ----------
    session : Session
        Pool of connections.
    file : RemoteFile
        The file to download.
    root : Path
        Folder of the data.
    progress : callable
        Function that is called with the path and the number of bytes downloaded so far.

    Returns
    -------
    RemoteFile
        The file with its true size and md5.

    Raises
    ------
    CorruptDownloadError
        If the file differed from the listed one in two downloads.
    FetchError
        If the download failed.
    """
    target = root / file.path
    partial = partial_of(file, root)
    target.parent.mkdir(parents=True, exist_ok=True)
    file = replace(file, checked="", unpacked=())
    for last in (False, True):  # retry once from the start: the partial file may be of an older version
        transfer = download_by_pip if file.url.startswith(SCHEME) else _download_by_http
        transfer(session, file, partial, progress)
        try:
            whole = verify_download(file, partial)
            break
        except CorruptDownloadError:
            partial.unlink()
            if last:
                raise
    partial.replace(target)
    return whole


def partial_of(file: RemoteFile, root: Path) -> Path:
    """Name the file that holds the bytes during a download."""
    return root / f"{file.path}.partial"


def file_size(path: Path) -> int:
    """Measure the size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.is_file() else 0


def _download_by_http(session: Session, file: RemoteFile, partial: Path, progress: Progress) -> None:
    """Retry until the download is complete; give up if a whole series of attempts gained no bytes."""
    while True:
        before = file_size(partial)
        try:
            return session.retrying()(_stream, session, file, partial, progress)
        except RetryableError:
            if file_size(partial) <= before:
                raise


def _stream(session: Session, file: RemoteFile, partial: Path, progress: Progress) -> None:
    if session.stop.is_set():
        raise FetchError(f"{file.url}: stopped")
    # The server cuts out a part again for each request, and no checksum would reveal a mix of two: never resume it.
    have = 0 if file.part else file_size(partial)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with session.translated_errors(file.url), session.http.stream("GET", file.url, headers=headers) as response:
        if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # the partial file is complete; its checksum is verified later
        session.check(response)
        resumed = response.status_code == httpx.codes.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            partial.unlink()
            raise RetryableError(f"{file.url}: asked for the bytes from {have} on, got others")
        have = have if resumed else 0
        with partial.open("ab" if resumed else "wb", buffering=0) as out:  # unbuffered: kept if the process is killed
            for piece in response.iter_raw():
                if session.stop.is_set():
                    raise FetchError(f"{file.url}: stopped")
                out.write(piece)
                have += len(piece)
                progress(file.path, have)
    if file.md5 and not file.part and "Content-Length" not in response.headers and have < file.size:
        raise RetryableError(f"{file.url}: ended after {have} of {file.size} bytes")
