"""Effects that real frames show and a plain simulation lacks, each in a given fraction of the randomised cameras.

Every effect draws from a random stream of its own, so that switching one on or off changes no other. The ranges are
our own unless the module that simulates the effect names a source.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.random_streams import log_uniform, random_stream
from cosmicgate.data.simulation import defects as defects_module
from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.defects import draw_defects
from cosmicgate.data.simulation.optics import Aberration, Blur, CombinedBlur, GuidingJumps, Spikes
from cosmicgate.data.simulation.readout import SPREAD
from cosmicgate.data.simulation.satellites import SatelliteTrail, draw_trail
from cosmicgate.data.simulation.sky import Band

Range = tuple[float, float]

ABERRATION: Range = (0.7, 10.0)  # pixels, displacement of the outermost rays by the main aberration
OTHER_ABERRATIONS = 0.4  # the others are up to this fraction of it
HOLE: Range = (0.2, 0.5)  # radius of the secondary mirror's shadow in units of the pupil's
JUMP: Range = (1.2, 12.0)  # pixels, between two positions of the guiding
SPIKE_FLUX: Range = (0.003, 0.04)  # fraction of the light: that of the pupil that the vanes cover
SPIKE_LENGTH: Range = (3.0, 50.0)  # pixels; a vane of 1 cm makes spikes of 6" at 600 nm (half of wavelength over width)
TRAIL_PEAKS: Range = (1.0, 1000.0)  # brightness of a satellite trail in sigma of the sky
MAX_TRAILS = 3
FULL_WELL_SMALL: Range = (15e3, 60e3)  # electrons, of the small pixels of a camera with a 12-bit converter
CONVERTER_SMALL = 4095.0  # ADU, limit of 12 bits
SKY_SIGMA_SMALL: Range = (0.7, 3.0)  # ADU, sigma of the sky: whole numbers sample it coarsely
READ_NOISE_SMALL: Range = (3.0, 12.0)  # electrons
SEEING_SMALL: Range = (1.1, 2.0)  # pixels, full width at half maximum


@dataclass(frozen=True)
class Effects:
    """Fractions of the frames that have an effect, each from 0 (never) to 1 (always).

    Attributes
    ----------
    defects : float
        Warm and hot pixels and columns of all levels, some of which flicker.
    aberrations : float
        Donut-shaped, astigmatic, comatic or three-cornered stars.
    guiding_jumps : float
        Double and kinked stars.
    spikes : float
        Bright diffraction spikes at any angle.
    satellites : float
        One to three trails of satellites. They are no hits.
    row_bleeding : float
        Saturated pixels bleed along the row instead of the column.
    small_camera : float
        Undersampled stars in the quantised noise of a 12-bit converter, which gives a sky with a sigma of 0.7 to 3 ADU.
    """

    cache_name: ClassVar[str] = "Effects"  # part of the cache keys: must stay even if the class is renamed
    defects: float = 0.0
    aberrations: float = 0.0
    guiding_jumps: float = 0.0
    spikes: float = 0.0
    satellites: float = 0.0
    row_bleeding: float = 0.0
    small_camera: float = 0.0

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not 0 <= value <= 1:
                raise ValueError(f"effects: {each.name} = {value}: expected a fraction between 0 and 1")

    def cache_key_parts(self) -> list[object]:
        """List everything that determines the effects, for a cache key."""
        names = ("HOT_SHARE", "HOT_RATES", "HOT_SLOPE", "DEFERRED", "FLICKERING", "MAX_COLUMNS", "COLUMN_CHARGE")
        ranges = [getattr(defects_module, name) for name in (*names, "COLUMN_DUTY", "COLUMN_RUN")]
        ranges += [ABERRATION, OTHER_ABERRATIONS, HOLE, JUMP, SPIKE_FLUX, SPIKE_LENGTH, TRAIL_PEAKS, MAX_TRAILS]
        small = [FULL_WELL_SMALL, CONVERTER_SMALL, SKY_SIGMA_SMALL, READ_NOISE_SMALL, SEEING_SMALL]
        return ["effects", self, *ranges, *small]

    def camera(self, ccd: CCD, band: Band, exptime: float, seed: Sequence[int]) -> tuple[CCD, Band]:
        """Turn some cameras into small ones with a 12-bit converter, and their stars into undersampled ones."""
        rng = random_stream("small camera", *seed)
        if rng.random() >= self.small_camera:
            return ccd, band
        gain = log_uniform(FULL_WELL_SMALL, rng) / CONVERTER_SMALL
        noise = log_uniform(SKY_SIGMA_SMALL, rng) * gain  # electrons
        read_noise = min(log_uniform(READ_NOISE_SMALL, rng), 0.9 * noise)
        ccd = replace(ccd, gain=gain, read_noise=read_noise, saturation=CONVERTER_SMALL / (1 + SPREAD))
        sky = (noise**2 - read_noise**2) / (gain * exptime)  # ADU per second
        seeing = log_uniform(SEEING_SMALL, rng) * ccd.pixel_scale
        return ccd, replace(band, sky=(sky, sky), sky_scale=ccd.pixel_scale, seeing=seeing)

    def telescope(self, band: Band, seed: Sequence[int]) -> Band:
        """Add aberrations, guiding jumps and spikes to the light of some frames."""
        blurs: list[Blur] = [] if band.blur is None else [band.blur]
        if (rng := random_stream("spikes", *seed)).random() < self.spikes:
            blurs.append(draw_spikes(rng))
            band = replace(band, spikes=False)  # a telescope has one spider
        if (rng := random_stream("aberrations", *seed)).random() < self.aberrations:
            blurs.append(draw_aberration(rng))
        if (rng := random_stream("guiding jumps", *seed)).random() < self.guiding_jumps:
            blurs.append(draw_guiding_jumps(rng))
        return replace(band, blur=CombinedBlur(blurs)) if blurs else band

    def trails(self, ccd: CCD, band: Band, exptime: float, seed: Sequence[int]) -> list[SatelliteTrail]:
        """Draw the satellite trails of a frame: none, or one to three."""
        rng = random_stream("satellites", *seed)
        if rng.random() >= self.satellites:
            return []
        sky = band.sky[0] * exptime * ccd.gain * (ccd.pixel_scale / band.sky_scale) ** 2
        noise = float(np.sqrt(sky + ccd.read_noise**2))
        seeing = band.seeing / ccd.pixel_scale
        number = int(rng.integers(1, MAX_TRAILS + 1))
        return [draw_trail(ccd.shape, noise, seeing, TRAIL_PEAKS, rng) for _ in range(number)]

    def defect_charge(self, ccd: CCD, exptime: float, seed: Sequence[int]) -> NDArray[np.float32] | None:
        """Draw the charge (H, W), electrons, of a detector's warm pixels; None if the frame has none."""
        rng = random_stream("defects", *seed)
        if rng.random() >= self.defects:
            return None
        return draw_defects(ccd.shape, rng).charge(exptime, random_stream("state of defects", *seed))

    def bleeds_along_rows(self, seed: Sequence[int]) -> bool:
        """Draw whether saturated pixels bleed along the rows."""
        return bool(random_stream("row bleeding", *seed).random() < self.row_bleeding)


