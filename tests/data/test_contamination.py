"""Test the recipes that add the hits of a dark to a science frame, and the labels that they write."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import label, maximum

from cosmicgate.data.background import AstroScrappyCleaner, background, dark_mask, dilate, subtracted_sky
from cosmicgate.data.contamination import PaperRecipe, PhysicalRecipe, RandomRecipe, with_ring
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.simulation.ccd import CCDS
from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
from cosmicgate.data.simulation.readout import dark, read_out
from cosmicgate.io.fits.frames import Frame
from cosmicgate.pretrained.checkpoint import has_ring
from helpers.simulated_frames import (
    GAIN,
    READ_NOISE,
    SHAPE,
    dark_frame,
    generator,
    make_frame,
    robust_sigma,
    sky_frame,
    tracks,
)


def constant_scene(level, shape=SHAPE, **fields):
    """Make a scene of ``level`` ADU without noise that is not read out yet."""
    return make_frame(np.full(shape, level), read_out=False, **fields)


# -------------------------------------------------------------------------------------------- recipe of the paper


def test_the_papers_recipe_adds_the_scaled_hits_pixel_by_pixel():
    U, D = sky_frame(300.0), dark_frame(tracks(4000.0))
    C, truth = PaperRecipe(k=0.125, clean=None)(U, D, generator())
    M = dark_mask(D)
    scale = 0.125 * background(U)[1] / background(D)[1]
    np.testing.assert_allclose(C.image, U.image + scale * D.image * dilate(M), rtol=1e-6)
    np.testing.assert_array_equal(C.image[~dilate(M)], U.image[~dilate(M)])
    assert scale == pytest.approx(0.125 * np.std(U.image) / 2.0, rel=0.05)
    np.testing.assert_array_equal(truth == CORE, M)
    np.testing.assert_array_equal(truth == RING, dilate(M) & ~M)
    assert set(np.unique(truth)) == {SKY, CORE, RING}
    assert truth.dtype == np.uint8


def test_hits_are_added_to_the_cleaned_frame():
    U, D = sky_frame(300.0), dark_frame(np.roll(tracks(4000.0), 31, axis=0))
    own = tracks(4000.0)
    C, truth = PaperRecipe()(replace(U, image=U.image + own / GAIN), D, generator())
    np.testing.assert_array_equal(truth == CORE, dark_mask(D))
    only_own = (own > 0) & (truth == SKY)
    assert np.all(np.abs(C.image - 300)[only_own] < 5 * np.std(U.image))
    assert C.hits is None


def test_bad_pixels_of_the_frame_are_ignored_and_those_of_the_dark_add_no_charge():
    hits = tracks(4000.0)
    column = int(np.argwhere(hits > 0)[0, 1])
    science_bad, dark_bad = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    science_bad[:, column], dark_bad[:, column + 2] = True, True
    U, D = replace(sky_frame(300.0), bad=science_bad), dark_frame(hits + 1e6 * dark_bad, bad=dark_bad)
    C, truth = PaperRecipe(clean=None)(U, D, generator())
    assert (truth[:, column] == IGNORED).all()
    np.testing.assert_array_equal((truth == IGNORED) & ~science_bad, dilate(truth == CORE) & dark_bad & ~science_bad)
    np.testing.assert_array_equal(C.image[:, column + 2], U.image[:, column + 2])


@pytest.mark.parametrize(
    "recipe", [PaperRecipe(clean=None), PaperRecipe(clean=None, ring=False), PhysicalRecipe(clean=None)]
)
def test_ring_pixels_on_bad_pixels_of_the_dark_get_no_charge_and_are_ignored(recipe):
    hits, bad = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    hits[100, 100:110] = 4000
    bad[101, 104] = bad[50, 50] = True  # in the ring, far from the hit
    U = sky_frame(300.0)
    C, truth = recipe(U, dark_frame(hits + 1e5 * bad, bad=bad), generator())
    assert (truth[101, 104], truth[50, 50]) == (IGNORED, SKY)
    assert C.image[101, 104] == U.image[101, 104]
    assert truth[101, 103] == truth[101, 105] == (RING if recipe.ring else SKY)


def test_recorded_hits_of_a_dark_count_on_its_bad_pixels_too():
    hits, bad = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool)
    hits[100, 100:110] = 4000
    bad[101, 104] = True
    _, truth = PhysicalRecipe(clean=None)(sky_frame(300.0), replace(dark_frame(hits, bad=bad), hits=hits), generator())
    assert truth[101, 104] == RING


def test_a_scene_is_read_out_before_it_is_cleaned():
    own = tracks(4000.0)
    U = constant_scene(300.0, hits=own)
    C, truth = PaperRecipe()(U, dark_frame(np.roll(tracks(4000.0), 31, axis=0)), generator())
    assert C.read_out
    assert robust_sigma(C.image) == pytest.approx(READ_NOISE / GAIN, rel=0.1)
    assert np.all(np.abs(C.image - 300)[(own > 0) & (truth == SKY)] < 50)


def test_hits_of_a_scene_are_not_read_out_without_cleaning():
    own = tracks(4000.0)
    C, truth = PaperRecipe(clean=None)(
        constant_scene(300.0, hits=own), dark_frame(np.roll(own, 31, axis=0)), generator()
    )
    assert np.all(np.abs(C.image - 300)[(own > 0) & (truth == SKY)] < 50)


def test_without_a_ring_the_pixels_around_the_core_are_sky_and_the_image_is_the_same():
    scene, dark = constant_scene(300.0), dark_frame(tracks(4000.0))
    with_ring, wide = PaperRecipe(clean=None)(scene, dark, generator())
    without, thin = PaperRecipe(clean=None, ring=False)(scene, dark, generator())
    np.testing.assert_array_equal(with_ring.image, without.image)
    np.testing.assert_array_equal(thin == CORE, wide == CORE)
    assert (wide == RING).any()
    assert (thin[wide == RING] == SKY).all()


def test_a_dark_without_any_noise_is_refused_by_name():
    with pytest.raises(ValueError, match="dark frame 'dark-1': its pixels without hits are all alike"):
        PaperRecipe(clean=None)(sky_frame(300.0), dark_frame(np.zeros(SHAPE, np.float32), noise=0.0), generator())


# -------------------------------------------------------------------------------------------------- physical recipe


def test_the_noise_under_a_hit_is_the_noise_beside_it():
    # A hit of almost no charge in a noisy dark: pasting the dark itself would add its noise.
    hits = np.zeros(SHAPE, np.float32)
    hits[:, :120] = 1e-3
    dark = replace(dark_frame(hits, noise=50.0), hits=hits)
    frame, _ = PhysicalRecipe()(constant_scene(300.0), dark, generator())
    under, beside = frame.image[:, :120].var(), frame.image[:, 120:].var()
    assert under == pytest.approx(beside, rel=0.05)
    assert under == pytest.approx((READ_NOISE / GAIN) ** 2 + 1 / 12, rel=0.05)  # and the rounding to whole ADU


def test_a_known_hit_keeps_its_charge():
    hits = tracks(4000.0)
    frame, _ = PhysicalRecipe()(constant_scene(300.0), replace(dark_frame(hits), hits=hits), generator())
    added = (frame.image - 300)[hits > 0] * GAIN
    assert added.mean() == pytest.approx(4000, abs=5 * READ_NOISE / np.sqrt(added.size))


def test_hits_of_a_real_dark_have_its_charge_above_the_median():
    hits = tracks(4000.0)
    frame, truth = PhysicalRecipe(clean=None)(sky_frame(300.0), dark_frame(hits), generator())
    added = (frame.image - sky_frame(300.0).image) * GAIN
    assert added[hits > 0].mean() == pytest.approx(4000, abs=4)  # the dark's level is 12
    assert (truth[hits > 0] == CORE).all()
    assert (added[~dilate(hits > 0)] == 0).all()


@pytest.mark.parametrize(("sky", "code"), [(10.0, CORE), (400.0, IGNORED), (4000.0, SKY)])
def test_a_hit_is_labelled_by_its_charge_over_the_noise(sky, code):
    # 100 electrons over a noise of 9, 40 and 127: 11, 2.5 and less than 1 sigma.
    hits = np.zeros(SHAPE, np.float32)
    hits[100, 100] = 100
    _, truth = PhysicalRecipe()(constant_scene(sky), replace(dark_frame(hits), hits=hits), generator())
    assert truth[100, 100] == code
    around = truth[99:102, 99:102].ravel()
    assert set(np.delete(around, 4)) == {RING if code == CORE else SKY}
    assert (np.delete(truth.ravel(), 100 * SHAPE[1] + 100) != CORE).all()


def test_a_faint_hit_over_a_star_is_not_a_positive():
    image = np.full(SHAPE, 10.0)
    image[100, 100] = 20_000
    hits = np.zeros(SHAPE, np.float32)
    hits[100, 100] = hits[100, 150] = 200
    science = replace(constant_scene(10.0), image=image.astype(np.float32))
    _, truth = PhysicalRecipe()(science, replace(dark_frame(hits), hits=hits), generator())
    assert truth[100, 150] == CORE
    assert truth[100, 100] == SKY


def test_without_a_ring_a_pixel_is_labelled_by_its_own_charge():
    hits = np.zeros(SHAPE, np.float32)
    hits[100, 100:103] = 4000, 25, 0  # electrons, over a noise of 9
    _, truth = PhysicalRecipe(ring=False)(constant_scene(10.0), replace(dark_frame(hits), hits=hits), generator())
    assert truth[100, 99:103].tolist() == [SKY, CORE, IGNORED, SKY]
    assert (truth != RING).all()


def test_faint_pixels_in_a_ring_are_labelled_ring():
    hits = np.zeros(SHAPE, np.float32)
    hits[100, 100:103] = 4000, 25, 25  # electrons, over a noise of 9
    _, truth = PhysicalRecipe()(constant_scene(10.0), replace(dark_frame(hits), hits=hits), generator())
    assert truth[100, 98:104].tolist() == [SKY, RING, CORE, RING, IGNORED, SKY]


@pytest.mark.parametrize("recipe", [PaperRecipe(ring=False, k=0.2), PhysicalRecipe(ring=False, n_sigma=2.0)])
def test_with_ring_changes_only_the_ring_of_a_recipe(recipe):
    assert with_ring(recipe) == replace(recipe, ring=True)
    assert with_ring(RandomRecipe(recipe, recipe, 0.25)) == RandomRecipe(with_ring(recipe), with_ring(recipe), 0.25)
    assert with_ring(len) is len


@pytest.mark.parametrize(("share", "recipe"), [(1.0, PaperRecipe(clean=None)), (0.0, PhysicalRecipe(clean=None))])
def test_a_random_recipe_gives_the_result_of_the_drawn_recipe(share, recipe):
    hits = tracks(4000.0)
    science, dark = constant_scene(300.0), replace(dark_frame(hits), hits=hits)
    random_recipe = RandomRecipe(PaperRecipe(clean=None), PhysicalRecipe(clean=None), share)
    rng = generator()
    rng.random()  # the random number that selects the recipe
    expected, found = recipe(science, dark, rng), random_recipe(science, dark, generator())
    np.testing.assert_array_equal(found[0].image, expected[0].image)
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_random_recipe_uses_each_recipe_for_its_share_of_frames():
    names = []
    random_recipe = RandomRecipe(lambda *_: names.append("first"), lambda *_: names.append("second"), 0.25)
    for seed in range(400):
        random_recipe(None, None, generator(seed))
    assert 0.18 < names.count("first") / 400 < 0.32


def test_an_invalid_share_is_refused():
    with pytest.raises(ValueError, match=r"share = 1\.5"):
        RandomRecipe(PaperRecipe(), PhysicalRecipe(), 1.5)


def test_both_recipes_must_have_a_ring_or_neither():
    assert RandomRecipe(PaperRecipe(), PhysicalRecipe()).ring
    assert not RandomRecipe(PaperRecipe(ring=False), PhysicalRecipe(ring=False)).ring
    with pytest.raises(ValueError, match="one recipe has a ring, the other has none"):
        RandomRecipe(PaperRecipe(), PhysicalRecipe(ring=False))
    without = {"first": {"ring": False}, "second": {"ring": False}}
    assert not has_ring({"contamination": without})
    assert has_ring({"dilate": True})  # data=lco
    assert not has_ring({"dilate": False})
    assert not has_ring({"parts": {"a": {"contamination": without}, "b": {"contamination": {}}}})
    assert has_ring({"contamination": {"first": {"ring": True}, "second": {}}})


# ---------------------------------------------------------------------------------------------------- both recipes


RECIPES = [PaperRecipe(clean=None), PhysicalRecipe(clean=None)]
BY_NAME = {"argvalues": RECIPES, "ids": ["paper", "physical"]}


@pytest.mark.parametrize("recipe", **BY_NAME)
def test_the_same_seed_gives_the_same_pixels(recipe):
    hits = tracks(4000.0, (260, 300))
    science, dark = constant_scene(300.0), replace(dark_frame(hits), hits=hits)
    first, again, other = (recipe(science, dark, generator(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0].image, again[0].image)
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[0].image != other[0].image).any()
    assert (first[1] != other[1]).any()


@pytest.mark.parametrize("recipe", **BY_NAME)
def test_the_given_frames_are_not_changed(recipe):
    hits = tracks(4000.0)
    science, dark = sky_frame(300.0), replace(dark_frame(hits), hits=hits)
    before = [a.copy() for a in (science.image, science.bad, dark.image, dark.hits)]
    recipe(science, dark, generator())
    for old, new in zip(before, (science.image, science.bad, dark.image, dark.hits), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_random_part_of_a_larger_dark_is_used():
    charges = np.arange(1, 61 * 71 + 1, dtype=np.float32).reshape(61, 71) * 10
    science = constant_scene(0.0, (40, 50), gain=1.0, read_noise=0.0)
    dark = replace(dark_frame(charges), hits=charges)
    places = set()
    for seed in range(5):
        frame, truth = PhysicalRecipe()(science, dark, generator(seed))
        row, column = divmod(int(frame.image[0, 0] / 10) - 1, 71)
        np.testing.assert_array_equal(frame.image, charges[row : row + 40, column : column + 50])
        assert truth.shape == (40, 50)
        places.add((row, column))
    assert len(places) > 1


@pytest.mark.parametrize("recipe", **BY_NAME)
def test_a_smaller_dark_is_refused_with_names_and_shapes(recipe):
    expected = r"dark frame 'dark-1' is \(200, 239\), smaller than science frame 'science-1': \(200, 240\)"
    with pytest.raises(ValueError, match=expected):
        recipe(sky_frame(300.0), dark_frame(np.zeros((200, 239), np.float32)), generator())


# ------------------------------------------------------------------------- simulated darks and sky-subtracted frames


def test_every_hit_found_in_a_simulated_dark_has_particle_charge():
    """Check each connected component of the mask: none is a hot pixel or a bad column."""
    ccd = replace(CCDS["decam"], shape=(512, 512))
    components = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        charge = cosmic_rays(ccd, 1200, rng)
        truth = dark_mask(read_out(dark(ccd, 1200, rng), rng, charge))
        labels, count = label(truth, np.ones((3, 3)))
        components += count
        assert (maximum(charge, labels, range(1, count + 1)) > 0).all()
    assert components > 60


def exposure_with_sky(sky, level=2000.0):
    """Simulate an exposure of empty sky from which a pipeline subtracted all but ``sky`` ADU, with a gain of 4."""
    rng = np.random.default_rng(1)
    image = rng.poisson(np.full((256, 256), 4 * level)) / 4 - level + sky + rng.normal(0, 7 / 4, (256, 256))
    return Frame(image.astype(np.float32), gain=4.0, read_noise=7.0, saturation=60_000.0, exptime=90.0, name="s")


def test_a_sky_subtracted_frame_is_cleaned_and_labelled_by_its_original_noise():
    whole, without = exposure_with_sky(2000.0), exposure_with_sky(0.0)
    assert subtracted_sky(whole) == 0
    assert subtracted_sky(without) == pytest.approx(2000, rel=0.06)
    changed = [(AstroScrappyCleaner()(frame).image != frame.image).mean() for frame in (whole, without)]
    assert max(changed) < 0.001
    hits = np.zeros((256, 256), np.float32)
    hits[40, 20:230] = np.linspace(50, 600, 210)
    dark_frame_of_hits = Frame(
        np.zeros((256, 256), np.float32), 4.0, 7.0, 60_000.0, 90.0, name="d", hits=hits, read_out=False
    )
    truths = [
        PhysicalRecipe(clean=None)(frame, dark_frame_of_hits, np.random.default_rng(2))[1] for frame in (whole, without)
    ]
    cores = [int((truth == CORE).sum()) for truth in truths]
    assert 0 < cores[0] < 3 * 210
    assert cores[1] == pytest.approx(cores[0], rel=0.1)
