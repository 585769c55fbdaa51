"""Locate the HDUs of a FITS file by its bytes, and report defects that cost no pixel."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from astropy.io import fits

FITS_BLOCK, CARD = 2880, 80
BITPIX = (8, 16, 32, 64, -32, -64)
BYTES_PER_READ = 2**24  # bytes that are read at once; a multiple of the 4-byte word of checksums
HEADER_CARDS = (b"XTENSION=", b"SIMPLE  =", b"BITPIX  =")  # cards that distinguish a header from garbage


@dataclass(frozen=True)
class Span:
    """Position of an HDU in its (decompressed) file, in bytes.

    Attributes
    ----------
    start, data, end : int
        Offsets of the header, of the data, and of the end of the last block.
    size : int
        Size of the data without the padding of the last block.
    """

    start: int
    data: int
    end: int
    size: int


def in_blocks(length: int) -> int:
    """Round a length in bytes up to whole blocks."""
    return -(-length // FITS_BLOCK) * FITS_BLOCK


def is_end(card: bytes) -> bool:
    """Check whether a card is the END of a header, which some programs pad with NULs."""
    return card.rstrip(b" \0") == b"END"


def keyword(card: bytes) -> str:
    """Extract the keyword of a card."""
    return card[:8].decode("ascii", "replace").strip()


def spans_of(file: IO[bytes], defects: list[str] | None = None) -> list[Span]:
    """Find the HDUs of an open file by their headers.

    The padding of the last block may be missing, and garbage may follow the last HDU.

    Parameters
    ----------
    file : file
        File opened for reading.
    defects : list of str, optional
        List to which a sentence is appended for each violation of the standard that costs no pixel.

    Raises
    ------
    ValueError
        A header cannot be parsed, or pixels or HDUs are missing.
    """
    length = file.seek(0, 2)
    spans: list[Span] = []
    promised, with_nuls = 0, []
    while not spans or spans[-1].end < length:
        start = spans[-1].end if spans else 0
        file.seek(start)
        word = file.read(8)
        if not (spans or word.startswith(b"SIMPLE")):
            raise ValueError("it does not begin with SIMPLE, as FITS does" if length else "it is empty")
        if spans and not b"XTENSION".startswith(word):
            break
        cards, blank = _header(file, start, len(spans))
        data = in_blocks(start + CARD * (len(cards) + 1))
        size = _size(cards, len(spans))
        if (missing := (data if size else start + CARD * len(cards) + len(b"END")) + size - length) > 0:
            raise ValueError(f"{missing} bytes of HDU {len(spans)} are missing")
        with_nuls += [] if blank else [len(spans)]
        if not spans and type(number := value_of(cards, "NEXTEND")) is int:
            promised = number
        spans.append(Span(start, data, data + in_blocks(size), size))
    behind = length - spans[-1].end
    if behind > 0 and (promised >= len(spans) or _has_header(file, spans[-1].end)):
        raise ValueError(f"what follows HDU {len(spans) - 1} is damaged, from byte {spans[-1].end} on")
    if defects is not None:
        defects += [f"{behind} bytes after its last HDU were ignored"] * (behind > 0)
        defects += [f"its last block of {FITS_BLOCK} bytes is incomplete, but no pixel is missing"] * (behind < 0)
        if with_nuls:
            numbers = ", ".join(str(one) for one in with_nuls[:4]) + ", ..." * (len(with_nuls) > 4)
            defects.append(f"the headers of HDUs {numbers} contain NUL bytes where the FITS standard requires blanks")
    return spans


def _header(file: IO[bytes], start: int, number: int) -> tuple[list[bytes], bool]:
    """Read the cards of a header before its END, and check that it holds no NUL."""
    cards: list[bytes] = []
    file.seek(start)
    while block := file.read(FITS_BLOCK):
        for offset in range(0, len(block), CARD):
            if is_end(block[offset : offset + CARD]):
                return cards, b"\0" not in block[offset:] and not any(b"\0" in card for card in cards)
            cards.append(block[offset : offset + CARD])
    raise ValueError(f"the header of HDU {number} has no END")


def _size(cards: Sequence[bytes], number: int) -> int:
    """Compute the size in bytes of the data that a header describes."""
    bits = _number(cards, "BITPIX", number)
    if bits not in BITPIX:
        raise ValueError(f"expected BITPIX to be one of {BITPIX}, got {bits}")
    axes = [_number(cards, f"NAXIS{i + 1}", number) for i in range(_number(cards, "NAXIS", number))]
    pixels = math.prod(axes) if axes else 0
    groups, more = (_number(cards, word, number, default) for word, default in (("GCOUNT", 1), ("PCOUNT", 0)))
    return abs(bits) // 8 * groups * (more + pixels) if axes else 0


def _number(cards: Sequence[bytes], word: str, number: int, default: int | None = None) -> int:
    value = value_of(cards, word)
    value = default if value is None else value
    if not isinstance(value, int) or (value < 0 and word != "BITPIX"):
        raise ValueError(f"HDU {number}: expected a whole number for {word}, got {value!r}")
    return int(value)


def value_of(cards: Sequence[bytes], word: str) -> Any:
    """Look up the value of the first card of a keyword; None if it is missing or cannot be parsed."""
    found = next((card for card in cards if keyword(card) == word), None)
    if found is None:
        return None
    try:
        return fits.Card.fromstring(found).value
    except fits.VerifyError:
        return None


def _has_header(file: IO[bytes], start: int) -> bool:
    """Check whether the bytes after the last HDU contain a header: then an HDU is damaged, not just padding missing."""
    file.seek(start)
    before = b""
    while content := file.read(BYTES_PER_READ):
        if any(card in before + content for card in HEADER_CARDS):
            return True
        before = content[-CARD:]
    return False


def wrong_sums(file: IO[bytes], spans: Sequence[Span], numbers: Collection[int] | None = None) -> list[str]:
    """List a sentence for each HDU (of ``numbers``, if given) whose data do not match its DATASUM."""
    mismatches = []
    for number, span in enumerate(spans):
        if numbers is not None and number not in numbers:
            continue
        cards, _ = _header(file, span.start, number)
        recorded = str(value_of(cards, "DATASUM") or "").strip()
        if not recorded.isdecimal():
            continue
        file.seek(span.data)
        total, left = 0, span.end - span.data
        while left > 0 and (content := file.read(min(BYTES_PER_READ, left))):
            total = ones_sum(content.ljust(in_blocks(len(content)), b"\0"), total)
            left -= len(content)
        if total != int(recorded):
            name = str(value_of(cards, "EXTNAME") or "").strip()
            named = f"HDU {number}" + f" ({name})" * bool(name)
            mismatches.append(
                f"the checksum of the data of {named} is {total}, its DATASUM card says {recorded}: they may be damaged"
            )
    return mismatches


def ones_sum(data: bytes, total: int = 0) -> int:
    """Compute the ones' complement sum of 32-bit words, starting from ``total`` (FITS 4.0, section 4.4.2.7)."""
    total += int(np.frombuffer(data, ">u4").sum(dtype=np.uint64))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
