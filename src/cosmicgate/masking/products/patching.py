"""Other values in some pixels of an HDU, and not a bit of the others changed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.masking.products.blocks import cards_of, changed, filled, sealed
from cosmicgate.masking.products.tiles import patched_table

TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True, eq=False)
class Patch:
    """New values for some pixels of an image.

    Attributes
    ----------
    number : int
        Of its HDU.
    rows, columns : ndarray (P,), int
        Which pixels.
    before, after : ndarray (P,)
        Their values, in the unit of the image.
    cards : tuple of Card
        For its header.
    """

    number: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    before: NDArray[np.floating[Any]]
    after: NDArray[np.floating[Any]]
    cards: tuple[fits.Card, ...] = ()


def patched(header: bytes, data: bytes, patch: Patch) -> bytes:
    """Return an HDU (its header and data as they are in the file) with a patch, its cards and new checksums.

    A new card takes the place of one of its keyword, but for HISTORY and COMMENT, of which there may be many.
    """
    cards = fits.Header.fromstring(b"".join(cards_of(header)))
    if cards.get("ZIMAGE", False):
        header, data = patched_table(header, data, patch.rows, patch.columns, patch.before, patch.after)
    else:
        stored = np.frombuffer(bytearray(data), TYPES[cards["BITPIX"]])
        place = patch.rows * cards["NAXIS1"] + patch.columns
        stored[place] = as_stored(patch.after, stored.dtype, cards.get("BSCALE", 1), cards.get("BZERO", 0))
        data = stored.tobytes()
    again = {card.keyword for card in patch.cards} - {"HISTORY", "COMMENT"}
    return sealed(changed(header, new=patch.cards, without=again), filled(data))


def as_stored(values: NDArray[Any], dtype: np.dtype[Any], scale: float, zero: float) -> NDArray[Any]:
    """Return values as FITS stores them: unscaled, whole numbers rounded and kept within the type."""
    raw = (values.astype(np.longdouble) - zero) / scale
    if dtype.kind == "f":
        return raw.astype(dtype)
    limits = np.iinfo(dtype)
    whole: NDArray[Any] = np.clip(np.rint(raw), limits.min, limits.max).astype(dtype)
    return whole
