"""List, fetch and upload remote objects by fsspec, with retries; errors become one sentence.

Credentials are taken from where each library looks for them (environment, configuration files), never from here.
"""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar
from uuid import uuid4

from cosmicgate.extras import extra
from cosmicgate.io.urls import STORES, Url

ATTEMPTS = 4  # attempts at an operation that a broken connection may have interrupted
DELAY = 1.0  # seconds before the second attempt, doubled for each further one; plus a random delay of up to DELAY
CHECKSUMS = ("ETag", "etag", "md5Hash", "content_md5", "Content-MD5")  # their names in fsspec's filesystems
TIMES = ("LastModified", "Last-Modified", "last_modified", "mtime", "updated", "modified", "created")
READAHEAD_BYTES = 2**16  # bytes that are fetched at once while headers are read
NON_RETRYABLE = (
    *(FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(ValueError, TypeError, ImportError, NotImplementedError, MemoryError),
)
NON_RETRYABLE_CODES = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS),
    *(errno.EINVAL, errno.ENAMETOOLONG, errno.EMSGSIZE, errno.ENOSYS),
)
NON_RETRYABLE_NAMES = (
    "Credential",
    "Validation",
    "Authentication",
    "HostKey",
    "error_perm",
)  # parts of the class names of library errors that are no OSError
RETRYABLE = (408, 425, 429)  # HTTP status codes from 400 to 499 after which a retry may succeed
DENIED, MISSING = (401, 403), (404, 410)
T = TypeVar("T")


class TransportError(OSError):
    """Error raised if an object cannot be listed, read or written: one sentence that names its URL."""


def filesystem(url: Url) -> tuple[Any, str]:
    """Open the filesystem of a URL, which may connect, and find the object's path on it.

    Raises
    ------
    TransportError
        A package is missing, the scheme is unknown, or there is no connection.
    """

    def once() -> tuple[Any, str]:
        with extra("s3"):
            import fsspec
        try:
            files, path = fsspec.core.url_to_fs(url.text)
        except ImportError as error:
            needed = (
                "s3fs: pip install '.[s3]' in a clone of cosmicgate" if url.scheme == "s3" else f"a package: {error}"
            )
            raise ImportError(f"{url.scheme}:// needs {needed}") from error
        except ValueError as error:
            if url.scheme in fsspec.available_protocols():
                raise
            raise ValueError(
                f"{url.scheme}:// is not a known kind of URL: expected s3, gs, abfs, https or similar"
            ) from error
        return files, path

    return _with_retries(url, once)


