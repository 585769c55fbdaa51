"""Telescopes that do not follow the sky, or are out of focus: stars become trails or rings, hits stay as they are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

FINE = 8  # points to a pixel from which a kernel is summed up


@dataclass(frozen=True)
class Smear:
    """What happens to all light from above, beside the seeing.

    Attributes
    ----------
    trail : float
        Length of the line that a point becomes, pixels.
    angle : float
        Of that line, radians from the rows.
    defocus : float
        Radius of the disk that a point becomes, pixels.
    hole : float
        Radius of the shadow in that disk, which the secondary mirror throws, in units of the disk's.
    """

    trail: float = 0.0
    angle: float = 0.0
    defocus: float = 0.0
    hole: float = 0.0

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the light (H, W), float32, smeared; what moves over the edge is lost."""
        smeared: NDArray[np.float32] = oaconvolve(light, self.kernel(), mode="same").astype(np.float32)
        return smeared

    def kernel(self) -> NDArray[np.float64]:
        """Return what becomes of a point: an image (K, K) of odd side whose sum is 1."""
        reach = int(np.ceil(self.trail / 2 + self.defocus)) + 1
        grid = np.arange(-reach * FINE, reach * FINE + 1) / FINE
        x, y = np.meshgrid(grid, grid)
        radius = np.hypot(x, y)
        disk = (radius <= self.defocus) & (radius >= self.hole * self.defocus)  # a point, if there is no defocus
        way = np.linspace(-0.5, 0.5, 2 * FINE * (int(self.trail) + 1) + 1) * self.trail
        columns = (x[disk][:, None] + way * np.cos(self.angle)).ravel()
        rows = (y[disk][:, None] + way * np.sin(self.angle)).ravel()
        return _shared(rows + reach, columns + reach, 2 * reach + 1)


def _shared(rows: NDArray[np.float64], columns: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Return how much of points lies in each pixel (side, side), each shared among the four around it."""
    image = np.zeros((side + 1, side + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    np.add.at(image, (top, left), (1 - down) * (1 - right))
    np.add.at(image, (top, left + 1), (1 - down) * right)
    np.add.at(image, (top + 1, left), down * (1 - right))
    np.add.at(image, (top + 1, left + 1), down * right)
    inside: NDArray[np.float64] = image[:side, :side]
    return np.asarray(inside / inside.sum())
