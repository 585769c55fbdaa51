"""Serve the images of the given files to the page: descriptions, tiles, searches and labels."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.io.atomic import cached_sha256
from cosmicgate.io.fits.hdus import FitsError, open_fits, pixels
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.inpainting import clean
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.read_images import FitsImage, read_images
from cosmicgate.viewer.display import DISPLAY_UNKNOWN, DISPLAY_UNSEARCHED, limits_of, model_json
from cosmicgate.viewer.file_mask import mask_of_file, probability_of_file
from cosmicgate.viewer.hdus import ViewableHdu, select_hdus, viewable_hdus
from cosmicgate.viewer.labels import (
    Labels,
    check_unshared,
    labels_of_version,
    labels_path,
    read_labels,
    write_labels,
)
from cosmicgate.viewer.overlay import AlignmentStars, Overlay, overlays
from cosmicgate.viewer.pyramid import Pyramid
from cosmicgate.viewer.runs import from_runs, runs_from_text, to_runs, to_text
from cosmicgate.viewer.search import Search

MAX_PIXELS = 200_000_000  # maximum number of pixels of all images that are kept in memory
OTHER_FOLDER = "save blind ones into another folder (-o)"


class ViewedImage:
    """An image in memory, with its pyramid and its masks.

    Parameters
    ----------
    hdu : ViewableHdu
        File and HDU.
    labels : Path
        File of its labels, which need not exist.
    masker : CosmicRayMasker, optional
        Detector; None: no detector's mask is shown.
    saving : Lock
        Lock that is held while labels are written: images of one file share theirs.
    sha256 : str
        Checksum of the file when the page first read it: labels of a file that has changed since are saved apart.
    """

    def __init__(
        self,
        hdu: ViewableHdu,
        labels: Path,
        masker: CosmicRayMasker | None,
        saving: Lock,
        sha256: str,
    ) -> None:
        self.hdu, self.labels_file, self.masker, self.blind = hdu, labels, masker, masker is None
        self.saving, self.sha256 = saving, sha256
        self.fits = _read(hdu)
        self.pyramid = Pyramid(self.fits.image)
        self.cleaned: tuple[int, Pyramid] | None = None

    @property
    def image(self) -> NDArray[np.float32]:
        """Pixel values (H, W)."""
        return self.fits.image

    @cached_property
    def limits(self) -> dict[str, Any]:
        """Limits of the display, sky and noise."""
        return limits_of(self.image)

    def masks(self) -> dict[str, Any]:
        """Read the labels and the masks that exist, as runs in text; in blind mode only labels that were made blind."""
        bad = self.fits.bad * np.uint8(DISPLAY_UNSEARCHED)
        found: dict[str, Any] = {"saved": None, "file_mask": None, "touched": "", "notes": list(self.fits.notes)}
        found["identifier"] = ""
        labels = self._labels()
        if labels is not None and self.blind and not labels.blind:
            found["notes"].append(f"{self.labels_file.name} has labels that were not made blind: {OTHER_FOLDER}")
        elif labels is not None:
            found["identifier"] = labels.save_id
            found["touched"] = to_text(to_runs(labels.manual))
            found["saved"] = to_text(to_runs(labels.hits))
            bad[labels.unknown & (labels.manual == 0) & ~self.fits.bad] = DISPLAY_UNKNOWN
            if labels.input_sha256 and labels.input_sha256 != cached_sha256(self.hdu.path):
                other = "the labels were saved for another version of this file, or another file of this name"
                found["notes"].append(f"{other}: check them; if you save, they are kept under another name")
        if self.masker is not None and self.hdu.searchable:
            weights = self.masker.card.sha256
            found["file_mask"] = mask_of_file(self.fits.extension, self.hdu.path, weights, found["notes"])
        return found | {"bad": to_text(to_runs(bad))}

    def _labels(self, path: Path | None = None) -> Labels | None:
        path = path or self.labels_file
        return read_labels(path, self.fits.extension, self.hdu.single_image) if path.is_file() else None

    def run_search(self, search: Search) -> None:
        """Compute the probability of each pixel, or read it; write progress and result into ``search``."""
        if self.masker is not None:
            known = self.fits.extension, self.hdu.path, self.masker.card.sha256
            mask = mask_of_file(*known, []) or {"same_network": False}
            threshold = mask["threshold"] if mask["same_network"] else None
            search.run(self.fits, self.masker, probability_of_file(*known), threshold)

    def clean(self, hits: NDArray[np.bool_]) -> int:
        """Replace hits (H, W) as ``cosmicgate mask --clean`` does; return the version of the cleaned image."""
        mosaic = bool(find_mosaic_card(self.fits.extension.headers, self.image, self.fits.bad)[0])
        version = self.cleaned[0] + 1 if self.cleaned else 1
        self.cleaned = version, Pyramid(clean(self.image, hits & ~self.fits.bad, bad=self.fits.bad, mosaic=mosaic))
        return version

    def tile(self, layer: str, version: int, level: int, row: int, column: int) -> NDArray[np.float32]:
        """Cut out a tile of the image, or of a version of the cleaned image; IndexError if there is none."""
        if layer == "image":
            return self.pyramid.tile(level, row, column)
        if self.cleaned is None or self.cleaned[0] != version:
            raise IndexError(f"there is no version {version} of the cleaned image")
        return self.cleaned[1].tile(level, row, column)

    def save(self, given: Any) -> dict[str, Any]:
        """Write the labels that a page sends, as ``hits``, ``unknown`` and ``touched``.

        If the image's file has changed since it was read, they are written beside those of the file as it is now.

        Raises
        ------
        ValueError
            What the page sent is not valid, or the labels have changed since they were read.
        """
        if not isinstance(given, dict):
            raise ValueError(f"expected hits, unknown and touched pixels, got {type(given).__name__}")
        shape = self.hdu.shape
        hits, unknown = (from_runs(runs_from_text(given.get(key)), shape, 1) > 0 for key in ("hits", "unknown"))
        manual = from_runs(runs_from_text(given.get("touched")), shape, 3)
        unknown = (unknown | (self.fits.bad & (manual == 0))) & ~hits
        only_manual = given.get("only_touched") is True
        origin, save_id, note = str(given.get("origin", "")), str(given.get("identifier", "")), ""
        place = self.fits.extension, self.hdu.single_image
        with self.saving:
            path = self.labels_file
            if cached_sha256(self.hdu.path) != self.sha256:
                path, save_id = labels_of_version(path, self.sha256, *place, save_id)
                note = (
                    f"{self.hdu.path.name} was changed since it was read, these labels are of it as it was: start again"
                )
            before = self._labels(path)
            if self.blind and before is not None and not before.blind:
                raise FitsError(f"{path.name} has labels that were not made blind: {OTHER_FOLDER}")
            labels = Labels(hits, unknown, manual, self.blind, save_id)
            save_id = write_labels(path, self.hdu.path, self.sha256, *place, labels, only_manual, origin)
        counts = {"hits": int(hits.sum()), "touched": int((manual > 0).sum())}
        return {"path": str(path), "identifier": save_id, "note": note} | counts


def _read(viewed: ViewableHdu) -> FitsImage:
    """Read an image with its bad pixels; an HDU that is no image of the sky without any but those not finite."""
    if viewed.searchable:
        return next(read_images(viewed.path, [viewed.number]))
    with open_fits(viewed.path) as hdus:
        hdu = hdus[viewed.number]
        values = pixels(hdu)
        headers = (hdu.header.copy(), hdus[0].header.copy())
    extension = ImageExtension(viewed.number, hdu.name.strip().upper(), 1, viewed.shape, headers)
    return FitsImage(extension, values, ~np.isfinite(values))


class Images:
    """All images of the given files, of which the last ones that were looked at are in memory.

    Parameters
    ----------
    paths : sequence of Path
        Files.
    folder : Path, optional
        Folder of the labels; None: those of each file lie beside it.
    masker : CosmicRayMasker, optional
        Detector; None in blind mode: no detector's mask is shown.
    exts : sequence of str
        Images to show, by HDU number or EXTNAME; empty: all of them.

    Raises
    ------
    ValueError, FileNotFoundError
        A file cannot be read, has no image of these, or has the same file of labels as another.
    """

    def __init__(
        self, paths: Sequence[Path], folder: Path | None, masker: CosmicRayMasker | None, exts: Sequence[str] = ()
    ) -> None:
        check_unshared(paths, folder)
        self.hdus = [hdu for path in paths for hdu in select_hdus(path, viewable_hdus(path), exts)]
        self.folder, self.masker, self.blind = folder, masker, masker is None
        self._images: OrderedDict[int, ViewedImage] = OrderedDict()
        self._checksums: dict[int, str] = {}
        self._searches: dict[int, Search] = {}
        self._alignment_stars: dict[int, AlignmentStars] = {}
        self._overlays: dict[tuple[int, int], Overlay] = {}
        self._lock, self._one_search, self._saving, self._aligning = Lock(), Lock(), Lock(), Lock()

    def __getitem__(self, number: int) -> ViewedImage:
        """Look up an image, and read it if necessary; IndexError if there is none."""
        self.check_number(number)
        with self._lock:
            if number not in self._images:
                hdu = self.hdus[number]
                sha256 = self._checksums.setdefault(number, cached_sha256(hdu.path))
                labels = labels_path(hdu.path, self.folder)
                self._images[number] = ViewedImage(hdu, labels, self.masker, self._saving, sha256)
            self._images.move_to_end(number)
            while len(self._images) > 1 and sum(one.image.size for one in self._images.values()) > MAX_PIXELS:
                self._images.popitem(last=False)
            return self._images[number]

    def check_number(self, number: int) -> None:
        """Raise IndexError if there is no image of this number."""
        if not 0 <= number < len(self.hdus):
            raise IndexError(f"there is no image {number}: expected 0 to {len(self.hdus) - 1}")

    def about(self) -> dict[str, Any]:
        """Describe all images and the network, for the page."""
        model = None if self.masker is None else model_json(self.masker.card)
        return {"images": [hdu.to_json() for hdu in self.hdus], "model": model, "blind": self.blind}

    def describe(self, number: int) -> dict[str, Any]:
        """Describe an image and its masks, for the page."""
        image, search = self[number], self._searches.get(number)
        found = search.found if search else None
        about = {"depth": image.pyramid.depth, "candidates": found.to_json() if found else None}
        return self.hdus[number].to_json() | about | image.limits | image.masks()

    def start_search(self, number: int) -> Search:
        """Begin the search for the hits of an image, or return the one that runs or is done.

        Raises
        ------
        ValueError
            No detector's mask is to be shown, or the HDU is no image of the sky.
        """
        if self.masker is None:
            raise ValueError("no detector is used in blind mode")
        image = self[number]
        if not image.hdu.searchable:
            raise ValueError(f"HDU {image.hdu.label} is no image of the sky: it is not searched")
        with self._lock:
            search = self._searches.get(number)
            if search is None or search.state in ("failed", "cancelled"):
                search = self._searches[number] = Search()
                Thread(target=self._run, args=(image, search), daemon=True).start()
        return search

    def _run(self, image: ViewedImage, search: Search) -> None:
        with self._one_search:
            try:
                image.run_search(search)
            except Exception as error:  # shown on the page, which waits for an end
                search.message, search.state = str(error) or type(error).__name__, "failed"

    def search_of(self, number: int) -> Search | None:
        """Look up the search of an image; None if none was started."""
        return self._searches.get(number)

    def cancel(self) -> None:
        """Stop the searches that run."""
        for search in self._searches.values():
            search.stop.set()

    def overlay(self, number: int, other: int) -> Overlay:
        """Align another image with this one, for blinking between them; both ways are kept.

        Raises
        ------
        IndexError
            There is no such image, or both are the same.
        """
        if number == other:
            raise IndexError(f"expected another image than {number} to align with it")
        for one in (number, other):
            self.check_number(one)
        with self._aligning:
            if (number, other) not in self._overlays:
                self._overlays[number, other], self._overlays[other, number] = self._aligned(number, other)
        return self._overlays[number, other]

    def _aligned(self, number: int, other: int) -> tuple[Overlay, Overlay]:
        try:
            for one in (number, other):
                if one not in self._alignment_stars:
                    self._alignment_stars[one] = AlignmentStars.of(self[one].fits, self.hdus[one].path.name)
        except ModuleNotFoundError as error:
            return Overlay(reason=str(error)), Overlay(reason=str(error))
        return overlays(self._alignment_stars[number], self._alignment_stars[other])
