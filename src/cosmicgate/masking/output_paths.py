"""Find input files and name output files, so that an output is never mistaken for an input."""

import os
import re
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Literal

from cosmicgate.io.fits.cards import CRFILE, CRKEY
from cosmicgate.io.fits.hdus import open_decompressed, stem
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.io.fits.layout import spans_of
from cosmicgate.io.fits.truth_files import is_mask_file
from cosmicgate.io.urls import Address, Url

Kind = Literal["mask", "append", "clean", "in-place"]
ENDINGS = {"mask": "_crmask", "append": "_crmasked", "clean": "_crclean"}
FITS_ENDING = re.compile(r"\.(fits|fit|fts)(\.fz)?(\.gz)?$", re.IGNORECASE)
PRODUCT = re.compile(rf"({'|'.join(sorted(ENDINGS.values(), key=len, reverse=True))})(?i:{FITS_ENDING.pattern})")
STALE_AFTER_S = 60.0  # seconds since the last write after which a hidden temporary file counts as abandoned


def inputs_of(paths: Iterable[Address], recursive: bool = False) -> tuple[list[tuple[Address, Address]], list[Address]]:
    """Expand files and folders into the FITS files to read.

    A folder stands for the FITS files in it that are not hidden; with ``recursive`` also for those in its subfolders,
    linked ones included.

    Returns
    -------
    files : list of (Address, Address)
        Files, each with the folder in which the search for it began.
    products : list of Address
        Outputs of this package that were found and left out.
    """
    found: dict[Address, Address] = {}
    products: list[Address] = []
    for path in paths:
        inside = _list_folder(path, recursive) if isinstance(path, Path) else _list_url(path, recursive)
        for file in [path] if inside is None else inside:
            if is_product(file) or (inside is not None and isinstance(file, Path) and is_mask_file(file)):
                products.append(file)
            else:
                found.setdefault(file, file.parent if inside is None else path)
    return list(found.items()), products


def is_product(file: Address) -> bool:
    """Check whether a file is an output of this package: by its name and, if it can be read here, by its cards too.

    Other programs, too, may write files with names such as ``a_crclean.fits``.
    """
    if PRODUCT.search(file.name) is None:
        return False
    try:
        return not (isinstance(file, Path) and file.is_file()) or _has_our_cards(file)
    except (OSError, ValueError, EOFError, zlib.error):  # not a complete FITS file
        return True


def _has_our_cards(file: Path) -> bool:
    with open_decompressed(file) as stream:
        for span in spans_of(stream):
            stream.seek(span.start)
            header = stream.read(span.data - span.start)
            if any(f"{word:8}=".encode() in header for word in (CRKEY, CRFILE)):
                return True
    return False


def _list_folder(path: Path, recursive: bool) -> list[Path] | None:
    """List the FITS files in a folder; None if the path is no folder.

    A path with the name of a FITS file that cannot be read, such as a broken link, is included, and so is a subfolder
    without permission: the error is reported when it is read.
    """
    if not path.is_dir():
        return None
    files, closed = _list_subfolders(path) if recursive else (list(path.iterdir()), [])
    found = [file for file in files if _is_meant(file.relative_to(path)) and not file.is_dir()]
    return sorted(found + closed)


def _list_subfolders(path: Path) -> tuple[list[Path], list[Path]]:
    """List the files in a folder and its subfolders that are not hidden, and the subfolders without permission.

    Linked folders are followed last, so that a folder that is also reached by a link, or by a loop of links, is listed
    once and under its own path.
    """
    files: list[Path] = []
    closed: list[Path] = []
    waiting, visited = [path], set()
    while waiting:
        for folder, below, names in os.walk(waiting.pop(0), onerror=lambda error: closed.append(Path(error.filename))):
            status = Path(folder).stat()
            if (status.st_dev, status.st_ino) in visited:
                below.clear()
                continue
            visited.add((status.st_dev, status.st_ino))
            below[:] = sorted(name for name in below if not name.startswith("."))
            files += [Path(folder, name) for name in names]
            waiting += [link for name in below if (link := Path(folder, name)).is_symlink()]
    return files, closed


def _list_url(url: Url, recursive: bool) -> list[Url] | None:
    """List the FITS files in a remote folder; None if the URL is no folder.

    A URL that ends like a FITS file, or a web address that does not end with ``/``, is no folder; no server is asked.
    """
    from cosmicgate.io.object_stores import list_files  # slow to import

    if not url.text.endswith("/") and (FITS_ENDING.search(url.name) or url.is_web):
        return None
    files = list_files(url, recursive)
    return None if files is None else [file for file in files if _is_meant(file.relative_to(url))]


def _is_meant(below: PurePath) -> bool:
    """Check whether a path below a folder is a FITS file by its name, and not hidden."""
    return FITS_ENDING.search(below.name) is not None and not any(part.startswith(".") for part in below.parts)


def output_of(path: Address, root: Address, out: Address | None, kind: Kind) -> Address:
    """Build the path of an output: beside the input, or below ``out`` at the same place as the input is below ``root``.

    A copy keeps the input's ending (``.fits.fz``, ``.fits.gz``). If ``out`` ends like a FITS file, it is the output
    path itself. For "in-place" the input path is returned, with links resolved.
    """
    if kind == "in-place":
        return path.resolve() if isinstance(path, Path) else path
    if isinstance(out, Path) and ".." in out.parts:  # "new/../a.fits" would be found only once "new" exists
        out = out.resolve()
    if out is not None and is_file(out):
        return out
    name = _product(path.name, kind)
    return (path.parent if out is None else out / path.parent.relative_to(root)) / name  # type: ignore[arg-type]


def is_file(out: Address) -> bool:
    """Check by its ending whether an output path is a file rather than a folder."""
    return FITS_ENDING.search(out.name) is not None


def is_gzipped(one: Address) -> bool:
    """Check by its ending whether a file is gzipped."""
    return one.name.lower().endswith(".gz")


def _product(name: str, kind: Kind) -> str:
    """Build the name of the output for an input of this name."""
    ending = FITS_ENDING.search(name)
    begin = (name[: ending.start()] if ending else stem(Path(name))) + ENDINGS[kind]
    return begin + (ending.group() if ending and kind != "mask" else ".fits")


def name_of(extension: ImageExtension, what: str) -> str:
    """Build the EXTNAME of a plane that belongs to an image: ``"N4_CRMASK"``, or ``"CRMASK"`` for a primary image."""
    name = extension.name or str(extension.number)
    return what if name == "PRIMARY" else f"{name}_{what}"


def refuse_fits(path: Path | None, option: str) -> None:
    """Raise ValueError if a file that is not FITS would be written under the name of a FITS file, often an input."""
    if path is not None and FITS_ENDING.search(path.name):
        raise ValueError(f"{option} {path}: expected a name that is not that of a FITS file, which would be replaced")


def side_file(path: Path) -> Path:
    """Build the path of the file of masks that lies beside its input."""
    return path.with_name(_product(path.name, "mask"))


def first_duplicate(outputs: Sequence[Address]) -> Address | None:
    """Find the first output path that occurs twice; None if all are different."""
    seen: set[Address] = set()
    return next((one for one in outputs if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]


def remove_stale_products(output: Path) -> None:
    """Remove hidden temporary files of this output that a killed run left behind."""
    hidden = re.compile(rf"\.[0-9a-f]{{32}}\.{re.escape(output.name)}")
    if not output.parent.is_dir():
        return
    for file in output.parent.iterdir():
        if hidden.fullmatch(file.name) and time.time() - file.stat().st_mtime > STALE_AFTER_S:
            file.unlink(missing_ok=True)
