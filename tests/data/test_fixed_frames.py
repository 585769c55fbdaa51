"""Test that the frames of the default data sets stay what they are: a moved random stream would change every score."""

import numpy as np
import pytest

from cosmicgate.data.contamination import PhysicalRecipe
from cosmicgate.data.lco.simulation import simulate_triple
from cosmicgate.data.sources.random_cameras import RandomDarks, RandomScience
from cosmicgate.data.sources.simulated import SimulatedDarks, SimulatedScience

ONE, SHAPE = {"train": 2}, (192, 160)
SOURCES = {
    "decam science": SimulatedScience(ONE, bands=("g",), shape=SHAPE),
    "decam darks": SimulatedDarks(ONE, shape=SHAPE),
    "lco darks": SimulatedDarks(ONE, shape=SHAPE, ccd="0m4"),
    "cameras": RandomScience(ONE, SHAPE),
    "trailed and defocused cameras": RandomScience(ONE, SHAPE, 1, trailed_or_defocused=1.0),
    "undersampled cameras": RandomScience(ONE, SHAPE, 2, seeing=(1.2, 1.8)),
    "camera darks": RandomDarks(ONE, SHAPE),
}
# Of the second frame of each source: cache key, mean and three pixels (ADU), and charge of the hits (electrons).
FRAMES = {
    "decam science": ("e0eb2218fe5baab2", 287.176237, [140.297653, 143.811859, 146.515091], 0),
    "decam darks": ("0d98f38842d90490", 204.770150, [4, -1, -3], 72375),
    "lco darks": ("ee15f1587d322218", 183.651335, [144, 153, 146], 0),
    "cameras": ("66621656d498b359", 3450.226636, [3332.022217, 3313.098389, 3334.387695], 0),
    "trailed and defocused cameras": ("c061d822901c2392", 1244.131253, [774.096680, 801.472595, 743.517273], 0),
    "undersampled cameras": ("b45917023a58cc74", 1878.253509, [1907.755249, 1912.572754, 1868.010376], 0),
    "camera darks": ("010b49a191acd80f", 144.739355, [11, -11, 14], 124434),
}
# Of the second exposure of a triple: mean and two pixels (electrons), and charge of the hits.
TRIPLES = {
    "0m4": (139.073032, [169.089508, 107.989937], 0),
    "1m0": (315.720998, [309.381683, 289.772980], 4592),
    "2m0": (748.787650, [751.287842, 751.287842], 3005),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_frames_of_a_default_source_stay_what_they_are(name):
    key, mean, pixels, charge = FRAMES[name]
    lazy = SOURCES[name].lazy_frames("train")[1]
    frame = lazy.build()
    assert lazy.key == key
    assert frame.image.mean(dtype=float) == pytest.approx(mean, rel=1e-6)
    assert [frame.image[place] for place in ((7, 11), (100, 50), (-1, -1))] == pytest.approx(pixels, rel=1e-6)
    assert (0 if frame.hits is None else frame.hits.sum(dtype=float)) == charge


@pytest.mark.parametrize("telescope", TRIPLES)
def test_the_simulated_lco_sequences_stay_what_they_are(telescope):
    mean, pixels, charge = TRIPLES[telescope]
    exposure = simulate_triple(telescope, [0, 1], (96, 96), 2, 20.0).exposures[1]
    image = exposure.exposure.frame.image
    assert image.mean(dtype=float) == pytest.approx(mean, rel=1e-6)
    assert [image[7, 11], image[50, 40]] == pytest.approx(pixels, rel=1e-6)
    assert exposure.charge.sum(dtype=float) == charge


def test_the_truth_of_a_contaminated_frame_stays_what_it_is():
    science, dark = (SOURCES[name].lazy_frames("train")[0].build() for name in ("cameras", "camera darks"))
    image, truth = PhysicalRecipe(2.5, 0.3, None, False)(science, dark, np.random.default_rng(5))
    assert np.unique(truth, return_counts=True)[1].tolist() == [30414, 246, 60]
    assert image.image.mean(dtype=float) == pytest.approx(31.459082, rel=1e-6)
