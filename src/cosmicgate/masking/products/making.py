"""From one FITS file to what is written for it."""

import tempfile
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.hdus import FitsError
from cosmicgate.masking.inpainting import clean
from cosmicgate.masking.masker import Masker, grown, uncertainty_of_guess
from cosmicgate.masking.products.labels import (
    Earlier,
    Wanted,
    cards_of_mask,
    earlier_in,
    history,
    key_cards,
    key_of,
    lines,
    sha256_of,
    short_cards,
)
from cosmicgate.masking.products.names import sweep
from cosmicgate.masking.products.patching import Patch
from cosmicgate.masking.products.planes import Plane, planes
from cosmicgate.masking.products.urls import Address
from cosmicgate.masking.products.writing import mask_hdu, probability_hdu, state_of, write_copy, write_side_file
from cosmicgate.masking.traits import FarFromTraining

IN_MEMORY = 2**26  # bytes of compressed masks and probabilities, beyond which they wait on the disk
Tell = Callable[[float], object]  # is told of the megapixels of each image that is done


@dataclass
class Outcome:
    """What became of a file: a line of the summary.

    Attributes
    ----------
    file, output : str
        Their paths.
    status : {"done", "finished", "failed"}
        "finished" had been done before, with the same input and settings.
    images, megapixels, hits, fraction : int or float
        Images and pixels that were searched, hit pixels, and the part of the searched ones that they are.
    seconds : float
        For all of it.
    warnings : list of str
        Images that are unlike the training, planes that were left aside.
    error : str
        Of one that failed: a sentence.
    """

    file: str
    output: str
    status: Literal["done", "finished", "failed"] = "done"
    images: int = 0
    megapixels: float = 0.0
    hits: int = 0
    fraction: float = 0.0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    error: str = ""


@dataclass(frozen=True)
class Known:
    """What is known beforehand of a file that came from elsewhere, or goes there.

    Attributes
    ----------
    tag : str
        Changes with the version of the object that was fetched, and the settings; empty if versions are not known.
    earlier : Earlier, optional
        What the output that is there has of ours; None: look at it.
    """

    tag: str = ""
    earlier: Earlier | None = None


UNKNOWN = Known()


def make(
    path: Path,
    output: Path,
    masker: Masker,
    wanted: Wanted,
    overwrite: bool = False,
    tell: Tell = lambda _: None,
    known: Known = UNKNOWN,
) -> Outcome:
    """Make what is wanted of a file; what goes wrong with it is in the outcome, in one sentence.

    An output with the same input and settings is finished. One with others is made anew; a file that is no product
    of this package, though it may have been masked in place, is replaced only with ``overwrite``, which also makes
    finished ones anew.
    """
    outcome = Outcome(str(path), str(output))
    start = time.perf_counter()
    try:
        _make(path, output, masker, wanted, overwrite, tell, known, outcome)
    except Exception as error:  # whatever is wrong with one file of a night, the others go on
        outcome.status, outcome.error = "failed", sentence(path, error)
    outcome.seconds = round(time.perf_counter() - start, 3)
    return outcome


def sentence(path: Address, error: Exception) -> str:
    """Return what went wrong in one sentence that names the file."""
    if isinstance(error, MemoryError):
        return f"{path}: there is not enough memory for it"
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename and str(error.filename) != str(path) else ""
        return f"{path}: {error.strerror}{where}"
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    said = said if isinstance(error, ValueError | OSError | TypeError) else f"{type(error).__name__}: {said}"
    return said if str(path) in said else f"{path}: {said}"


