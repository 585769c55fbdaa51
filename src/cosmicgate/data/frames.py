"""A CCD image and what is known of it: :class:`Frame`, read from FITS and written to FITS."""

import gzip
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from cosmicgate.files import whole

# The header keywords under which instruments store what we need, first found first used.
KEYWORDS: dict[str, tuple[str, ...]] = {
    "gain": ("GAIN", "GAINA"),
    "read_noise": ("RDNOISE", "RDNOISEA", "READNOIS"),
    "saturation": ("SATURATE", "SATURATA"),
    "exptime": ("EXPTIME", "EXPOSURE"),
}
TELESCOPES = ("decam", "0m4", "1m0", "2m0")  # the last three are LCO's classes


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
        One of :data:`TELESCOPES`, by which a detector may choose its settings; empty where it is not known.
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


@contextmanager
def opened(path: Path) -> Iterator[fits.HDUList]:
    """Open a FITS file to read from; whatever is wrong with it becomes an error that names it.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not FITS or is cut short. Astropy would only warn of an HDU that the cut took away.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no such FITS file: {path}")
    try:
        with warnings.catch_warnings():
            for sign in ("File may have been truncated", "Error validating header"):
                warnings.filterwarnings("error", sign, AstropyUserWarning)
            with path.open("rb") as file:
                zipped = file.peek(2)[:2] == b"\x1f\x8b"  # unpacked here, for astropy overlooks that one ends early
                with fits.open(BytesIO(gzip.decompress(file.read())) if zipped else file, memmap=False) as hdus:
                    yield hdus
    except Exception as error:  # astropy, zlib and cfitsio each have their own for a broken file
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a whole FITS file ({reason})") from error


def read_frame(path: Path, **known: Any) -> Frame:
    """Read the first image of a FITS file; ``known`` fields (``gain=4.0``) win over the header.

    What an HDU ``BPM`` marks is bad and keeps its value. What is not finite is bad as well and gets the median of the
    good pixels.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is not FITS, is cut short, holds no image, or lacks a field that ``known`` does not give.
    """
    with opened(path) as hdus:
        names = [hdu.name or type(hdu).__name__ for hdu in hdus]
        of_image = next((hdu for hdu in hdus if hdu.is_image and len(hdu.shape) == 2 and 0 not in hdu.shape), None)
        if of_image is not None:
            with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, so bad
                image = np.array(of_image.data, dtype=np.float32)
            mask = np.asarray(hdus["BPM"].data) != 0 if "BPM" in hdus else np.zeros(image.shape, bool)
            hits = np.asarray(hdus["HITS"].data, dtype=np.float32) if "HITS" in hdus else None
            headers = (of_image.header, hdus[0].header)
    if of_image is None:
        raise ValueError(f"{path}: expected an image of two dimensions, found only {', '.join(names)}")
    if of_image.name and names.count(of_image.name) > 1:
        many = f"{names.count(of_image.name)} images named {of_image.name}"
        raise ValueError(f"{path}: expected one CCD, found {many}: put its amplifiers together first")
    if mask.shape != image.shape:
        raise ValueError(f"{path}: the bad-pixel mask BPM is {mask.shape}, the image {image.shape}")
    bad = ~np.isfinite(image) | mask
    if bad.all():
        raise ValueError(f"{path}: none of the {bad.size} pixels is good")
    lost = ~np.isfinite(image)
    image[lost] = np.median(image[~bad])
    values = _from_headers(path, headers, known)
    try:
        return Frame(image=image, bad=bad, **({"hits": hits} | values))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _from_headers(path: Path, headers: Sequence[fits.Header], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a frame that headers give, and those that are known; the first header comes first."""
    found = {
        key: [(word, header[word]) for header in headers for word in words if header.get(word) is not None]
        for key, words in KEYWORDS.items()
        if key not in known
    }
    missing = [key for key, cards in found.items() if not cards]
    if missing:
        wanted = "; ".join(f"{key} (one of {', '.join(KEYWORDS[key])})" for key in missing)
        raise ValueError(f"{path}: the header lacks {wanted}; give a value in the configuration")
    values: dict[str, Any] = {}
    for key, ((word, value), *_) in found.items():
        try:
            values[key] = float(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: expected a number for {word}, got {value!r}") from error
    header = headers[0] + headers[1]
    values["band"] = str(header.get("FILTER", ""))[:1]
    values["name"] = str(header.get("OBJECT", "")) or path.stem
    values["telescope"] = _telescope(header, path)
    values["read_out"] = header.get("READOUT") is not False  # some cameras put the speed of their read-out there
    return values | dict(known)


def _telescope(header: fits.Header, path: Path) -> str:
    """Return the telescope by its header (INSTRUME 'DECam', TELID '0m4a') or an LCO file's name ('coj0m403-...')."""
    if str(header.get("INSTRUME", "")).lower().startswith("decam"):
        return "decam"
    named = re.search(r"(?:^|[^a-z])[a-z]{3}(\dm\d)\w\d-", path.name)
    words = (str(header.get("TELID", "")).lower(), named[1] if named else "")
    return next((t for word in words for t in TELESCOPES if word.startswith(t)), "")
