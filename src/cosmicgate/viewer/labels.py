"""Read and write the labels of an image: its truth, corrected by hand, and which pixels a person labelled.

The file ``NAME_truth.fits.fz`` has for each image the HDUs TRUTH, which ``data=real_frames`` reads, TOUCHED, and a mask
CRMASK as ``cosmicgate mask`` writes it. The HDUs of a file with several images have the image's name before theirs.
"""

import gzip
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate import __version__
from cosmicgate.data.pixel_labels import CORE, IGNORED, KERNEL_3X3, RING, SKY, TRUTH_UNKNOWN
from cosmicgate.io.atomic import atomic_path
from cosmicgate.io.fits.cards import CRBLIND, CRFILE, CRFROM, CRHDU, CRINPUT, CRSAVED, CRVERSN
from cosmicgate.io.fits.hdus import FitsError, open_decompressed, open_fits, stem
from cosmicgate.io.fits.headers import ascii_of
from cosmicgate.io.fits.images import ImageExtension
from cosmicgate.io.fits.layout import spans_of
from cosmicgate.io.fits.raw_hdus import edit_header, header_length
from cosmicgate.io.fits.truth_files import truth_files, truth_name
from cosmicgate.masking.output_paths import name_of

UNLABELLED, HIT, NO_HIT, MANUAL_UNKNOWN = 0, 1, 2, 3  # codes of the HDU TOUCHED: manual label of a pixel


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of an image; all arrays are (H, W).

    Attributes
    ----------
    hits, unknown : ndarray, bool
        Pixels that are hit, and pixels of which it is not known.
    manual : ndarray, uint8
        Manual label of a pixel: 0 none, 1 hit, 2 no hit, 3 not known.
    blind : bool
        Whether the person saw no detector's mask.
    save_id : str
        Random identifier that each saving writes into the file of labels; empty if the labels are not saved.
    input_sha256 : str
        Checksum of the image's file when they were saved; empty if unknown.
    """

    hits: NDArray[np.bool_]
    unknown: NDArray[np.bool_]
    manual: NDArray[np.uint8]
    blind: bool = False
    save_id: str = ""
    input_sha256: str = ""

    def truth(self, only_manual: bool = False) -> NDArray[np.uint8]:
        """Make the truth plane: 0 sky, 1 core of a hit, 2 ring of 3x3 around it, 3 not known.

        With ``only_manual``, pixels without a manual label are not known, except rings of hits labelled by hand.
        """
        plane = np.where(binary_dilation(self.hits, KERNEL_3X3), RING, SKY).astype(np.uint8)
        plane[self.unknown] = TRUTH_UNKNOWN
        plane[self.hits] = CORE
        if only_manual:
            near = binary_dilation(self.manual == HIT, KERNEL_3X3)
            plane[(self.manual == UNLABELLED) & ~((plane == RING) & near)] = TRUTH_UNKNOWN
        return plane


def labels_path(image: Path, folder: Path | None = None) -> Path:
    """Locate the labels of a file's images, beside it or in a folder: those that exist, or ``NAME_truth.fits.fz``."""
    folder = image.parent if folder is None else folder
    found = truth_files(image, folder)
    return found[0] if found else folder / f"{truth_name(image)}.fz"


def check_unshared(images: Sequence[Path], folder: Path | None = None) -> None:
    """Raise ValueError if two files have one file of labels, beside them or in a folder."""
    owners: dict[Path, Path] = {}
    for image in images:
        path = labels_path(image, folder)
        if (other := owners.setdefault(path.resolve(), image)) is not image:
            expected = "expected files of different names, or labels beside them in folders of their own"
            raise ValueError(f"{other} and {image} have the same file of labels, {path}: {expected}")


