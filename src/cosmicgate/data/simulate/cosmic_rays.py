"""Cosmic rays, and the gamma and X-rays that look like them, in a CCD: :func:`cosmic_rays`."""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.simulate.ccd import CCD
from cosmicgate.data.simulate.particles import (
    ELECTRON_MASS,
    PAIR_ENERGY,
    Slab,
    collect,
    follow_electrons,
    follow_muons,
    scatter_photons,
)

# Gamma rays around a camera, eV, and the share of the Compton recoils that each makes (Groom 2002 names the sources).
# What the shares leave comes from photons that scattered before: a continuum, exponential above the energy where
# lead and copper absorb.
GAMMA_LINES = {
    1460.8e3: 0.18,  # 40K
    2614.5e3: 0.05,  # 208Tl; thorium's chain, to 583 keV
    911.2e3: 0.05,  # 228Ac
    238.6e3: 0.05,  # 212Pb
    583.2e3: 0.05,  # 208Tl
    609.3e3: 0.06,  # 214Bi; uranium's chain, to 352 keV
    1764.5e3: 0.04,  # 214Bi
    1120.3e3: 0.03,  # 214Bi
    351.9e3: 0.05,  # 214Pb
    511.0e3: 0.06,  # annihilation
}
CONTINUUM_START, CONTINUUM_SCALE = 80e3, 300e3  # eV
COPPER_X_RAY = 8_048.0  # eV, the K alpha line of the parts around the CCD
COPPER_SHARE = 0.7  # of the spots
OTHER_X_RAYS = (3e3, 23e3)  # eV
MUON_MOMENTUM = (9.25, 0.45)  # mean and standard deviation of log10(eV/c) near the ground
ELECTRON_MOMENTUM = (6.9, 0.6)  # as above, of the electrons in air showers
MARGIN = 6.0  # particles start as far outside the image as this many times the depth of the silicon
MAX_AIRMASS = 1.7  # telescopes seldom look lower


@dataclass(frozen=True)
class Rates:
    """How many particles there are.

    Attributes
    ----------
    muons : float
        Charged particles from the sky, per square centimetre of the detector and minute, however it is tilted.
    electron_fraction : float
        Part of them that are electrons of air showers, not muons.
    compton : float
        Compton recoils, per square centimetre and minute in 250 um of silicon.
    spots : float
        X-rays, per square centimetre and minute.
    """

    muons: float = 1.0
    electron_fraction: float = 0.12
    compton: float = 0.8
    spots: float = 0.03

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Rates: {field.name} = {value}; expected a finite number, zero or more")
        if self.electron_fraction > 1:
            raise ValueError(f"Rates: electron_fraction = {self.electron_fraction}; expected at most 1")


def cosmic_rays(
    ccd: CCD,
    exptime: float,
    rng: np.random.Generator,
    rates: Rates = Rates(),
    *,
    rate_scatter: float = 0.3,
    charge_scatter: float = 0.2,
    diffusion_scatter: float = 0.1,
    zenith_angle: float | None = None,
) -> NDArray[np.float32]:
    """Return the charge that cosmic rays leave in a CCD during an exposure.

    Each call draws a pointing of the telescope (which sets the lengths of the tracks and their direction), and a
    factor each for the rates, the charge and the diffusion, so that no two exposures are of quite the same detector.

    Parameters
    ----------
    ccd : CCD
        Geometry and diffusion.
    exptime : float
        Seconds.
    rng : numpy.random.Generator
        The same state gives the same image.
    rates : Rates
        How many particles there are.
    rate_scatter, charge_scatter, diffusion_scatter : float
        Half-width of the factors' uniform distribution about 1; 0 switches the scatter off.
    zenith_angle : float, optional
        Tilt of the detector, degrees from the horizontal; by default drawn as telescopes point, to airmass 1.7.

    Returns
    -------
    ndarray (H, W), float32
        Electrons: whole numbers, without read noise.

    Raises
    ------
    ValueError
        ``exptime`` is not a positive number, a scatter is not in [0, 1) or the tilt not in [0, 90].
    """
    if not (math.isfinite(exptime) and exptime > 0):
        raise ValueError(f"exptime = {exptime} s; expected a positive, finite number of seconds")
    scatters = {"rate": rate_scatter, "charge": charge_scatter, "diffusion": diffusion_scatter}
    for name, scatter in scatters.items():
        if not 0 <= scatter < 1:
            raise ValueError(f"{name}_scatter = {scatter}; expected a number from 0 up to, not including, 1")
    if zenith_angle is not None and not 0 <= zenith_angle <= 90:
        raise ValueError(f"zenith_angle = {zenith_angle}; expected degrees from 0 to 90")
    rate, charge, diffusion = (rng.uniform(1 - scatter, 1 + scatter) for scatter in scatters.values())
    slab = Slab(  # floats, for an integer from a configuration would have all compiled again
        pixel=float(ccd.pixel),
        thickness=float(ccd.thickness),
        substrate=float(ccd.substrate),
        diffusion_min=ccd.diffusion_min * diffusion,
        diffusion_max=ccd.diffusion_max * diffusion,
        electrons_per_ev=charge / PAIR_ENERGY,
    )
    image = np.zeros(ccd.shape, dtype=np.float32)
    rows, columns = ccd.shape
    margin = _margin(slab)
    area = (rows * ccd.pixel + 2 * margin) * (columns * ccd.pixel + 2 * margin) * 1e-8  # cm^2, margin included
    exposure = rate * area * exptime / 60  # cm^2 min
    _add_sky(image, slab, exposure, rates, _zenith(zenith_angle, rng), rng)
    _add_radioactivity(image, slab, exposure, rates, rng)
    hit = np.flatnonzero(image)
    pixels = image.reshape(-1)
    pixels[hit] = rng.poisson(pixels[hit])  # which electron goes to which pixel is chance
    return image


