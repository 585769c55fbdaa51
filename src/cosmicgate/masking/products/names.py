"""Names of what is written: beside the input or in a folder, never mistaken for an input."""

import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Literal

from cosmicgate.data.fits.hdus import stem
from cosmicgate.data.fits.images import Extension
from cosmicgate.masking.products.urls import Address, Url

Kind = Literal["mask", "append", "clean", "in-place"]
ENDINGS = {"mask": "_crmask", "append": "_crmasked", "clean": "_crclean"}
FITS = re.compile(r"\.(fits|fit|fts)(\.fz)?(\.gz)?$", re.IGNORECASE)
PRODUCT = re.compile(rf"({'|'.join(sorted(ENDINGS.values(), key=len, reverse=True))})(?i:{FITS.pattern})")
SOURCE = "CRFILE"  # in the first header of a file of masks, and in that of each mask
BEGIN = 2880  # bytes, in which that header tells it
DEAD = 60.0  # seconds since a hidden file was last written to, after which nobody writes it any more


def inputs_of(paths: Iterable[Address], recursive: bool = False) -> tuple[list[tuple[Address, Address]], list[Address]]:
    """Return the files to read, each with the folder that it was found from, and own products that were left out.

    Of a folder the FITS files in it, hidden ones not; of ``recursive`` also of the folders below.
    """
    found: dict[Address, Address] = {}
    products: list[Address] = []
    for path in paths:
        inside = _inside(path, recursive) if isinstance(path, Path) else _inside_url(path, recursive)
        for file in [path] if inside is None else inside:
            if PRODUCT.search(file.name) or (inside is not None and isinstance(file, Path) and is_of_masks(file)):
                products.append(file)
            else:
                found.setdefault(file, file.parent if inside is None else path)
    return list(found.items()), products


def is_of_masks(file: Path) -> bool:
    """Say whether a file is one of masks, by the card of its first header, whatever its name."""
    try:
        with file.open("rb") as opened:
            return f"{SOURCE}  =".encode() in opened.read(BEGIN)
    except OSError:  # it is named when it is to be read
        return False


def _inside(path: Path, recursive: bool) -> list[Path] | None:
    """Return the FITS files in a folder; None if it is none."""
    if not path.is_dir():
        return None
    files = sorted(path.rglob("*") if recursive else path.iterdir())
    return [file for file in files if _is_meant(file.relative_to(path)) and file.is_file()]


def _inside_url(url: Url, recursive: bool) -> list[Url] | None:
    """Return the FITS files in a folder; None if it is none.

    Nobody is asked of a URL that ends as FITS files do, nor of a web address that does not end with ``/``.
    """
    from cosmicgate.masking.products.transport import listed  # its library takes a while

    if not url.text.endswith("/") and (FITS.search(url.name) or url.is_web):
        return None
    files = listed(url, recursive)
    return None if files is None else [file for file in files if _is_meant(file.relative_to(url))]


def _is_meant(below: PurePath) -> bool:
    """Say whether what is in a folder is a FITS file, and not hidden."""
    return FITS.search(below.name) is not None and not any(part.startswith(".") for part in below.parts)


def output_of(path: Address, root: Address, out: Address | None, kind: Kind) -> Address:
    """Return the path of a product: beside the input, or under ``out`` as the input is under ``root``.

    A copy keeps its ending (``.fits.fz``, ``.fits.gz``). ``out`` with the ending of a FITS file is the path itself.
    """
    if kind == "in-place":
        return path.resolve() if isinstance(path, Path) else path
    if out is not None and is_file(out):
        return out
    name = _product(path.name, kind)
    return (path.parent if out is None else out / path.parent.relative_to(root)) / name  # type: ignore[arg-type]


def is_file(out: Address) -> bool:
    """Say whether what was given for an output is a file, by its ending, and no folder."""
    return FITS.search(out.name) is not None


def is_gzipped(one: Address) -> bool:
    """Say whether a file is gzipped, by its ending."""
    return one.name.lower().endswith(".gz")


def _product(name: str, kind: Kind) -> str:
    """Return the name of the product of a file of this name."""
    ending = FITS.search(name)
    begin = (name[: ending.start()] if ending else stem(Path(name))) + ENDINGS[kind]
    return begin + (ending.group() if ending and kind != "mask" else ".fits")


def name_of(place: Extension, what: str) -> str:
    """Return the EXTNAME of what belongs to an image: ``"N4_CRMASK"``, ``"CRMASK"`` of a primary one."""
    name = place.name or str(place.number)
    return what if name == "PRIMARY" else f"{name}_{what}"


def side_file(path: Path) -> Path:
    """Return where the masks of a file are if they were written beside it."""
    return path.with_name(_product(path.name, "mask"))


def twice(outputs: Sequence[Address]) -> Address | None:
    """Return the first of the outputs that two inputs would be written to."""
    seen: set[Address] = set()
    return next((one for one in outputs if one in seen or seen.add(one)), None)  # type: ignore[func-returns-value]


def sweep(output: Path) -> None:
    """Remove hidden files that a killed run left of this output."""
    hidden = re.compile(rf"\.[0-9a-f]{{32}}\.{re.escape(output.name)}")
    if not output.parent.is_dir():
        return
    for file in output.parent.iterdir():
        if hidden.fullmatch(file.name) and time.time() - file.stat().st_mtime > DEAD:
            file.unlink(missing_ok=True)
