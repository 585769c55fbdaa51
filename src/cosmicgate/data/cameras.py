"""Frames of cameras that never were: each with a silicon, an electronics, a telescope and a sky of its own.

A network that learns from one camera learns that camera. One that meets a new camera in every frame has to learn what
all hits have in common: they have not passed through the telescope. The ranges cover the CCDs in use, from thin
front-illuminated ones behind small telescopes to DECam's; they are ours, and wide on purpose.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.simulate.ccd import CCD
from cosmicgate.data.simulate.cosmic_rays import cosmic_rays
from cosmicgate.data.simulate.readout import dark, read_out
from cosmicgate.data.simulate.sky import Band, draw
from cosmicgate.data.simulate.smear import Smear
from cosmicgate.data.sources import Provenance
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.data.store import Recipe

Range = tuple[float, float]

THICKNESS: Range = (8.0, 300.0)  # um of silicon that collects charge
PIXEL: Range = (9.0, 18.0)  # um
DIFFUSION: Range = (0.5, 2.5)  # um, at the gates; up to DIFFUSION_DEEP more on the far side
DIFFUSION_DEEP = 6.0
SUBSTRATE = 300.0  # um, at most, behind the thin ones that are lit from the front
GAIN: Range = (0.4, 6.0)  # electrons per ADU
READ_NOISE: Range = (2.0, 15.0)  # electrons
FULL_WELL: Range = (2.5e4, 2.0e5)  # electrons
CONVERTER = 65_000.0  # ADU, where 16 bits end
PIXEL_SCALE: Range = (0.15, 1.2)  # arcseconds
SEEING: Range = (1.2, 6.0)  # full width at half maximum in pixels, the pixel included
SKY: Range = (30.0, 1.0e4)  # electrons
EXPTIME: Range = (10.0, 1200.0)  # seconds
ZERO_POINT: Range = (20.5, 26.0)  # magnitude of one ADU per second
STARS: Range = (0.7, 50.0)  # times as many as towards the Galactic pole
TRAIL: Range = (1.5, 40.0)  # pixels: of telescopes that do not follow, and of asteroids' hunters, who follow those
DEFOCUS: Range = (2.0, 12.0)  # pixels: radius of the rings of telescopes out of focus
HOLE: Range = (0.2, 0.5)  # of that radius
DARK_EXPTIME: Range = (1200.0, 7200.0)  # seconds: many hits, as crops are made on them


@dataclass(frozen=True)
class RandomScience:
    """Scenes, each of a camera, telescope and sky of its own; not yet read out.

    Attributes
    ----------
    frames : mapping of split to int
        How many.
    shape : sequence of int
        Rows and columns.
    smeared : float
        Part of the telescopes that make trails (two of three) or rings of their stars.
    seeing : sequence of float
        Least and largest width of a star, as :data:`SEEING`.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] = (512, 512)
    seed: int = 0
    smeared: float = 0.0
    seeing: Sequence[float] = SEEING
    provenance: Provenance = "simulated"

    def recipes(self, split: Split) -> list[Recipe]:
        """Return the recipes of a split."""
        check_splits(self.frames)
        if not 0 <= self.smeared <= 1:
            raise ValueError(f"smeared = {self.smeared}: expected a part of the telescopes, 0 to 1")
        if len(self.seeing) != 2 or not 1 <= self.seeing[0] <= self.seeing[1]:
            raise ValueError(f"seeing = {list(self.seeing)}: expected the least and the largest, from 1 pixel on")
        return [self._recipe(split, number) for number in range(self.frames.get(split, 0))]

    def _recipe(self, split: Split, number: int) -> Recipe:
        name = f"{split}-camera-{number:04d}"
        seed = [self.seed, 3, SPLITS.index(split), number]
        seeing = (float(self.seeing[0]), float(self.seeing[1]))

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            ccd, exptime = camera(self.shape, rng), _even_in_log(EXPTIME, rng)
            band = telescope(ccd, exptime, rng, seeing)
            band = replace(band, smear=smear(self.smeared, np.random.default_rng([*seed, 1])))
            frame = draw(ccd, band, exptime, rng, name)
            return replace(frame, bad=np.zeros_like(frame.bad))  # not every user knows the bad columns: they are sky

        smears = [[self.smeared, TRAIL, DEFOCUS, HOLE]] if self.smeared else []
        widths = [["seeing", seeing]] if seeing != SEEING else []
        return Recipe(name, ["random cameras", list(self.shape), _ranges(), seed, *smears, *widths], make)


