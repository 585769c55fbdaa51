"""Simulate what a telescope does to its stars beyond seeing: aberrations, guiding errors, diffraction spikes.

Each class has a kernel, the image of a point source, with which all light from the sky is convolved. Hits are not
affected: they do not pass through the telescope.

References
----------
.. [1] Born & Wolf, Principles of Optics, chapter 5: ray displacements of the primary aberrations.
.. [2] Harvey & Ftaclas 1995, Applied Optics 34, 6337: diffraction by the vanes of a secondary mirror's spider.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.simulation.trail_defocus import SAMPLES_PER_PIXEL, bilinear_image, convolve

Blur = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # light (H, W) to blurred light (H, W)

FWHM_PER_SIGMA = 2.3548  # FWHM of a Gaussian in sigmas, rounded; more digits would change the pixels of cached frames
RAYS = 96  # across the pupil
SPIKE_REACH = 6.0  # half-widths of a spike at which it is cut off


@dataclass(frozen=True)
class Aberration:
    """Defocus and aberrations of a telescope with a central obstruction, by geometrical optics [1]_.

    Attributes
    ----------
    defocus, astigmatism, coma, trefoil : float
        Displacement of the rays from the edge of the pupil, pixels. Defocus makes rings (donuts), astigmatism
        ellipses, coma fans, trefoil triangles. A comatic star is three times as long as this.
    hole : float
        Radius of the secondary mirror's shadow, in units of the pupil's radius.
    angle : float
        Orientation of the whole pattern, radians.
    """

    defocus: float = 0.0
    astigmatism: float = 0.0
    coma: float = 0.0
    trefoil: float = 0.0
    hole: float = 0.3
    angle: float = 0.0

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convolve the light (H, W), float32, with the kernel; light that leaves the image is lost."""
        return convolve(light, self.kernel())

    def kernel(self) -> NDArray[np.float64]:
        """Compute the image of a point source: (K, K) with odd K and a sum of 1."""
        line = np.linspace(-1, 1, RAYS)
        x, y = np.meshgrid(line, line)
        radius = np.hypot(x, y)
        open_ = (radius <= 1) & (radius >= self.hole)
        x, y, radius = x[open_], y[open_], radius[open_]
        square, product = x * x - y * y, 2 * x * y
        along = self.defocus * x + self.astigmatism * x + self.coma * (2 * radius**2 + square) + self.trefoil * square
        across = self.defocus * y - self.astigmatism * y + self.coma * product - self.trefoil * product
        return _rotated_image(along, across, self.angle)


@dataclass(frozen=True)
class GuidingJumps:
    """Guiding that jumps or drifts between positions during the exposure: double, kinked and trailed stars.

    Attributes
    ----------
    x, y : sequence of float
        Positions of a star, pixels, in the order in which it visits them.
    stays : sequence of float
        Fraction of the exposure that it stays at each position; the rest of 1 is spent moving between them.
    """

    x: Sequence[float]
    y: Sequence[float]
    stays: Sequence[float]

    def __post_init__(self) -> None:
        if not len(self.x) == len(self.y) == len(self.stays) > 0 or min(self.stays) < 0 or sum(self.stays) > 1 + 1e-9:
            raise ValueError(
                f"x = {list(self.x)}, y = {list(self.y)}, stays = {list(self.stays)}: expected as many of each, "
                "and stays of zero or more that add up to 1 at most"
            )

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convolve the light (H, W), float32, with the kernel; light that leaves the image is lost."""
        return convolve(light, self.kernel())

    def kernel(self) -> NDArray[np.float64]:
        """Compute the image of a point source: (K, K) with odd K and a sum of 1."""
        x, y, weights = np.array(self.x, float), np.array(self.y, float), np.array(self.stays, float)
        lengths = np.hypot(np.diff(x), np.diff(y))
        moving = 1 - weights.sum()
        if moving > 1e-9 and lengths.sum() > 0:
            for i, length in enumerate(lengths):
                steps = int(np.ceil(length * SAMPLES_PER_PIXEL)) + 1
                along = (np.arange(steps) + 0.5) / steps
                x = np.append(x, self.x[i] + along * (self.x[i + 1] - self.x[i]))
                y = np.append(y, self.y[i] + along * (self.y[i + 1] - self.y[i]))
                weights = np.append(weights, np.full(steps, moving * length / lengths.sum() / steps))
        total = weights.sum()
        x, y = x - (weights * x).sum() / total, y - (weights * y).sum() / total
        return _rotated_image(x, y, 0.0, weights)


@dataclass(frozen=True)
class Spikes:
    """Diffraction spikes: light that the spider's vanes throw along lines through the star [2]_.

    Attributes
    ----------
    vanes : int
        Number of vanes at equal angles; an odd number makes twice as many spikes.
    angle : float
        Direction of one spike, radians.
    flux : float
        Fraction of the light in all spikes, which is the fraction of the pupil that the vanes cover.
    length : float
        Distance from the star at which a spike has half its brightness in the middle, pixels.
    """

    vanes: int
    angle: float
    flux: float
    length: float

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Convolve the light (H, W), float32, with the kernel; light that leaves the image is lost."""
        return convolve(light, self.kernel())

    def kernel(self) -> NDArray[np.float64]:
        """Compute the image of a point source: (K, K) with odd K and a sum of 1."""
        reach = SPIKE_REACH * self.length
        radius = np.linspace(-reach, reach, 4 * int(np.ceil(reach)) + 1)
        lines = self.vanes // 2 if self.vanes % 2 == 0 else self.vanes  # a spike has two arms
        turns = self.angle + np.pi * np.arange(lines) / lines
        bright = 1 / (1 + (radius / self.length) ** 2)
        x, y = (np.concatenate([radius * f(turn) for turn in turns]) for f in (np.cos, np.sin))
        weights = np.tile(self.flux * bright / bright.sum() / lines, lines)
        return _rotated_image(np.append(x, 0), np.append(y, 0), 0.0, np.append(weights, 1 - self.flux))


@dataclass(frozen=True)
class CombinedBlur:
    """Several blurs, applied one after the other."""

    parts: Sequence[Blur]

    def __call__(self, light: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blur the light (H, W), float32."""
        for part in self.parts:
            light = part(light)
        return light


def _rotated_image(
    x: NDArray[np.float64], y: NDArray[np.float64], angle: float, weights: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Draw points at ``x`` and ``y`` (pixels from the middle), rotated by ``angle``, as an image of sum 1."""
    columns, rows = x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)
    reach = int(np.ceil(max(np.abs(rows).max(), np.abs(columns).max()))) + 1
    return bilinear_image(rows + reach, columns + reach, 2 * reach + 1, weights)
