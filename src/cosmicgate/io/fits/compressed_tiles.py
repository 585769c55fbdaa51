"""Change some pixels of tile-compressed images (.fz) and leave the others as they are.

Decompressing and recompressing a quantised image would change every pixel by rounding. Here only the tiles with changed
pixels are decoded, to the stored integers, and only the integers of these pixels change.
A tile is a row of a table that holds its pixels as one sequence, so tiles of any shape can be passed through astropy as
rows of an image. This holds for RICE_1, GZIP_1, GZIP_2 and NOCOMPRESS. HCOMPRESS_1 depends on the two dimensions of a
tile and PLIO_1 can hold only masks: such images are rewritten as a whole, losslessly. So is a quantised image if a new
value lies outside the range of its tile's integers.
"""

import re
import warnings
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from numpy.typing import NDArray

from cosmicgate.io.fits.layout import FITS_BLOCK
from cosmicgate.io.fits.raw_hdus import cards_of, edit_header, header_length, pad_to_blocks

BY_THE_ROW = ("RICE_1", "RICE_ONE", "GZIP_1", "GZIP_2", "NOCOMPRESS")
COLUMNS = {"COMPRESSED_DATA": None, "GZIP_COMPRESSED_DATA": "GZIP_1", "UNCOMPRESSED_DATA": "NOCOMPRESS"}
PARAMETERS = re.compile(r"ZNAME\d+|ZVAL\d+")
ZERO = -2147483646  # stored integer that means exactly 0 with SUBTRACTIVE_DITHER_2
# Lowest value of a quantised pixel: CFITSIO reserves the ten numbers below, the first is NULL.
MIN_QUANTISED = ZERO + 9


@dataclass(frozen=True, eq=False)
class TilePatch:
    """New values for some pixels of one tile.

    Attributes
    ----------
    tile : int
        Row of the tile in the table.
    size : int
        Number of pixels in the tile.
    pixels : ndarray (P,), int
        Indices of the pixels in the flattened tile.
    before, after : ndarray (P,), float64
        Old and new values, in the unit of the image.
    """

    tile: int
    size: int
    pixels: NDArray[np.intp]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


def patch_table(
    header: bytes,
    data: bytes,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    before: NDArray[Any],
    after: NDArray[Any],
) -> tuple[bytes, bytes]:
    """Change some pixels of a compressed image and return its new header and data."""
    cards = fits.Header.fromstring(b"".join(cards_of(header)))
    changes = by_tile(cards, rows, columns, before.astype(np.float64), after.astype(np.float64))
    table = CompressedTable.of(header, data)
    if cards["ZCMPTYPE"] not in BY_THE_ROW or not _has_astropy_parameters(cards):
        return rewrite_image(header, data, rows, columns, after)
    for column, kind in COLUMNS.items():
        inside = [one for one in changes if table.tiles.get(column, {}).get(one.tile)]
        for size in sorted({one.size for one in inside}):
            same = [one for one in inside if one.size == size]
            if not _patch(table, cards, column, kind or cards["ZCMPTYPE"], same):
                return rewrite_image(header, data, rows, columns, after)
    return table.written(header)


def by_tile(
    cards: fits.Header,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    before: NDArray[np.float64],
    after: NDArray[np.float64],
) -> list[TilePatch]:
    """Group pixels by the tile that contains them."""
    height, width = cards["ZNAXIS2"], cards["ZNAXIS1"]
    down, across = cards.get("ZTILE2", 1), cards.get("ZTILE1", width)
    tiles = rows // down * -(-width // across) + columns // across
    changes = []
    for tile in np.unique(tiles):
        here = np.flatnonzero(tiles == tile)
        top, left = rows[here[0]] // down * down, columns[here[0]] // across * across
        wide = min(across, width - left)
        pixels = (rows[here] - top) * wide + columns[here] - left
        size = int(wide * min(down, height - top))
        changes.append(TilePatch(int(tile), size, pixels, before[here], after[here]))
    return changes


