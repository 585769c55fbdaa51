"""CCD images with their metadata: :class:`Frame`, read from FITS and written to FITS."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.io.atomic import atomic_path
from cosmicgate.io.fits.file_defects import astropy_warnings_logged, defects_logged
from cosmicgate.io.fits.hdus import FitsError, first_header_value, is_two_dimensional, open_fits, pixels
from cosmicgate.io.fits.headers import frame_fields
from cosmicgate.io.fits.images import Ext, ImageExtension, all_images, masks_beside, select_image, side_mask, whole_ccds
from cosmicgate.io.fits.masks import bad_pixels
from cosmicgate.io.fits.saturation import check_saturation

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Frame:
    """One CCD image with its metadata.

    Attributes
    ----------
    image : ndarray (H, W), float32
        Pixel values in ADU.
    gain : float
        Gain in electrons per ADU.
    read_noise : float
        Read noise in electrons.
    saturation : float
        Saturation in ADU.
    exptime : float
        Exposure time in seconds.
    band : str
        Filter, for example ``"g"``; empty for a dark.
    name : str
        Name, unique in the frame's source: splits and results refer to it.
    bad : ndarray (H, W), bool
        Pixels to ignore (bad columns, edges, NaN). They are never scored.
    hits : ndarray (H, W), float32, or None
        Charge left by particles in electrons, without noise, if it is known (simulated or pasted). In a dark it is
        also part of ``image``; in a simulated scene it is added at read-out.
    read_out : bool
        False for a scene with photon noise but still without saturation, read noise and digitisation
        (:func:`cosmicgate.data.simulation.readout.read_out` applies them).
    telescope : str
        One of :data:`~cosmicgate.io.fits.instruments.TELESCOPES`, by which a detector may choose its settings; empty
        if unknown.
    in_electrons : bool
        True if the file says that its values are electrons; they are kept, with a gain of 1.
    bleeds_along : {"columns", "rows"}
        Direction in which a saturated pixel of a simulated scene bleeds: that in which the CCD is read out.
    """

    image: NDArray[np.float32]
    gain: float
    read_noise: float
    saturation: float
    exptime: float
    band: str = ""
    name: str = ""
    bad: NDArray[np.bool_] = field(default_factory=lambda: np.zeros((0, 0), bool))
    hits: NDArray[np.float32] | None = None
    read_out: bool = True
    telescope: str = ""
    in_electrons: bool = False
    bleeds_along: Literal["columns", "rows"] = "columns"

    def __post_init__(self) -> None:
        if self.image.ndim != 2 or 0 in self.image.shape:
            raise ValueError(f"{self.name or 'frame'}: expected an image of two dimensions, got {self.image.shape}")
        if self.image.dtype != np.float32:
            raise TypeError(f"{self.name or 'frame'}: expected float32, got {self.image.dtype}")
        for key in ("gain", "read_noise", "saturation", "exptime"):
            value = getattr(self, key)
            if not (np.isfinite(value) and value >= 0) or (key in ("gain", "saturation") and value == 0):
                raise ValueError(f"{self.name or 'frame'}: {key} = {value} is not a positive number")
        bad = self.bad if self.bad.size else np.zeros(self.image.shape, bool)
        if bad.shape != self.image.shape:
            raise ValueError(f"{self.name}: the bad-pixel mask is {bad.shape}, the image {self.image.shape}")
        if self.hits is not None and self.hits.shape != self.image.shape:
            raise ValueError(f"{self.name}: the hits are {self.hits.shape}, the image {self.image.shape}")
        object.__setattr__(self, "bad", bad)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.image.shape
        return rows, columns

    def cut(self, rows: slice, columns: slice, name: str) -> "Frame":
        """Cut out the part of the frame in ``rows`` and ``columns``."""
        hits = None if self.hits is None else self.hits[rows, columns]
        return replace(self, image=self.image[rows, columns], bad=self.bad[rows, columns], hits=hits, name=name)


def write_frame(frame: Frame, path: Path) -> None:
    """Write a frame as FITS (image, bad-pixel mask, hits if known), atomically."""
    header = fits.Header()
    header["BUNIT"] = "adu"
    header["GAIN"] = (frame.gain, "electrons per ADU")
    header["RDNOISE"] = (frame.read_noise, "electrons")
    header["SATURATE"] = (frame.saturation, "ADU")
    header["EXPTIME"] = (frame.exptime, "seconds")
    header["FILTER"] = frame.band
    header["OBJECT"] = frame.name.encode("ascii", "replace").decode()  # FITS allows only ASCII
    header["TELID"] = frame.telescope
    header["READOUT"] = (frame.read_out, "saturation, read noise and converter applied")
    if frame.bleeds_along == "rows":
        header["BLEED"] = (frame.bleeds_along, "direction in which saturated pixels bleed")
    hdus = fits.HDUList([fits.PrimaryHDU(frame.image, header)])
    hdus.append(fits.CompImageHDU(frame.bad.astype(np.uint8), name="BPM"))
    if frame.hits is not None:
        hdus.append(fits.CompImageHDU(frame.hits, name="HITS", compression_type="GZIP_2", quantize_level=0))
    with atomic_path(path) as partial:
        hdus.writeto(partial, overwrite=True)


def read_frame(
    path: Path, ext: Ext | None = None, mask: Path | Literal["none"] | None = None, **header_overrides: Any
) -> Frame:
    """Read an image of a FITS file as a frame.

    Pixels that a mask in the file calls bad (:mod:`cosmicgate.io.fits.masks`) are bad and keep their values. Pixels
    that are not finite are bad too and get the median of the good pixels. Saturated pixels are not bad. Units and
    keywords are described in :func:`cosmicgate.io.fits.headers.frame_fields`.

    Parameters
    ----------
    path : Path
        FITS file: plain, ``.fz`` or ``.gz``.
    ext : str, int or (str, int), optional
        Image, by EXTNAME (case and surrounding blanks do not matter), number, or name and version. Required if there
        is more than one image.
    mask : Path or "none", optional
        File of masks to use instead of those in the file (NOIRLab keeps them in separate files), or "none" for no
        mask.
    **header_overrides
        Fields of :class:`Frame` that take precedence over the header, such as ``gain=4.0``.

    Returns
    -------
    Frame
        Image in ADU with its metadata.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FitsError
        The file is not FITS, is truncated, holds no such image or only raw parts of one, or lacks a field that is not
        in ``header_overrides``.
    """
    with open_fits(path) as hdus:
        images = all_images(path, hdus)
        extension = select_image(path, hdus, ext, images)
        with defects_logged(path, [extension.number]):
            return _read(path, hdus, extension, images, mask, header_overrides)


def read_frames(
    path: Path, mask: Path | Literal["none"] | None = None, **header_overrides: Any
) -> Iterator[tuple[ImageExtension, Frame]]:
    """Yield the images of a file one after the other, each with its HDU, so that only one is in memory.

    Parameters and errors are those of :func:`read_frame`.
    """
    with open_fits(path) as hdus:
        with defects_logged(path):
            images = whole_ccds(path, hdus)
        for image in images:
            with astropy_warnings_logged(path):
                frame = _read(path, hdus, image, images, mask, header_overrides)
            yield image, frame
            del hdus[image.number].data


def _read(
    path: Path,
    hdus: fits.HDUList,
    extension: ImageExtension,
    images: Sequence[ImageExtension],
    mask: Path | Literal["none"] | None,
    header_overrides: Mapping[str, Any],
) -> Frame:
    values, factor = frame_fields(path, extension.headers, header_overrides)
    if len(images) > 1 and "name" not in header_overrides:
        values["name"] += f"-{extension.label}"
    image = pixels(hdus[extension.number]) * np.float32(factor)
    # write_frame writes a logical READOUT: the HDU HITS and the saturation are then its own.
    own = isinstance(first_header_value(extension.headers, "READOUT"), bool)
    known_hits = own and len(images) == 1 and "HITS" in hdus and is_two_dimensional(hdus["HITS"])
    hits = np.array(hdus["HITS"].data, dtype=np.float32) if known_hits else None
    bad = ~np.isfinite(image)
    if mask is None:
        for number in masks_beside(hdus, extension, images):
            bad |= _mask(path, hdus[number], extension, extension.shape, values["telescope"])
    elif mask != "none":
        bad |= read_mask(mask, extension, extension.shape, values["telescope"])
    if bad.all():
        raise FitsError(f"{path}: none of the {bad.size} pixels is good")
    lost = ~np.isfinite(image)
    image[lost] = np.median(image[~bad])
    if "saturation" not in header_overrides and not own:
        usable, note = check_saturation(image, bad, values["saturation"])
        if not usable:
            values["saturation"] = float(image[~bad].max())
            log.warning("%s: %s; taken to be %g, the highest value", path, note, values["saturation"])
    try:
        return Frame(image=image, bad=bad, **({"hits": hits} | values))
    except ValueError as error:
        raise FitsError(f"{path}: {error}") from error


def read_mask(path: Path, extension: ImageExtension, shape: tuple[int, ...], telescope: str) -> NDArray[np.bool_]:
    """Read the bad pixels (H, W) of an image from a file of masks: the mask with its name, or the only one."""
    with open_fits(path) as hdus:
        return _mask(path, hdus[side_mask(path, hdus, extension)], extension, shape, telescope)


def _mask(path: Path, hdu: Any, extension: ImageExtension, shape: tuple[int, ...], telescope: str) -> NDArray[np.bool_]:
    flags = np.asarray(hdu.data).reshape(hdu.shape[-2:])
    if flags.shape != shape:
        raise FitsError(
            f"{path}: the bad-pixel mask {hdu.name} has shape {flags.shape}, the image {shape}; mask='none' ignores it"
        )
    bad = bad_pixels(flags, hdu.name, telescope, (hdu.header, *extension.headers))
    del hdu.data
    return bad
