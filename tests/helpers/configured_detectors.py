"""Build the detectors of the config files, and a field on which all of them are tested."""

import importlib
import warnings

import numpy as np
import pytest

from cosmicgate.config import build
from cosmicgate.detectors import MissingDependency
from cosmicgate.io.fits.frames import Frame
from helpers.hydra_config import composed_config

CLASSICAL = ("astroscrappy", "lacosmic")
PUBLISHED_PACKAGES = ("cosmic_conn_lco", "deepcr_decam")  # networks in the Python packages of their authors
RELEASED = ("released_deepcr", "released_att_deepcr", "released_cosmic_conn", "released_att_cosmic_conn")


def field_image():
    """Compute sky, a star and three hits (H, W), ADU, to the same digits on every machine."""
    y, x = np.mgrid[:96, :128]
    image = 300.0 + (7 * y * y + 13 * x * y + 5 * x) % 61 - 30
    image += 8000 / (1 + ((y - 60) ** 2 + (x - 90) ** 2) / 6.0) ** 2.5
    for step in range(14):
        image[20 + step // 2, 30 + step] += 900
    image[70, 20] += 1500
    image[40:43, 100] += 400
    return image.astype(np.float32)


def make_frame(image=None, **fields):
    """Make a frame of an image (H, W), ADU, by default of :func:`field_image`."""
    image = field_image() if image is None else image
    known = {"gain": 4.0, "read_noise": 6.5, "saturation": 45_000.0, "exptime": 90.0, "name": "field"}
    return Frame(image=image, **(known | fields))


def detectors_of_config(name, *overrides):
    """Build the detectors of a config file by name; skip the test if a package is not installed."""
    cfg = composed_config(f"detector={name}", *overrides, name="evaluate")
    try:
        return {key: build(node) for key, node in cfg.detector.items()}
    except Exception as error:
        cause = error.__cause__ or error
        if not isinstance(cause, MissingDependency):
            raise
        pytest.skip(str(cause))


def detector_of_config(name, *overrides):
    """Build the detector that has the name of its config file."""
    return detectors_of_config(name, *overrides)[name]


def import_original(module):
    """Import the package of a method's authors; skip the test if it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the imported package
        try:
            return importlib.import_module(module)
        except ImportError as error:
            pytest.skip(f"the package of the authors is not installed: {error}")


def probabilities(detector, frame):
    """Compute the probability (H, W) that each pixel is hit."""
    return detector.detect(frame).logits.sigmoid().numpy()
