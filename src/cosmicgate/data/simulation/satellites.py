"""Simulate the trails of satellites and aircraft: light that crosses the frame in a line, and is no hit.

References
----------
.. [1] Tyson et al. 2020, AJ 160, 226: surface brightness and width of the trails of low satellites; a satellite near
   enough to be out of focus makes a trail wider than the stars.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cosmicgate.data.random_streams import log_uniform
from cosmicgate.data.simulation.optics import FWHM_PER_SIGMA

FLASH_PERIOD = (5.0, 80.0)  # pixels between the flashes of a tumbling satellite; our own choice


@dataclass(frozen=True)
class SatelliteTrail:
    """A straight trail.

    Attributes
    ----------
    x, y : float
        A point on the trail, pixels.
    angle : float
        Angle between the trail and the rows, radians.
    brightness : float
        Electrons in a pixel on the middle line of the trail, if it were one pixel wide.
    width : float
        Full width at half maximum across the trail, pixels.
    start, end : float
        Distances from the point between which the trail is seen, pixels: infinite, or where the shutter opened.
    period, depth : float
        Distance between flashes (pixels), and the fraction of the light that varies; 0 for a steady trail.
    """

    x: float
    y: float
    angle: float
    brightness: float
    width: float
    start: float = -np.inf
    end: float = np.inf
    period: float = 1.0
    depth: float = 0.0

    def light(self, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Compute the light (H, W), electrons."""
        rows, columns = np.indices(shape, np.float32)
        u, v = np.cos(self.angle), np.sin(self.angle)
        along = (columns - self.x) * u + (rows - self.y) * v
        across = (rows - self.y) * u - (columns - self.x) * v
        sigma = self.width / FWHM_PER_SIGMA
        scale = 1 / (np.sqrt(2) * sigma)
        profile = 0.5 * (erf((across + 0.5) * scale) - erf((across - 0.5) * scale))  # integrated over a pixel
        ends = 0.25 * (1 + erf((along - self.start) * scale)) * (1 + erf((self.end - along) * scale))
        flashes = 1 - self.depth * np.cos(np.pi * along / self.period) ** 2
        return np.asarray(self.brightness * profile * ends * flashes, np.float32)


def draw_trail(
    shape: tuple[int, int], noise: float, seeing: float, peaks: tuple[float, float], rng: np.random.Generator
) -> SatelliteTrail:
    """Draw a trail through a frame.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    noise : float
        Sigma of the sky, electrons.
    seeing : float
        Full width at half maximum of a star, pixels; the trail is up to 1.5 times as wide [1]_.
    peaks : tuple of float
        Minimum and maximum brightness on the middle line, in units of ``noise``.
    rng : numpy.random.Generator
        Source of randomness.
    """
    width = seeing * rng.uniform(1.0, 1.5)
    middle = erf(0.5 / (np.sqrt(2) * width / FWHM_PER_SIGMA))  # fraction of the light in the pixel on the middle line
    peak = log_uniform(peaks, rng) * noise
    ends = rng.random() < 0.3
    length = rng.uniform(20, 2 * max(shape)) if ends else np.inf
    flashing = rng.random() < 0.3
    return SatelliteTrail(
        x=rng.uniform(0, shape[1]),
        y=rng.uniform(0, shape[0]),
        angle=rng.uniform(0, np.pi),
        brightness=peak / middle,
        width=width,
        start=0.0 if ends else -np.inf,
        end=length,
        period=log_uniform(FLASH_PERIOD, rng) if flashing else 1.0,
        depth=rng.uniform(0.3, 1.0) if flashing else 0.0,
    )
