"""Add the hits of a dark frame to a science frame, and label their pixels."""

from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.background import AstroScrappyCleaner, Sigma, background, dark_mask, dilate, subtracted_sky
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.simulation.readout import read_out
from cosmicgate.io.fits.frames import Frame

Contamination = Callable[[Frame, Frame, np.random.Generator], tuple[Frame, NDArray[np.uint8]]]


@dataclass(frozen=True)
class PaperRecipe:
    """The paper's recipe: C = U + k (sigma_U / sigma_D) D M^D.

    Attributes
    ----------
    k : float
        k_c, the strength of the added hits: 1/8.
    n_sigma, edge, floor, sigma
        As in :func:`cosmicgate.data.background.dark_mask`. The scale of the hits always uses the sigma_D of the
        dark's background, whatever ``sigma`` is.
    clean : AstroScrappyCleaner or None
        Cleaner that first removes the science frame's own hits. None for a frame without hits (a coadd); a simulated
        frame is then read out without its own hits, because nothing would label them.
    ring : bool
        Whether the core is dilated, as in the paper. If False, the pixels around it are labelled sky, although a
        little of the hit is added to them as well. For training alone: test frames always have a ring
        (:func:`with_ring`).
    """

    cache_name: ClassVar[str] = "Paper"  # part of the cache keys: must stay even if the class is renamed
    k: float = 0.125
    n_sigma: float = 3.0
    edge: int = 8
    floor: float = 5.0
    clean: AstroScrappyCleaner | None = field(default_factory=AstroScrappyCleaner)
    ring: bool = True
    sigma: Sigma = "all"

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Add the hits of ``dark`` to ``science`` (ADU), and make its truth (:mod:`cosmicgate.data.pixel_labels`)."""
        dark = _fitted(dark, science, rng)
        exposed = science if science.read_out else read_out(science, rng, science.hits if self.clean else None)
        clean = self.clean(exposed) if self.clean else exposed
        dark = dark if dark.read_out else read_out(dark, rng)
        core = dark_mask(dark, self.n_sigma, self.edge, self.floor, self.sigma) & ~science.bad
        dilated = dilate(core)
        noise = background(dark)[1]
        if noise == 0:
            raise ValueError(f"dark frame {dark.name!r}: its pixels without hits are all alike, expected some noise")
        scale = self.k * background(clean)[1] / noise
        image = clean.image + np.float32(scale) * np.where(dilated & ~dark.bad, dark.image, 0)
        truth = _truth(core, science.bad, dark.bad, self.ring)
        if science.hits is not None and self.clean:  # residuals of a simulated frame's own hits are not sky
            truth[(truth == SKY) & (science.hits > _noise(clean))] = IGNORED
        return replace(clean, image=image.astype(np.float32), hits=None), truth


@dataclass(frozen=True)
class PhysicalRecipe:
    """Add the electrons of the hits before the read noise, as in a real exposure.

    Positives are the pixels in which a hit is visible: its charge exceeds the noise of that pixel. A faint trail over a
    bright star is therefore no positive, nor is a hit on a saturated pixel. For a dark whose hits are not known
    separately (a real one), they are taken to be the charge above the median in its dilated mask, which includes
    the dark's read noise.

    Attributes
    ----------
    n_sigma : float
        Minimum charge of a core pixel, in sigma of that pixel's own noise.
    ignore_sigma : float
        Fainter pixels down to this many sigma are ignored: neither hit nor sky, and not scored. Those in a ring are
        labelled ring, like empty pixels in it.
    clean : AstroScrappyCleaner or None
        As in :class:`PaperRecipe`; used only on frames that are already read out.
    ring : bool
        Whether the core is dilated, as in the paper. If False, a pixel that the charge does not reach is sky even
        beside a hit, and a network learns masks no wider than the visible hit. For training alone, as in
        :class:`PaperRecipe`.
    """

    cache_name: ClassVar[str] = "Physical"  # part of the cache keys: must stay even if the class is renamed
    n_sigma: float = 3.0
    ignore_sigma: float = 1.0
    clean: AstroScrappyCleaner | None = field(default_factory=AstroScrappyCleaner)
    ring: bool = True

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Add the hits of ``dark`` to ``science`` (ADU), and make its truth (:mod:`cosmicgate.data.pixel_labels`)."""
        dark = _fitted(dark, science, rng)
        clean = self.clean(science) if self.clean and science.read_out else science
        hits = dark.hits if dark.hits is not None else _charge_above_dark(dark)
        noise = _noise(clean, subtracted_sky(clean) if clean.read_out else 0)
        image = read_out(clean, rng, hits)
        core = (hits > self.n_sigma * noise) & ~science.bad & (image.image < 0.99 * image.saturation)
        unknown = dark.bad if dark.hits is None else np.zeros_like(dark.bad)
        truth = _truth(core, science.bad, unknown, self.ring)
        truth[(truth == SKY) & (hits > self.ignore_sigma * noise)] = IGNORED
        return replace(image, hits=None), truth