@dataclass(eq=False)
class CompressedTable:
    """Table of a compressed image: its raw rows, and the bytes of each tile by column and row."""

    rows: NDArray[Any]
    tiles: dict[str, dict[int, bytes]]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.rows.dtype.names or ()

    @classmethod
    def of(cls, header: bytes, data: bytes) -> "CompressedTable":
        """Parse a table and split its heap into tiles."""
        cards = fits.Header.fromstring(b"".join(cards_of(header)))
        names = [cards[f"TTYPE{i}"] for i in range(1, cards["TFIELDS"] + 1)]
        formats = [_numpy_type(cards[f"TFORM{i}"]) for i in range(1, cards["TFIELDS"] + 1)]
        table = cards["NAXIS1"] * cards["NAXIS2"]
        rows = np.frombuffer(bytearray(data[:table]), np.dtype(list(zip(names, formats, strict=True))))
        heap = cards.get("THEAP", table)
        tiles: dict[str, dict[int, bytes]] = {}
        for name in names:
            if rows.dtype[name].shape == (2,):
                step = _item_size(cards[f"TFORM{names.index(name) + 1}"])
                tiles[name] = {
                    row: data[heap + int(start) : heap + int(start) + int(length) * step]
                    for row, (length, start) in enumerate(rows[name])
                }
        return cls(rows, tiles)

    def written(self, header: bytes) -> tuple[bytes, bytes]:
        """Serialise the table to header and data, with the tiles packed one after the other in the heap."""
        cards = fits.Header.fromstring(b"".join(cards_of(header)))
        heap = bytearray()
        values: dict[str, Any] = {}
        item_sizes: dict[str, int] = {}
        for i in range(1, cards["TFIELDS"] + 1):
            if (name := cards[f"TTYPE{i}"]) in self.tiles:
                item_sizes[name] = _item_size(cards[f"TFORM{i}"])
                longest = max((len(tile) // item_sizes[name] for tile in self.tiles[name].values()), default=0)
                values[f"TFORM{i}"] = re.sub(r"\(\d*\)", f"({longest})", cards[f"TFORM{i}"])
        for row in range(len(self.rows)):
            for name, step in item_sizes.items():
                tile = self.tiles[name][row]
                self.rows[name][row] = (len(tile) // step, len(heap) if tile else 0)
                heap += tile
        values["PCOUNT"] = len(heap)
        return edit_header(header, values, without=("THEAP",)), pad_to_blocks(self.rows.tobytes() + bytes(heap))


def _patch(table: CompressedTable, cards: fits.Header, column: str, kind: str, changes: list[TilePatch]) -> bool:
    """Change pixels in tiles of the same size and compression; False if a quantised tile cannot hold a new value."""
    quantised = "ZSCALE" in table.names or "ZSCALE" in cards
    quantised = quantised and column == "COMPRESSED_DATA"
    bitpix = 32 if quantised else cards["ZBITPIX"]
    stored = _decoded([table.tiles[column][one.tile] for one in changes], changes[0].size, bitpix, kind, cards)
    for numbers, one in zip(stored, changes, strict=True):
        if quantised:
            scale, zero = (float(_of_tile(table, cards, word, one.tile)) for word in ("ZSCALE", "ZZERO"))
            old, blank = numbers[one.pixels], _blank(table, cards, one.tile)
            steps = old + np.rint((one.after - one.before) / scale)
            steps = np.where(np.isin(old, (ZERO, blank)), np.rint((one.after - zero) / scale), steps)
            if not ((steps >= MIN_QUANTISED) & (steps <= np.iinfo(stored.dtype).max)).all():
                return False
        else:
            steps = (one.after - cards.get("BZERO", 0)) / cards.get("BSCALE", 1)
            if stored.dtype.kind != "f":
                steps = np.clip(np.rint(steps), np.iinfo(stored.dtype).min, np.iinfo(stored.dtype).max)
        numbers[one.pixels] = steps
    for one, tile in zip(changes, _encoded(stored, kind), strict=True):
        table.tiles[column][one.tile] = tile
    return True


def _decoded(tiles: list[bytes], size: int, bitpix: int, kind: str, cards: fits.Header) -> NDArray[Any]:
    """Decompress N tiles of P pixels to their stored numbers (N, P)."""
    items = np.empty(len(tiles), object)
    items[:] = [np.frombuffer(tile, np.uint8) for tile in tiles]
    hdu = fits.BinTableHDU.from_columns([fits.Column("COMPRESSED_DATA", "1PB()", array=items)])
    image = {"ZIMAGE": True, "ZCMPTYPE": kind, "ZBITPIX": bitpix, "ZNAXIS": 2, "ZNAXIS1": size, "ZNAXIS2": len(tiles)}
    hdu.header.update(image | {"ZTILE1": size, "ZTILE2": 1})
    hdu.header.update({key: cards[key] for key in cards if PARAMETERS.fullmatch(key)})
    with fits.open(_file(hdu), memmap=False, do_not_scale_image_data=True) as hdus:
        return np.array(hdus[1].data, dtype=hdus[1].data.dtype.newbyteorder("="))


def _encoded(stored: NDArray[Any], kind: str) -> list[bytes]:
    kind = kind.replace("RICE_ONE", "RICE_1")
    hdu = fits.CompImageHDU(stored, compression_type=kind, tile_shape=(1, stored.shape[1]), quantize_level=0)
    with fits.open(_file(hdu), memmap=False, disable_image_compression=True) as hdus:
        return [_without_timestamp(row.tobytes()) for row in hdus[1].data["COMPRESSED_DATA"]]


def without_timestamps(header: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Remove the timestamps that gzip puts into each tile of a compressed image, so that bytes are reproducible."""
    table = CompressedTable.of(header, data)
    table.tiles = {
        name: {row: _without_timestamp(tile) for row, tile in tiles.items()} for name, tiles in table.tiles.items()
    }
    return table.written(header)


def _without_timestamp(tile: bytes) -> bytes:
    return tile[:4] + bytes(4) + tile[8:] if tile.startswith(b"\x1f\x8b\x08") else tile


def _has_astropy_parameters(cards: fits.Header) -> bool:
    """Check whether the compression parameters are those that astropy writes."""
    found = {cards[key]: cards[key.replace("NAME", "VAL")] for key in cards if re.fullmatch(r"ZNAME\d+", key)}
    scaled = any(cards[key] == "ZSCALE" for key in cards if re.fullmatch(r"TTYPE\d+", key))
    width = 4 if scaled or "ZSCALE" in cards else abs(cards["ZBITPIX"]) // 8
    expected = {"BLOCKSIZE": 32, "BYTEPIX": width} if cards["ZCMPTYPE"].startswith("RICE") else {}
    return all(found.get(key, value) == value for key, value in expected.items())


def rewrite_image(
    header: bytes, data: bytes, rows: NDArray[np.intp], columns: NDArray[np.intp], after: NDArray[Any]
) -> tuple[bytes, bytes]:
    """Rewrite a whole compressed image losslessly (GZIP_2) with some pixels changed, keeping its cards."""
    file = BytesIO(bytes(_empty_primary()) + header + data)
    with fits.open(file, memmap=False) as hdus:
        image = np.array(hdus[1].data)
        whole = image.dtype.kind in "iu"
        values = np.rint(after) if whole else after
        limits = np.iinfo(image.dtype) if whole else np.finfo(image.dtype)
        image.reshape(image.shape[-2:])[rows, columns] = np.clip(values, limits.min, limits.max)
        new = fits.CompImageHDU(image, hdus[1].header, compression_type="GZIP_2", quantize_level=0)
    content = _file(new).getvalue()[FITS_BLOCK:]
    cut = header_length(content)
    return without_timestamps(content[:cut], content[cut:])


def _empty_primary() -> bytes:
    text: str = fits.PrimaryHDU().header.tostring()
    return text.encode()


def _file(hdu: Any) -> BytesIO:
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file, output_verify="ignore")  # keep non-standard cards
    file.seek(0)
    return file


def _of_tile(table: CompressedTable, cards: fits.Header, word: str, tile: int) -> Any:
    """Look up ZSCALE, ZZERO or ZBLANK of a tile, in a column or else in the header."""
    return table.rows[word][tile] if word in table.names else cards.get(word)


def _blank(table: CompressedTable, cards: fits.Header, tile: int) -> int:
    found = _of_tile(table, cards, "ZBLANK", tile)
    return -(2**31) + 1 if found is None else int(found)


def _numpy_type(text: str) -> Any:
    """Convert the TFORM of a column of a compressed image to a numpy type."""
    if found := re.match(r"\d*([PQ])", text):
        return (">i4" if found[1] == "P" else ">i8", (2,))
    return {"D": ">f8", "E": ">f4", "J": ">i4", "K": ">i8", "I": ">i2", "B": "u1"}[text.strip().lstrip("1")[:1]]


def _item_size(text: str) -> int:
    """Compute the size in bytes of one heap item from the TFORM of its column."""
    found = re.match(r"\d*[PQ](\w)", text)
    return {"B": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8}[found[1]] if found else 0
