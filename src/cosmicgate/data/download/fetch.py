"""Download the missing files of a manifest, check and prepare them, and record them in the manifest."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from threading import Lock

from filelock import FileLock

from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy, Session
from cosmicgate.data.download.manifest import (
    CorruptDownloadError,
    Manifest,
    RemoteFile,
    missing_files,
    read_manifest,
    verify_download,
)
from cosmicgate.data.download.prepare import make_products
from cosmicgate.data.download.resume import download, file_size, partial_of
from cosmicgate.data.download.unpack import is_archive
from cosmicgate.extras import extra

with extra("train"):
    from tqdm import tqdm


def manifest_path(root: Path, name: str) -> Path:
    """Make the path of a query's manifest."""
    return root / f"manifest-{name}.json"


def download_missing(
    manifest: Manifest, root: Path, name: str, policy: RetryPolicy = DEFAULT_RETRY, verify: bool = False
) -> Manifest:
    """Download all missing files of a manifest; if there are none, nothing is requested or written.

    Files that a killed process has unpacked or prepared but not deleted are deleted.

    Parameters
    ----------
    manifest : Manifest
        Manifest from :func:`cosmicgate.data.download.manifest.read_manifest` or a new search.
    root : Path
        Folder of the data.
    name : str
        Name of the query; the manifest is written to ``root/manifest-NAME.json``.
    policy : RetryPolicy
        Limits on connections and retries.
    verify : bool
        Whether to compute the md5 of each file on disk and download it again if it differs, instead of comparing sizes.

    Returns
    -------
    Manifest
        The manifest with the state of every file.

    Raises
    ------
    OSError
        If there is too little disk space, or some downloads failed. The other files are kept, and the next call
        resumes.
    """
    path = manifest_path(root, name)
    if path.is_file() and not verify and not missing_files(manifest, root):
        for file in manifest.files:
            _drop(file, root)
        return manifest
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):  # if another process is downloading, wait, and then find its files
        manifest = read_manifest(path) or manifest
        manifest.write(path)
        wanted = []
        for file in missing_files(manifest, root, verify):
            there = _existing(file, root)
            if there is None:
                wanted.append(file)
            else:
                manifest = _record(manifest, there, root, path)
        check_space(root, required_space(wanted, root))
        return _fetch(manifest, wanted, root, path, policy) if wanted else manifest


def required_space(files: Iterable[RemoteFile], root: Path) -> int:
    """Compute the disk space, in bytes, that downloading these files needs.

    An archive counts twice, because it is deleted only after its files are unpacked. These are about as large as the
    archive, because FITS files are compressed already.
    """
    return sum(max(0, f.size - file_size(partial_of(f, root))) + f.size * is_archive(f.path) for f in files)


def check_space(root: Path, needed: int) -> None:
    """Raise OSError if fewer than ``needed`` bytes are free on the disk."""
    folder = next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{root}: {format_size(needed)} are needed, {format_size(free)} are free on this disk")


def format_size(size: int) -> str:
    """Format a number of bytes with a decimal unit."""
    return f"{tqdm.format_sizeof(size, divisor=1000)}B"


def _existing(file: RemoteFile, root: Path) -> RemoteFile | None:
    """Check whether a valid file is already in place (copied there, or from another query); return it, or None."""
    try:
        there = verify_download(replace(file, unpacked=()), root / file.path)
    except (FileNotFoundError, CorruptDownloadError):
        return None
    return None if file.checked and there.md5 != file.md5 else there


def _record(manifest: Manifest, file: RemoteFile, root: Path, path: Path) -> Manifest:
    """Unpack or prepare the file, record it in the manifest, and only then delete what is no longer needed."""
    file = replace(file, unpacked=make_products(file, root))
    manifest = manifest.with_file(file)
    manifest.write(path)
    _drop(file, root)
    return manifest


def _drop(file: RemoteFile, root: Path) -> None:
    """Delete a file that has been unpacked or prepared."""
    archive = root / file.path
    if file.unpacked and archive.is_file():  # check first: unlink would fail on a read-only disk
        archive.unlink()


def _fetch(manifest: Manifest, wanted: list[RemoteFile], root: Path, path: Path, policy: RetryPolicy) -> Manifest:
    """Download several files at a time; one that fails does not stop the others."""
    failed: dict[str, Exception] = {}
    total = sum(file.size for file in wanted)
    with (
        Session(policy) as session,
        ThreadPoolExecutor(policy.connections) as pool,
        tqdm(total=total, unit="B", unit_scale=True, desc=_count(0, wanted)) as bar,
    ):
        progress = _Progress(bar)
        try:
            futures = {pool.submit(download, session, f, root, progress): f for f in wanted}
            for number, future in enumerate(as_completed(futures), 1):
                try:
                    manifest = _record(manifest, future.result(), root, path)
                except (OSError, ValueError) as error:
                    failed[futures[future].path] = error
                bar.set_description(_count(number - len(failed), wanted))
        finally:  # on Ctrl-C, the threads end at their next chunk and keep their partial files
            session.stop.set()
            pool.shutdown(cancel_futures=True)
    if failed:
        reasons = "; ".join(f"{name} ({error})" for name, error in sorted(failed.items()))
        raise FetchError(
            f"{len(failed)} of {len(wanted)} file(s) could not be downloaded: {reasons}; run it again to resume"
        )
    return manifest


def _count(number: int, wanted: list[RemoteFile]) -> str:
    return f"{number} of {len(wanted)} file(s)"


class _Progress:
    """Progress bar of bytes, updated from several threads."""

    def __init__(self, bar: "tqdm[None]") -> None:
        self.bar, self.lock = bar, Lock()
        self.shown: dict[str, int] = {}

    def __call__(self, path: str, have: int) -> None:
        with self.lock:
            self.bar.update(have - self.shown.get(path, 0))
            self.shown[path] = have