def read_labels(path: Path, extension: ImageExtension, single_image: bool) -> Labels | None:
    """Read the labels of an image; None if the file has none of it.

    Parameters
    ----------
    path : Path
        File of labels.
    extension : ImageExtension
        HDU of the image in its own file.
    single_image : bool
        Whether it is the only image of the sky in its file. A plane TRUTH is then of this image: those that come from
        comparing exposures name no HDU.

    Raises
    ------
    FitsError
        The labels are not readable, or not of this image.
    """
    with open_fits(path) as hdus:
        hdu = _truth_hdu(hdus, extension, single_image)
        if hdu is None:
            return None
        truth, header = np.asarray(hdu.data), hdu.header
        wanted = plane_name(extension, "TOUCHED", single_image), header.get(CRHDU)
        other = next((one for one in hdus if (one.name, one.header.get(CRHDU)) == wanted), None)
        manual = np.zeros(truth.shape, np.uint8) if other is None else np.asarray(other.data).astype(np.uint8)
    if truth.shape != extension.shape or manual.shape != extension.shape:
        raise FitsError(f"{path}: the labels have the shape {truth.shape}, the image {extension.shape}")
    if not np.isin(truth, (SKY, CORE, RING, TRUTH_UNKNOWN, IGNORED)).all() or manual.max(initial=0) > MANUAL_UNKNOWN:
        raise FitsError(f"{path}: expected the codes 0 sky, 1 core, 2 ring, 3 or 255 not known in the labels")
    unknown = (truth == TRUTH_UNKNOWN) | (truth == IGNORED)
    about = bool(header.get(CRBLIND, False)), _identifier(header), str(header.get(CRINPUT, ""))
    return Labels(truth == CORE, unknown, manual, *about)


def _truth_hdu(hdus: fits.HDUList, extension: ImageExtension, single_image: bool) -> Any:
    """Find the HDU of the truth of an image; None if there is none.

    A plane TRUTH is of the only image even if it names another HDU: ``fpack`` moves an image from HDU 0 to 1.
    """
    named = [hdu for hdu in hdus if hdu.name == plane_name(extension, "TRUTH", single_image)]
    numbers = (extension.number, None) if single_image else (extension.number,)
    found = next((hdu for wanted in numbers for hdu in named if hdu.header.get(CRHDU) == wanted), None)
    return named[-1] if found is None and named and single_image else found


def _identifier(header: fits.Header) -> str:
    return str(header.get(CRSAVED, "not by a person"))


def write_labels(
    path: Path,
    source: Path,
    sha256: str,
    extension: ImageExtension,
    single_image: bool,
    labels: Labels,
    only_manual: bool = False,
    origin: str = "",
) -> str:
    """Write the labels of an image, atomically; all other HDUs of the file stay as they are.

    Labels that were saved for an image file with another checksum are copied first, to ``NAME_truth_CHECKSUM.fits.fz``.

    Parameters
    ----------
    path, source : Path
        File of labels, and file of the image.
    sha256 : str
        Checksum of the file of the image.
    extension, single_image
        As in :func:`read_labels`.
    labels : Labels
        Labels of the image; ``save_id`` is that of the labels in the file when they were read.
    only_manual : bool
        As in :meth:`Labels.truth`.
    origin : str
        Where the labels of the other pixels come from, such as a network and its threshold.

    Returns
    -------
    str
        Identifier of this act of saving.

    Raises
    ------
    FitsError
        The labels in the file have changed since, by another window for example.
    """
    now, before = _saved(path, extension, single_image)
    if now != labels.save_id:
        raise FitsError(f"{path.name} was changed since its labels were read: nothing was saved; open the image again")
    if before not in ("", sha256):
        _copy(path, before)
    save_id = secrets.token_hex(8)
    planes = {"TRUTH": labels.truth(only_manual), "TOUCHED": labels.manual, "CRMASK": labels.hits.astype(np.uint8)}
    text = {
        "TRUTH": "0 sky, 1 core of a hit, 2 ring, 3 not known; corrected by a person",
        "TOUCHED": "what a person said: 0 nothing, 1 hit, 2 no hit, 3 not known",
        "CRMASK": "1: hit by a cosmic ray; corrected by a person",
    }
    new = []
    for what, plane in planes.items():
        hdu = fits.CompImageHDU(plane, name=plane_name(extension, what, single_image), compression_type="RICE_1")
        hdu.header[CRHDU] = (extension.number, "HDU number of the image in its file")
        hdu.header[CRFILE] = ascii_of(source.name, 67)
        hdu.header[CRINPUT] = sha256
        hdu.header[CRSAVED] = (save_id, "act of saving")
        hdu.header[CRVERSN] = (__version__, "version of cosmicgate")
        hdu.header[CRBLIND] = (labels.blind, "the person saw no detector's mask")
        hdu.header[CRFROM] = (ascii_of("not known" if only_manual else origin, 60), "untouched pixels")
        hdu.header["COMMENT"] = text[what]
        new.append(hdu)
    primary, *others = _kept(path, extension, single_image, {hdu.name for hdu in new}) or [
        _bytes_of(fits.PrimaryHDU())[0]
    ]
    length = header_length(primary)
    about = fits.Card(CRFILE, ascii_of(source.name, 67))  # by which the file is known as no image
    primary = edit_header(primary[:length], new=[about], without=(CRFILE, "CHECKSUM")) + primary[length:]
    content = b"".join([primary, *others, *_bytes_of(fits.PrimaryHDU(), *new)[1:]])
    with atomic_path(path) as partial:
        partial.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return save_id


