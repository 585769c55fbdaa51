"""Turn command-line arguments into pairs of input and output files."""

import codecs
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from cosmicgate.io.urls import STORES, Address, Url, address
from cosmicgate.masking.output_paths import Kind, first_duplicate, inputs_of, is_file, is_gzipped, output_of


def read_list(file: Path | None) -> list[str]:
    """Read paths and URLs from a text file, one a line; empty lines and those that begin with ``#`` are skipped.

    The file may be UTF-8 or, with a byte-order mark, UTF-16, have any line endings, and have paths in quotes.
    """
    try:
        lines = [line.strip() for line in _text(file.read_bytes()).splitlines()] if file is not None else []
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"--list {file}: {getattr(error, 'strerror', None) or 'not a text file'}") from error
    return [_without_quotes(line) for line in lines if line and not line.startswith("#")]


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    if b"\0" in content:
        raise UnicodeDecodeError("utf-8", content, 0, 1, "not a text file")
    return content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _without_quotes(line: str) -> str:
    """Remove the quotes around a path, unless a file with these quotes in its name exists."""
    quoted = len(line) > 2 and line[0] == line[-1] and line[0] in "'\""
    return line[1:-1] if quoted and not Path(line).exists() else line


def input_output_pairs(
    given: Sequence[str], recursive: bool, output: str | None, kind: Kind, quiet: bool
) -> list[tuple[Address, Address]]:
    """List pairs of input and output; raise typer.BadParameter if the arguments are invalid or outputs collide."""
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
        typer.echo(f"skipped: {len(products)} output(s) of cosmicgate, such as {products[0]}", err=True)
    if not paths:
        raise typer.BadParameter("nothing to mask: give FITS files, folders, or --list")
    if not inputs:
        found = "only outputs of cosmicgate" if products else "no FITS file"
        raise typer.BadParameter(f"{found} in {', '.join(str(path) for path in paths)}")
    if isinstance(out, Path) and not is_file(out) and out.is_file():
        raise typer.BadParameter(f"-o {out} is a file: expected a folder, or a name that ends in .fits")
    pairs = [(path, output_of(path, root, out, kind)) for path, root in inputs]
    if (same := first_duplicate([output for _, output in pairs])) is not None:
        alike = [path for path, output in pairs if output == same]
        remedy = "leave one out, or give each a folder of its own with -o"
        if out is not None and is_file(out):
            remedy = "give a folder with -o"
        elif len({path.parent for path in alike}) > 1:
            common = "mask their common folder with --recursive, which keeps subfolders"
            remedy = f"give each folder one of its own with -o, or {common}"
        raise typer.BadParameter(f"{same} would be the output of {', '.join(map(str, alike))}: {remedy}")
    for path, made in pairs:
        if kind != "in-place" and is_gzipped(made) and (kind == "mask" or not is_gzipped(path)):
            remedy = "its masks are compressed inside, so choose a name without .gz"
            raise typer.BadParameter(f"{made} cannot be gzipped: {remedy}")
    for path, made in pairs:
        if isinstance(made, Url) and not made.is_writable:
            remedy = f"give -o with {', '.join(STORES)}, sftp or a local folder"
            reason = f"{made.scheme}:// can only be read"
            raise typer.BadParameter(f"{made} would be the output of {path}, but {reason}: {remedy}")
    return pairs


def _check_known(addresses: Iterable[Address | None]) -> None:
    """Refuse URLs with an unknown scheme, a missing package or an unreachable server."""
    for url in {one.scheme: one for one in addresses if isinstance(one, Url)}.values():
        from cosmicgate.io.object_stores import filesystem  # slow to import, and only needed for URLs

        try:
            filesystem(url)
        except OSError as error:
            raise typer.BadParameter(str(error)) from error
