"""Names of what is written: beside the input or in a folder, never mistaken for an input."""

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from cosmicgate.data.fits.hdus import stem
from cosmicgate.data.fits.images import Extension

Kind = Literal["mask", "append", "clean", "in-place"]
ENDINGS = {"mask": "_crmask", "append": "_crmasked", "clean": "_crclean"}
FITS = re.compile(r"\.(fits|fit|fts)(\.fz)?(\.gz)?$", re.IGNORECASE)
PRODUCT = re.compile(rf"({'|'.join(sorted(ENDINGS.values(), key=len, reverse=True))})\.(fits|fit|fts)(\.fz)?(\.gz)?$")
DEAD = 60.0  # seconds since a hidden file was last written to, after which nobody writes it any more


def inputs_of(paths: Iterable[Path], recursive: bool = False) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Return the files to read, each with the folder that it was found from, and own products that were left out.

    Of a folder the FITS files in it, hidden ones not; of ``recursive`` also of the folders below.
    """
    found: dict[Path, Path] = {}
    products = []
    for path in paths:
        inside = sorted(path.rglob("*") if recursive else path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            below = file.relative_to(path).parts if path.is_dir() else ()
            if path.is_dir() and not (FITS.search(file.name) and file.is_file()):
                continue
            if any(part.startswith(".") for part in below):
                continue
            if PRODUCT.search(file.name):
                products.append(file)
            else:
                found.setdefault(file, path if path.is_dir() else file.parent)
    return list(found.items()), products


def output_of(path: Path, root: Path, out: Path | None, kind: Kind) -> Path:
    """Return the path of a product: beside the input, or under ``out`` as the input is under ``root``.

    A copy keeps its ending (``.fits.fz``, ``.fits.gz``). ``out`` with the ending of a FITS file is the path itself.
    """
    if kind == "in-place":
        return path.resolve()
    if out is not None and FITS.search(out.name):
        return out
    ending = FITS.search(path.name)
    name = (path.name[: ending.start()] if ending else stem(path)) + ENDINGS[kind]
    name += ending.group() if ending and kind != "mask" else ".fits"
    return (path.parent if out is None else out / path.parent.relative_to(root)) / name


def name_of(place: Extension, what: str) -> str:
    """Return the EXTNAME of what belongs to an image: ``"N4_CRMASK"``, ``"CRMASK"`` of a primary one."""
    name = place.name or str(place.number)
    return what if name == "PRIMARY" else f"{name}_{what}"


def side_file(path: Path) -> Path:
    """Return where the masks of a file are if they were written beside it."""
    return output_of(path, path.parent, None, "mask")


def twice(outputs: Sequence[Path]) -> Path | None:
    """Return the first of the outputs that two inputs would be written to."""
    seen: set[Path] = set()
    return next((one for one in outputs if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]


def sweep(output: Path) -> None:
    """Remove hidden files that a killed run left of this output."""
    hidden = re.compile(rf"\.[0-9a-f]{{32}}\.{re.escape(output.name)}")
    if not output.parent.is_dir():
        return
    for file in output.parent.iterdir():
        if hidden.fullmatch(file.name) and time.time() - file.stat().st_mtime > DEAD:
            file.unlink(missing_ok=True)
