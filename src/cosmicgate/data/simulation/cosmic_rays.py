"""Simulate the charge of cosmic rays in a CCD, and of gamma and X-rays that look like them (:func:`cosmic_rays`).

References
----------
.. [1] Estrada et al. 2011, arXiv:1105.3229: alpha particles in a DECam CCD.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.particles import (
    ELECTRON_MASS,
    PAIR_ENERGY,
    Slab,
    collect,
    follow_alpha,
    follow_electrons,
    follow_muons,
    scatter_photons,
)

# Energies of the gamma rays around a camera, eV, and the fraction of the Compton recoils from each (Groom 2002 lists
# the sources). The remaining recoils are from photons that have scattered before: an exponential continuum above the
# energy below which lead and copper absorb.
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
COPPER_SHARE = 0.7  # fraction of the X-rays that are of this line
OTHER_X_RAYS = (3e3, 23e3)  # eV, limits of a uniform distribution
ALPHA_ENERGIES = (4.0e6, 8.8e6)  # eV, from the decay chains of uranium and thorium (4.01 MeV of 232Th to 8.78 of 212Po)
ALPHA_PLASMA = (5.0, 20.0)  # um, sigma of the spread of an alpha's charge; the order of size of the clusters in [1]_
MUON_MOMENTUM = (9.25, 0.45)  # mean and sigma of log10(eV/c) near the ground
ELECTRON_MOMENTUM = (6.9, 0.6)  # the same for the electrons of air showers
MARGIN = 6.0  # width of the margin around the image in which particles start, in units of the silicon's depth
MAX_AIRMASS = 1.7  # telescopes are seldom pointed lower


@dataclass(frozen=True)
class Rates:
    """Particle rates.

    Attributes
    ----------
    charged : float
        Rate of charged particles from the sky, per square centimetre of the detector and minute, whatever its tilt.
    electron_fraction : float
        Fraction of these that are electrons of air showers, not muons.
    compton : float
        Rate of Compton recoils, per square centimetre and minute in 250 um of silicon.
    x_rays : float
        Rate of X-rays, per square centimetre and minute.
    alphas : float
        Rate of alpha particles from radioactive surfaces, per square centimetre and minute.
    """

    charged: float = 1.0
    electron_fraction: float = 0.12
    compton: float = 0.8
    x_rays: float = 0.03
    alphas: float = 0.0

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
    field_free: float = 0.0,
) -> NDArray[np.float32]:
    """Simulate the charge that cosmic rays leave in a CCD during an exposure.

    Each call draws a pointing of the telescope (which determines the length and the direction of the tracks), and one
    factor each for the rates, the charge and the diffusion, so that the detector differs a little between exposures.

    Parameters
    ----------
    ccd : CCD
        Geometry and diffusion of the CCD.
    exptime : float
        Exposure time, seconds.
    rng : numpy.random.Generator
        Source of randomness: the same state gives the same image.
    rates : Rates
        Particle rates.
    rate_scatter, charge_scatter, diffusion_scatter : float
        Half-width of the factors' uniform distribution about 1; 0 for no scatter.
    zenith_angle : float, optional
        Tilt of the detector, degrees from the horizontal; by default drawn at random, uniformly in airmass up to 1.7.
    field_free : float
        Depth of the silicon between the collecting layer and the substrate that has no electric field, micrometres.
        Its charge is collected by diffusion, which makes round and diffuse hits.

    Returns
    -------
    ndarray (H, W), float32
        Charge in electrons (integer values), without read noise.

    Raises
    ------
    ValueError
        If ``exptime`` is not a positive number, a scatter is not in [0, 1), the tilt is not in [0, 90], or
        ``field_free`` is negative.
    """
    if not (math.isfinite(exptime) and exptime > 0):
        raise ValueError(f"exptime = {exptime} s; expected a positive, finite number of seconds")
    scatters = {"rate": rate_scatter, "charge": charge_scatter, "diffusion": diffusion_scatter}
    for name, scatter in scatters.items():
        if not 0 <= scatter < 1:
            raise ValueError(f"{name}_scatter = {scatter}; expected a number from 0 up to, not including, 1")
    if zenith_angle is not None and not 0 <= zenith_angle <= 90:
        raise ValueError(f"zenith_angle = {zenith_angle}; expected degrees from 0 to 90")
    if not (math.isfinite(field_free) and field_free >= 0):
        raise ValueError(f"field_free = {field_free} um; expected a finite number, zero or more")
    rate, charge, diffusion = (rng.uniform(1 - scatter, 1 + scatter) for scatter in scatters.values())
    slab = Slab(  # floats: numba would compile everything again for integers from a configuration
        pixel=float(ccd.pixel),
        thickness=float(ccd.thickness),
        substrate=float(ccd.substrate) + float(field_free),
        diffusion_min=ccd.diffusion_min * diffusion,
        diffusion_max=ccd.diffusion_max * diffusion,
        electrons_per_ev=charge / PAIR_ENERGY,
        field_free=float(field_free),
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
    # Each pixel's share of a cloud is random. Independent draws also scatter the total, by more than the Fano factor.
    pixels[hit] = rng.poisson(pixels[hit])
    return image


def _add_sky(
    image: NDArray[np.float32],
    slab: Slab,
    exposure: float,
    rates: Rates,
    zenith: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Add the charge (electrons) of muons and air-shower electrons in an ``exposure`` (cm^2 min), in place."""
    count = rng.poisson(exposure * rates.charged)
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
    x_rays = rng.poisson(exposure * rates.x_rays)
    energies = np.where(rng.random(x_rays) < COPPER_SHARE, COPPER_X_RAY, rng.uniform(*OTHER_X_RAYS, x_rays))
    origins = _places(image, slab, rng.uniform(0, slab.thickness + slab.field_free, x_rays), rng)
    for (x, y, z), energy in zip(origins, energies, strict=True):
        collect(image, slab, x, y, z, energy, rng)
    if rates.alphas:
        _add_alphas(image, slab, exposure, rates, rng)


