"""Simulate the charge that single muons, electrons and X-rays leave in the pixels of a silicon detector.

Coordinates are in micrometres: ``x`` counts along the columns and ``y`` along the rows of the image, ``depth``
downwards from the gates. Directions are unit vectors. Energies and masses are in eV, momenta in eV/c. A particle of a
few keV stops within a micrometre, so energy is deposited step by step as clouds of charge; a cloud costs a few error
functions, whereas drawing its electrons one by one would cost hundreds of random numbers.

References
----------
.. [1] Particle Data Group, Review of Particle Physics, "Passage of particles through matter": the restricted energy
   loss, the density effect (Sternheimer's parameters for silicon), delta rays, multiple scattering.
.. [2] Berger & Seltzer, in ICRU Report 37 (1984): the collision stopping power for electrons.
.. [3] Bichsel 1988, Rev. Mod. Phys. 60, 663: straggling in thin silicon.
.. [4] Klein & Nishina 1929, Z. Phys. 52, 853: the Compton cross-section.
.. [5] Groom 2002, Exp. Astron. 14, 45: worms are Compton recoils of gamma rays from potassium, uranium and thorium.
.. [6] Moliere 1947, Z. Naturforsch. A 2, 133: screening. Mott's factor is that of McKinley & Feshbach 1948, Phys.
   Rev. 74, 1759, to first order.
.. [7] Hopkinson 1987, Opt. Eng. 26, 766 (doi 10.1117/12.7974147), and Janesick 2001, Scientific Charge-Coupled
   Devices: charge that is released in field-free silicon at a distance z from the depleted layer arrives there with a
   sigma of sqrt(2 f z - z^2), for a layer of depth f that no charge leaves at its far side, and with broad wings.
   Here the wings come from the shares of the charge that arrive early or late, by the same diffusion equation.
.. [8] Estrada et al. 2011, arXiv:1105.3229: the dense charge of an alpha particle (plasma) spreads before it drifts.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.simulation.compiled import compiled

Vector = tuple[float, float, float]

ELECTRON_MASS = 510_998.95  # eV
MUON_MASS = 105.658e6  # eV

# Silicon.
PAIR_ENERGY = 3.65  # eV for an electron-hole pair
FANO = 0.12
EXCITATION_ENERGY = 173.0  # eV, the mean excitation energy I of the Bethe formula
XI = 17.83  # eV/um, (K/2) (Z/A) density: there are XI / (beta^2 E) collisions per um that transfer more than E
ATOMS = 4.99e10  # per um^3
ATOMIC_NUMBER = 14
ELECTRON_RADIUS = 2.818e-9  # um, the classical one
SCREENING_MOMENTUM = 3_729.0 * ATOMIC_NUMBER ** (1 / 3) / 0.885  # eV/c, hbar over the Thomas-Fermi radius

# Collisions below this energy (eV) are drawn together, those above it one by one (just above the K shell's 1.84 keV).
SOFT_LIMIT = 2_000.0
SOFT_VARIANCE = 5.0e4  # eV^2/um: XI * SOFT_LIMIT, plus 40 % because electrons are bound (after [3]_)
DELTA_LIMIT = 10_000.0  # eV: an electron below has a range of less than 1.5 um, and is stopped where it starts
MUON_STEP = 1.5  # um
ELECTRON_STEP = 3.0  # um, maximum
MIN_ELECTRON_STEP = 0.15  # um
STEP_LOSS = 0.04  # fraction of its energy that an electron may lose in a step
KINKS = 0.1  # probability of a large scattering angle in a step
CLOUD_REACH = 4.0  # sigma at which a cloud of charge is cut off
ALPHA_RANGE, ALPHA_EXPONENT = 24.3, 1.5  # um at 5 MeV in silicon, and the growth with energy (Bragg and Kleeman)
ALPHA_STEPS = 30
ARRIVALS = 4  # shares of the charge released in field-free silicon, which arrive one after the other


def arrival_times(distances: int = 33) -> NDArray[np.float64]:
    """Compute when charge that is released in field-free silicon reaches the depleted layer.

    Returns
    -------
    ndarray (distances, ARRIVALS), no unit
        Mean of 2 D t / f^2 of each share of the charge (D: diffusion coefficient, t: time, f: depth of the layer),
        for distances from 0 to f. Their mean is (2 z - z^2 / f) / f, the variance of [7]_ in units of f^2.
    """
    places = np.linspace(0, 1, distances)
    times = np.concatenate([[0], np.geomspace(1e-7, 20, 4000)])
    modes = (np.arange(400) + 0.5) * np.pi  # of diffusion between an absorbing and a reflecting plane
    decay = np.exp(-0.5 * np.outer(times, modes**2))
    table = np.zeros((distances, ARRIVALS))
    for row, place in enumerate(places[1:], start=1):
        left = np.clip(decay @ (2 / modes * np.sin(modes * place)), 0, 1)  # share that has not arrived yet
        left[0] = 1.0
        sums = np.concatenate([[0], np.cumsum(0.5 * (times[1:] + times[:-1]) * -np.diff(left))])
        limits = np.interp(-np.linspace(1, 0, ARRIVALS + 1), -left, sums)
        table[row] = np.diff(limits) * ARRIVALS
        table[row] *= place * (2 - place) / table[row].mean()  # the exact mean, without the error of the sums
    return table


ARRIVAL_TIMES = arrival_times()


class Slab(NamedTuple):
    """The silicon that the particles cross; lengths in micrometres.

    Silicon from ``depth`` 0 to ``thickness`` collects charge; from there to ``thickness + substrate`` it only stops and
    scatters particles. The sigma of a cloud grows from ``diffusion_min`` at the gates to ``diffusion_max`` at
    ``thickness``. The first ``field_free`` micrometres of the substrate have no electric field: their charge reaches
    the collecting silicon by diffusion alone, in a wide cloud [7]_.
    """

    pixel: float
    thickness: float
    substrate: float
    diffusion_min: float
    diffusion_max: float
    electrons_per_ev: float = 1.0 / PAIR_ENERGY
    field_free: float = 0.0


@compiled
def deposit(image: NDArray[np.float32], x: float, y: float, sigma: float, charge: float, pixel: float) -> None:
    """Add a Gaussian cloud of charge to the image, integrated over each pixel.

    Parameters
    ----------
    image : ndarray (H, W), electrons
        Image, changed in place; charge that falls outside is lost.
    x, y : float
        Centre of the cloud, um from the outer corner of pixel (0, 0).
    sigma : float
        Sigma of the cloud, um.
    charge : float
        Charge of the cloud, electrons.
    pixel : float
        Side of a pixel, um.
    """
    rows, columns = image.shape
    reach = CLOUD_REACH * sigma
    left, right = math.floor((x - reach) / pixel), math.floor((x + reach) / pixel)
    low, high = max(math.floor((y - reach) / pixel), 0), min(math.floor((y + reach) / pixel), rows - 1)
    if right < 0 or left >= columns or high < low:
        return
    scale = 1.0 / (math.sqrt(2.0) * sigma)
    below = math.erf((low * pixel - y) * scale)
    for row in range(low, high + 1):
        above = math.erf(((row + 1) * pixel - y) * scale)
        share = 0.25 * charge * (above - below)
        below = above
        before = math.erf((max(left, 0) * pixel - x) * scale)
        for column in range(max(left, 0), min(right, columns - 1) + 1):
            after = math.erf(((column + 1) * pixel - x) * scale)
            image[row, column] += share * (after - before)
            before = after


@compiled
def collect(
    image: NDArray[np.float32], slab: Slab, x: float, y: float, depth: float, energy: float, rng: np.random.Generator
) -> None:
    """Convert ``energy`` (eV) released at ``(x, y, depth)`` (um) into charge in ``image`` (electrons), if collected.

    The number of carriers scatters with the Fano factor; the cloud widens with the square root of the drift length.
    """
    if depth < 0.0 or depth > slab.thickness + slab.field_free or energy <= 0.0:
        return
    mean = energy * slab.electrons_per_ev
    charge = mean + math.sqrt(FANO * mean) * rng.standard_normal()
    near, far = slab.diffusion_min**2, slab.diffusion_max**2
    if depth > slab.thickness:
        place = (depth - slab.thickness) / slab.field_free * (len(ARRIVAL_TIMES) - 1)
        below = min(int(place), len(ARRIVAL_TIMES) - 2)
        for share in range(ARRIVALS):
            before, after = ARRIVAL_TIMES[below, share], ARRIVAL_TIMES[below + 1, share]
            spread = (before + (after - before) * (place - below)) * slab.field_free**2
            deposit(image, x, y, math.sqrt(far + spread), max(charge, 0.0) / ARRIVALS, slab.pixel)
        return
    sigma = math.sqrt(near + (far - near) * depth / slab.thickness)
    deposit(image, x, y, sigma, max(charge, 0.0), slab.pixel)


@compiled
def beta_squared(kinetic: float, mass: float) -> float:
    """Compute the squared speed (c = 1) of a particle from its ``mass`` and ``kinetic`` energy (eV)."""
    ratio = kinetic / mass
    return ratio * (ratio + 2.0) / (ratio + 1.0) ** 2


@compiled
def turn(direction: Vector, polar: float, rng: np.random.Generator) -> Vector:
    """Rotate a unit vector by the angle ``polar`` (radians), at a random azimuth."""
    u, v, w = direction
    azimuth = 2.0 * math.pi * rng.random()
    along, across = math.cos(polar), math.sin(polar)
    a, b = across * math.cos(azimuth), across * math.sin(azimuth)
    s = math.sqrt(max(1.0 - w * w, 0.0))
    if s < 1e-5:  # along the axis, where the formula below divides by zero
        return a, b, math.copysign(along, along * w)
    return u * along + (u * w * a - v * b) / s, v * along + (v * w * a + u * b) / s, w * along - s * a


@compiled
def scattering_angle(momentum: float, beta2: float, step: float, rng: np.random.Generator) -> float:
    """Draw the angle (radians) by which nuclei deflect a particle of ``momentum`` (eV/c) in ``step`` (um).

    The cross-section is Rutherford's, with Moliere's screening [6]_: in a step, ``strength (1/m - 1)`` collisions
    deflect by more than an angle with ``sin^2(angle / 2) = m``. The largest deflections, which occur in one step in
    ten, are drawn individually, with Mott's factor for the spin; they are the kinks of worms. The many small ones add
    up to a Gaussian. Highland's width for it [1]_ is fitted to thick layers; in such thin steps, with the kinks drawn
    separately, it would scatter 5 to 20 % too much.
    """
    charge2 = ATOMIC_NUMBER * (ATOMIC_NUMBER + 1)  # the nucleus and its electrons
    strength = math.pi * ATOMS * step * charge2 * (ELECTRON_RADIUS * ELECTRON_MASS) ** 2 / (beta2 * momentum**2)
    limit = min(strength / KINKS, 0.5)
    if rng.random() < strength * (1.0 / limit - 1.0):
        kink = limit / (1.0 - rng.random() * (1.0 - limit))
        if rng.random() >= beta2 * kink:
            return 2.0 * math.asin(math.sqrt(kink))
    screening = (SCREENING_MOMENTUM / (2.0 * momentum)) ** 2 * (1.13 + 3.76 * (ATOMIC_NUMBER / 137.0) ** 2 / beta2)
    variance = 2.0 * strength * (math.log(1.0 + limit / screening) - limit / (limit + screening))
    return min(math.sqrt(-2.0 * variance * math.log(1.0 - rng.random())), math.pi)


@compiled
def soft_loss(mean: float, beta2: float, step: float, rng: np.random.Generator) -> float:
    """Draw the energy (eV) lost in ``step`` (um) to collisions below ``SOFT_LIMIT``, with mean loss ``mean`` (eV/um).

    It follows a gamma distribution with the mean and the variance of the collisions [3]_.
    """
    scale = SOFT_VARIANCE / beta2 / mean
    return scale * rng.standard_gamma(mean * step / scale)


@compiled
def hard_loss(largest: float, beta2: float, step: float, rng: np.random.Generator) -> float:
    """Draw the energy (eV) of a collision above ``SOFT_LIMIT`` in ``step`` (um), or 0 if there is none.

    The energies are distributed as 1/E^2 up to ``largest`` (eV), the maximum that one collision can transfer.
    """
    if largest <= SOFT_LIMIT or rng.random() >= XI / beta2 * (1.0 / SOFT_LIMIT - 1.0 / largest) * step:
        return 0.0
    return SOFT_LIMIT / (1.0 - rng.random() * (1.0 - SOFT_LIMIT / largest))


@compiled
def density_effect(beta_gamma: float) -> float:
    """Compute Sternheimer's density correction (no unit) for silicon, at momentum over mass ``beta_gamma`` [1]_."""
    x = math.log10(beta_gamma)
    if x < 0.2014:
        return 0.0
    tail = 0.1492 * (2.8715 - x) ** 3.2546 if x < 2.8715 else 0.0
    return 2.0 * math.log(10.0) * x - 4.4351 + tail


