"""What is masked, and what it becomes, by what somebody typed."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from cosmicgate.masking.products.names import Kind, inputs_of, is_file, is_gzipped, output_of, twice
from cosmicgate.masking.products.urls import STORES, Address, Url, address


def listed(file: Path | None) -> list[str]:
    """Return the paths and URLs in a text file; lines that are empty or begin with ``#`` are left out."""
    try:
        lines = [line.strip() for line in file.read_text().splitlines()] if file is not None else []
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--list {file}: {getattr(error, 'strerror', None) or 'no text file'}") from error
    return [line for line in lines if line and not line.startswith("#")]


def pairs_of(
    given: Sequence[str], recursive: bool, output: str | None, kind: Kind, quiet: bool
) -> list[tuple[Address, Address]]:
    """Return inputs and outputs; refuse what cannot be meant."""
    try:
        paths, out = [address(text) for text in given], None if output is None else address(output)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    _check_known([*paths, out])
    try:
        inputs, products = inputs_of(paths, recursive)
    except OSError as error:
        named = f"{error.filename}: {error.strerror}"
        raise typer.BadParameter(str(error) if error.filename is None else named) from error
    if products and not quiet:
        typer.echo(f"left out: {len(products)} product(s) of cosmicgate, such as {products[0]}", err=True)
    if not paths:
        raise typer.BadParameter("nothing to mask: give FITS files, folders, or --list")
    if not inputs:
        raise typer.BadParameter(f"no FITS file in {', '.join(str(path) for path in paths)}")
    pairs = [(path, output_of(path, root, out, kind)) for path, root in inputs]
    if (same := twice([output for _, output in pairs])) is not None:
        names = ", ".join(str(path) for path, output in pairs if output == same)
        apart = "give a folder by -o" if out is not None and is_file(out) else "leave one out, or mask them apart"
        raise typer.BadParameter(f"{same} would be the output of {names}: {apart}")
    for path, made in pairs:
        if kind != "in-place" and is_gzipped(made) and (kind == "mask" or not is_gzipped(path)):
            raise typer.BadParameter(f"{made} is not written gzipped: masks are compressed inside, give it no .gz")
    for path, made in pairs:
        if isinstance(made, Url) and not made.is_writable:
            expected = f"expected {', '.join(STORES)}, sftp or a folder of this machine"
            said = f"{made} would be the output of {path}, but {made.scheme}:// is only read: give -o, {expected}"
            raise typer.BadParameter(said)
    return pairs


def _check_known(addresses: Iterable[Address | None]) -> None:
    """Refuse URLs of a kind that is not known here, whose package is missing, or whose server is not there."""
    for url in {one.scheme: one for one in addresses if isinstance(one, Url)}.values():
        from cosmicgate.masking.products.transport import filesystem  # others do not wait for its library

        try:
            filesystem(url)
        except OSError as error:
            raise typer.BadParameter(str(error)) from error
