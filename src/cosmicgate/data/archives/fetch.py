"""Make the files of a manifest be there: what is missing is fetched, checked, unpacked and written down."""

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from threading import Lock

from filelock import FileLock
from tqdm.auto import tqdm

from cosmicgate.data.archives.client import POLITE, FetchError, Manners, Session
from cosmicgate.data.archives.download import download, length, partial_of
from cosmicgate.data.archives.listing import Manifest, Remote, SpoiledError, checked, missing, read_manifest
from cosmicgate.data.archives.unpack import is_archive, unpack


def manifest_path(root: Path, name: str) -> Path:
    """Return where the manifest of a query is."""
    return root / f"manifest-{name}.json"


def complete(manifest: Manifest, root: Path, name: str, manners: Manners = POLITE, verify: bool = False) -> Manifest:
    """Return the manifest with every file of it on disk; where all are there already, nothing is asked or written.

    An archive that a killed process had unpacked and not deleted yet goes then.

    Parameters
    ----------
    manifest : Manifest
        From :func:`cosmicgate.data.archives.listing.read_manifest` or a new search.
    root : Path
        The data's folder.
    name : str
        Of the query; the manifest becomes ``root/manifest-NAME.json``.
    verify : bool
        Compute the md5 of each file that is there and fetch again what differs, instead of comparing sizes.

    Raises
    ------
    OSError
        There is too little space, or some files did not come. The others are there, and the next call goes on.
    """
    path = manifest_path(root, name)
    if path.is_file() and not verify and not missing(manifest, root):
        for file in manifest.files:
            _drop(file, root)
        return manifest
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / ".lock"):  # another process may be at it; then this one waits and finds the files
        manifest = read_manifest(path) or manifest
        manifest.write(path)
        wanted = []
        for file in missing(manifest, root, verify):
            there = _lying(file, root)
            if there is None:
                wanted.append(file)
            else:
                manifest = _done(manifest, there, root, path)
        check_space(root, space(wanted, root))
        return _fetch(manifest, wanted, root, path, manners) if wanted else manifest


def space(files: Iterable[Remote], root: Path) -> int:
    """Return the bytes that fetching these files takes on disk.

    An archive counts twice: it goes once it is unpacked, but until then both are there. FITS files are compressed
    already, so it grows little.
    """
    return sum(max(0, f.size - length(partial_of(f, root))) + f.size * is_archive(f.path) for f in files)


def check_space(root: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    folder = next(p for p in (root.absolute(), *root.absolute().parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(f"{root}: {readable(needed)} are needed, {readable(free)} are free on this disk")


def readable(size: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{tqdm.format_sizeof(size, divisor=1000)}B"


def _lying(file: Remote, root: Path) -> Remote | None:
    """Return the file as it lies in its place, if it does and is right: copied there, or of another query."""
    try:
        there = checked(replace(file, unpacked=()), root / file.path)
    except (FileNotFoundError, SpoiledError):
        return None
    return None if file.checked and there.md5 != file.md5 else there


def _done(manifest: Manifest, file: Remote, root: Path, path: Path) -> Manifest:
    """Unpack the file if it is an archive, write down that it is there, and only then delete the archive."""
    if is_archive(file.path):
        file = replace(file, unpacked=unpack(root / file.path, root))
    manifest = manifest.having(file)
    manifest.write(path)
    _drop(file, root)
    return manifest


def _drop(file: Remote, root: Path) -> None:
    """Delete an archive whose files are there."""
    archive = root / file.path
    if file.unpacked and archive.is_file():  # asked first: a disk that cannot be written to would refuse
        archive.unlink()


def _fetch(manifest: Manifest, wanted: list[Remote], root: Path, path: Path, manners: Manners) -> Manifest:
    """Fetch some files at a time; one that fails does not hold up the others."""
    failed: dict[str, Exception] = {}
    total = sum(file.size for file in wanted)
    with (
        Session(manners) as session,
        ThreadPoolExecutor(manners.connections) as pool,
        tqdm(total=total, unit="B", unit_scale=True, desc=_count(0, wanted)) as bar,
    ):
        progress = _Progress(bar)
        try:
            futures = {pool.submit(download, session, f, root, progress): f for f in wanted}
            for number, future in enumerate(as_completed(futures), 1):
                try:
                    manifest = _done(manifest, future.result(), root, path)
                except (OSError, ValueError) as error:
                    failed[futures[future].path] = error
                bar.set_description(_count(number - len(failed), wanted))
        finally:  # Ctrl-C: the threads end at their next piece and leave what has come
            session.stop.set()
            pool.shutdown(cancel_futures=True)
    if failed:
        reasons = "; ".join(f"{name} ({error})" for name, error in sorted(failed.items()))
        raise FetchError(f"{len(failed)} of {len(wanted)} file(s) did not come: {reasons}; run it again to go on")
    return manifest


def _count(number: int, wanted: list[Remote]) -> str:
    return f"{number} of {len(wanted)} file(s)"


class _Progress:
    """Moves a bar of bytes that many threads share."""

    def __init__(self, bar: "tqdm[None]") -> None:
        self.bar, self.lock = bar, Lock()
        self.shown: dict[str, int] = {}

    def __call__(self, path: str, have: int) -> None:
        with self.lock:
            self.bar.update(have - self.shown.get(path, 0))
            self.shown[path] = have
