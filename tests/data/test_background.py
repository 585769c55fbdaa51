"""Test the cleaning of frames, the estimate of their background, and the masks of hits in darks."""

from dataclasses import replace

import numpy as np
import pytest

from cosmicgate.data.background import AstroScrappyCleaner, background, dark_mask, dilate
from helpers.simulated_frames import GAIN, READ_NOISE, SHAPE, dark_frame, generator, robust_sigma, sky_frame, tracks


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_cleaning_removes_hits_and_keeps_the_sky_in_adu(gain):
    # Astro-SCRAPPY works in electrons: a result that is not converted back is wrong by the factor of the gain.
    sky = sky_frame(300.0, gain=gain)
    hits = tracks(4000.0) / gain
    frame = replace(sky, image=sky.image + hits)
    cleaned = AstroScrappyCleaner()(frame).image
    noise = robust_sigma(sky.image)
    assert np.median(cleaned) == pytest.approx(300, abs=0.5)
    assert robust_sigma(cleaned) == pytest.approx(noise, rel=0.02)
    assert np.all(np.abs(cleaned - 300)[hits > 0] < 5 * noise)
    assert (frame.image[hits > 0] > 300 + 5 * noise).all()  # before the cleaning the hits are visible


def test_cleaning_keeps_stars_and_sky():
    sky, hits = sky_frame(300.0), tracks(4000.0)
    rows, columns = np.indices(SHAPE)
    star = 8000 * np.exp(-((rows - 180) ** 2 + (columns - 20) ** 2) / (2 * 2.0**2))
    frame = replace(sky, image=(sky.image + hits / GAIN + star).astype(np.float32))
    cleaned = AstroScrappyCleaner()(frame).image
    far = ~dilate(dilate(hits > 0))
    same = np.isclose(cleaned, frame.image, rtol=1e-5)
    assert same[far].mean() > 0.999
    assert same[(star > 500) & far].all()


@pytest.mark.parametrize("gain", [1.0, 4.0])
def test_cleaning_applies_the_gain_to_the_noise(gain):
    sky = sky_frame(1200.0 / gain, gain=gain)
    dots = np.zeros(SHAPE, bool)
    dots[20:-20:12, 20:-20:12] = True
    found = []
    for height in (8, 2):  # sigma; a wrong gain halves them
        frame = replace(sky, image=sky.image + np.float32(height * np.sqrt(1200 + READ_NOISE**2) / gain) * dots)
        found.append((AstroScrappyCleaner()(frame).image < frame.image - 1)[dots].mean())
    assert found[0] > 0.98
    assert found[1] < 0.1


def test_a_cleaned_frame_records_no_hits():
    frame = replace(sky_frame(300.0), hits=tracks(4000.0))
    assert AstroScrappyCleaner()(frame).hits is None


def test_the_background_ignores_hits_and_bad_pixels():
    sky = sky_frame(300.0)
    bad = np.zeros(SHAPE, bool)
    bad[:, :100] = True
    image = np.where(bad, 30_000, sky.image + tracks(40_000.0))
    level, sigma = background(replace(sky, image=image.astype(np.float32), bad=bad))
    assert level == pytest.approx(300, abs=0.5)
    assert sigma == pytest.approx(np.sqrt(300 * GAIN + READ_NOISE**2) / GAIN, rel=0.03)


def test_the_threshold_of_a_dark_mask_is_three_sigma_above_the_median():
    hits = tracks(4000.0)
    dark = dark_frame(hits)
    inside = np.s_[8:-8, 8:-8]
    threshold = np.median(dark.image[inside]) + 3 * np.std(dark.image[inside])
    assert 50 < threshold < 500  # sigma of all pixels: the hits raise it far above the noise of 2
    dark.image[100, 20], dark.image[100, 40] = 0.95 * threshold, 1.05 * threshold
    mask = dark_mask(dark, floor=0)
    np.testing.assert_array_equal(mask[inside], dark.image[inside] > threshold)
    assert mask[100, 40]
    assert not mask[100, 20]
    assert mask[hits > 0].all()


def test_with_the_sigma_of_the_background_the_threshold_does_not_depend_on_bright_hits():
    faint, bright = dark_frame(tracks(400.0)), dark_frame(tracks(400.0) + 100 * tracks(400.0, number=1))
    masks = [dark_mask(dark, floor=0, sigma="background") for dark in (faint, bright)]
    np.testing.assert_array_equal(*masks)
    level, sigma = background(faint)
    inside = np.s_[8:-8, 8:-8]
    np.testing.assert_array_equal(masks[0][inside], faint.image[inside] > level + 3 * sigma)
    sigma_of_all = [dark_mask(dark, floor=0, sigma="all") for dark in (faint, bright)]
    assert sigma_of_all[1].sum() < sigma_of_all[0].sum() < masks[0].sum()
    np.testing.assert_array_equal(sigma_of_all[0], dark_mask(faint, floor=0))


def test_an_unknown_sigma_is_refused_by_name():
    with pytest.raises(ValueError, match="sigma = 'sky': expected one of background, all"):
        dark_mask(dark_frame(tracks(4000.0)), sigma="sky")


def test_a_dark_mask_leaves_out_edges_and_bad_columns():
    hits = tracks(4000.0)
    bad = np.zeros(SHAPE, bool)
    bad[:, 30] = True
    clean = dark_mask(dark_frame(hits * ~bad, bad=bad))
    hits[:, 30] = 1e6  # a hot column: if it counted, no hit would be three sigma above the median
    hits[[0, 7, -8, -1], 120] = 4000
    hits[120, [0, 7, -8, -1]] = 4000
    mask = dark_mask(dark_frame(hits, bad=bad))
    np.testing.assert_array_equal(mask, clean)
    assert clean.any()
    hits[8, 121] = hits[121, -9] = 4000
    assert dark_mask(dark_frame(hits, bad=bad)).sum() == clean.sum() + 2


def test_with_the_floor_a_dark_without_hits_has_an_empty_mask():
    dark = dark_frame(np.zeros(SHAPE, np.float32))
    assert dark_mask(dark, floor=0).sum() > 20  # 0.13 % of the pixels are above three sigma
    assert dark_mask(dark).sum() == 0


def test_a_dark_smaller_than_its_edges_is_refused():
    with pytest.raises(ValueError, match=r"dark-1: no pixel is left 8 px from the edge of a dark of \(16, 16\)"):
        dark_mask(dark_frame(np.zeros((16, 16), np.float32)))


def test_dilation_grows_a_mask_by_one_pixel_in_all_eight_directions():
    mask = generator().random((30, 40)) < 0.03
    mask[0, 0] = mask[-1, -1] = True
    padded = np.pad(mask, 1)
    shifted = [padded[dy : dy + 30, dx : dx + 40] for dy in range(3) for dx in range(3)]
    np.testing.assert_array_equal(dilate(mask), np.any(shifted, axis=0))
