"""Simulate trailed and defocused stars: a telescope that does not track, or is out of focus. Hits are not affected."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import oaconvolve

SAMPLES_PER_PIXEL = 8  # sample points per pixel along each axis of a kernel


@dataclass(frozen=True)
class TrailDefocus:
    """Trail and defocus of all light from the sky, in addition to the seeing.

    Attributes
    ----------
    trail : float
        Length of the trail of a point source, pixels.
    angle : float
        Angle between the trail and the rows, radians.
    defocus : float
        Radius of the disk of a defocused point source, pixels.
    hole : float
        Radius of the secondary mirror's shadow in that disk, in units of the disk's radius.
    """

    trail: float = 0.0
    angle: float = 0.0
    defocus: float = 0.0
    hole: float = 0.0

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convolve the light (H, W), float32, with the kernel; light that leaves the image is lost."""
        return convolve(light, self.kernel())

    def kernel(self) -> NDArray[np.float64]:
        """Compute the image of a point source: (K, K) with odd K and a sum of 1."""
        reach = int(np.ceil(self.trail / 2 + self.defocus)) + 1
        grid = np.arange(-reach * SAMPLES_PER_PIXEL, reach * SAMPLES_PER_PIXEL + 1) / SAMPLES_PER_PIXEL
        x, y = np.meshgrid(grid, grid)
        radius = np.hypot(x, y)
        disk = (radius <= self.defocus) & (radius >= self.hole * self.defocus)  # a point, if there is no defocus
        along = np.linspace(-0.5, 0.5, 2 * SAMPLES_PER_PIXEL * (int(self.trail) + 1) + 1) * self.trail
        columns = (x[disk][:, None] + along * np.cos(self.angle)).ravel()
        rows = (y[disk][:, None] + along * np.sin(self.angle)).ravel()
        return bilinear_image(rows + reach, columns + reach, 2 * reach + 1)


def convolve(light: NDArray[np.float32], kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve the light (H, W) with a kernel (K, K); light that leaves the image is lost."""
    convolved: NDArray[np.float32] = oaconvolve(light, kernel, mode="same").astype(np.float32)
    return convolved


def bilinear_image(
    rows: NDArray[np.float64], columns: NDArray[np.float64], side: int, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Distribute points over an image (side, side) of sum 1, each bilinearly among the four pixels around it.

    ``weights`` (N,) are the points' fractions of the light; without them all are equal.
    """
    image = np.zeros((side + 1, side + 1))
    top, left = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = rows - top, columns - left
    light = 1.0 if weights is None else weights
    np.add.at(image, (top, left), light * (1 - down) * (1 - right))
    np.add.at(image, (top, left + 1), light * (1 - down) * right)
    np.add.at(image, (top + 1, left), light * down * (1 - right))
    np.add.at(image, (top + 1, left + 1), light * down * right)
    inside: NDArray[np.float64] = image[:side, :side]
    return np.asarray(inside / inside.sum())
