"""Simulated frames of randomised cameras: silicon, electronics, telescope and sky are drawn anew for each frame.

This is domain randomisation: a network that is trained on one camera adapts to that camera; one that sees a new camera
in every frame has to learn what all hits have in common, namely that they have not passed through the optics. The
ranges cover the CCDs in use, from thin front-illuminated ones behind small telescopes to DECam's; they are our own
choice, and deliberately wide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.random_streams import log_uniform, random_stream
from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays
from cosmicgate.data.simulation.readout import dark, read_out
from cosmicgate.data.simulation.sky import Band, draw
from cosmicgate.data.simulation.trail_defocus import TrailDefocus
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.effects import Effects
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.io.fits.frames import Frame

Range = tuple[float, float]

THICKNESS: Range = (8.0, 300.0)  # um of silicon that collects charge
PIXEL: Range = (9.0, 18.0)  # um
DIFFUSION: Range = (0.5, 2.5)  # um, sigma of the charge cloud at the gates; up to DIFFUSION_DEEP more on the far side
DIFFUSION_DEEP = 6.0
SUBSTRATE = 300.0  # um, maximum, behind thin front-illuminated CCDs
GAIN: Range = (0.4, 6.0)  # electrons per ADU
READ_NOISE: Range = (2.0, 15.0)  # electrons
FULL_WELL: Range = (2.5e4, 2.0e5)  # electrons
CONVERTER = 65_000.0  # ADU, limit of a 16-bit converter
PIXEL_SCALE: Range = (0.15, 1.2)  # arcseconds
SEEING: Range = (1.2, 6.0)  # full width at half maximum in pixels, the pixel included
SKY: Range = (30.0, 1.0e4)  # electrons
EXPTIME: Range = (10.0, 1200.0)  # seconds
ZERO_POINT: Range = (20.5, 26.0)  # magnitude of one ADU per second
STARS: Range = (0.7, 50.0)  # number of stars, in units of that towards the Galactic pole
TRAIL: Range = (1.5, 40.0)  # pixels, length of star trails: no tracking, or tracking of a moving object
DEFOCUS: Range = (2.0, 12.0)  # pixels, radius of the rings of defocused stars
HOLE: Range = (0.2, 0.5)  # inner radius of the ring, in units of that radius
DARK_EXPTIME: Range = (1200.0, 7200.0)  # seconds; long, because crops are taken at hits and need many of them
# Thin silicon that is not depleted to its far side, back-illuminated or on an inert substrate. With 10 to 30 um in all,
# hits have the sizes of those in real darks of such a chip (docs/simulation.md); the ranges are wider.
DEPLETED: Range = (3.0, 15.0)  # um
FIELD_FREE: Range = (3.0, 30.0)  # um
COMPTON: Range = (0.8, 8.0)  # per cm^2 and minute, as in Rates: up to three times as many as in the ITL laboratory
X_RAYS: Range = (0.03, 0.3)  # per cm^2 and minute
# Per cm^2 and minute: 6 to 60 times as many as leave a "low-alpha" material (0.1 per cm^2 and hour), so that training
# sees some.
ALPHAS: Range = (0.01, 0.1)


@dataclass(frozen=True)
class RandomScience:
    """Simulated scenes, each of a randomised camera, telescope and sky; not yet read out.

    Attributes
    ----------
    frames : mapping of split to int
        Number of frames.
    shape : sequence of int
        Rows and columns.
    trailed_or_defocused : float
        Fraction of the frames whose stars are trailed (two thirds of them) or defocused (one third).
    seeing : sequence of float
        Minimum and maximum width of a star, pixels, as :data:`SEEING`.
    effects : Effects, optional
        Fractions of the frames with warm pixels, aberrations, satellite trails and others.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] = (512, 512)
    seed: int = 0
    trailed_or_defocused: float = 0.0
    seeing: Sequence[float] = SEEING
    effects: Effects | None = None
    data_origin: DataOrigin = "simulated"

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List the lazy frames of a split."""
        check_splits(self.frames)
        if not 0 <= self.trailed_or_defocused <= 1:
            raise ValueError(f"trailed_or_defocused = {self.trailed_or_defocused}: expected a fraction between 0 and 1")
        if len(self.seeing) != 2 or not 1 <= self.seeing[0] <= self.seeing[1]:
            raise ValueError(f"seeing = {list(self.seeing)}: expected the least and the largest, from 1 pixel on")
        return [self._lazy_frame(split, number) for number in range(self.frames.get(split, 0))]

    def _lazy_frame(self, split: Split, number: int) -> LazyFrame:
        name = f"{split}-camera-{number:04d}"
        seed = [self.seed, 3, SPLITS.index(split), number]
        seeing = (float(self.seeing[0]), float(self.seeing[1]))

        def build() -> Frame:
            rng = np.random.default_rng(seed)
            ccd, exptime = draw_camera(self.shape, rng), log_uniform(EXPTIME, rng)
            band = draw_telescope(ccd, exptime, rng, seeing)
            band = replace(
                band, blur=draw_trail_or_defocus(self.trailed_or_defocused, np.random.default_rng([*seed, 1]))
            )
            frame = self._draw(ccd, band, exptime, rng, name, [*seed])
            # Bad columns are labelled sky, because not every user has a mask of them.
            return replace(frame, bad=np.zeros_like(frame.bad))

        trails = [[self.trailed_or_defocused, TRAIL, DEFOCUS, HOLE]] if self.trailed_or_defocused else []
        widths = [["seeing", seeing]] if seeing != SEEING else []
        effects = [self.effects.cache_key_parts()] if self.effects else []
        return LazyFrame(name, ["random cameras", list(self.shape), _ranges(), seed, *trails, *widths, *effects], build)

    def _draw(
        self, ccd: CCD, band: Band, exptime: float, rng: np.random.Generator, name: str, seed: Sequence[int]
    ) -> Frame:
        """Draw the photons of a frame, with the effects."""
        if self.effects is None:
            return draw(ccd, band, exptime, rng, name)
        ccd, band = self.effects.camera(ccd, band, exptime, seed)
        trails = self.effects.trails(ccd, band, exptime, seed)
        defects = self.effects.defect_charge(ccd, exptime, seed)
        frame = draw(ccd, self.effects.telescope(band, seed), exptime, rng, name, trails=trails, defects=defects)
        return replace(frame, bleeds_along="rows" if self.effects.bleeds_along_rows(seed) else "columns")


@dataclass(frozen=True)
class RandomDarks:
    """Simulated long darks with many hits, each of a randomised camera.

    Attributes
    ----------
    frames : mapping of split to int
        Number of darks.
    shape : sequence of int
        Rows and columns.
    field_free : float
        Fraction of the darks of thin silicon that has a layer without electric field, in which hits are round and
        diffuse; these have more hits by gamma rays and X-rays, which vary between sites.
    alphas : float
        Fraction of the darks with alpha particles.
    """

    frames: Mapping[str, int]
    shape: Sequence[int] = (512, 512)
    seed: int = 0
    field_free: float = 0.0
    alphas: float = 0.0
    data_origin: DataOrigin = "simulated"

    def lazy_frames(self, split: Split) -> list[LazyFrame]:
        """List the lazy frames of a split."""
        check_splits(self.frames)
        for key in ("field_free", "alphas"):
            if not 0 <= (value := getattr(self, key)) <= 1:
                raise ValueError(f"{key} = {value}: expected a fraction between 0 and 1")
        return [self._lazy_frame(split, number) for number in range(self.frames.get(split, 0))]

    def _lazy_frame(self, split: Split, number: int) -> LazyFrame:
        name = f"{split}-camera-dark-{number:04d}"
        seed = [self.seed, 4, SPLITS.index(split), number]

        def build() -> Frame:
            rng = np.random.default_rng(seed)
            ccd, exptime = draw_camera(self.shape, rng), log_uniform(DARK_EXPTIME, rng)
            ccd, field_free, rates = self._silicon(ccd, seed)
            hits = cosmic_rays(ccd, exptime, rng, rates, field_free=field_free)
            return replace(read_out(dark(ccd, exptime, rng, name), rng, hits), hits=hits)

        ranges = [DEPLETED, FIELD_FREE, COMPTON, X_RAYS, ALPHAS]
        silicon = [["silicon", self.field_free, self.alphas, *ranges]] if self.field_free or self.alphas else []
        return LazyFrame(name, ["random darks", list(self.shape), _ranges(), seed, *silicon], build)

    def _silicon(self, ccd: CCD, seed: Sequence[int]) -> tuple[CCD, float, Rates]:
        """Draw the depth of field-free silicon (um) and the particle rates; the depleted depth changes with it."""
        rates, field_free = Rates(), 0.0
        if (rng := random_stream("field-free silicon", *seed)).random() < self.field_free:
            field_free = log_uniform(FIELD_FREE, rng)
            rates = replace(rates, compton=log_uniform(COMPTON, rng), x_rays=log_uniform(X_RAYS, rng))
            substrate = rng.uniform(0, SUBSTRATE) if rng.random() < 0.5 else 0.0  # front- or back-illuminated
            ccd = replace(ccd, thickness=log_uniform(DEPLETED, rng), substrate=substrate)
        if (rng := random_stream("alpha particles", *seed)).random() < self.alphas:
            rates = replace(rates, alphas=log_uniform(ALPHAS, rng))
        return ccd, field_free, rates


def draw_camera(shape: Sequence[int], rng: np.random.Generator) -> CCD:
    """Draw a random CCD of the given shape (rows, columns)."""
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected a shape of rows and columns, got {list(shape)}")
    thickness = log_uniform(THICKNESS, rng)
    gain = log_uniform(GAIN, rng)
    near = rng.uniform(*DIFFUSION)
    from_the_front = thickness < 30 and rng.random() < 0.5
    return CCD(
        shape=(shape[0], shape[1]),
        pixel=rng.uniform(*PIXEL),
        thickness=thickness,
        diffusion_min=near,
        diffusion_max=near + DIFFUSION_DEEP * rng.random() * math.sqrt(thickness / THICKNESS[1]),
        gain=gain,
        read_noise=log_uniform(READ_NOISE, rng),
        saturation=min(log_uniform(FULL_WELL, rng) / gain, CONVERTER),
        pixel_scale=log_uniform(PIXEL_SCALE, rng),
        substrate=rng.uniform(0, SUBSTRATE) if from_the_front else 0.0,
        dark_current=0.001,
    )


def draw_telescope(ccd: CCD, exptime: float, rng: np.random.Generator, seeing: Range = SEEING) -> Band:
    """Draw a random telescope and field: zero point, seeing, sky level and number of stars."""
    level = log_uniform(SKY, rng) / (ccd.gain * exptime)  # ADU per second and pixel
    return Band(
        zero_point=rng.uniform(*ZERO_POINT),
        sky=(level, level),
        sky_scale=ccd.pixel_scale,
        seeing=log_uniform(seeing, rng) * ccd.pixel_scale,
        colour=0.0,
        scatter=0.0,
        stars=STARS,
    )


def draw_trail_or_defocus(chance: float, rng: np.random.Generator) -> TrailDefocus | None:
    """Draw a trail or a defocus with probability ``chance``; None otherwise."""
    if rng.random() >= chance:
        return None
    if rng.random() < 2 / 3:
        return TrailDefocus(trail=log_uniform(TRAIL, rng), angle=rng.uniform(0, np.pi))
    return TrailDefocus(defocus=log_uniform(DEFOCUS, rng), hole=rng.uniform(*HOLE))


def _ranges() -> list[Range | float]:
    """List the ranges that a lazy frame of this module depends on, for its cache key."""
    ranges = [THICKNESS, PIXEL, DIFFUSION, GAIN, READ_NOISE, FULL_WELL, PIXEL_SCALE, SEEING, SKY, EXPTIME]
    return [*ranges, ZERO_POINT, STARS, DARK_EXPTIME, DIFFUSION_DEEP, SUBSTRATE, CONVERTER]
