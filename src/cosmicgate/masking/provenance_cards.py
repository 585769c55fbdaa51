"""Make provenance header cards: network, settings, input and number of pixels.

There is no date among them, so that repeated runs write identical bytes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate import __version__
from cosmicgate.io.fits.cards import (
    CRBIT,
    CRENGINE,
    CRETAG,
    CRFILE,
    CRFPR,
    CRFRAC,
    CRGOOD,
    CRGROW,
    CRHDU,
    CRHITPIX,
    CRINPUT,
    CRKEY,
    CRMODEL,
    CRMOSAIC,
    CRNOSTAT,
    CROTHERS,
    CRPRECIS,
    CRSCREEN,
    CRSTATPX,
    CRTHRESH,
    CRVERSN,
    CRWEIGHT,
)
from cosmicgate.io.fits.headers import ascii_of
from cosmicgate.masking.ccddata import header_name
from cosmicgate.masking.file_job import FileJob
from cosmicgate.masking.inpainting import Method
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.read_images import FitsImage
from cosmicgate.masking.read_masks import others_checksum
from cosmicgate.masking.static_pixels import StaticMap

HIT_VALUE = 1  # value of hit pixels in a mask
REPLACED_BY: dict[Method, str] = {
    "median": "the median of their neighbours",
    "mean": "the mean of their neighbours",
    "idw": "the mean of their neighbours, weighted by inverse distance",
    "interpolate": "the mean of their neighbours, weighted by a Gaussian",
    "maskfill": "maskfill (van Dokkum & Pasha 2024)",
}
WIDTH = 70  # characters in a HISTORY or COMMENT card


def key_cards(job: FileJob) -> list[fits.Card]:
    """Make the cards by which a later run recognises a finished output."""
    cards = [fits.Card(CRKEY, job.key, "hash of input and settings")]
    if job.version_key:
        cards.append(fits.Card(CRETAG, job.version_key, "the same by the URL's version"))
    if job.settings_key not in ("", job.key):
        cards.append(fits.Card(CRNOSTAT, job.settings_key, "the same without static pixels"))
    return cards


def mask_cards(
    job: FileJob, image: FitsImage, mask: NDArray[np.bool_], warnings: Sequence[str], mosaic: str = ""
) -> list[fits.Card]:
    """Make the header cards of a mask.

    Parameters
    ----------
    job : FileJob
        Input, detector and options.
    image : FitsImage
        Image with its bad pixels, which were not searched.
    mask : ndarray (H, W), bool
        Its hit pixels.
    warnings : sequence of str
        Warnings that the image is unlike the training images, written as COMMENT.
    mosaic : str
        Header card or option by which the image is a colour mosaic; empty if it is none.
    """
    masker, options = job.masker, job.options
    fpr, hit, searched = options.fpr, int(mask.sum()), int(image.bad.size - image.bad.sum())
    cards = [
        *short_cards(masker, options, hit),
        *([fits.Card(CRFPR, fpr, "requested false-positive rate")] if fpr is not None else []),
        fits.Card(CRGROW, options.grow, "pixels by which the mask was dilated"),
        fits.Card(CRBIT, HIT_VALUE, "value of hit pixels; 0: not hit or not searched"),
        fits.Card(CRGOOD, searched, "pixels searched: not bad, not saturated"),
        fits.Card(CRFRAC, float(f"{hit / max(searched, 1):.4g}"), "fraction of the searched pixels that are hit"),
        fits.Card(CRWEIGHT, masker.card.sha256),
        fits.Card(CRFILE, ascii_of(job.path.name, 67)),
        fits.Card(CRINPUT, job.sha256),
        fits.Card(CRHDU, image.extension.number, "HDU number of the image in the input file"),
        fits.Card(CROTHERS, others_checksum(image.image, mask), "checksum of the pixels not hit"),
        fits.Card(CRPRECIS, masker.predictor.precision, "floating-point type of the computation"),
        fits.Card(CRSCREEN, masker.predictor.cascade is not None, "the cascade (--fast) was used"),
        fits.Card(CRENGINE, masker.predictor.onnx is not None, "onnxruntime was used instead of torch"),
        *([fits.Card(CRMOSAIC, ascii_of(mosaic, 60), "why it is a colour mosaic")] if mosaic else []),
        *key_cards(job),
        *text_cards("HISTORY", history(masker, options, hit, mosaic)),
    ]
    return cards + [card for text in warnings for card in text_cards("COMMENT", text)]


def short_cards(masker: CosmicRayMasker, options: MaskOptions, hit: int) -> list[fits.Card]:
    """Make the cards that both masks and cleaned images get."""
    return [
        fits.Card(CRMODEL, header_name(masker.card), "network that found hits"),
        fits.Card(CRVERSN, __version__, "version of cosmicgate"),
        fits.Card(CRTHRESH, float(f"{options.threshold:.6g}"), "pixels at or above this probability are hits"),
        fits.Card(CRHITPIX, hit, "pixels hit by cosmic rays"),
    ]


def static_cards(job: FileJob, number: int, static: StaticMap) -> list[fits.Card]:
    """Make the header cards of the plane of static pixels of the image in HDU ``number``."""
    return [
        fits.Card(CRVERSN, __version__, "version of cosmicgate"),
        fits.Card(CRSTATPX, len(static.index), "static pixels: not searched"),
        fits.Card(CRHDU, number, "HDU number of the image in the input file"),
        *key_cards(job),
        *text_cards("COMMENT", "1: hot, warm or flickering in many frames of this detector"),
    ]


def change_cards(job: FileJob, hit: int, mosaic: str = "") -> tuple[fits.Card, ...]:
    """Make the cards of a cleaned image, and of the primary header of a file of masks."""
    text = history(job.masker, job.options, hit, mosaic)
    return (*short_cards(job.masker, job.options, hit), *text_cards("HISTORY", text))


def bit_cards(job: FileJob, hit: int, mosaic: str, value: int, changed: int) -> tuple[fits.Card, ...]:
    """Make the cards of a quality plane in which ``changed`` pixels got the flag ``value``."""
    text = history(job.masker, replace(job.options, cleaned=False), hit, mosaic) + f", {value} set in {changed}"
    card = fits.Card(CRBIT, value, "value of hit pixels")
    return (*short_cards(job.masker, job.options, hit), card, *text_cards("HISTORY", text))


def history(masker: CosmicRayMasker, options: MaskOptions, hit: int, mosaic: str = "") -> str:
    """Write one sentence that says what was done, for HISTORY."""
    network = f"the network {header_name(masker.card)} (weights {masker.card.sha256[:12]})"
    done = f"{hit} pixels hit by cosmic rays" + (
        f", replaced by {REPLACED_BY[options.method]}{', of the same colour' * bool(mosaic)}" if options.cleaned else ""
    )
    return f"cosmicgate {__version__}, {network}, threshold {options.threshold:.6g}, grown by {options.grow}: {done}"


def text_cards(word: str, text: str) -> list[fits.Card]:
    """Split a text into HISTORY or COMMENT cards."""
    text = ascii_of(text, 10**6)
    return [fits.Card(word, text[start : start + WIDTH]) for start in range(0, len(text), WIDTH)]