@dataclass(frozen=True)
class RandomDarks:
    """Long darks, each of a camera of its own, full of hits.

    Attributes
    ----------
    frames : mapping of split to int
        How many.
    shape : sequence of int
        Rows and columns.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] = (512, 512)
    seed: int = 0
    provenance: Provenance = "simulated"

    def recipes(self, split: Split) -> list[Recipe]:
        """Return the recipes of a split."""
        check_splits(self.frames)
        return [self._recipe(split, number) for number in range(self.frames.get(split, 0))]

    def _recipe(self, split: Split, number: int) -> Recipe:
        name = f"{split}-camera-dark-{number:04d}"
        seed = [self.seed, 4, SPLITS.index(split), number]

        def make() -> Frame:
            rng = np.random.default_rng(seed)
            ccd, exptime = camera(self.shape, rng), _even_in_log(DARK_EXPTIME, rng)
            hits = cosmic_rays(ccd, exptime, rng)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        return Recipe(name, ["random darks", list(self.shape), _ranges(), seed], make)


def camera(shape: Sequence[int], rng: np.random.Generator) -> CCD:
    """Draw a CCD of a shape (rows, columns)."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected a shape of rows and columns, got {list(shape)}")
    thickness = _even_in_log(THICKNESS, rng)
    gain = _even_in_log(GAIN, rng)
    near = rng.uniform(*DIFFUSION)
    from_the_front = thickness < 30 and rng.random() < 0.5
    return CCD(
        shape=(shape[0], shape[1]),
        pixel=rng.uniform(*PIXEL),
        thickness=thickness,
        diffusion_min=near,
        diffusion_max=near + DIFFUSION_DEEP * rng.random() * math.sqrt(thickness / THICKNESS[1]),
        gain=gain,
        read_noise=_even_in_log(READ_NOISE, rng),
        saturation=min(_even_in_log(FULL_WELL, rng) / gain, CONVERTER),
        pixel_scale=_even_in_log(PIXEL_SCALE, rng),
        substrate=rng.uniform(0, SUBSTRATE) if from_the_front else 0.0,
        dark_current=0.001,
    )


def telescope(ccd: CCD, exptime: float, rng: np.random.Generator, seeing: Range = SEEING) -> Band:
    """Draw what is before the CCD: zero point, seeing, sky and the richness of the field."""
    level = _even_in_log(SKY, rng) / (ccd.gain * exptime)  # ADU per second and pixel
    return Band(
        zero_point=rng.uniform(*ZERO_POINT),
        sky=(level, level),
        sky_scale=ccd.pixel_scale,
        seeing=_even_in_log(seeing, rng) * ccd.pixel_scale,
        colour=0.0,
        scatter=0.0,
        stars=STARS,
    )


def smear(chance: float, rng: np.random.Generator) -> Smear | None:
    """Draw how a telescope smears its stars, most often not at all."""
    if rng.random() >= chance:
        return None
    if rng.random() < 2 / 3:
        return Smear(trail=_even_in_log(TRAIL, rng), angle=rng.uniform(0, np.pi))
    return Smear(defocus=_even_in_log(DEFOCUS, rng), hole=rng.uniform(*HOLE))


def _even_in_log(limits: Range, rng: np.random.Generator) -> float:
    return float(np.exp(rng.uniform(*np.log(limits))))


def _ranges() -> list[Range | float]:
    """What a recipe of this module depends on beside its seed."""
    ranges = [THICKNESS, PIXEL, DIFFUSION, GAIN, READ_NOISE, FULL_WELL, PIXEL_SCALE, SEEING, SKY, EXPTIME]
    return [*ranges, ZERO_POINT, STARS, DARK_EXPTIME, DIFFUSION_DEEP, SUBSTRATE, CONVERTER]
