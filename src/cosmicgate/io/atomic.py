"""Write files atomically, compute checksums, and remove the temporary files of killed processes."""

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

STALE_AFTER_S = 600.0  # seconds since the last write after which a hidden file of another machine counts as abandoned
HIDDEN = re.compile(r"\.(?:partial-)?([0-9a-f]{32})(?:\..*)?")


def sha256_of(path: Path) -> str:
    """Compute the SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: Path) -> tuple[int, int, int]:
    """Read inode, size and modification time of a file, by which a change is noticed."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def cached_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file as :func:`sha256_of` does, once until the file changes."""
    return _sha256_of_state(path.resolve(), file_state(path))


@lru_cache(maxsize=1024)
def _sha256_of_state(path: Path, _state: tuple[int, int, int]) -> str:
    return sha256_of(path)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success and remove it on failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{temporary_owner()}.{path.name}")
    try:
        with file_named_in_errors(path):
            yield partial
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise OSError if no file can be made in the folder of ``path`` or, while it is missing, in the nearest above it.

    A temporary file is made, because permissions alone do not tell: neither for root nor on a network disk.
    """
    folder = next(one for one in path.absolute().parents if one.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(path)
        raise


@contextmanager
def file_named_in_errors(path: Path) -> Iterator[None]:
    """Add the name of a file to an error of the system that has none, such as that of a full disk.

    NumPy raises it without a number, as "13838 requested and 2592 written".
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and (short_write := re.search(r"\d+ requested and \d+ written", str(error))):
            raise OSError(f"{path}: {short_write[0]} (bytes or values; is the disk full?)") from error
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name, then rename it; a text may name files whose names are not text."""
    with atomic_path(path) as partial:
        partial.write_bytes(escape_undecodable(content).encode() if isinstance(content, str) else content)


def escape_undecodable(text: str) -> str:
    """Escape the bytes of file names that are no text, which no encoding can write."""
    return text.encode(errors="backslashreplace").decode()


def short(path: Path) -> Path:
    """Shorten a path: relative to the current folder if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def temporary_owner() -> str:
    """Make 32 hexadecimal digits for a temporary name that identify the process which owns it."""
    started = int(process_started(os.getpid()) or 0) % 2**32
    return f"{_hash_of(process_scope())}{os.getpid():08x}{started:08x}{secrets.token_hex(4)}"


def remove_stale_temp_files(*folders: Path) -> None:
    """Remove what killed processes left in folders: files of :func:`atomic_path`, hidden folders of partial frames.

    Kept are those of a running process of this machine, and those of another machine written to in the last 10 minutes.
    """
    for folder in folders:
        for path in folder.iterdir() if folder.is_dir() else ():
            match = HIDDEN.fullmatch(path.name)
            if match and _is_abandoned(path, match[1]):
                with contextlib.suppress(OSError):  # another process may be removing it too
                    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_abandoned(path: Path, digits: str) -> bool:
    if digits[:8] == _hash_of(process_scope()):
        started = process_started(int(digits[8:16], 16))
        return started is None or (started != "" and int(started) % 2**32 != int(digits[16:24], 16))
    try:
        newest = max(part.stat().st_mtime for part in (path, *path.glob("*")))
    except OSError:
        return False
    return time.time() - newest > STALE_AFTER_S


@cache
def process_scope() -> str:
    """Identify the scope in which process IDs are unique: a host since its last boot, or a container on it."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts)


def process_started(pid: int) -> str | None:
    """Read the start time of a process of this machine, in clock ticks; "" if unknown, None if it has ended."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # it runs, as another user
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return None if fields[0] in "ZX" else fields[19]


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file atomically; raise ValueError if a value is NaN or infinite."""
    atomic_write(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def tree_hash(path: Path) -> str:
    """Compute the SHA-256 of a file, or of all files below a folder together with their names."""
    total = hashlib.sha256()
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            total.update(part.relative_to(path).as_posix().encode())
            with part.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
