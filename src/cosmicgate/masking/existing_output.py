"""Recognise outputs that exist already, by the keys in their headers; of a remote output only headers are fetched."""

import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

from astropy.io import fits

from cosmicgate import __version__
from cosmicgate.io.fits.cards import CRETAG, CRFILE, CRGOOD, CRHDU, CRHITPIX, CRINPUT, CRKEY, CRNOSTAT, CRSTATPX
from cosmicgate.io.fits.file_defects import collect_astropy_warnings
from cosmicgate.io.fits.hdus import GZIP, FitsError, open_fits
from cosmicgate.io.object_stores import fetch, inspect_remote
from cosmicgate.io.urls import Address
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.options import MaskOptions
from cosmicgate.masking.output_paths import PRODUCT

FITS_SIGNATURE = b"SIMPLE  ="  # first bytes of a FITS file


@dataclass(frozen=True)
class ExistingOutput:
    """What is found at the path of an output before it is written.

    Attributes
    ----------
    exists : bool
        Whether there is anything.
    keys : set of str
        Keys (:func:`output_key`) of the masks in it.
    is_product : bool
        Whether it is a file of masks or, by its name, a copy made by this package, and so may be regenerated. A file
        that was masked in place has keys too, but may be the only copy of the data.
    inputs : set of str
        Checksums of the inputs of the masks in it.
    images : set of int
        HDU numbers, in the input, of the images that the masks in it are of.
    counts : tuple of (int, int)
        Hit pixels and searched pixels of each mask in it.
    static : int, optional
        Number of static pixels that it names, which the frames of a night show together; None if it names none.
    """

    exists: bool = False
    keys: Set[str] = frozenset()
    is_product: bool = False
    inputs: Set[str] = frozenset()
    images: Set[int] = frozenset()
    counts: tuple[tuple[int, int], ...] = ()
    static: int | None = None


def output_key(masker: CosmicRayMasker, options: MaskOptions, version: str, static: str = "") -> str:
    """Hash everything that an output depends on into 32 hexadecimal digits.

    Parameters
    ----------
    masker, options
        Detector and options of the run.
    version : str
        Checksum of the input, or the version of a remote one. Empty for a file that is masked in place, which is
        recognised by the masks in it.
    static : str
        Hash of the static pixels that are not searched; empty if frames were not compared.
    """
    predictor, cascade = masker.predictor, masker.predictor.cascade
    # These names are part of the hash: others would regenerate every output that was made before.
    settings = {
        "precision": predictor.precision,
        "screen": cascade is not None,
        "engine": predictor.onnx is not None,
    }
    stage = cascade and [cascade.threshold, cascade.cell, cascade.margin, cascade.halo]
    parts = [__version__, masker.card.sha256, settings, stage, vars(options), version, *[static] * bool(static)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def keys_in(hdus: Iterable[Any]) -> set[str]:
    """Collect the keys of the masks among HDUs."""
    return {str(hdu.header[name]) for hdu in hdus for name in (CRKEY, CRETAG, CRNOSTAT) if name in hdu.header}


def existing_output(target: Address, folder: Path = Path(), all_masks: bool = False) -> ExistingOutput:
    """Look at an output path; a file that cannot be read exists and has no keys.

    Of a remote output only the headers up to the first mask are fetched, with ``all_masks`` all headers or, if it is
    gzipped or damaged, the whole file into ``folder``.
    """
    if isinstance(target, Path):
        return _read(target) if target.exists() else ExistingOutput()
    found = inspect_remote(target, lambda file: _read_headers(file, target.name, all_masks))
    if found != "incomplete":
        return found or ExistingOutput()
    copy = folder / "existing" / target.name
    copy.parent.mkdir(exist_ok=True)
    fetch(target, copy)
    return _read(copy)


def _read(path: Path) -> ExistingOutput:
    try:
        with collect_astropy_warnings([]), open_fits(path) as hdus:
            return _described(hdus, path.name, hdus[0].header)
    except (FitsError, OSError):
        return ExistingOutput(exists=True)


def _read_headers(file: IO[bytes], name: str, all_masks: bool) -> ExistingOutput | Literal["incomplete"]:
    """Read the headers of an open remote file, all or up to the first mask; "incomplete" if they cannot be read."""
    begin = file.read(len(FITS_SIGNATURE))
    if begin != FITS_SIGNATURE:
        return "incomplete" if begin.startswith(GZIP) else ExistingOutput(exists=True)
    file.seek(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about cards that violate the FITS standard
        try:
            with fits.open(file, memmap=False, lazy_load_hdus=True, disable_image_compression=True) as hdus:
                masks = islice((hdu for hdu in hdus if keys_in([hdu])), None if all_masks else 1)
                return _described(list(masks), name, hdus[0].header)
        except (OSError, ValueError, TypeError, LookupError, fits.VerifyError) as error:
            if isinstance(error, OSError) and (error.errno is not None or type(error) is not OSError):
                raise  # a connection error; astropy's errors about damaged headers are bare OSErrors without errno
            return "incomplete"


def _described(hdus: Sequence[Any], name: str, primary: fits.Header) -> ExistingOutput:
    """Describe a file by the masks among its HDUs: a file of masks, or one with the name of a copy, is a product."""
    keys, inputs = keys_in(hdus), {str(hdu.header[CRINPUT]) for hdu in hdus if CRINPUT in hdu.header}
    is_product = bool(keys) and (CRFILE in primary or PRODUCT.search(name) is not None)
    images = {int(hdu.header[CRHDU]) for hdu in hdus if isinstance(hdu.header.get(CRHDU), int)}
    counts = tuple((hdu.header[CRHITPIX], hdu.header[CRGOOD]) for hdu in hdus if {CRHITPIX, CRGOOD} <= set(hdu.header))
    static = [hdu.header[CRSTATPX] for hdu in hdus if CRSTATPX in hdu.header]
    return ExistingOutput(True, keys, is_product, inputs, images, counts, sum(static) if static else None)
