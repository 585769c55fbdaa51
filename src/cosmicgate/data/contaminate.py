"""Put the hits of a dark frame into a science frame, and write down where they are."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.clean import Clean, background, dark_mask, dilate, subtracted_sky
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.simulate.readout import read_out
from cosmicgate.truth import CORE, IGNORED, RING, SKY

Contamination = Callable[[Frame, Frame, np.random.Generator], tuple[Frame, NDArray[np.uint8]]]


@dataclass(frozen=True)
class Paper:
    """The paper's recipe: C = U + k (sigma_U / sigma_D) D M^D.

    Attributes
    ----------
    k : float
        k_c, the strength of the added hits: 1/8.
    n_sigma, edge, floor
        As in :func:`cosmicgate.data.clean.dark_mask`.
    clean : Clean or None
        How the science frame's own hits are taken out first. None for a frame that has none (a coadd); a simulated
        one then gets none, for nothing would mark them.
    ring : bool
        Whether the core is dilated, as in the paper. Without, the pixels around it are sky, though a little of the
        hit is added to them as well.
    """

    k: float = 0.125
    n_sigma: float = 3.0
    edge: int = 8
    floor: float = 5.0
    clean: Clean | None = field(default_factory=Clean)
    ring: bool = True

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Return the contaminated frame (ADU) and the truth (codes of :mod:`cosmicgate.truth`)."""
        dark = _fitted(dark, science, rng)
        exposed = science if science.read_out else read_out(science, rng, science.hits if self.clean else None)
        clean = self.clean(exposed) if self.clean else exposed
        dark = dark if dark.read_out else read_out(dark, rng)
        core = dark_mask(dark, self.n_sigma, self.edge, self.floor) & ~science.bad
        grown = dilate(core)
        noise = background(dark)[1]
        if noise == 0:
            raise ValueError(f"dark frame {dark.name!r}: its pixels without hits are all alike, expected some noise")
        scale = self.k * background(clean)[1] / noise
        image = clean.image + np.float32(scale) * np.where(grown & ~dark.bad, dark.image, 0)
        truth = _truth(core, grown if self.ring else core, science.bad)
        if science.hits is not None and self.clean:  # what cleaning left of a simulated frame's own hits is no sky
            truth[(truth == SKY) & (science.hits > _noise(clean))] = IGNORED
        return replace(clean, image=image.astype(np.float32), hits=None), truth


@dataclass(frozen=True)
class Physical:
    """Add the hits' electrons before the read noise, as a real exposure does.

    The truth is what can be seen: a hit's charge against the noise of the pixel that it falls on, so that a faint
    trail over a bright star is not asked for, nor is a hit on a saturated pixel. Where a dark does not know its hits
    (a real one), they are the pixels of its mask above its median, and carry its read noise with them.

    Attributes
    ----------
    n_sigma : float
        Least charge of a core pixel, in standard deviations of its own pixel's noise.
    ignore_sigma : float
        Fainter pixels down to this many deviations are neither hit nor sky: nobody is scored on them.
    clean : Clean or None
        As in :class:`Paper`; used only on frames that are read out already.
    ring : bool
        Whether the core is dilated, as in the paper. Without, a pixel that the charge does not reach is sky even
        beside a hit, and a network learns masks that are no wider than what is seen.
    """

    n_sigma: float = 3.0
    ignore_sigma: float = 1.0
    clean: Clean | None = field(default_factory=Clean)
    ring: bool = True

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Return the contaminated frame (ADU) and the truth (codes of :mod:`cosmicgate.truth`)."""
        dark = _fitted(dark, science, rng)
        clean = self.clean(science) if self.clean and science.read_out else science
        hits = dark.hits if dark.hits is not None else _charge_above_dark(dark)
        noise = _noise(clean, subtracted_sky(clean) if clean.read_out else 0)
        image = read_out(clean, rng, hits)
        core = (hits > self.n_sigma * noise) & ~science.bad & (image.image < 0.99 * image.saturation)
        truth = _truth(core, dilate(core) if self.ring else core, science.bad)
        truth[(truth == SKY) & (hits > self.ignore_sigma * noise)] = IGNORED
        return replace(image, hits=None), truth


@dataclass(frozen=True)
class Either:
    """One of two recipes, drawn for each frame: so that a network learns from both.

    Attributes
    ----------
    first, second : Contamination
        :class:`Paper` and :class:`Physical`, say.
    share : float
        Chance of the first.
    """

    first: Contamination
    second: Contamination
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share = {self.share}: expected a part of the frames, from 0 to 1")
        rings = {getattr(recipe, "ring", True) for recipe in (self.first, self.second)}
        if len(rings) > 1:
            raise ValueError("one recipe has a ring, the other has none: a truth is dilated or it is not")

    @property
    def ring(self) -> bool:
        """Whether the core is dilated."""
        return bool(getattr(self.first, "ring", True))

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Return the contaminated frame (ADU) and the truth (codes of :mod:`cosmicgate.truth`)."""
        return (self.first if rng.random() < self.share else self.second)(science, dark, rng)


def _truth(core: NDArray[np.bool_], grown: NDArray[np.bool_], bad: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.select([bad, core, grown], [IGNORED, CORE, RING], SKY).astype(np.uint8)


def _noise(frame: Frame, sky: float = 0) -> NDArray[np.float32]:
    """Return the standard deviation (electrons) of each pixel: its photons, those of a ``sky`` (ADU) that was taken
    from the frame before, and the read noise."""
    photons = np.maximum((frame.image + np.float32(sky)) * frame.gain, 0)
    return np.asarray(np.sqrt(photons + frame.read_noise**2), np.float32)


def _charge_above_dark(dark: Frame) -> NDArray[np.float32]:
    """Return the electrons above the dark's median in the pixels of its dilated mask."""
    grown = dilate(dark_mask(dark)) & ~dark.bad
    charge = (dark.image - background(dark)[0]) * dark.gain
    return np.where(grown, np.maximum(charge, 0), 0).astype(np.float32)


def _fitted(dark: Frame, science: Frame, rng: np.random.Generator) -> Frame:
    """Cut a part of the science frame's shape from ``dark``, at a random place."""
    spare = [have - want for have, want in zip(dark.shape, science.shape, strict=True)]
    if min(spare) < 0:
        raise ValueError(
            f"dark frame {dark.name!r} is {dark.shape}, smaller than science frame {science.name!r}: {science.shape}"
        )
    if not any(spare):
        return dark
    row, column = (int(rng.integers(0, n + 1)) for n in spare)
    height, width = science.shape
    return dark.cut(slice(row, row + height), slice(column, column + width), dark.name)
