"""Objects elsewhere: listed, fetched and sent by fsspec, with patience; what goes wrong becomes one sentence.

Who may read and write is settled where each library looks for it (environment, configuration files), never here.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from cosmicgate.masking.products.urls import STORES, Url

ATTEMPTS = 4  # at what a broken connection may have spoilt
DELAY = 1.0  # seconds before the second, doubled with each further one; chance adds up to as much
CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5")  # what filesystems call them
TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created")
AHEAD = 2**16  # bytes that are read at once where a header is looked for
SETTLED = (
    *(FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(ValueError, TypeError, ImportError, NotImplementedError, MemoryError),
)
SETTLED_NUMBERS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EINVAL, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOSYS),
)
SETTLED_NAMES = (
    "Credential",
    "Validation",
    "Authentication",
    "HostKey",
    "error_perm",
)  # in errors of libraries that are no OSError
PASSING = (408, 425, 429)  # answers from 400 to 499 that another attempt may better
DENIED, MISSING = (401, 403), (404, 410)
T = TypeVar("T")


class TransportError(OSError):
    """An object could not be listed, read or written: one sentence that names its URL."""


def filesystem(url: Url) -> tuple[Any, str]:
    """Return the filesystem of a URL, and what the object is called there; some connect when they are made.

    Raises
    ------
    TransportError
        A package is missing, nobody knows such URLs, or there is no connection.
    """

    def once() -> tuple[Any, str]:
        try:
            import fsspec
        except ModuleNotFoundError as error:
            raise ImportError("URLs need fsspec: pip install -r requirements-s3.txt") from error
        try:
            files, path = fsspec.core.url_to_fs(url.text)
        except ImportError as error:
            needed = "s3fs: pip install -r requirements-s3.txt" if url.scheme == "s3" else f"a package: {error}"
            raise ImportError(f"{url.scheme}:// needs {needed}") from error
        except ValueError as error:
            if url.scheme in fsspec.available_protocols():
                raise
            raise ValueError(f"{url.scheme}:// is unknown, expected s3, gs, abfs, https or the like") from error
        return files, path

    return _patiently(url, once)


def listed(url: Url, recursive: bool) -> list[Url] | None:
    """Return the files in a folder, sorted; of ``recursive`` also those below; None if there is no such folder.

    Hidden folders are not looked into. What is listed is not remembered: it may change while a run is at work. It is
    not ``find`` of the filesystem that lists, which leaves out what it cannot list and says nothing.

    Raises
    ------
    TransportError
        The folder or one below cannot be listed.
    """
    files, path = filesystem(url)
    root = _entries(files, url, path)
    if not root:
        return None
    found, waiting = [], list(root.items())
    while waiting:
        name, kind = waiting.pop()
        here = url / name.removeprefix(path.rstrip("/")).strip("/")
        if kind != "directory":
            found.append(here)
        elif recursive and not here.name.startswith("."):
            below = _entries(files, here, name)
            if below is None:
                raise TransportError(f"{here}: this folder cannot be listed")
            waiting += below.items()
    return sorted(found)


def _entries(files: Any, url: Url, folder: str) -> dict[str, str] | None:
    """Return what is in a folder, with its kind; None if there is no such folder."""

    def once() -> list[dict[str, Any]] | None:
        files.invalidate_cache()
        try:
            return list(files.ls(folder, detail=True))
        except FileNotFoundError:
            return None

    found = _patiently(url, once)
    files.invalidate_cache()
    if found is None:
        return None
    entries = {str(told["name"]): str(told["type"]) for told in found}
    return {name: kind for name, kind in entries.items() if name.rstrip("/") != folder.rstrip("/")}


def about(url: Url) -> dict[str, Any]:
    """Return what the filesystem tells of an object, by its own names."""
    files, path = filesystem(url)
    found: dict[str, Any] = _patiently(url, lambda: files.info(path))
    if found.get("type") == "directory":
        raise TransportError(f"{url}: expected a FITS file, found a folder")
    return found


def version(told: dict[str, Any]) -> str:
    """Return what changes with an object: its size with its checksum or else its time; empty if neither is told."""
    for name in (*CHECKSUMS, *TIMES):
        if (value := str(told.get(name) or "")) and not value.startswith("W/"):  # a weak ETag outlives some changes
            return f"{told.get('size')} {value}"
    return ""


def fetch(url: Url, path: Path, size: int | None = None) -> None:
    """Write an object of so many bytes to a path."""
    files, name = filesystem(url)

    def once() -> None:
        files.get_file(name, str(path))
        if size is not None and (came := path.stat().st_size) != size:
            raise ConnectionError(f"{came} of {size} bytes came")

    _patiently(url, once)


def send(path: Path, url: Url) -> None:
    """Make an object of a file; it is there as a whole or not at all.

    An object store does that by itself. Elsewhere a hidden file beside it is renamed; a killed run may leave that.
    Of a URL that is not writable neither is sure.
    """
    files, name = filesystem(url)
    if url.scheme in STORES:
        _patiently(url, lambda: files.put_file(str(path), name), "it cannot be written")
        return
    folder = name.rpartition("/")[0]
    hidden = f"{folder}/.{uuid4().hex}.{url.name}"

    def once() -> None:
        files.makedirs(folder, exist_ok=True)
        files.put_file(str(path), hidden)
        files.mv(hidden, name)

    try:
        _patiently(url, once, "it cannot be written")
    except BaseException:
        with suppress(OSError):
            files.rm_file(hidden)
        raise


def look(url: Url, at: Callable[[IO[bytes]], T]) -> T | None:
    """Return what is seen in an object; the parts that are looked at are fetched. None: it is not there."""
    files, name = filesystem(url)

    def once() -> T | None:
        try:
            with files.open(name, "rb", block_size=AHEAD, cache_type="readahead") as file:
                return at(file)
        except FileNotFoundError:
            return None

    return _patiently(url, once)


def _patiently(url: Url, doing: Callable[[], T], missing: str = "no such FITS file") -> T:
    """Return what comes of it, at another attempt if need be; whatever a library raises becomes a sentence."""

    def once() -> T:
        try:
            return doing()
        except FileNotFoundError as error:  # so the web's says of a connection that fails, too
            if url.is_web and isinstance(error.__cause__, Exception):
                raise error.__cause__ from None
            raise

    wait = wait_exponential(DELAY) + wait_random(0, DELAY)
    attempts = Retrying(retry=retry_if_exception(_passing), stop=stop_after_attempt(ATTEMPTS), wait=wait, reraise=True)
    try:
        return attempts(once)
    except (MemoryError, TransportError):
        raise
    except Exception as error:  # each library has its own
        tried = attempts.statistics.get("attempt_number", 1)
        again = f"; tried {tried} times" if tried > 1 else ""
        raise TransportError(_sentence(url, error, missing) + again) from error


def _passing(error: BaseException) -> bool:
    """Say whether another attempt may go better."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status in PASSING
    settled = isinstance(error, (TransportError, *SETTLED)) or any(
        name in type(error).__name__ for name in SETTLED_NAMES
    )
    return isinstance(error, Exception) and not settled and getattr(error, "errno", None) not in SETTLED_NUMBERS


def _sentence(url: Url, error: Exception, missing: str) -> str:
    said = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    reason, status = " ".join(url.without_secrets(str(said)).split()), getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in MISSING:
        return f"{missing}: {url}" + (f" ({reason})" if " " in reason and url.name not in reason else "")
    if isinstance(error, PermissionError) or status in DENIED:
        return f"{url}: no permission ({reason})"
    return f"{url}: {reason}"
