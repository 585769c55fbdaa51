"""A CCD image and what is known of it: :class:`Frame`, read from FITS and written to FITS."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cosmicgate.files import whole

# The header keywords under which instruments store what we need, first found first used.
KEYWORDS: dict[str, tuple[str, ...]] = {
    "gain": ("GAIN", "GAINA"),
    "read_noise": ("RDNOISE", "RDNOISEA", "READNOIS"),
    "saturation": ("SATURATE", "SATURATA"),
    "exptime": ("EXPTIME", "EXPOSURE"),
}


@dataclass(frozen=True)
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
    header["OBJECT"] = frame.name
    header["READOUT"] = (frame.read_out, "saturation, read noise and converter applied")
    hdus = fits.HDUList([fits.PrimaryHDU(frame.image, header)])
    hdus.append(fits.CompImageHDU(frame.bad.astype(np.uint8), name="BPM"))
    if frame.hits is not None:
        hdus.append(fits.CompImageHDU(frame.hits, name="HITS", compression_type="GZIP_2", quantize_level=0))
    with whole(path) as partial:
        hdus.writeto(partial, overwrite=True)


def read_frame(path: Path, **known: Any) -> Frame:
    """Read the first image of a FITS file; ``known`` fields (``gain=4.0``) win over the header.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not FITS, is cut short, holds no image, or lacks a field that ``known`` does not give.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such FITS file: {path}")
    try:
        with fits.open(path, memmap=False) as hdus:
            image_hdu = next((h for h in hdus if h.is_image and h.header.get("NAXIS", 0) == 2), None)
            if image_hdu is None:
                raise ValueError(f"{path}: no two-dimensional image in {[h.name for h in hdus]}")
            header = hdus[0].header + image_hdu.header
            image = np.asarray(image_hdu.data, dtype=np.float32)
            bad = ~np.isfinite(image)
            if "BPM" in hdus:
                bad |= np.asarray(hdus["BPM"].data) != 0
            hits = np.asarray(hdus["HITS"].data, dtype=np.float32) if "HITS" in hdus else None
    except (OSError, TypeError) as error:
        raise ValueError(f"{path}: not a readable FITS file ({error})") from error
    values: dict[str, Any] = {key: _from_header(header, names) for key, names in KEYWORDS.items()}
    values |= {
        "band": str(header.get("FILTER", ""))[:1],
        "name": str(header.get("OBJECT", path.stem)) or path.stem,
    }
    values |= {"read_out": bool(header.get("READOUT", True)), "hits": hits} | known
    missing = [key for key in KEYWORDS if values[key] is None]
    if missing:
        wanted = "; ".join(f"{key} (one of {', '.join(KEYWORDS[key])})" for key in missing)
        raise ValueError(f"{path}: the header lacks {wanted}; give a value in the configuration")
    image = np.where(bad, np.nanmedian(np.where(bad, np.nan, image)), image).astype(np.float32) if bad.any() else image
    return Frame(image=image, bad=bad, **values)


def _from_header(header: fits.Header, names: Sequence[str]) -> float | None:
    return next((float(header[name]) for name in names if name in header), None)