def draw_aberration(rng: np.random.Generator) -> Aberration:
    """Draw an aberration: one of defocus, astigmatism, coma and trefoil is the largest."""
    size = log_uniform(ABERRATION, rng)
    parts = size * OTHER_ABERRATIONS * rng.uniform(-1, 1, 4)
    parts[int(rng.integers(4))] = size
    defocus, astigmatism, coma, trefoil = (float(part) for part in parts)
    coma /= 3  # a comatic star is three times as long as its coefficient
    return Aberration(defocus, astigmatism, coma, trefoil, rng.uniform(*HOLE), rng.uniform(0, 2 * np.pi))


def draw_guiding_jumps(rng: np.random.Generator) -> GuidingJumps:
    """Draw a jump, which makes double stars, or a drift along two or three legs, which makes kinked ones."""
    double = rng.random() < 0.5
    number = 2 if double else int(rng.integers(3, 5))
    turns, lengths = rng.uniform(0, 2 * np.pi, number - 1), [log_uniform(JUMP, rng) for _ in range(number - 1)]
    x = np.concatenate([[0.0], np.cumsum(lengths * np.cos(turns))])
    y = np.concatenate([[0.0], np.cumsum(lengths * np.sin(turns))])
    moving = rng.uniform(0, 0.1) if double else rng.uniform(0.2, 1.0)
    stays = (1 - moving) * rng.dirichlet(np.ones(number))
    return GuidingJumps(x.tolist(), y.tolist(), stays.tolist())


def draw_spikes(rng: np.random.Generator) -> Spikes:
    """Draw the spikes of a spider with three, four or six vanes at any angle."""
    vanes = int(rng.choice([3, 4, 4, 6]))
    return Spikes(vanes, rng.uniform(0, np.pi), log_uniform(SPIKE_FLUX, rng), log_uniform(SPIKE_LENGTH, rng))
