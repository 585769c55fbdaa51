"""Write exposures of one star field that are turned and shifted against each other."""

from pathlib import Path

import numpy as np

from helpers.viewer import write_sky

SHAPE = (180, 220)
SCALE = 1 / 3600  # degrees a pixel
STARS = np.random.default_rng(5).uniform((12, 12), (SHAPE[1] - 12, SHAPE[0] - 12), (30, 2))  # x, y
MIDDLE = np.array([SHAPE[1] / 2, SHAPE[0] / 2])


def moved(places, degrees=0.0, shift=(0.0, 0.0)):
    """Turn positions (N, 2) about the middle of the image, and shift them."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (places - MIDDLE) @ np.array([[c, s], [-s, c]]) + MIDDLE + shift


def exposure(path: Path, places, shape=SHAPE, wcs=None) -> Path:
    """Write stars at x, y; ``wcs``: turn and shift of its WCS against that of the first exposure."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.random.default_rng(len(path.name)).normal(100, 4, shape)
    for number, (left, low) in enumerate(places):
        image += (300 + 60 * number) * np.exp(-((x - left) ** 2 + (y - low) ** 2) / 2 / 1.6**2)
    cards = {}
    if wcs is not None:
        degrees, shift = wcs
        c, s = np.cos(np.radians(degrees)) * SCALE, np.sin(np.radians(degrees)) * SCALE
        cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 2.0}
        cards |= {"CRPIX1": MIDDLE[0] + 1 + shift[0], "CRPIX2": MIDDLE[1] + 1 + shift[1]}
        cards |= {"CD1_1": -c, "CD1_2": -s, "CD2_1": -s, "CD2_2": c}
    return write_sky(path, image.astype(np.float32), **cards)