def _bytes_of(*hdus: Any) -> list[bytes]:
    """Convert HDUs to the bytes of each in a file."""
    file = BytesIO()
    fits.HDUList(list(hdus)).writeto(file)
    return _split(file)


def _split(file: IO[bytes]) -> list[bytes]:
    """Read the bytes of each HDU of a file."""
    found = []
    for span in spans_of(file):
        file.seek(span.start)
        found.append(file.read(span.end - span.start))
    return found


def _saved(path: Path, extension: ImageExtension, single_image: bool) -> tuple[str, str]:
    """Read the identifier of the saving of an image's labels and the checksum of its file then; empty without them."""
    if not path.is_file():
        return "", ""
    with open_fits(path) as hdus:
        hdu = _truth_hdu(hdus, extension, single_image)
        return ("", "") if hdu is None else (_identifier(hdu.header), str(hdu.header.get(CRINPUT, "")))


def labels_of_version(
    path: Path, sha256: str, extension: ImageExtension, single_image: bool, save_id: str
) -> tuple[Path, str]:
    """Locate the labels of an earlier version of an image's file, ``NAME_truth_CHECKSUM.fits.fz``, numbered if taken.

    Returns
    -------
    path : Path
        First such file that has no labels of the image, or those that were saved as ``save_id``.
    save_id : str
        Identifier of the labels in it, or an empty one.
    """
    found = ((one, _saved(one, extension, single_image)[0]) for one in _versions(path, sha256))
    return next((one, now) for one, now in found if now in ("", save_id))


def _versions(path: Path, sha256: str) -> Iterator[Path]:
    """Yield the names of a file for labels of an image file with this checksum, without and with a number."""
    for number in count():
        ending = f"_{sha256[:8]}" + f"_{number}" * (number > 0)
        yield path.with_name(path.name.replace(stem(path), stem(path) + ending, 1))


def _copy(path: Path, sha256: str) -> None:
    """Copy a file of labels of an image file with this checksum beside itself."""
    with atomic_path(next(one for one in _versions(path, sha256) if not one.exists())) as partial:
        shutil.copyfile(path, partial)


def _kept(path: Path, extension: ImageExtension, single_image: bool, names: set[str]) -> list[bytes]:
    """Read the HDUs of a file of labels that stay as they are, the primary one first; none if there is no file.

    Labels of the image that were saved when it was in another HDU do not stay.
    """
    if not path.is_file():
        return []
    with open_fits(path) as hdus, open_decompressed(path) as file:
        replaced = [
            hdu.name in names and (single_image or hdu.header.get(CRHDU) in (None, extension.number)) for hdu in hdus
        ]
        ids = {hdu.header.get(CRSAVED) for hdu, gone in zip(hdus, replaced, strict=True) if gone} - {None}
        kept = [not gone and hdu.header.get(CRSAVED) not in ids for hdu, gone in zip(hdus, replaced, strict=True)]
        parts = _split(file)
    primary = parts[:1] if kept[0] else _bytes_of(fits.PrimaryHDU())
    return primary + [part for part, stays in zip(parts[1:], kept[1:], strict=True) if stays]


def plane_name(extension: ImageExtension, what: str, single_image: bool) -> str:
    """Build the EXTNAME of a plane of labels: ``"TRUTH"``, or ``"N4_TRUTH"`` if the file has several images."""
    return what if single_image and what != "CRMASK" else name_of(extension, what)
