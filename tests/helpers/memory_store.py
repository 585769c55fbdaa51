"""Provide the in-memory filesystem of fsspec, and frames to put into it."""

from io import BytesIO

import pytest
from astropy.io import fits

from helpers.mask_command import SHAPE
from helpers.tiny_model import sky

fsspec = pytest.importorskip("fsspec", reason="URLs need the extra s3")
MemoryFileSystem = type(fsspec.filesystem("memory"))


def frame_bytes(seed=0):
    """Make the bytes of a FITS file with one simulated image."""
    file = BytesIO()
    fits.PrimaryHDU(sky(SHAPE, seed)).writeto(file)
    return file.getvalue()
