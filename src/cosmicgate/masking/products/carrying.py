"""Files that are elsewhere: fetched into a temporary folder, made there as any other, sent to where they belong."""

import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

from astropy.io import fits
from filelock import FileLock, Timeout

from cosmicgate.data.fits.hdus import FitsError
from cosmicgate.masking.masker import Masker
from cosmicgate.masking.products.labels import Earlier, Wanted, earlier_in, earlier_of, key_of, keys_of
from cosmicgate.masking.products.making import Known, Outcome, Tell, make, sentence
from cosmicgate.masking.products.names import DEAD
from cosmicgate.masking.products.transport import about, fetch, look, send, version
from cosmicgate.masking.products.urls import Address, Url

FOLDER = f".cosmicgate-carrying-{socket.gethostname()}+"  # of temporary files; locks may be this machine's alone
LOCK = "lock"  # what is locked while somebody works there
FITS, GZIP = b"SIMPLE  =", b"\x1f\x8b"  # how files begin


def make_anywhere(
    source: Address,
    target: Address,
    masker: Masker,
    wanted: Wanted,
    overwrite: bool = False,
    tell: Tell = lambda _: None,
) -> Outcome:
    """Make what is wanted of a file as :func:`~cosmicgate.masking.products.making.make` does; either may be elsewhere.

    An output of the same version of an object (its ETag, or size and time) with the same settings is finished; nothing
    but its headers is fetched. Where that is not known or another, the object is fetched and its checksum decides.
    """
    if isinstance(source, Path) and isinstance(target, Path):
        return make(source, target, masker, wanted, overwrite, tell)
    outcome = Outcome(str(source), str(target))
    start = time.perf_counter()
    try:
        with temporary() as folder:
            outcome = _carried(source, target, folder, masker, wanted, overwrite, tell)
    except Exception as error:  # whatever is wrong with one file of a night, the others go on
        outcome.status, outcome.error = "failed", sentence(source, error)
    outcome.seconds = round(time.perf_counter() - start, 3)
    return outcome


def _carried(
    source: Address, target: Address, folder: Path, masker: Masker, wanted: Wanted, overwrite: bool, tell: Tell
) -> Outcome:
    in_place = wanted.kind == "in-place"
    if source == target and not in_place:
        raise FitsError(f"{source}: the output would replace the input; --in-place is for that")
    told = about(source) if isinstance(source, Url) else {}
    seen = "" if in_place else version(told)  # what is changed in place is known by its masks
    key = key_of(masker, wanted, seen) if seen or in_place else ""
    earlier = Earlier() if overwrite and not in_place else earlier_at(target, folder)
    if earlier is not None and key in earlier.keys:
        return Outcome(str(source), str(target), "finished")
    if earlier is not None and not (earlier.is_product or in_place or overwrite):
        raise FitsError(f"{source}: {target} exists and is no product of cosmicgate; --overwrite replaces it")
    path = source if isinstance(source, Path) else _below(folder / "input", source.name)
    if isinstance(source, Url):
        fetch(source, path, told.get("size"))
    output = target if isinstance(target, Path) else path if in_place else _below(folder / "output", target.name)
    known = Known(key if seen else "", None if isinstance(target, Path) else earlier or Earlier())
    outcome = make(path, output, masker, wanted, overwrite, tell, known)
    if outcome.status == "done" and isinstance(target, Url):
        if in_place and version(about(target)) != version(told):
            raise FitsError(f"{target}: it changed meanwhile, so it is left as it is; mask it again")
        send(output, target)
    outcome.file, outcome.output = str(source), str(target)
    for here, there in ((path, source), (output, target)):
        outcome.error = outcome.error.replace(str(here), str(there))
    return outcome


def _below(folder: Path, name: str) -> Path:
    folder.mkdir()
    return folder / name


def earlier_at(target: Address, folder: Path) -> Earlier | None:
    """Return what an output has of ours; None if there is no such output.

    Of one that is elsewhere only headers are fetched, up to the first mask; all of it if it is gzipped or damaged.
    """
    if isinstance(target, Path):
        return earlier_in(target) if target.exists() else None
    seen = look(target, lambda file: _earlier_of(file, target.name))
    if seen != "all of it":
        return seen
    copy = _below(folder / "earlier", target.name)
    fetch(target, copy)
    return earlier_in(copy)


def _earlier_of(file: IO[bytes], name: str) -> Earlier | Literal["all of it"]:
    """Return what an open file of this name has of ours, or what has to be fetched to know it."""
    begin = file.read(len(FITS))
    if begin != FITS:
        return "all of it" if begin.startswith(GZIP) else Earlier()
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of cards that break a rule
        try:
            with fits.open(file, memmap=False, lazy_load_hdus=True, disable_image_compression=True) as hdus:
                keys: set[str] = next((found for hdu in hdus if (found := keys_of([hdu]))), set())
                return earlier_of(keys, name, hdus[0].header)
        except (OSError, ValueError, TypeError, LookupError, fits.VerifyError) as error:
            if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
                raise  # of the connection; astropy's of a damaged header have neither number nor kind
            return "all of it"


@contextmanager
def temporary() -> Iterator[Path]:
    """Give a folder that is gone afterwards, whatever happens; one of a killed run is removed by the next."""
    _sweep()
    with (
        tempfile.TemporaryDirectory(prefix=FOLDER, ignore_cleanup_errors=True) as name,
        FileLock(Path(name) / LOCK),
    ):
        yield Path(name)


def _sweep() -> None:
    """Remove temporary folders in which nobody works: the system frees the lock of a process that was killed.

    A folder without a lock file is nobody's of us and stays.
    """
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        try:
            lock = folder / LOCK
            if folder.is_symlink() or not lock.is_file() or time.time() - folder.stat().st_mtime < DEAD:
                continue
            with FileLock(lock, blocking=False):
                for one in folder.iterdir():
                    if one.is_dir():
                        shutil.rmtree(one)
                    elif one != lock:
                        one.unlink()
            shutil.rmtree(folder)  # Windows removes no file that is open, so the lock goes last
        except (Timeout, OSError):  # somebody works there, or it is somebody else's
            continue
