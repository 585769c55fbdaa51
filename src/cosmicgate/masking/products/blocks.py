"""FITS by the byte: where HDUs begin and end, their cards as they were written, their checksums.

What is not changed has to stay as it is, to the byte. Astropy writes a header in its own way, so it is changed here.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from cosmicgate.data.fits.hdus import opened

BLOCK, CARD = 2880, 80
END = b"END".ljust(CARD)
CHECKSUMS = ("CHECKSUM", "DATASUM", "ZHECKSUM", "ZDATASUM")


@dataclass(frozen=True)
class Span:
    """Where an HDU is in its file, unpacked if it was gzipped; bytes."""

    start: int
    data: int
    end: int


def spans(path: Path) -> list[Span]:
    """Return where the HDUs of a file are."""
    with opened(path, packed=True) as hdus:
        found = [hdu.fileinfo() for hdu in hdus]
    return [Span(one["hdrLoc"], one["datLoc"], one["datLoc"] + one["datSpan"]) for one in found]


def cards_of(header: bytes) -> list[bytes]:
    """Return the cards of a header up to its END, 80 bytes each."""
    cards = [header[place : place + CARD] for place in range(0, len(header), CARD)]
    return cards[: cards.index(END)]


def keyword(card: bytes) -> str:
    """Return the keyword of a card."""
    return card[:8].decode("ascii", "replace").strip()


def changed(
    header: bytes, values: Mapping[str, Any] | None = None, new: Sequence[fits.Card] = (), without: Collection[str] = ()
) -> bytes:
    """Return a header with other values in some of its cards, with new cards and without others; the rest as it was."""
    cards = [card for card in cards_of(header) if keyword(card) not in without]
    for key, value in (values or {}).items():
        place = next(i for i, card in enumerate(cards) if keyword(card) == key)
        comment = fits.Card.fromstring(cards[place]).comment
        cards[place] = str(fits.Card(key, value, comment)).encode()
    text = b"".join([*cards, *(str(card).encode() for card in new), END])
    return text.ljust(-(-len(text) // BLOCK) * BLOCK)


def header_length(content: bytes) -> int:
    """Return the bytes of the header at the beginning of an HDU."""
    for end in range(BLOCK, len(content) + BLOCK, BLOCK):
        if b"END" + b" " * 77 in (content[i : i + 80] for i in range(end - BLOCK, end, 80)):
            return end
    raise ValueError(f"expected a FITS header, found none in {len(content)} bytes")


def filled(data: bytes) -> bytes:
    """Return data with zeros up to the next whole block."""
    return data.ljust(-(-len(data) // BLOCK) * BLOCK, b"\0")


def sealed(header: bytes, data: bytes) -> bytes:
    """Return an HDU of a header and of data in whole blocks, with its checksums; no date, so that bytes repeat."""
    total = ones_sum(data)
    new = [
        fits.Card("CHECKSUM", "0" * 16, "of the HDU"),
        fits.Card("DATASUM", str(total), "of the data"),
    ]
    header = changed(header, new=new, without=CHECKSUMS)
    whole = ones_sum(header, total)
    return header.replace(b"CHECKSUM= '" + b"0" * 16, b"CHECKSUM= '" + encoded(~whole & 0xFFFFFFFF), 1) + data


def ones_sum(data: bytes, total: int = 0) -> int:
    """Return the ones' complement sum of words of 32 bits, on from ``total`` (FITS 4.0, section 4.4.2.7)."""
    total += int(np.frombuffer(data, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def encoded(value: int) -> bytes:
    """Return a sum of 32 bits as the 16 characters of CHECKSUM (FITS 4.0, appendix J): letters and digits only."""
    columns = []
    for byte in value.to_bytes(4, "big"):
        four = [byte // 4 + ord("0") + (byte % 4 if i == 0 else 0) for i in range(4)]
        while any(re.match(r"[^0-9A-Za-z]", chr(one)) for one in four):
            for pair in (0, 2):
                if any(re.match(r"[^0-9A-Za-z]", chr(one)) for one in four[pair : pair + 2]):
                    four[pair] += 1
                    four[pair + 1] -= 1
        columns.append(four)
    text = bytes(columns[byte][place] for place in range(4) for byte in range(4))
    return text[-1:] + text[:-1]
