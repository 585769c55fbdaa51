"""Change the values of some pixels of an HDU and leave every bit of the others as it is."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.fits.compressed_tiles import patch_table
from cosmicgate.io.fits.raw_hdus import cards_of, edit_header, pad_to_blocks, with_checksums

TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, eq=False)
class Patch:
    """New values for some pixels of an image.

    Attributes
    ----------
    number : int
        Number of the image's HDU.
    rows, columns : ndarray (P,), int
        Indices of the pixels.
    before, after : ndarray (P,)
        Old and new values, in the unit of the image. A pixel whose new value is NaN stays as it is.
    cards : tuple of Card
        Cards to add to the header.
    """

    number: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    before: NDArray[Any]
    after: NDArray[Any]
    cards: tuple[fits.Card, ...] = ()


def apply_patch(header: bytes, data: bytes, patch: Patch) -> bytes:
    """Apply a patch to the raw header and data of an HDU, add its cards and update the checksums.

    A new card replaces an existing one of the same keyword, except HISTORY and COMMENT, which are appended.
    """
    cards = fits.Header.fromstring(b"".join(cards_of(header)))
    finite = ~np.isnan(patch.after)  # integers have no NaN
    rows, columns, before, after = (one[finite] for one in (patch.rows, patch.columns, patch.before, patch.after))
    if cards.get("ZIMAGE", False):
        header, data = patch_table(header, data, rows, columns, before, after)
    else:
        stored = np.frombuffer(bytearray(data), TYPES[cards["BITPIX"]])
        indices = rows * cards["NAXIS1"] + columns
        stored[indices] = as_stored(after, stored.dtype, cards.get("BSCALE", 1), cards.get("BZERO", 0))
        data = stored.tobytes()
    again = {card.keyword for card in patch.cards} - {"HISTORY", "COMMENT"}
    return with_checksums(edit_header(header, new=patch.cards, without=again), pad_to_blocks(data))


def as_stored(values: NDArray[Any], dtype: np.dtype[Any], scale: float, zero: float) -> NDArray[Any]:
    """Convert values to the stored type: undo BSCALE and BZERO; for integers also round and clip."""
    raw = (values.astype(np.longdouble) - zero) / scale
    if dtype.kind == "f":
        return raw.astype(dtype)
    limits = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.rint(raw), limits.min, limits.max).astype(dtype)
    return whole
