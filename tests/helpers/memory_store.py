"""A filesystem in memory, as fsspec has it."""

from io import BytesIO

import pytest
from astropy.io import fits

from helpers.mask_command import SHAPE
from helpers.tiny_model import sky

fsspec = pytest.importorskip("fsspec", reason="URLs need the extra s3")
MEMORY = type(fsspec.filesystem("memory"))


def frame(seed=0):
    file = BytesIO()
    fits.PrimaryHDU(sky(SHAPE, seed)).writeto(file)
    return file.getvalue()
