"""Test simulated cosmic rays against published energy losses and ranges, and against the hit rate of a real camera."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numba import njit
from scipy import ndimage

from cosmicgate.data.simulation.ccd import CCD, DECAM
from cosmicgate.data.simulation.compiled import compiled
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays
from cosmicgate.data.simulation.particles import (
    MUON_MASS,
    PAIR_ENERGY,
    Slab,
    arrival_times,
    collect,
    compton_recoil,
    deposit,
    follow_alpha,
    follow_electron,
    follow_muon,
    muon_loss,
)

SMALL = replace(DECAM, shape=(512, 512))
THIN = CCD(
    shape=(1024, 1024),
    pixel=15.0,
    thickness=10.0,
    substrate=300.0,
    diffusion_min=0.7,
    diffusion_max=1.5,
    gain=1.4,
    read_noise=10.0,
    saturation=60_000.0,
    pixel_scale=0.389,
)


def hit_sizes(image, threshold):
    labels, _ = ndimage.label(image > threshold, np.ones((3, 3), bool))
    return np.bincount(labels[labels > 0])[1:]


@njit
def losses(momentum, depth, step, muons, rng):
    total = np.zeros(muons)
    for i in range(muons):
        for _ in range(int(depth / step)):
            soft, hard = muon_loss(momentum / MUON_MASS, step, rng)
            total[i] += soft + hard
    return total


@pytest.mark.slow
def test_muons_lose_116_kev_in_300_um_of_silicon_on_average():
    # Particle Data Group: 388 eV/um for a minimum-ionising muon, at 0.35 GeV/c.
    mean = losses(0.35e9, 300.0, 1.5, 50_000, np.random.default_rng(1)).mean() / 1e3
    assert mean == pytest.approx(116, rel=0.05)


def test_the_most_probable_loss_of_muons_in_300_um_of_silicon_is_82_kev():
    rng = np.random.default_rng(1)
    slab = Slab(pixel=15.0, thickness=300.0, substrate=0.0, diffusion_min=2.0, diffusion_max=7.3)
    charges = []
    for _ in range(3000):
        image = np.zeros((64, 64), np.float32)
        follow_muon(image, slab, (480.0, 480.0, 0.0), (0.0, 0.0, 1.0), 4e9, rng)
        charges.append(image.sum())
    energy = np.array(charges) * PAIR_ENERGY / 1e3  # keV
    counts, edges = np.histogram(energy, np.arange(50.0, 150.0, 6.0))
    top = int(counts.argmax())
    centres, weights = (edges[:-1] + 3)[top - 1 : top + 2], counts[top - 1 : top + 2]
    assert np.average(centres, weights=weights) == pytest.approx(82, abs=4)
    assert np.median(energy) > 86  # skewed: delta rays


def test_the_range_of_100_kev_electrons_is_the_measured_one():
    # Katz & Penfold 1952: an extrapolated range of 58 um; 13-17 % of the electrons are scattered back (mostly early).
    rng = np.random.default_rng(1)
    slab = Slab(pixel=1.0, thickness=1000.0, substrate=0.0, diffusion_min=0.1, diffusion_max=0.1)
    reached = []
    for _ in range(500):
        image = np.zeros((160, 90), np.float32)
        follow_electron(image, slab, (1e-3, 80.0, 500.0), (1.0, 0.0, 0.0), 100e3, rng)
        reached.append(np.flatnonzero(image.sum(axis=0)).max() + 1)
    shallow, deep = np.quantile(reached, (0.4, 0.8))
    assert deep + (deep - shallow) / 2 == pytest.approx(58, rel=0.15)


def test_compton_recoils_have_the_compton_edge_and_the_klein_nishina_mean():
    rng = np.random.default_rng(1)
    energy, angle = np.array([compton_recoil(662e3, rng) for _ in range(5000)]).T
    assert energy.max() <= 478e3  # the edge for 137Cs
    assert energy.mean() == pytest.approx(252e3, rel=0.03)  # 38 % of the photon's
    assert np.all((angle >= 0) & (angle <= math.pi / 2))


@pytest.mark.parametrize("sigma", [0.7, 3.0, 9.0])
@pytest.mark.parametrize("place", [(160.0, 160.0), (163.1, 155.7)])
def test_a_charge_cloud_keeps_its_charge_and_centre(place, sigma):
    image = np.zeros((32, 32), np.float32)
    deposit(image, *place, sigma, 1000.0, 10.0)
    assert image.sum() == pytest.approx(1000, rel=3e-4)
    rows, columns = np.indices(image.shape) * 10.0 + 5.0
    assert (image * columns).sum() / 1000 == pytest.approx(place[0], abs=0.5 * 10 if sigma < 3 else 0.5)
    assert (image * rows).sum() / 1000 == pytest.approx(place[1], abs=0.5 * 10 if sigma < 3 else 0.5)


def test_a_charge_cloud_at_the_edge_deposits_half_its_charge():
    image = np.zeros((8, 8), np.float32)
    deposit(image, 0.0, 40.0, 3.0, 1000.0, 10.0)
    assert image.sum() == pytest.approx(500, rel=1e-3)
    deposit(image, -500.0, 40.0, 3.0, 1000.0, 10.0)
    assert image.sum() == pytest.approx(500, rel=1e-3)


def test_the_same_seed_gives_the_same_hits():
    first, again, other = (cosmic_rays(SMALL, 600.0, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.dtype == np.float32
    assert first.shape == SMALL.shape
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_charge_is_a_whole_number_of_electrons():
    image = cosmic_rays(SMALL, 600.0, np.random.default_rng(0))
    assert image.min() == 0
    assert np.array_equal(image, np.round(image))


def test_hits_are_as_dense_at_the_edges_as_inside():
    rng = np.random.default_rng(0)
    hit = np.mean([cosmic_rays(SMALL, 6000.0, rng, rate_scatter=0) > 50 for _ in range(10)], axis=0)
    edge = np.concatenate([hit[:4].ravel(), hit[-4:].ravel(), hit[4:-4, :4].ravel(), hit[4:-4, -4:].ravel()])
    assert edge.mean() == pytest.approx(hit[4:-4, 4:-4].mean(), rel=0.25)


@pytest.mark.slow
def test_a_dark_of_1200_s_has_as_many_hits_as_a_real_one():
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(30):
        image = cosmic_rays(replace(DECAM, shape=(1024, 2048)), 1200.0, rng, rate_scatter=0)
        image += DECAM.read_noise * rng.standard_normal(image.shape, np.float32)
        counts.append((hit_sizes(image, 20 * DECAM.read_noise) >= 2).sum())
    assert 4 * np.mean(counts) == pytest.approx(682, rel=0.25)  # a quarter of a CCD each


def test_thin_ccds_show_mostly_one_and_two_pixel_hits():
    rng = np.random.default_rng(0)
    sizes = np.concatenate([hit_sizes(cosmic_rays(THIN, 3600.0, rng), 8 * THIN.read_noise) for _ in range(4)])
    assert sizes.size > 100
    assert 0.5 < np.mean(sizes <= 2) < 0.95


@pytest.mark.slow
def test_rates_and_charge_scatter_only_if_configured():
    still = {"rate_scatter": 0.0, "charge_scatter": 0.0, "diffusion_scatter": 0.0}
    none = Rates(charged=0, compton=0, x_rays=0)
    assert not cosmic_rays(SMALL, 600.0, np.random.default_rng(0), none, **still).any()
    gammas = replace(none, compton=300.0)
    spread = {}
    for scatter in (0.0, 0.5):
        for name in ("rate_scatter", "charge_scatter"):
            options = still | {name: scatter}
            sums = [cosmic_rays(SMALL, 60.0, np.random.default_rng(k), gammas, **options).sum() for k in range(25)]
            spread[name, scatter] = np.std(sums) / np.mean(sums)
    assert spread["rate_scatter", 0.5] > 2 * spread["rate_scatter", 0.0]
    assert spread["charge_scatter", 0.5] > 2 * spread["charge_scatter", 0.0]


@pytest.mark.parametrize("exptime", [0.0, -90.0, math.nan, math.inf])
def test_an_invalid_exptime_is_refused_with_its_value(exptime):
    with pytest.raises(ValueError, match=f"exptime = {exptime} s"):
        cosmic_rays(SMALL, exptime, np.random.default_rng(0))


@pytest.mark.parametrize("name", ["rate_scatter", "charge_scatter", "diffusion_scatter"])
def test_an_invalid_scatter_is_refused_by_name(name):
    with pytest.raises(ValueError, match=rf"{name} = 1\.5"):
        cosmic_rays(SMALL, 90.0, np.random.default_rng(0), **{name: 1.5})


def test_an_invalid_zenith_angle_or_rate_is_refused():
    with pytest.raises(ValueError, match="zenith_angle = 120"):
        cosmic_rays(SMALL, 90.0, np.random.default_rng(0), zenith_angle=120)
    with pytest.raises(ValueError, match="charged = -1"):
        Rates(charged=-1)
    with pytest.raises(ValueError, match="electron_fraction = 2"):
        Rates(electron_fraction=2)


def cloud(depth, field_free=30.0, seed=0):
    """Collect 10 000 electrons of 36.5 keV released at ``depth`` (um), under the middle of an image of 4 um pixels."""
    image = np.zeros((121, 121), np.float32)
    slab = Slab(4.0, 8.0, field_free, 1.0, 2.0, 1 / PAIR_ENERGY, field_free)
    collect(image, slab, 242.0, 242.0, depth, 36_500.0, np.random.default_rng(seed))
    return image


def width_of(image, pixel=4.0):
    """Compute the sigma of a cloud along the columns, um."""
    places = pixel * (np.arange(len(image)) - len(image) // 2)
    return math.sqrt((image.sum(axis=0) * places**2).sum() / image.sum())


def test_the_charge_of_a_diffuse_hit_is_conserved_whatever_its_depth():
    charges = [cloud(depth).sum() for depth in (4.0, 9.0, 20.0, 37.9)]
    np.testing.assert_allclose(charges, 10_000, rtol=0.01)
    assert not cloud(38.1).any(), "nothing is collected behind the field-free silicon"
    assert not cloud(9.0, field_free=0.0).any()


def test_a_diffuse_hit_widens_with_the_depth_of_conversion_as_diffusion_does():
    depths = np.array([6.0, 9.0, 14.0, 20.0, 28.0, 37.9])
    widths = np.array([width_of(cloud(depth)) for depth in depths])
    assert (np.diff(widths) > 0).all()
    above = depths[1:] - 8.0
    theory = np.sqrt(2 * 30 * above - above**2 + 2.0**2 + 4.0**2 / 12)  # 30 um field-free; plus drift and pixel
    np.testing.assert_allclose(widths[1:], theory, rtol=0.03)


def test_charge_from_a_field_free_layer_has_broad_wings():
    near = cloud(12.0)
    sigma = width_of(near)
    far = np.hypot(*(4.0 * (np.indices(near.shape) - 60))) > 4 * sigma
    assert near[far].sum() / near.sum() > 30 * math.exp(-8), "a Gaussian has exp(-8) beyond 4 sigma"


def test_charge_arrives_the_later_the_deeper_it_starts():
    table = arrival_times()
    assert (np.diff(table, axis=0) >= 0).all()
    assert (np.diff(table[1:], axis=1) > 0).all()
    places = np.linspace(0, 1, len(table))
    np.testing.assert_allclose(table.mean(axis=1), places * (2 - places), atol=1e-9)


def test_an_alpha_leaves_all_its_energy_in_a_round_spot_of_the_size_of_its_plasma():
    image = np.zeros((61, 61), np.float32)
    slab = Slab(10.0, 50.0, 0.0, 1.0, 2.0)
    start = (305.0, 305.0, 0.0)
    follow_alpha(image, slab, start, (0.0, 0.0, 1.0), 5.3e6, 15.0, np.random.default_rng(0))
    assert image.sum() == pytest.approx(5.3e6 / PAIR_ENERGY, rel=0.01)
    assert width_of(image, 10.0) == pytest.approx(15.4, rel=0.05)
    assert width_of(image.T, 10.0) == pytest.approx(width_of(image, 10.0), rel=0.02)
    stopped = np.zeros((61, 61), np.float32)
    thin = Slab(10.0, 10.0, 0.0, 1.0, 2.0)
    follow_alpha(stopped, thin, start, (0.0, 0.0, 1.0), 5.3e6, 15.0, np.random.default_rng(0))
    assert 0.2 < stopped.sum() / image.sum() < 0.4, "10 of its 27 um, with less loss at high energy"


def test_hits_of_field_free_silicon_are_rounder_and_no_hit_is_lost_without_it():
    layer = replace(THIN, shape=(512, 512), thickness=6.0, substrate=0.0)
    rates = Rates(charged=0, compton=60.0, x_rays=5.0)
    sizes = [
        np.median(hit_sizes(cosmic_rays(layer, 600.0, np.random.default_rng(3), rates, field_free=depth), 60))
        for depth in (0.0, 20.0)
    ]
    assert sizes[1] > 1.5 * sizes[0]
    with pytest.raises(ValueError, match=r"field_free = -1\.0 um"):
        cosmic_rays(layer, 600.0, np.random.default_rng(0), field_free=-1.0)


def test_alphas_are_drawn_at_their_rate_and_only_if_asked():
    small = replace(THIN, shape=(256, 256), substrate=0.0)
    none = Rates(charged=0, compton=0, x_rays=0)
    assert not cosmic_rays(small, 600.0, np.random.default_rng(0), none).any()
    image = cosmic_rays(small, 600.0, np.random.default_rng(0), replace(none, alphas=2.0))
    _, number = ndimage.label(image > 1000, np.ones((3, 3), bool))
    assert 1 <= number <= 15  # 2 per cm2 and minute on 0.15 cm2 in 10 minutes: 3
    assert image.max() > 10_000


def test_numba_compiles_without_a_writable_cache_folder():
    names = {}
    exec("def double(x):\n    return 2 * x", names)  # a function without a file, for which numba has no cache folder
    with pytest.raises(RuntimeError, match="cannot cache function"):
        njit(cache=True)(names["double"])
    assert compiled(names["double"])(2.5) == 5.0
