"""Hits found and false objects are counted at every threshold, as on the mask of that threshold."""

import json

import numpy as np
import pytest
import torch
from scipy.special import logit

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.evaluation.hits import match_hits
from cosmicgate.evaluation.operating_points import (
    MAX_FRACTION,
    best_threshold,
    objects_by_logit,
    objects_by_setting,
    recall_between_settings,
)
from cosmicgate.evaluation.run import evaluate
from cosmicgate.metrics import BINS, bin_index, lower_edge
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks


@pytest.fixture
def scene():
    """A truth with hits, rings and ignored pixels, and logits with blobs of every size, also on and beside them."""
    rng = np.random.default_rng(3)
    truth = np.zeros((90, 70), np.uint8)
    truth[20:24, 30:33], truth[21:23, 31] = RING, CORE
    truth[50, 10:18] = CORE
    truth[70:72, 40:60] = IGNORED
    logits = rng.normal(-9, 4, truth.shape)
    for y, x in rng.integers(0, 70, (60, 2)):
        logits[y : y + 2, x : x + 3] += rng.uniform(0, 25)
    return truth, torch.from_numpy(logits.astype(np.float32))


def test_counts_by_logit_are_those_of_the_mask_at_each_threshold(scene):
    truth, logits = scene
    found, false = np.cumsum(objects_by_logit(truth, logits)[:, ::-1], axis=1)[:, ::-1]
    compared = 0
    for index in range(0, BINS, 97):
        mask = logits.numpy() >= lower_edge(index)
        hits = match_hits(truth, mask)
        assert found[index] == hits.found.sum()
        if mask[truth == SKY].mean() < MAX_FRACTION / 2:
            assert false[index] == hits.false_hits
            compared += hits.false_hits > 0
    assert compared > 20
    assert false[0] >= (truth == SKY).sum() / 2, "below the limit every sky pixel counts"


def test_logits_that_are_all_equal_have_no_false_object_above_them(scene):
    truth, _ = scene
    found, false = objects_by_logit(truth, torch.full(truth.shape, -30.0))
    assert found.nonzero()[0].tolist() == false.nonzero()[0].tolist() == [0]
    assert found[0] == 2


@pytest.mark.parametrize(
    ("hits", "false", "expected"),
    [
        ({10.0: 8, 6.0: 2}, {3.0: 5}, (3, 6)),  # all hits, no false object
        ({10.0: 8, -1.0: 2}, {}, (-1.003, -1)),  # the nearest to a logit of 0
        ({10.0: 80, -1.0: 20}, {-0.5: 60}, (-0.1, 0.003)),  # the last hits cost more than they are worth
        ({10.0: 9, 5.0: 1}, {2.0: 1}, (0, 0.003)),  # one false object does not tell 0 from 2
    ],
)
def test_the_best_threshold_has_the_highest_f1_and_is_near_one_half_among_equals(hits, false, expected):
    objects = np.zeros((2, BINS), np.int64)
    for row, counts in zip(objects, (hits, false), strict=True):
        for value, number in counts.items():
            row[int(bin_index(torch.tensor([value]))[0])] += number
    low, high = expected
    assert low <= logit(best_threshold(objects)) <= high


def test_no_threshold_is_chosen_without_hits():
    with pytest.raises(ValueError, match="without a hit"):
        best_threshold(np.zeros((2, BINS), np.int64))


@pytest.mark.slow
def test_recall_is_taken_at_the_threshold_where_the_frames_have_few_false_objects(make_test_set, tmp_path):
    test_set, detector = make_test_set(5), BrightnessLogits(blur=2.0)
    (row,) = evaluate([detector], [test_set], tmp_path / "cache")
    for rate in (10, 1):
        threshold = row["per_hit"][f"threshold_at_{rate}_false"]
        at_it = BrightnessLogits(blur=2.0, threshold=min(threshold * (1 - 1e-9), 1 - 1e-12))
        (same,) = evaluate([at_it], [test_set], tmp_path / "at")
        assert same["per_hit"]["recall"] == pytest.approx(row["per_hit"][f"recall_at_{rate}_false"], abs=0.02)
        assert same["per_hit"]["false_per_megapixel"] <= rate * 1.5
    low, high = row["intervals"]["per_hit"]["recall_at_10_false"]
    assert low <= row["per_hit"]["recall_at_10_false"] <= high
    assert 0.5 < row["per_hit"]["recall_at_10_false"] <= 1
    assert row["per_hit"]["recall_at_1_false"] <= row["per_hit"]["recall_at_10_false"]


def test_masked_stars_and_hot_pixels_are_counted(make_test_set, tmp_path):
    test_set = make_test_set(2)
    for folder in test_set.folders:
        facts, image = json.loads((folder / "facts.json").read_text()), np.load(folder / "image.npy")
        image[60, 20:24], image[62, 20:22] = 100, 140
        np.save(folder / "image.npy", image)
        stars = {"row": [60, 60, 62], "column": [20, 22, 21], "snr": [12.0, 60.0, 61.0]}
        hot = {"row": [62, 60], "column": [20, 23]}
        (folder / "facts.json").write_text(json.dumps(facts | {"stars": stars, "hot_pixels": hot}))
    (row,) = evaluate([BrightnessMasks()], [test_set], tmp_path / "cache")
    assert row["per_hit"]["stars_masked_per_1000"] == pytest.approx(1000 / 3)
    good = np.mean([np.sum(~np.load(folder / "bad.npy")) for folder in test_set.folders])
    assert row["per_hit"]["hot_pixels_masked_per_megapixel"] == pytest.approx(1e6 / good)
    by_snr = {entry["from"]: (entry["stars"], entry["masked"]) for entry in row["per_hit"]["stars_by_snr"]}
    assert (by_snr[10.0], by_snr[50.0]) == ((2, 0), (4, 2))
    for folder in test_set.folders:
        np.save(folder / "truth.npy", np.full((160, 128), IGNORED, np.uint8))
    (unknown,) = evaluate([BrightnessMasks()], [test_set], tmp_path / "cache")
    assert (unknown["pixels"], unknown["hits"], unknown["per_hit"]["recall_at_10_false"]) == (0, 0, None)
    for score in ("stars_masked_per_1000", "hot_pixels_masked_per_megapixel"):
        assert unknown["per_hit"][score] == row["per_hit"][score]


def test_between_settings_of_a_swept_detector_recall_is_interpolated_and_not_beyond(make_test_set, tmp_path):
    (row,) = evaluate([BrightnessMasks()], [make_test_set(3)], tmp_path / "cache")
    assert row["per_hit"]["threshold_at_10_false"] is None
    assert row["per_hit"]["recall_at_10_false"] is None or 0 < row["per_hit"]["recall_at_10_false"] <= 1


def test_a_mask_of_much_of_the_sky_is_no_mask_without_false_objects():
    truth = np.zeros((64, 64), np.uint8)
    truth[30:33, 30:33], truth[31, 31] = RING, CORE
    nearly_all, small = np.ones(truth.shape, bool), np.zeros(truth.shape, bool)
    nearly_all[0], small[31, 31], small[5, 5] = False, True, True
    found = objects_by_setting(truth, {1.0: nearly_all, 6.0: small})
    assert found.tolist() == [[1, (truth == SKY).sum()], [1, 1]]
    assert np.isnan(recall_between_settings(found, 1, truth.size)["recall_at_1_false"])
