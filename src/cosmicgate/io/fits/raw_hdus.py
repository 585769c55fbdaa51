"""Edit HDUs as bytes: find them, change cards, compute checksums.

Everything that is not changed must stay identical to the byte. Astropy reformats headers, so it is not used to write.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from astropy.io import fits

from cosmicgate.io.fits.hdus import open_decompressed
from cosmicgate.io.fits.layout import CARD, FITS_BLOCK, Span, in_blocks, is_end, keyword, ones_sum, spans_of

END = b"END".ljust(CARD)
CHECKSUMS = ("CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM")


def spans(path: Path) -> list[Span]:
    """Find the HDUs of a file; of a gzipped one as offsets in the decompressed file."""
    with open_decompressed(path) as file:
        return spans_of(file)


def cards_of(header: bytes) -> list[bytes]:
    """Split a header into its cards of 80 bytes, without END."""
    cards = [header[start : start + CARD] for start in range(0, len(header), CARD)]
    return cards[: next(i for i, card in enumerate(cards) if is_end(card))]


def edit_header(
    header: bytes, values: Mapping[str, Any] | None = None, new: Sequence[fits.Card] = (), without: Collection[str] = ()
) -> bytes:
    """Set values in some cards of a header, append new cards and remove others; the rest stays identical."""
    cards = [card for card in cards_of(header) if keyword(card) not in without]
    for key, value in (values or {}).items():
        position = next(i for i, card in enumerate(cards) if keyword(card) == key)
        comment = fits.Card.fromstring(cards[position]).comment
        cards[position] = str(fits.Card(key, value, comment)).encode()
    text = b"".join([*cards, *(str(card).encode() for card in new), END])
    return text.ljust(in_blocks(len(text)))


def header_length(content: bytes) -> int:
    """Compute the length in bytes of the header at the beginning of an HDU."""
    for end in range(FITS_BLOCK, len(content) + FITS_BLOCK, FITS_BLOCK):
        if END in (content[i : i + CARD] for i in range(end - FITS_BLOCK, end, CARD)):
            return end
    raise ValueError(f"expected a FITS header, found none in {len(content)} bytes")


def pad_to_blocks(data: bytes) -> bytes:
    """Pad data with zeros to whole blocks."""
    return data.ljust(in_blocks(len(data)), b"\0")


def with_checksums(header: bytes, data: bytes) -> bytes:
    """Join a header and data in whole blocks to an HDU with checksums, undated so that bytes are reproducible."""
    total = ones_sum(data)
    new = [
        fits.Card("CHECKSUM", "0" * 16, "checksum of the HDU"),
        fits.Card("DATASUM", str(total), "checksum of the data"),
    ]
    header = edit_header(header, new=new, without=CHECKSUMS)
    whole = ones_sum(header, total)
    return header.replace(b"CHECKSUM= '" + b"0" * 16, b"CHECKSUM= '" + encode_checksum(~whole & 0xFFFFFFFF), 1) + data


def encode_checksum(value: int) -> bytes:
    """Encode a 32-bit sum as the 16 letters and digits of CHECKSUM (FITS 4.0, appendix J)."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        four = [byte // 4 + ord("0") + (byte % 4 if i == 0 else 0) for i in range(4)]
        while any(re.match(r"[^0-9A-Za-z]", chr(one)) for one in four):
            for pair in (0, 2):
                if any(re.match(r"[^0-9A-Za-z]", chr(one)) for one in four[pair : pair + 2]):
                    four[pair] += 1
                    four[pair + 1] -= 1
        columns.append(four)
    text = bytes(columns[byte][row] for row in range(4) for byte in range(4))
    return text[-1:] + text[:-1]