def _add_alphas(
    image: NDArray[np.float32], slab: Slab, exposure: float, rates: Rates, rng: np.random.Generator
) -> None:
    """Add the charge (electrons) of alpha particles that enter at either side in an ``exposure``, in place."""
    count = rng.poisson(exposure * rates.alphas)
    flights = _isotropic(count, rng)
    back = slab.thickness + slab.field_free  # the side of the light if there is no substrate, else its border
    origins = _places(image, slab, np.where(flights[:, 2] > 0, 0, back), rng)
    energies = rng.uniform(*ALPHA_ENERGIES, count)
    plasma = rng.uniform(*ALPHA_PLASMA, count)
    for start, flight, energy, sigma in zip(origins, flights, energies, plasma, strict=True):
        follow_alpha(image, slab, tuple(start), tuple(flight), energy, sigma, rng)


def _zenith(angle: float | None, rng: np.random.Generator) -> NDArray[np.float64]:
    """Compute the unit vector to the zenith, in the frame of a detector tilted by ``angle`` (degrees) to a random side.

    Without an angle, the tilt is drawn from a random airmass.
    """
    cosine = 1 / rng.uniform(1, MAX_AIRMASS) if angle is None else math.cos(math.radians(angle))
    azimuth = rng.uniform(0, 2 * math.pi)
    sine = math.sqrt(1 - cosine**2)
    return np.array([sine * math.cos(azimuth), sine * math.sin(azimuth), -cosine])  # depth counts downwards


def _margin(slab: Slab) -> float:
    """Compute the width of the margin around the image in which particles start, micrometres."""
    return MARGIN * (slab.thickness + slab.substrate)


def _places(
    image: NDArray[np.float32], slab: Slab, depths: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw points (N, 3), um, within the image and the margin around it, at ``depths`` (N,), um."""
    rows, columns = image.shape
    margin = _margin(slab)
    plane = rng.uniform(-margin, np.array([columns, rows]) * slab.pixel + margin, (len(depths), 2))
    return np.column_stack([plane, depths])


def _isotropic(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw isotropic unit vectors (count, 3)."""
    vectors = rng.standard_normal((count, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _from_the_sky(count: int, zenith: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the directions of flight (count, 3) of particles from the sky that cross the detector, from either side.

    The intensity goes as cos^2(zenith angle); the rate through a surface, as the cosine of the angle to its normal.
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
