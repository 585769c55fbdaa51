"""Header cards: which network, which settings, which input, how many pixels. There is no date: bytes repeat."""

import hashlib
import json
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from astropy.io import fits

from cosmicgate import __version__
from cosmicgate.data.fits.hdus import HIT, NETWORK, FitsError, opened
from cosmicgate.masking.masker import Masker, ascii_of, called
from cosmicgate.masking.products.names import PRODUCT, SOURCE, Kind

BIT = 1  # what hit pixels have in a mask
KEY, TAG = "CRKEY", "CRETAG"
WIDTH = 70  # characters of a line of HISTORY or COMMENT


@dataclass(frozen=True)
class Wanted:
    """What is to be made of each file.

    Attributes
    ----------
    kind : {"mask", "append", "clean", "in-place"}
        A file of masks, a copy with the masks behind its HDUs, one that is also cleaned, or such a change of the input.
    threshold : float
        Probability from which a pixel is hit.
    fpr : float, optional
        The rate of false alarms from which the threshold came.
    grow : int
        Pixels by which masks become wider.
    cleaned : bool
        Replace hit pixels in the copy or in the input.
    probability : bool
        Write probabilities as well.
    exts : tuple of str
        The images of each file, by name or number; none: all.
    masked : bool
        What masks beside an image call bad is not searched.
    """

    kind: Kind = "mask"
    threshold: float = 0.5
    fpr: float | None = None
    grow: int = 0
    cleaned: bool = False
    probability: bool = False
    exts: tuple[str, ...] = ()
    masked: bool = True


class Earlier(NamedTuple):
    """What an output has of ours before it is made.

    Attributes
    ----------
    keys : set of str
        Of its masks.
    is_product : bool
        A file of masks, or a copy by its name: it may be made anew. What was masked in place has keys as well, but may
        be all that there is of it.
    """

    keys: Set[str] = frozenset()
    is_product: bool = False


def settings(masker: Masker) -> dict[str, Any]:
    """Return how a detector computes, by name: all of its fields but the network, its card and its warnings.

    Of what is no plain value only whether it is there.
    """
    found = {f.name: getattr(masker, f.name) for f in fields(masker) if f.name not in ("network", "card", "check")}
    return {name: value if isinstance(value, str | int | float) else value is not None for name, value in found.items()}


def sha256_of(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(masker: Masker, wanted: Wanted, sha256: str) -> str:
    """Return a few letters that change with everything an output depends on; ``sha256`` is the input's."""
    screen = masker.screen and [getattr(masker.screen, name) for name in ("threshold", "cell", "margin", "halo")]
    parts = [__version__, masker.card.sha256, settings(masker), screen, vars(wanted), sha256]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def key_cards(key: str, tag: str) -> list[fits.Card]:
    """Return the cards by which a second run knows an output."""
    cards = [fits.Card(KEY, key, "of all that this depends on")]
    return [*cards, fits.Card(TAG, tag, "as CRKEY, by the object's version")] if tag else cards


def keys_of(hdus: Iterable[Any]) -> set[str]:
    """Return the keys of the masks among HDUs."""
    return {str(hdu.header[name]) for hdu in hdus for name in (KEY, TAG) if name in hdu.header}


def earlier_of(keys: Set[str], name: str, first: fits.Header) -> Earlier:
    """Return what a file with these keys is: a product if it is a file of masks or has the name of a copy."""
    return Earlier(keys, bool(keys) and (SOURCE in first or PRODUCT.search(name) is not None))


def earlier_in(path: Path) -> Earlier:
    """Return what a file has of ours; nothing if it cannot be read."""
    try:
        with opened(path) as hdus:
            return earlier_of(keys_of(hdus), path.name, hdus[0].header)
    except (FitsError, OSError):
        return Earlier()


def cards_of_mask(
    masker: Masker,
    wanted: Wanted,
    source: tuple[str, str, int],
    keys: Sequence[fits.Card],
    pixels: tuple[int, int],
    far: Sequence[str],
) -> list[fits.Card]:
    """Return the cards of a mask.

    Parameters
    ----------
    source : (str, str, int)
        Name and checksum of the input, number of the HDU.
    keys : sequence of Card
        Of :func:`key_cards`.
    pixels : (int, int)
        How many were hit, how many were searched.
    far : sequence of str
        Warnings.
    """
    card, (hit, searched) = masker.card, pixels
    cards = [
        *short_cards(masker, wanted, hit),
        fits.Card("CRFPR", wanted.fpr, "rate of false alarms that was asked for") if wanted.fpr is not None else None,
        fits.Card("CRGROW", wanted.grow, "pixels by which the mask was made wider"),
        fits.Card("CRBIT", BIT, "value of hit pixels; 0: not hit or not searched"),
        fits.Card("CRGOOD", searched, "pixels searched: not bad, not saturated"),
        fits.Card("CRFRAC", float(f"{hit / max(searched, 1):.4g}"), "part of these that was hit"),
        fits.Card("CRWEIGHT", card.sha256),
        fits.Card(SOURCE, ascii_of(source[0], 67)),
        fits.Card("CRINPUT", source[1]),
        fits.Card("CRHDU", source[2], "number of the image's HDU in the input"),
        *(fits.Card("CR" + name[:6].upper(), value, "setting") for name, value in settings(masker).items()),
        *keys,
        *lines("HISTORY", history(masker, wanted, hit)),
        *(line for text in far for line in lines("COMMENT", text)),
    ]
    return [one for one in cards if one is not None]


def short_cards(masker: Masker, wanted: Wanted, hit: int) -> list[fits.Card]:
    """Return the cards that a cleaned image gets as well."""
    return [
        fits.Card(NETWORK, called(masker.card), "network"),
        fits.Card("CRVERSN", __version__, "of cosmicgate"),
        fits.Card("CRTHRESH", float(f"{wanted.threshold:.6g}"), "probability from which a pixel is hit"),
        fits.Card(HIT, hit, "pixels hit by cosmic rays"),
    ]


def history(masker: Masker, wanted: Wanted, hit: int) -> str:
    """Return what was done, in words."""
    network = f"the network {called(masker.card)} (weights {masker.card.sha256[:12]})"
    done = f"{hit} pixels hit by cosmic rays" + (
        ", replaced by the median of their neighbours" if wanted.cleaned else ""
    )
    return f"cosmicgate {__version__}, {network}, threshold {wanted.threshold:.6g}, grown by {wanted.grow}: {done}"


def lines(word: str, text: str) -> list[fits.Card]:
    """Return a text as HISTORY or COMMENT."""
    text = ascii_of(text, 10**6)
    return [fits.Card(word, text[start : start + WIDTH]) for start in range(0, len(text), WIDTH)]
