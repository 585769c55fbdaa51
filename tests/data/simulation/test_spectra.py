"""Test that lines and traces of simulated spectra have their charge, width and course, and that hits on them count."""

from dataclasses import replace

import numpy as np
import pytest

from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.pixel_labels import CORE
from cosmicgate.data.simulation import spectra
from cosmicgate.data.simulation.ccd import SINISTRO
from cosmicgate.data.simulation.spectra import KINDS, Spectrograph, add_line, draw_spectrograph, draw_spectrum
from cosmicgate.data.sources.random_spectra import RandomSpectra
from cosmicgate.io.fits.frames import Frame

CCD = replace(SINISTRO, shape=(96, 128))


@pytest.mark.parametrize("width", [0.5, 1.0, 5.0])
def test_a_line_keeps_its_charge_centre_and_width_even_if_it_is_narrower_than_a_pixel(width):
    expected = np.zeros((20, 60), np.float32)
    centres = 30.2 + 0.3 * np.arange(20)
    add_line(expected, centres, np.full(20, 500.0), width)
    np.testing.assert_allclose(expected.sum(axis=1), 500, rtol=1e-3)
    x = np.arange(60)
    means = expected @ x / 500
    np.testing.assert_allclose(means, centres, atol=0.02 if width > 0.6 else 0.5)  # a narrow line shows pixels
    variance = (expected * (x - means[:, None]) ** 2).sum(axis=1) / 500
    if width > 0.6:
        np.testing.assert_allclose(variance, (width / 2.3548) ** 2 + 1 / 12, rtol=0.1)
    else:
        assert (variance < 0.3).all()


def test_the_light_of_a_line_that_leaves_the_image_is_lost():
    expected = np.zeros((4, 10), np.float32)
    add_line(expected, np.array([-0.5, 9.5, 40.0]), np.full(3, 100.0), 2.0, first=2)
    assert not expected[:2].any()
    np.testing.assert_allclose(expected[2:].sum(axis=1), 50, rtol=0.01)


def test_the_geometry_of_a_spectrograph_lies_within_the_ranges():
    for seed in range(100):
        drawn = draw_spectrograph((500, 700), np.random.default_rng(seed))
        assert spectra.LINE_WIDTH[0] * 0.999 <= drawn.width <= spectra.LINE_WIDTH[1] * 1.001
        assert spectra.TILT[0] <= drawn.tilt <= spectra.TILT[1]
        assert abs(drawn.bow * 500**2) <= spectra.BOW[1]


def test_sky_lines_are_tilted_and_curved():
    expected = np.zeros((101, 400), np.float32)
    optics = Spectrograph(width=2.0, tilt=0.1, bow=0.002, slope=0.0, sag=0.0)
    rng = np.random.default_rng(1)
    spectra._add_lines(expected, optics, np.ones(101), 10.0, (1000.0, 1000.0), rng)
    row = 90
    bend = 0.1 * (row - 50.5) + 0.002 * (row - 50.5) ** 2
    middle = expected[50]
    shifts = np.arange(-15, 16)
    match = [np.corrcoef(np.roll(middle, shift)[50:350], expected[row][50:350])[0, 1] for shift in shifts]
    assert shifts[int(np.argmax(match))] == pytest.approx(bend, abs=1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_lines_or_traces_far_above_its_noise_and_the_same_seed_gives_the_same_pixels(kind):
    first, again = (draw_spectrum(CCD, kind, 60.0, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.image.shape == CCD.shape
    electrons = first.image * first.gain
    assert np.percentile(electrons, 99.5) > np.median(electrons) + 5 * np.sqrt(np.median(electrons) + 60)
    assert not first.read_out


def test_an_unknown_kind_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="kind = 'prism': expected one of slit, arc, echelle, fibres"):
        draw_spectrum(CCD, "prism", 60.0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="expected some of slit, arc, echelle, fibres"):
        RandomSpectra({"train": 1}, kinds=["prism"]).lazy_frames("train")


def test_hits_on_a_bright_line_stay_in_the_truth_and_the_line_is_none():
    expected = np.full((96, 128), 20.0, np.float32)
    add_line(expected, np.full(96, 64.0), np.full(96, 20_000.0), 2.0)
    rng = np.random.default_rng(0)
    image = rng.poisson(expected).astype(np.float32)
    scene = Frame(image, gain=1.0, read_noise=5.0, saturation=60_000.0, exptime=60.0, read_out=False)
    hits = np.zeros((96, 128), np.float32)
    hits[40, 60:70] = 3000.0  # crosses the line, whose noise is 100 electrons
    dark = Frame(np.zeros((96, 128), np.float32), 1.0, 5.0, 60_000.0, 60.0, hits=hits)
    _, truth = PhysicalRecipe(clean=None, ring=False)(scene, dark, rng)
    assert (truth[40, 60:70] == CORE).all()
    assert (truth == CORE).sum() == 10


def test_spectra_of_a_source_differ_by_split_and_number_and_may_have_warm_pixels():
    source = RandomSpectra({"train": 3, "test": 1}, (64, 64), kinds=["slit"])
    lazy_frames = [*source.lazy_frames("train"), *source.lazy_frames("test")]
    assert len({lazy.key for lazy in lazy_frames}) == len({lazy.name for lazy in lazy_frames}) == 4
    images = [lazy.build().image for lazy in lazy_frames]
    assert not any(np.array_equal(images[0], image) for image in images[1:])
