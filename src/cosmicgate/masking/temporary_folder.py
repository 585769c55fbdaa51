"""Create temporary folders for local copies of remote files, and remove those left by killed runs."""

import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cosmicgate.masking.output_paths import STALE_AFTER_S

FOLDER_PREFIX = f".cosmicgate-carrying-{socket.gethostname()}+"  # with the host, as locks may not work across hosts
LOCK = "lock"  # file that is locked while a process uses the folder


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder that is removed with the ``with`` block, after removing those of killed runs."""
    remove_abandoned_folders()
    with (
        tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True) as name,
        FileLock(Path(name) / LOCK),
    ):
        yield Path(name)


def remove_abandoned_folders() -> None:
    """Remove temporary folders that no process uses: the system frees the lock of a process that was killed.

    A folder without a lock file does not belong to this package and is kept.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            lock = folder / LOCK
            if folder.is_symlink() or not lock.is_file() or time.time() - folder.stat().st_mtime < STALE_AFTER_S:
                continue
            with FileLock(lock, blocking=False):
                for one in folder.iterdir():
                    if one.is_dir():
                        shutil.rmtree(one)
                    elif one != lock:
                        one.unlink()
            shutil.rmtree(folder)  # Windows cannot remove an open file, so the lock is removed last
        except (Timeout, OSError):  # in use, or owned by another user
            continue