def list_files(url: Url, recursive: bool) -> list[Url] | None:
    """List the files in a folder, sorted; with ``recursive`` also in its subfolders; None if there is no such folder.

    Hidden subfolders are not searched. Listings are not cached, as they may change during a run. The filesystem's own
    ``find`` is not used, because it silently leaves out folders that it cannot list.

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
    """List the entries of a folder with their types; None if there is no such folder."""

    def once() -> list[dict[str, Any]] | None:
        files.invalidate_cache()
        try:
            return list(files.ls(folder, detail=True))
        except FileNotFoundError:
            return None

    found = _with_retries(url, once)
    files.invalidate_cache()
    if found is None:
        return None
    entries = {str(info["name"]): str(info["type"]) for info in found}
    return {name: kind for name, kind in entries.items() if name.rstrip("/") != folder.rstrip("/")}


def remote_info(url: Url) -> dict[str, Any]:
    """Fetch the metadata of an object, under the keys of its filesystem."""
    files, path = filesystem(url)
    found: dict[str, Any] = _with_retries(url, lambda: files.info(path))
    if found.get("type") == "directory":
        raise TransportError(f"{url}: expected a FITS file, found a folder")
    return found


def version(info: dict[str, Any], url: Url) -> str:
    """Build a version from an object's size and its checksum, or else its time; empty if neither is known.

    Two objects may have one time, and two web addresses one ETag, which many servers make of size and time: such a
    version contains the URL, without its secrets.
    """
    for name in (*CHECKSUMS, *TIMES):
        if (value := str(info.get(name) or "")) and not value.startswith("W/"):  # a weak ETag outlives some changes
            return f"{info.get('size')} {value}" + f" {url}" * (name in TIMES or url.is_web)
    return ""


def fetch(url: Url, path: Path, size: int | None = None) -> None:
    """Download an object to a path; with ``size`` (bytes), check that it is complete."""
    files, name = filesystem(url)

    def once() -> None:
        files.get_file(name, str(path))
        if size is not None and (came := path.stat().st_size) != size:
            raise ConnectionError(f"received {came} of {size} bytes")

    _with_retries(url, once)


def send(path: Path, url: Url) -> None:
    """Upload a file atomically.

    Object stores do that by themselves. Elsewhere a hidden file is uploaded beside the target and renamed; a killed run
    may leave it behind. Atomicity holds only for URLs with ``is_writable``.
    """
    files, name = filesystem(url)
    if url.scheme in STORES:
        _with_retries(url, lambda: files.put_file(str(path), name), "cannot be written")
        return
    folder = name.rpartition("/")[0]
    hidden = f"{folder}/.{uuid4().hex}.{url.name}"

    def once() -> None:
        files.makedirs(folder, exist_ok=True)
        files.put_file(str(path), hidden)
        files.mv(hidden, name)

    try:
        _with_retries(url, once, "cannot be written")
    except BaseException:
        with suppress(OSError):
            files.rm_file(hidden)
        raise


def inspect_remote(url: Url, at: Callable[[IO[bytes]], T]) -> T | None:
    """Apply a function to an open remote object, fetching only the parts that it reads; None if there is no object."""
    files, name = filesystem(url)

    def once() -> T | None:
        try:
            with files.open(name, "rb", block_size=READAHEAD_BYTES, cache_type="readahead") as file:
                return at(file)
        except FileNotFoundError:
            return None

    return _with_retries(url, once)


def _with_retries(url: Url, doing: Callable[[], T], missing: str = "no such FITS file") -> T:
    """Call a function, with retries if it may help; convert any library's error into a TransportError."""
    try:
        with extra("s3"):
            from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random
    except ImportError as error:
        raise TransportError(f"{url}: {error}") from error

    def once() -> T:
        try:
            return doing()
        except FileNotFoundError as error:  # fsspec's HTTP filesystem raises it for failed connections, too
            if url.is_web and isinstance(error.__cause__, Exception):
                raise error.__cause__ from None
            raise

    wait = wait_exponential(DELAY) + wait_random(0, DELAY)
    attempts = Retrying(
        retry=retry_if_exception(_is_retryable), stop=stop_after_attempt(ATTEMPTS), wait=wait, reraise=True
    )
    try:
        return attempts(once)
    except (MemoryError, TransportError):
        raise
    except Exception as error:  # each library has its own exceptions
        tried = attempts.statistics.get("attempt_number", 1)
        again = f"; tried {tried} times" if tried > 1 else ""
        raise TransportError(_describe(url, error, missing) + again) from error


def _is_retryable(error: BaseException) -> bool:
    """Return True if a retry may succeed."""
    status = getattr(error, "status", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status in RETRYABLE
    permanent = isinstance(error, (TransportError, *NON_RETRYABLE)) or any(
        name in type(error).__name__ for name in NON_RETRYABLE_NAMES
    )
    return isinstance(error, Exception) and not permanent and getattr(error, "errno", None) not in NON_RETRYABLE_CODES


def _describe(url: Url, error: Exception, missing: str) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "message", None) or str(error) or type(error).__name__
    reason, status = " ".join(url.without_secrets(str(text)).split()), getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in MISSING:
        return f"{missing}: {url}" + (f" ({reason})" if " " in reason and url.name not in reason else "")
    if isinstance(error, PermissionError) or status in DENIED:
        return f"{url}: no permission ({reason})"
    return f"{url}: {reason}"