@dataclass(frozen=True)
class RandomRecipe:
    """One of two recipes, drawn at random for each frame, so that a network learns from both.

    Attributes
    ----------
    first, second : Contamination
        The two recipes, for example :class:`PaperRecipe` and :class:`PhysicalRecipe`. Both have a ring, or neither.
    share : float
        Probability of the first.
    """

    cache_name: ClassVar[str] = "Either"  # part of the cache keys: must stay even if the class is renamed
    first: Contamination
    second: Contamination
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"share = {self.share}: expected a fraction between 0 and 1")
        rings = {getattr(recipe, "ring", True) for recipe in (self.first, self.second)}
        if len(rings) > 1:
            raise ValueError("one recipe has a ring, the other has none: a truth is dilated or it is not")

    @property
    def ring(self) -> bool:
        """Check whether the core is dilated in the truth of training frames."""
        return bool(getattr(self.first, "ring", True))

    def __call__(self, science: Frame, dark: Frame, rng: np.random.Generator) -> tuple[Frame, NDArray[np.uint8]]:
        """Add the hits of ``dark`` to ``science`` (ADU), and make its truth (:mod:`cosmicgate.data.pixel_labels`)."""
        return (self.first if rng.random() < self.share else self.second)(science, dark, rng)


def with_ring(recipe: Contamination) -> Contamination:
    """Switch on the ring of a recipe, as test frames need it.

    The masks of different detectors differ in width. Without a ring, a mask that is one pixel wider would count as
    wrong around every hit.
    """
    if isinstance(recipe, RandomRecipe):
        return replace(recipe, first=with_ring(recipe.first), second=with_ring(recipe.second))
    if is_dataclass(recipe) and hasattr(recipe, "ring"):
        return replace(recipe, ring=True)
    return recipe


def _truth(
    core: NDArray[np.bool_], bad: NDArray[np.bool_], unknown: NDArray[np.bool_], ring: bool
) -> NDArray[np.uint8]:
    """Label the pixels (H, W). Ring pixels whose charge is ``unknown``, because the dark is bad there, are ignored."""
    dilated = dilate(core)
    ignored = bad | (dilated & ~core & unknown)
    return np.select([ignored, core, dilated & ring], [IGNORED, CORE, RING], SKY).astype(np.uint8)


def _noise(frame: Frame, sky: float = 0) -> NDArray[np.float32]:
    """Compute the noise (electrons) of each pixel: of its photons, of a ``sky`` (ADU) that was subtracted earlier, and
    of the read-out."""
    photons = np.maximum((frame.image + np.float32(sky)) * frame.gain, 0)
    return np.asarray(np.sqrt(photons + frame.read_noise**2), np.float32)


def _charge_above_dark(dark: Frame) -> NDArray[np.float32]:
    """Compute the charge (electrons) above the dark's median in the pixels of its dilated mask; 0 elsewhere."""
    dilated = dilate(dark_mask(dark)) & ~dark.bad
    charge = (dark.image - background(dark)[0]) * dark.gain
    return np.where(dilated, np.maximum(charge, 0), 0).astype(np.float32)


def _fitted(dark: Frame, science: Frame, rng: np.random.Generator) -> Frame:
    """Crop ``dark`` to the shape of the science frame, at a random position."""
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
