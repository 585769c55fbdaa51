"""Stars and hot pixels are found by comparing exposures; hits, noise and bad pixels are none."""

from pathlib import Path

import numpy as np
import pytest

from cosmicgate.data.pixel_labels import CORE
from cosmicgate.data.sources.known_objects import KnownObjects
from cosmicgate.io.fits.frames import Frame

SHAPE = (220, 200)
SHIFTS = [(0, 0), (4, -3), (9, 6), (0.4, 0.3)]
HOT = [(50, 60), (51, 120), (140, 33)]
PATHS = [Path(f"{n}.fits") for n in range(len(SHIFTS))]


@pytest.fixture
def frames():
    """Four shifted exposures of 30 stars, some of them faint, with hot pixels, and hits in one exposure each."""
    rng = np.random.default_rng(5)
    stars = np.column_stack([rng.uniform(15, 190, 30), rng.uniform(15, 180, 30), rng.uniform(100, 4000, 30)])
    y, x = np.indices(SHAPE)
    made = {}
    for path, (dy, dx) in zip(PATHS, SHIFTS, strict=True):
        image = rng.normal(200, 12, SHAPE)
        for row, column, peak in stars:
            image += peak * np.exp(-((y - row - dy) ** 2 + (x - column - dx) ** 2) / (2 * 1.1**2))
        for place in HOT:
            image[place] += 500
        row = 30 + 40 * int(path.stem)
        image[row, 100:104] += 900  # a hit
        image[row + 1, 102] += 700
        made[path] = Frame(image.astype(np.float32), 1.5, 8.0, 3000.0, 60.0, "r", path.stem)
    return made, stars


def facts_of(made, number, truth=None, paths=PATHS):
    known = KnownObjects(paths, made.__getitem__)
    return known.facts(PATHS[number], np.zeros(SHAPE, np.uint8) if truth is None else truth)


def test_stars_are_those_that_other_exposures_show_too(frames):
    made, stars = frames
    for number, (dy, dx) in enumerate(SHIFTS):
        facts = facts_of(made, number)["stars"]
        places = np.column_stack([facts["row"], facts["column"]])
        distance = np.hypot(*(places[:, None] - stars[None, :, :2] - (dy, dx)).transpose(2, 0, 1))
        assert (distance.min(axis=1) < 1.5).all(), "no hit, no hot pixel, no noise"
        found = distance.min(axis=0) < 1.5
        wanted = (stars[:, 2] > 400) & (stars[:, 2] < 2000)  # neither faint nor saturated
        assert found[wanted].mean() > 0.8  # some overlap
        assert not found[stars[:, 2] > 3000].any()
        assert min(facts["snr"]) >= 10


def test_hot_pixels_are_those_that_stand_out_in_all_exposures(frames):
    made, _ = frames
    hot = facts_of(made, 0)["hot_pixels"]
    assert list(zip(hot["row"], hot["column"], strict=True)) == HOT
    bad = np.zeros(SHAPE, bool)
    bad[HOT[0]] = True
    known = {path: Frame(f.image, 1.5, 8.0, 3000.0, 60.0, "r", path.stem, bad) for path, f in made.items()}
    hot = facts_of(known, 0)["hot_pixels"]
    assert list(zip(hot["row"], hot["column"], strict=True)) == HOT[1:]


def test_no_star_is_counted_at_a_known_hit(frames):
    made, _ = frames
    facts = facts_of(made, 1)["stars"]
    truth = np.zeros(SHAPE, np.uint8)
    truth[facts["row"][0], facts["column"][0] + 2] = CORE
    fewer = facts_of(made, 1, truth)["stars"]
    assert (facts["row"][0], facts["column"][0]) not in set(zip(fewer["row"], fewer["column"], strict=True))
    assert len(fewer["row"]) < len(facts["row"])


def test_too_few_exposures_tell_nothing(frames):
    made, _ = frames
    assert facts_of(made, 0, paths=PATHS[:1]) == {}
    assert set(facts_of(made, 0, paths=PATHS[:2])) == {"stars"}
    rng = np.random.default_rng(0)
    other = rng.normal(200, 12, SHAPE).astype(np.float32)
    empty = made | {PATHS[1]: Frame(other, 1.5, 8.0, 3000.0, 60.0, "r", "1")}
    assert "stars" not in facts_of(empty, 0, paths=PATHS[:2])  # it shows no stars, hence not the same sky
