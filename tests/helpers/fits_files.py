"""Write small FITS files, and check the messages with which faulty ones are refused."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from cosmicgate.io.fits.hdus import FitsError
from cosmicgate.io.fits.raw_hdus import spans

HEADER = {"GAIN": 4.0, "RDNOISE": 6.5, "SATURATE": 45_000.0, "EXPTIME": 90.0, "FILTER": "g DECam SDSS c0001"}
SHAPE = (20, 30)


def constant_image(level=100.0, shape=SHAPE, dtype=np.float32):
    """Make an image whose pixels all have one value."""
    return np.full(shape, level, dtype)


def write_fits(path, *hdus, image=None, **cards):
    """Write a primary HDU with a complete header, changed by ``cards`` (None removes one), and further HDUs."""
    header = fits.Header({word: value for word, value in (HEADER | cards).items() if value is not None})
    fits.HDUList([fits.PrimaryHDU(image, header), *hdus]).writeto(path)
    return path


def refusal_message(call, *arguments, **known):
    """Check that a file is refused with an error of one line that names it; return the message."""
    with pytest.raises(FitsError) as caught:
        call(*arguments, **known)
    assert "\n" not in str(caught.value)
    assert str(arguments[0]) in str(caught.value)
    return str(caught.value)


def write_cutout(path, quality, name="DQ", image=None, **cards):
    """Write a cutout in DECam's layout: an image (H, W), by default of ones, and its quality plane (H, W)."""
    header = fits.Header({"GAINA": 4.0, "RDNOISEA": 6.5, "SATURATA": 45_000.0, "EXPTIME": 90.0} | cards)
    image = np.ones(quality.shape, np.float32) if image is None else image
    hdus = [fits.ImageHDU(image, header, name="SCI"), fits.ImageHDU(quality, name=name)]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


def hdu_bytes(path):
    """Read the bytes of each HDU of a file that is not gzipped."""
    content = path.read_bytes()
    return [content[one.start : one.end] for one in spans(path)]


def write_changed_copy(file: Path, folder: Path, change, name: str | None = None) -> Path:
    """Write a copy of a file whose HDUs were changed by ``change``."""
    path = folder / (name or file.name)
    with fits.open(file, lazy_load_hdus=False) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
        change(copies)
        copies.writeto(path, overwrite=True)
    return path
