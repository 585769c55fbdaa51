"""Test how predicted masks are matched with single hits."""

import numpy as np
import pytest

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.evaluation.hits import match_hits

DRAWN = """
.....................
.ooo.........i.......
.oxo....ooooo.i......
.ooo....oxxxo........
........oooox........
.............xx......
..................xx.
..................xx.
"""


def example_truth():
    """Return labels (H, W) of three hits: a pixel; a track joined at corners; a 2x2 block. The first two have rings."""
    value = {".": SKY, "x": CORE, "o": RING, "i": IGNORED}
    return np.array([[value[c] for c in row] for row in DRAWN.split()], np.uint8)


def test_hits_are_components_of_the_core_joined_at_corners():
    truth = example_truth()
    snr = np.arange(truth.size, dtype=np.float32).reshape(truth.shape)
    table = match_hits(truth, truth == CORE, snr=snr)
    assert table.length.tolist() == [1, 6, 2]
    assert table.found.tolist() == [True, True, True]
    assert table.snr.tolist() == [2 * 21 + 2, 5 * 21 + 14, 7 * 21 + 19]
    assert table.false_hits == 0
    assert np.isnan(match_hits(truth, truth == CORE).snr).all()


def test_a_hit_is_found_when_enough_of_its_core_is_predicted():
    truth = example_truth()
    predicted = np.zeros(truth.shape, bool)
    predicted[3, 9:12] = True  # 3 of 6 pixels of the track
    predicted[6, 18] = True  # 1 of 4 of the block
    predicted[1, 1:4] = True  # ring of the first hit only
    assert match_hits(truth, predicted).found.tolist() == [False, True, False]
    predicted[3, 9] = False
    assert match_hits(truth, predicted).found.tolist() == [False, False, False]


def test_a_false_hit_touches_no_core_ring_or_ignored_pixel():
    truth = example_truth()

    def false_hits(*pixels):
        predicted = np.zeros(truth.shape, bool)
        predicted[tuple(np.transpose(pixels))] = True
        return match_hits(truth, predicted).false_hits

    assert false_hits((6, 0), (7, 1), (0, 20)) == 2  # two joined at a corner, and one at the edge
    assert false_hits((1, 1)) == 0  # on a ring
    assert false_hits((0, 0)) == 0  # beside a ring
    assert false_hits((5, 17)) == 0  # beside a core
    assert false_hits((1, 13)) == 0  # on an ignored pixel
    assert false_hits((3, 15), (3, 16), (3, 17)) == 0  # beside an ignored pixel, and connected to it
    assert false_hits((3, 17)) == 1


def test_frames_without_hits_or_predictions_give_empty_tables():
    sky = np.zeros((5, 5), np.uint8)
    table = match_hits(sky, sky == 0)
    assert table.length.size == table.found.size == table.snr.size == 0
    assert table.false_hits == 1
    assert match_hits(np.ones((5, 5), np.uint8), sky > 0).found.tolist() == [False]


def test_labels_and_masks_of_wrong_shape_or_type_are_refused():
    truth = example_truth()
    mask = truth == CORE
    with pytest.raises(ValueError, match="one shape"):
        match_hits(truth, mask[1:])
    with pytest.raises(ValueError, match="int64"):
        match_hits(truth.astype(np.int64), mask)