def _add_sky(
    image: NDArray[np.float32],
    slab: Slab,
    exposure: float,
    rates: Rates,
    zenith: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Add the charge (electrons) of what falls from the ``zenith`` in an ``exposure`` (cm^2 min), in place."""
    count = rng.poisson(exposure * rates.muons)
    electrons = rng.binomial(count, rates.electron_fraction)
    flights = _from_the_sky(count, zenith, rng)
    entries = _places(image, slab, np.where(flights[:, 2] > 0, 0, slab.thickness + slab.substrate), rng)
    momenta = 10 ** rng.normal(*MUON_MOMENTUM, count - electrons)
    follow_muons(image, slab, entries[electrons:], flights[electrons:], momenta, rng)
    kinetic = np.hypot(10 ** rng.normal(*ELECTRON_MOMENTUM, electrons), ELECTRON_MASS) - ELECTRON_MASS
    follow_electrons(image, slab, entries[:electrons], flights[:electrons], kinetic, rng)


def _add_radioactivity(
    image: NDArray[np.float32], slab: Slab, exposure: float, rates: Rates, rng: np.random.Generator
) -> None:
    """Add the charge (electrons) of the Compton recoils and X-rays of an ``exposure`` (cm^2 min), in place."""
    depth = slab.thickness + slab.substrate
    recoils = rng.poisson(exposure * rates.compton * depth / 250)
    origins = _places(image, slab, rng.uniform(0, depth, recoils), rng)
    scatter_photons(image, slab, origins, _isotropic(recoils, rng), _gamma_rays(recoils, rng), rng)
    spots = rng.poisson(exposure * rates.spots)
    energies = np.where(rng.random(spots) < COPPER_SHARE, COPPER_X_RAY, rng.uniform(*OTHER_X_RAYS, spots))
    origins = _places(image, slab, rng.uniform(0, slab.thickness, spots), rng)
    for (x, y, z), energy in zip(origins, energies, strict=True):
        collect(image, slab, x, y, z, energy, rng)


def _zenith(angle: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return where up is, as a unit vector in the frame of a detector tilted by ``angle`` (degrees) to a random side.

    Without an angle, the detector is a telescope's at a random airmass.
    """
    cosine = 1 / rng.uniform(1, MAX_AIRMASS) if angle is None else math.cos(math.radians(angle))
    azimuth = rng.uniform(0, 2 * math.pi)
    sine = math.sqrt(1 - cosine**2)
    return np.array([sine * math.cos(azimuth), sine * math.sin(azimuth), -cosine])  # depth counts downwards


def _margin(slab: Slab) -> float:
    """Return how far outside the image particles start, micrometres."""
    return MARGIN * (slab.thickness + slab.substrate)


def _places(
    image: NDArray[np.float32], slab: Slab, depths: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points (N, 3), um, under the image and the margin around it, at ``depths`` (N,), um."""
    rows, columns = image.shape
    margin = _margin(slab)
    plane = rng.uniform(-margin, np.array([columns, rows]) * slab.pixel + margin, (len(depths), 2))
    return np.column_stack([plane, depths])


def _isotropic(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw unit vectors (count, 3), all directions alike."""
    vectors = rng.standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _from_the_sky(count: int, zenith: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw directions of flight (count, 3) of particles that cross the detector, from both of its sides.

    The sky is as bright as cos^2(zenith angle); a surface meets its particles by the cosine to its normal.
    """
    kept = np.zeros((0, 3))
    while len(kept) < count:
        flight = _isotropic(16 * count, rng)  # one in 8 to 16 is kept
        fall = np.maximum(-flight @ zenith, 0)
        kept = np.concatenate([kept, flight[rng.random(len(flight)) < fall**2 * np.abs(flight[:, 2])]])
    return kept[:count]


def _gamma_rays(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the energies (count,), eV, of gamma rays that scatter in the detector."""
    shares = [*GAMMA_LINES.values(), 1 - sum(GAMMA_LINES.values())]
    lines = rng.choice([*GAMMA_LINES, 0.0], count, p=shares)
    continuum = CONTINUUM_START + rng.exponential(CONTINUUM_SCALE, count)
    return np.where(lines > 0, lines, continuum)
