"""A CCD image and what is known of it: :class:`Frame`, read from FITS and written to FITS."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.data.fits.hdus import FitsError, opened, pixels
from cosmicgate.data.fits.headers import fields_of
from cosmicgate.data.fits.images import Ext, Extension, chosen, masks_beside, science, side_mask, whole_ccds
from cosmicgate.data.fits.masks import bad_pixels
from cosmicgate.files import whole


@dataclass(frozen=True, eq=False)
class Frame:
    """One CCD image.

    Attributes
    ----------
    image : ndarray (H, W), float32
        ADU.
    gain : float
        Electrons per ADU.
    read_noise : float
        Electrons.
    saturation : float
        ADU.
    exptime : float
        Seconds.
    band : str
        Filter, ``"g"`` say; empty for a dark.
    name : str
        Unique in its source: splits and results refer to it.
    bad : ndarray (H, W), bool
        Pixels that say nothing (bad columns, edges, NaN). They are never scored.
    hits : ndarray (H, W), float32, or None
        Electrons that particles left, without noise, where they are known (simulated or pasted). In a dark they are
        also in ``image``; in a scene they come in when it is read out.
    read_out : bool
        False for a scene whose photons are counted but that has not gone through saturation, read noise and
        the converter (:func:`cosmicgate.data.simulate.readout.read_out` does that).
    telescope : str
        One of :data:`~cosmicgate.data.fits.instruments.TELESCOPES`, by which a detector may choose its settings; empty
        where it is not known.
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
        """Return the part of the frame in ``rows`` and ``columns``."""
        hits = None if self.hits is None else self.hits[rows, columns]
        return replace(self, image=self.image[rows, columns], bad=self.bad[rows, columns], hits=hits, name=name)


def write_frame(frame: Frame, path: Path) -> None:
    """Write ``frame`` to ``path`` as FITS (image, bad-pixel mask), under a temporary name first."""
    header = fits.Header()
    header["BUNIT"] = "adu"
    header["GAIN"] = (frame.gain, "electrons per ADU")
    header["RDNOISE"] = (frame.read_noise, "electrons")
    header["SATURATE"] = (frame.saturation, "ADU")
    header["EXPTIME"] = (frame.exptime, "seconds")
    header["FILTER"] = frame.band
    header["OBJECT"] = frame.name.encode("ascii", "replace").decode()  # FITS knows no other letters
    header["TELID"] = frame.telescope
    header["READOUT"] = (frame.read_out, "saturation, read noise and converter applied")
    hdus = fits.HDUList([fits.PrimaryHDU(frame.image, header)])
    hdus.append(fits.CompImageHDU(frame.bad.astype(np.uint8), name="BPM"))
    if frame.hits is not None:
        hdus.append(fits.CompImageHDU(frame.hits, name="HITS", compression_type="GZIP_2", quantize_level=0))
    with whole(path) as partial:
        hdus.writeto(partial, overwrite=True)


def read_frame(path: Path, ext: Ext | None = None, mask: Path | Literal["none"] | None = None, **known: Any) -> Frame:
    """Read an image of a FITS file; ``known`` fields (``gain=4.0``) win over the header.

    What a mask beside the image calls bad (:mod:`cosmicgate.data.fits.masks`) is bad and keeps its value. What is not
    finite is bad as well and gets the median of the good pixels. Saturated pixels are not bad. For the units and the
    keywords see :func:`cosmicgate.data.fits.headers.fields_of`.

    Parameters
    ----------
    path : Path
        Plain, ``.fz`` or ``.gz``.
    ext : str, int or (str, int), optional
        EXTNAME, in any letters and with any blanks; number; name and version. Needed where there is more than one
        image.
    mask : Path or "none", optional
        A file of masks instead of those beside the image (NOIRLab keeps them apart), or none of them.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FitsError
        The file is not FITS, is cut short, holds no such image or only raw parts of one, or lacks a field that
        ``known`` does not give.
    """
    with opened(path) as hdus:
        return _read(path, hdus, chosen(path, hdus, ext), mask, known)


def read_frames(
    path: Path, mask: Path | Literal["none"] | None = None, **known: Any
) -> Iterator[tuple[Extension, Frame]]:
    """Read the images of a file one after the other, each with its place and headers; one at a time is in memory.

    Parameters and errors are those of :func:`read_frame`.
    """
    with opened(path) as hdus:
        for image in whole_ccds(path, hdus):
            yield image, _read(path, hdus, image, mask, known)
            del hdus[image.number].data


def _read(
    path: Path, hdus: fits.HDUList, place: Extension, mask: Path | Literal["none"] | None, known: Mapping[str, Any]
) -> Frame:
    images = science(path, hdus)
    values, factor = fields_of(path, place.headers, known)
    if len(images) > 1 and "name" not in known:
        values["name"] += f"-{place.label}"
    image = pixels(hdus[place.number]) * np.float32(factor)
    hits = np.array(hdus["HITS"].data, dtype=np.float32) if "HITS" in hdus and len(images) == 1 else None
    bad = ~np.isfinite(image)
    if mask is None:
        for number in masks_beside(hdus, place, images):
            bad |= _mask(path, hdus[number], place, place.shape, values["telescope"])
    elif mask != "none":
        bad |= read_mask(mask, place, place.shape, values["telescope"])
    if bad.all():
        raise FitsError(f"{path}: none of the {bad.size} pixels is good")
    lost = ~np.isfinite(image)
    image[lost] = np.median(image[~bad])
    try:
        return Frame(image=image, bad=bad, **({"hits": hits} | values))
    except ValueError as error:
        raise FitsError(f"{path}: {error}") from error


def read_mask(path: Path, place: Extension, shape: tuple[int, ...], telescope: str) -> NDArray[np.bool_]:
    """Return the bad pixels (H, W) of an image by a file of masks: the mask of its name there, or the only one."""
    with opened(path) as hdus:
        return _mask(path, hdus[side_mask(path, hdus, place)], place, shape, telescope)


def _mask(path: Path, hdu: Any, place: Extension, shape: tuple[int, ...], telescope: str) -> NDArray[np.bool_]:
    flags = np.asarray(hdu.data).reshape(hdu.shape[-2:])
    if flags.shape != shape:
        raise FitsError(
            f"{path}: the bad-pixel mask {hdu.name} is {flags.shape}, the image {shape}; mask='none' leaves it out"
        )
    bad = bad_pixels(flags, hdu.name, telescope, (hdu.header, *place.headers))
    del hdu.data
    return bad
