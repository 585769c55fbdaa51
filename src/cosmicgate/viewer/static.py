"""Make a page that needs no server: images, masks and probabilities are in its one file."""

import time
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.html_page import HtmlPage
from cosmicgate.masking.inpainting import clean
from cosmicgate.masking.masker import CosmicRayMasker, dilate_mask
from cosmicgate.pretrained.card import ModelCard
from cosmicgate.viewer.assemble import page
from cosmicgate.viewer.candidates import Candidates, candidates
from cosmicgate.viewer.display import DISPLAY_UNSEARCHED, limits_of, model_json
from cosmicgate.viewer.images import Images
from cosmicgate.viewer.runs import from_runs, pixels_to_text, runs_from_text, to_runs, to_text

MAX_PIXELS = 20_000_000  # maximum number of pixels of all images of a page: about 1.6 MB of file a megapixel


def with_pixels_and_cleaned(
    description: Mapping[str, Any],
    image: NDArray[np.float32],
    bad: NDArray[np.bool_],
    found: Candidates,
    hits: NDArray[np.bool_] | None,
    threshold: float,
    grow: int,
    mosaic: bool = False,
) -> dict[str, Any]:
    """Add pixels, and the values that replace hits, to the description of an image.

    Parameters
    ----------
    description : mapping
        What :meth:`cosmicgate.viewer.images.Images.describe` says of the image.
    image, bad : ndarray (H, W)
        Pixel values, and pixels that were not searched (bool).
    found : Candidates
        Candidates of the network, from which the mask is made.
    hits : ndarray (H, W), bool, optional
        Saved mask, which replaces that of the network.
    threshold, grow : float, int
        Settings of the mask that is shown first; the threshold is raised to that of the candidates.
    mosaic : bool
        Whether the image is a colour mosaic.
    """
    threshold = max(threshold, found.floor)  # of an image with too many candidates
    if hits is not None:
        mask, origin = hits & ~bad, "the labels that were saved"
    else:
        mask, origin = np.zeros(image.shape, bool), f"the threshold {threshold:.6g}, grown by {grow} px"
        mask.ravel()[found.index[found.probability >= np.float32(threshold)]] = True
        mask = dilate_mask(mask, grow, bad)
    index = np.flatnonzero(mask).astype(np.uint32)
    values = clean(image, mask, bad=bad, mosaic=mosaic).ravel()[index]
    values = np.where(np.isfinite(values), values, np.float32(description["sky"])).astype(np.float32)
    pixels = pixels_to_text(image, description["sky"], description["noise"])
    cleaned = {"index": to_text(index), "values": to_text(values), "of": origin}
    return dict(description) | {"pixels": pixels, "cleaned": cleaned, "threshold": threshold, "grow": grow}


def check_size(shapes: Sequence[Sequence[int]]) -> None:
    """Refuse images that are too large for a page in one file; raise ValueError."""
    size = sum(rows * columns for rows, columns in shapes)
    if size > MAX_PIXELS:
        text = f"{size / 1e6:.0f} megapixels, expected at most {MAX_PIXELS / 1e6:.0f}"
        raise ValueError(f"the images are too large for a page in one file ({text}): show fewer, or cut them")
    if not size:
        raise ValueError("expected an image of the sky for a page in one file, got none")


def static_content(
    descriptions: Sequence[Mapping[str, Any]], card: ModelCard, overlays: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Put together what a page without a server shows.

    Raises
    ------
    ValueError
        The images have too many pixels for a page in one file.
    """
    check_size([one["shape"] for one in descriptions])
    keys = ("file", "hdu", "label", "shape", "searchable")
    images = [{key: one[key] for key in keys} for one in descriptions]
    about = {"images": images, "model": model_json(card), "blind": False}
    return about | {"details": list(descriptions), "overlays": dict(overlays or {})}


def array_view(
    masker: CosmicRayMasker,
    image: NDArray[Any],
    bad: NDArray[np.bool_],
    threshold: float,
    grow: int = 0,
    mosaic: bool = False,
) -> HtmlPage:
    """Make the page of an array, for :meth:`cosmicgate.masking.masker.CosmicRayMasker.view`.

    Parameters
    ----------
    masker : CosmicRayMasker
        Detector.
    image, bad : ndarray (H, W)
        Counts, and pixels that are not searched (bool).
    threshold, grow : float, int
        Settings of the mask that is shown first.
    mosaic : bool
        Whether the image is a colour mosaic.

    Raises
    ------
    ValueError
        The image is not (H, W), or too large.
    """
    if image.ndim != 2:
        raise ValueError(f"expected one image (H, W) to show, got {image.shape}: show them one by one")
    check_size([image.shape])
    card, probability = masker.card, masker.probability(image, bad, mosaic)
    with np.errstate(over="ignore"):
        image = np.array(image, np.float32)
    found = candidates(probability, image, bad, card, threshold)
    rows, columns = image.shape
    about: dict[str, Any] = {"file": "array", "hdu": 0, "label": "", "shape": [rows, columns], "searchable": True}
    about |= limits_of(image) | {"depth": 0, "candidates": found.to_json(), "saved": None, "file_mask": None}
    about |= {"touched": "", "notes": [], "identifier": "", "bad": to_text(to_runs(bad * np.uint8(DISPLAY_UNSEARCHED)))}
    detail = with_pixels_and_cleaned(about, image, bad, found, None, threshold, grow, mosaic)
    return HtmlPage(page(static_content([detail], card)))


def export(images: Images, progress: Callable[[str, float], object]) -> HtmlPage:
    """Search the images, and make a page of them.

    Parameters
    ----------
    images : Images
        Images of the given files, with a detector.
    progress : callable
        Called with the name of the file that is searched and the fraction that is done.

    Raises
    ------
    ValueError
        The images cannot be searched, are too large, or none of them shows the sky.
    """
    if images.masker is None:
        raise ValueError("expected a detector for a page without a server, got blind mode")
    numbers = [number for number, hdu in enumerate(images.hdus) if hdu.searchable]
    check_size([images.hdus[number].shape for number in numbers])
    card, details = images.masker.card, []
    for number in numbers:
        hdu, search = images.hdus[number], images.start_search(number)
        while search.state == "running":
            progress(hdu.path.name, search.fraction)
            time.sleep(0.1)
        if search.found is None:
            raise ValueError(f"{hdu.path.name}: {search.message}")
        progress(hdu.path.name, 1.0)
        image, about = images[number], images.describe(number)
        mask = about["file_mask"] or {}
        threshold, grow = (mask["threshold"], mask["grow"]) if mask.get("same_network") else (None, None)
        hits = None
        if about["saved"] is not None:  # an empty text: labels without a hit
            hits = from_runs(runs_from_text(about["saved"]), hdu.shape, 1) > 0
        mosaic = bool(find_mosaic_card(image.fits.extension.headers, image.image, image.fits.bad)[0])
        settings = float(card.threshold if threshold is None else threshold), int(grow or 0)
        details.append(
            with_pixels_and_cleaned(about, image.image, image.fits.bad, search.found, hits, *settings, mosaic)
        )
    overlays = {
        f"{one}-{other}": images.overlay(numbers[one], numbers[other]).to_json()
        for one, other in permutations(range(len(numbers)), 2)
        if images.hdus[numbers[one]].path != images.hdus[numbers[other]].path
    }
    title = f"{images.hdus[0].path.name} - CosmicGate"
    return HtmlPage(page(static_content(details, card, overlays), title))