def _make(
    path: Path,
    output: Path,
    masker: Masker,
    wanted: Wanted,
    overwrite: bool,
    tell: Tell,
    known: Known,
    outcome: Outcome,
) -> None:
    in_place = wanted.kind == "in-place"
    sweep(output)
    if not path.is_file():
        raise FileNotFoundError(f"no such FITS file: {path}")
    if not in_place and output.exists() and output.samefile(path):
        raise FitsError(f"{path}: the output would replace the input; --in-place is for that")
    before, sha256 = state_of(path), sha256_of(path)
    key = key_of(masker, wanted, "" if in_place else sha256)
    earlier = earlier_in(output) if known.earlier is None or in_place else known.earlier
    if key in earlier.keys and (in_place or not overwrite):
        outcome.status = "finished"
        return
    if wanted.kind != "mask" and (earlier if in_place else earlier_in(path)).keys:
        raise FitsError(f"{path}: it has masks of cosmicgate already, by other settings; give the original file")
    if output.exists() and not (earlier.is_product or in_place or overwrite):
        raise FitsError(f"{path}: {output} exists and is no product of cosmicgate; --overwrite replaces it")
    keys = key_cards(key, known.tag)
    with tempfile.SpooledTemporaryFile(IN_MEMORY) as hdus:
        patches = []
        found = planes(path, wanted.exts, wanted.cleaned, wanted.masked)
        for plane in ahead(found) if masker.on_gpu else found:  # reading takes longer than a GPU computes
            patches += _search(plane, masker, wanted, (path.name, sha256, plane.place.number), keys, hdus, outcome)
            tell(plane.image.size / 1e6)
        if not outcome.images:
            raise FitsError(f"{path}: none of its images can be searched ({'; '.join(outcome.warnings)})")
        if wanted.kind == "mask":
            text = history(masker, wanted, outcome.hits)
            cards = [*short_cards(masker, wanted, outcome.hits), *lines("HISTORY", text)]
            write_side_file(output, path, hdus, cards)
        else:
            write_copy(output, path, hdus, patches, before)


def ahead(images: Generator[Plane, None, None]) -> Iterator[Plane]:
    """Yield images while the next one is read in a thread."""
    with closing(images), ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, images, None)
        while (image := coming.result()) is not None:
            coming = thread.submit(next, images, None)
            yield image


def _search(
    plane: Plane,
    masker: Masker,
    wanted: Wanted,
    source: tuple[str, str, int],
    keys: list[fits.Card],
    hdus: IO[bytes],
    outcome: Outcome,
) -> list[Patch]:
    """Search an image; write its mask to ``hdus`` and add up the outcome; return what is to change in its file."""
    label = f"{plane.place.label}: "
    outcome.warnings += [label + note for note in plane.notes]
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", FarFromTraining)
            probability = masker.probability(plane.image, plane.bad)
    except ValueError as error:  # too small, or nothing good in it: the other images of the file are searched
        outcome.warnings.append(f"{label}not searched: {error}")
        return []
    far = [str(one.message) for one in caught if issubclass(one.category, FarFromTraining)]
    outcome.warnings += [label + text for text in far]
    mask = grown(probability >= wanted.threshold, wanted.grow, plane.bad)
    hit, searched = int(mask.sum()), int(plane.bad.size - plane.bad.sum())
    hdus.write(mask_hdu(plane.place, mask, cards_of_mask(masker, wanted, source, keys, (hit, searched), far)))
    if wanted.probability:
        hdus.write(probability_hdu(plane.place, probability, [*short_cards(masker, wanted, hit), *keys]))
    outcome.images += 1
    outcome.hits += hit
    outcome.megapixels = round(outcome.megapixels + searched / 1e6, 6)
    outcome.fraction = float(f"{outcome.hits / 1e6 / outcome.megapixels:.4g}")
    if not wanted.cleaned or not hit:
        return []
    cards = [*short_cards(masker, wanted, hit), *lines("HISTORY", history(masker, wanted, hit))]
    return list(_patches(plane, mask, cards))


def _patches(plane: Plane, mask: NDArray[np.bool_], cards: list[fits.Card]) -> Iterator[Patch]:
    """Return the changes of an image and of the planes that say how sure it is."""
    rows, columns = np.nonzero(mask)
    cleaned = clean(plane.image, mask, bad=plane.bad)
    yield Patch(plane.place.number, rows, columns, plane.image[mask], cleaned[mask], tuple(cards))
    for one in plane.uncertainties:
        grew = uncertainty_of_guess(one.values, one.kind, cleaned, mask, plane.bad)
        yield Patch(one.number, rows, columns, one.values[mask], grew[mask], tuple(cards))
