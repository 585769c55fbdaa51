"""Test that aberrations, guiding jumps and spikes have the shapes that optics gives them, and keep the light."""

import numpy as np
import pytest

from cosmicgate.data.simulation.optics import Aberration, CombinedBlur, GuidingJumps, Spikes

KERNELS = {
    "donut": Aberration(defocus=8.0, hole=0.4),
    "astigmatism": Aberration(astigmatism=5.0),
    "coma": Aberration(coma=3.0, angle=0.7),
    "trefoil": Aberration(trefoil=6.0),
    "double": GuidingJumps([0, 6], [0, 3], [0.7, 0.3]),
    "kinked": GuidingJumps([0, 5, 5], [0, 0, 7], [0.1, 0.1, 0.1]),
    "spikes": Spikes(vanes=4, angle=0.3, flux=0.02, length=10.0),
}


def grid(kernel):
    """Compute the columns and rows of a kernel, from its middle."""
    places = np.arange(len(kernel)) - len(kernel) // 2
    return np.meshgrid(places, places)


@pytest.mark.parametrize("blur", KERNELS.values(), ids=KERNELS)
def test_light_away_from_the_edge_is_conserved(blur):
    light = np.zeros((301, 281), np.float32)
    light[150, 140] = 1000
    spread = blur(light)
    assert blur.kernel().sum() == pytest.approx(1)
    assert (blur.kernel() >= 0).all()
    assert spread.sum() == pytest.approx(1000, rel=1e-3)
    assert spread.max() < 990


def test_a_donut_is_empty_in_its_middle():
    kernel = KERNELS["donut"].kernel()
    x, y = grid(kernel)
    radius = np.hypot(x, y)
    assert kernel[radius < 2].sum() < 1e-6
    assert kernel[(radius > 2) & (radius < 9)].sum() == pytest.approx(1)


def test_a_comatic_star_is_a_fan_of_three_times_its_coefficient_with_a_bright_tip():
    kernel = Aberration(coma=4.0, hole=0.0).kernel()
    x, y = grid(kernel)
    lit = kernel > 1e-5
    assert x[lit].max() == pytest.approx(12, abs=1)
    assert x[lit].min() >= -1
    assert np.ptp(y[lit]) == pytest.approx(8, abs=1)
    assert x.flat[kernel.argmax()] < 4, "the brightest pixel is at the tip"
    assert (kernel * y).sum() == pytest.approx(0, abs=0.01)


def test_a_trefoil_star_has_three_equal_corners_and_an_astigmatic_one_two_axes():
    kernel = Aberration(trefoil=8.0, hole=0.0).kernel()
    x, y = grid(kernel)
    angle, far = np.arctan2(y, x), np.hypot(x, y) > 3
    harmonics = {m: abs((kernel * np.exp(1j * m * angle))[far].sum()) for m in (1, 2)}
    assert max(harmonics.values()) < 0.02
    assert (kernel * (x**2 - y**2)).sum() == pytest.approx(0, abs=0.2)  # of 25
    line = Aberration(defocus=5.0, astigmatism=5.0, hole=0.0).kernel()
    x, y = grid(line)
    assert (line * x**2).sum() > 20
    assert (line * y**2).sum() < 1


def test_a_jump_makes_two_stars_at_its_distance_with_the_light_of_their_stays():
    light = np.zeros((41, 41), np.float32)
    light[20, 20] = 1000
    double = GuidingJumps([0, 10], [0, 0], [0.75, 0.25])(light)
    bright, faint = np.argsort(double.max(axis=0))[::-1][[0, 2]]
    assert faint - bright == pytest.approx(10, abs=1)
    left = double[:, : (bright + faint) // 2].sum()
    assert left == pytest.approx(750, rel=0.02)


def test_a_drift_along_two_legs_makes_a_corner():
    kernel = GuidingJumps([0, 12, 12], [0, 0, 12], [0, 0, 0]).kernel()
    x, y = grid(kernel)
    lit = kernel > kernel.max() / 4
    assert np.ptp(x[lit]) == pytest.approx(12, abs=1)
    assert np.ptp(y[lit]) == pytest.approx(12, abs=1)
    assert lit.sum() < 60, "a bent line, not a square"
    assert (kernel * x).sum() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("vanes", "arms"), [(3, 6), (4, 4), (6, 6)])
def test_spikes_have_the_arms_of_their_vanes_and_the_light_that_the_vanes_cover(vanes, arms):
    kernel = Spikes(vanes, angle=0.2, flux=0.03, length=8.0).kernel()
    x, y = grid(kernel)
    ring = np.abs(np.hypot(x, y) - 20) < 1
    turns = np.sort(np.arctan2(y, x)[ring & (kernel > kernel[ring].max() / 3)])
    assert np.sum(np.diff(turns, append=turns[0] + 2 * np.pi) > 0.3) == arms
    assert kernel[np.hypot(x, y) > 1.5].sum() == pytest.approx(0.03, rel=0.25)


def test_blurs_follow_each_other():
    light = np.zeros((61, 61), np.float32)
    light[30, 30] = 100
    first, second = KERNELS["double"], KERNELS["coma"]
    np.testing.assert_allclose(CombinedBlur([first, second])(light), second(first(light)), atol=1e-4)


@pytest.mark.parametrize("stays", [[0.5], [0.8, 0.4], [-0.1, 0.5]])
def test_stays_that_do_not_fit_are_refused(stays):
    with pytest.raises(ValueError, match="stays of zero or more that add up to 1 at most"):
        GuidingJumps([0, 1], [0, 1], stays)