@compiled
def electron_stopping_power(kinetic: float) -> float:
    """Compute the mean collision loss (eV/um) of an electron of ``kinetic`` energy (eV) in silicon [2]_."""
    ratio = kinetic / ELECTRON_MASS
    beta2 = beta_squared(kinetic, ELECTRON_MASS)
    shape = (1.0 - beta2) * (1.0 + ratio * ratio / 8.0 - (2.0 * ratio + 1.0) * math.log(2.0))
    logarithm = 2.0 * math.log(kinetic / EXCITATION_ENERGY) + math.log(1.0 + ratio / 2.0)
    loss: float = XI / beta2 * (logarithm + shape - density_effect(math.sqrt(ratio * (ratio + 2.0))))
    return loss


@compiled
def electron_loss(kinetic: float, step: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the energies (eV) that an electron of ``kinetic`` energy (eV) loses in ``step`` (um), soft and hard."""
    beta2 = beta_squared(kinetic, ELECTRON_MASS)
    largest = kinetic / 2.0  # of the two electrons after a collision, the slower one counts as the delta ray
    mean = electron_stopping_power(kinetic) - XI / beta2 * math.log(largest / SOFT_LIMIT)
    soft = min(soft_loss(mean, beta2, step, rng), kinetic)
    return soft, min(hard_loss(largest, beta2, step, rng), kinetic - soft)


@compiled
def largest_transfer(beta_gamma: float) -> float:
    """Compute the maximum energy (eV) that a muon of momentum over mass ``beta_gamma`` gives an electron [1]_."""
    ratio = ELECTRON_MASS / MUON_MASS
    gamma = math.sqrt(1.0 + beta_gamma**2)
    return 2.0 * ELECTRON_MASS * beta_gamma**2 / (1.0 + 2.0 * gamma * ratio + ratio**2)


@compiled
def muon_loss(beta_gamma: float, step: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the energies (eV) that a muon loses in ``step`` (um), soft and hard; the soft mean is from Bethe [1]_."""
    beta2 = beta_gamma**2 / (1.0 + beta_gamma**2)
    largest = largest_transfer(beta_gamma)
    logarithm = math.log(2.0 * ELECTRON_MASS * beta_gamma**2 * SOFT_LIMIT / EXCITATION_ENERGY**2)
    mean = XI / beta2 * (logarithm - beta2 * (1.0 + SOFT_LIMIT / largest) - density_effect(beta_gamma))
    hard = hard_loss(largest, beta2, step, rng)
    if rng.random() < beta2 * hard / largest:  # near the largest transfer the cross-section falls below 1/E^2
        hard = 0.0
    return soft_loss(mean, beta2, step, rng), hard


@compiled
def follow_electron(
    image: NDArray[np.float32],
    slab: Slab,
    position: Vector,
    direction: Vector,
    kinetic: float,
    rng: np.random.Generator,
) -> None:
    """Follow an electron of ``kinetic`` energy (eV) from ``position`` (um) until it stops or leaves the silicon.

    Its own delta rays are followed too. Charge is added to ``image`` (electrons) in place.
    """
    x, y, depth = position
    bottom = slab.thickness + slab.substrate
    while kinetic > DELTA_LIMIT:
        step = min(ELECTRON_STEP, STEP_LOSS * kinetic / electron_stopping_power(kinetic))
        step = max(step, MIN_ELECTRON_STEP)
        soft, hard = electron_loss(kinetic, step, rng)
        middle = 0.5 * step
        u, v, w = direction
        here = (x + u * middle, y + v * middle, depth + w * middle)
        if hard > DELTA_LIMIT:
            collect(image, slab, here[0], here[1], here[2], soft, rng)
            cosine = math.sqrt(hard / (hard + 2.0 * ELECTRON_MASS) * (kinetic + 2.0 * ELECTRON_MASS) / kinetic)
            follow_electron(image, slab, here, turn(direction, math.acos(min(cosine, 1.0)), rng), hard, rng)
        else:
            collect(image, slab, here[0], here[1], here[2], soft + hard, rng)
        kinetic -= soft + hard
        x, y, depth = x + u * step, y + v * step, depth + w * step
        if depth < 0.0 or depth > bottom:
            return
        if kinetic > DELTA_LIMIT:
            momentum = math.sqrt(kinetic * (kinetic + 2.0 * ELECTRON_MASS))
            beta2 = beta_squared(kinetic, ELECTRON_MASS)
            direction = turn(direction, scattering_angle(momentum, beta2, step, rng), rng)
    collect(image, slab, x, y, depth, kinetic, rng)


@compiled
def follow_muon(
    image: NDArray[np.float32],
    slab: Slab,
    position: Vector,
    direction: Vector,
    momentum: float,
    rng: np.random.Generator,
) -> None:
    """Follow a muon of ``momentum`` (eV/c) from ``position`` (um) through the silicon, and its delta rays.

    Its momentum is kept constant, because it loses only 0.1 MeV of some GeV. Charge is added to ``image`` (electrons)
    in place.
    """
    x, y, depth = position
    beta_gamma = momentum / MUON_MASS
    beta2 = beta_gamma**2 / (1.0 + beta_gamma**2)
    largest = largest_transfer(beta_gamma)
    bottom = slab.thickness + slab.substrate
    while 0.0 <= depth <= bottom:
        middle = 0.5 * MUON_STEP
        u, v, w = direction
        here = (x + u * middle, y + v * middle, depth + w * middle)
        energy, hard = muon_loss(beta_gamma, MUON_STEP, rng)
        if hard > DELTA_LIMIT:
            cosine = math.sqrt(hard / (hard + 2.0 * ELECTRON_MASS) * (largest + 2.0 * ELECTRON_MASS) / largest)
            follow_electron(image, slab, here, turn(direction, math.acos(min(cosine, 1.0)), rng), hard, rng)
        else:
            energy += hard
        collect(image, slab, here[0], here[1], here[2], energy, rng)
        x, y, depth = x + u * MUON_STEP, y + v * MUON_STEP, depth + w * MUON_STEP
        direction = turn(direction, scattering_angle(momentum, beta2, MUON_STEP, rng), rng)


@compiled
def compton_recoil(photon: float, rng: np.random.Generator) -> tuple[float, float]:
    """Draw the energy (eV) and the angle (radians) of the recoil electron of a Compton-scattered ``photon`` (eV).

    The photon's remaining energy follows the Klein-Nishina cross-section [4]_, drawn by rejection.
    """
    ratio = photon / ELECTRON_MASS
    least = 1.0 / (1.0 + 2.0 * ratio)
    while True:
        kept = least + (1.0 - least) * rng.random()
        versine = (1.0 - kept) / (ratio * kept)  # 1 - cos of the photon's angle
        if rng.random() * (least + 1.0 / least) < kept + 1.0 / kept - versine * (2.0 - versine):
            break
    half = math.sqrt(versine / max(2.0 - versine, 1e-12))  # tan of half the photon's angle
    return photon * (1.0 - kept), math.atan2(1.0, (1.0 + ratio) * half)


@compiled
def follow_muons(
    image: NDArray[np.float32],
    slab: Slab,
    positions: NDArray[np.float64],
    directions: NDArray[np.float64],
    momenta: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Follow muons from ``positions`` (N, 3), um, in ``directions`` (N, 3) with ``momenta`` (N,), eV/c."""
    for i in range(momenta.size):
        position = (positions[i, 0], positions[i, 1], positions[i, 2])
        direction = (directions[i, 0], directions[i, 1], directions[i, 2])
        follow_muon(image, slab, position, direction, momenta[i], rng)


@compiled
def follow_electrons(
    image: NDArray[np.float32],
    slab: Slab,
    positions: NDArray[np.float64],
    directions: NDArray[np.float64],
    kinetic: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Follow electrons from ``positions`` (N, 3), um, in ``directions`` (N, 3) with ``kinetic`` (N,) energies, eV."""
    for i in range(kinetic.size):
        position = (positions[i, 0], positions[i, 1], positions[i, 2])
        direction = (directions[i, 0], directions[i, 1], directions[i, 2])
        follow_electron(image, slab, position, direction, kinetic[i], rng)


@compiled
def scatter_photons(
    image: NDArray[np.float32],
    slab: Slab,
    positions: NDArray[np.float64],
    directions: NDArray[np.float64],
    photons: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Follow the recoil electrons of ``photons`` (N,), eV, that scatter at ``positions`` (N, 3), um.

    The photons fly in ``directions`` (N, 3).
    """
    for i in range(photons.size):
        position = (positions[i, 0], positions[i, 1], positions[i, 2])
        direction = (directions[i, 0], directions[i, 1], directions[i, 2])
        kinetic, angle = compton_recoil(photons[i], rng)
        follow_electron(image, slab, position, turn(direction, angle, rng), kinetic, rng)


@compiled
def follow_alpha(
    image: NDArray[np.float32],
    slab: Slab,
    position: Vector,
    direction: Vector,
    kinetic: float,
    plasma: float,
    rng: np.random.Generator,
) -> None:
    """Follow an alpha particle of ``kinetic`` energy (eV) along its straight track of some 10 um, from ``position``.

    Its dense charge first spreads by ``plasma`` (sigma, um) [8]_. Charge is added to ``image`` (electrons) in place.
    """
    wide = Slab(
        slab.pixel,
        slab.thickness,
        slab.substrate,
        math.sqrt(slab.diffusion_min**2 + plasma**2),
        math.sqrt(slab.diffusion_max**2 + plasma**2),
        slab.electrons_per_ev,
        slab.field_free,
    )
    length = ALPHA_RANGE * (kinetic / 5e6) ** ALPHA_EXPONENT
    for step in range(ALPHA_STEPS):
        before, after = 1.0 - step / ALPHA_STEPS, 1.0 - (step + 1) / ALPHA_STEPS  # fractions of the range that are left
        energy = kinetic * (before ** (1.0 / ALPHA_EXPONENT) - after ** (1.0 / ALPHA_EXPONENT))
        way = length * (1.0 - 0.5 * (before + after))
        x, y = position[0] + way * direction[0], position[1] + way * direction[1]
        collect(image, wide, x, y, position[2] + way * direction[2], energy, rng)
