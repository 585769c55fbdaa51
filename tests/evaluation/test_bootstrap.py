"""Test bootstrap intervals of scores and of differences between detectors."""

from dataclasses import replace

import numpy as np
import pytest

from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.evaluation.bootstrap import SAMPLES, above_zero, interval, resamples, sums
from cosmicgate.evaluation.records import write_results
from cosmicgate.evaluation.run import compare, evaluate
from cosmicgate.report.write_report import write_report
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks


def test_intervals_of_95_percent_contain_the_true_value_in_95_percent_of_cases():
    frames, hits, recall = 25, 30, 0.8
    weights = resamples(frames)
    found = np.random.default_rng(0).binomial(hits, recall, (400, frames))
    covered = 0
    for counts in found:
        low, high = interval(weights @ counts / (frames * hits))
        covered += low <= recall <= high
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(recall * (1 - recall) / (frames * hits)), rel=0.6)
    assert 0.90 < covered / len(found) < 0.98  # slightly below 0.95 because there are few frames


@pytest.mark.slow
def test_the_same_frames_give_the_same_intervals(make_test_set, tmp_path):
    test_set = make_test_set(6)
    rows = [evaluate([BrightnessLogits()], [test_set], tmp_path / name)[0] for name in "ab"]
    assert rows[0] == rows[1]
    intervals = rows[0]["intervals"]
    assert intervals["draws"] == SAMPLES
    for part in ("dilated", "core", "per_hit"):
        assert set(intervals[part]) == set(rows[0][part]) - {"by_length", "by_snr"}
        known = {key: ends for key, ends in intervals[part].items() if rows[0][part][key] is not None}
        for key, (low, high) in known.items():
            assert low <= rows[0][part][key] <= high


def test_bootstrap_samples_are_sums_over_resampled_frames():
    counts = np.random.default_rng(0).integers(0, 10**9, (5, 3, 40))
    weights = resamples(5)
    assert weights.shape == (SAMPLES, 5)
    assert (weights.sum(axis=1) == 5).all()
    resampled = list(sums(weights, counts))
    for k in (0, 7, SAMPLES - 1):
        assert np.array_equal(resampled[k], sum(int(w) * c for w, c in zip(weights[k], counts, strict=True)))


@pytest.mark.slow
def test_frames_of_a_field_are_drawn_together(make_test_set, tmp_path):
    apart = make_test_set()
    together = replace(apart, fields=("a", "a", "b", "b"))
    rows = [evaluate([BrightnessLogits()], [one], tmp_path / "cache")[0] for one in (apart, together)]
    assert [row.get("fields") for row in rows] == [None, 2]
    low, high = zip(*(row["intervals"]["dilated"]["f1"] for row in rows), strict=True)
    assert low[0] != low[1]
    assert high[0] != high[1]
    (row,) = evaluate([BrightnessLogits()], [replace(apart, fields=("a",) * 4)], tmp_path / "cache")
    assert row["intervals"]["draws"] == 0


def test_a_single_frame_has_scores_and_no_intervals(make_test_set, tmp_path):
    (row,) = evaluate([BrightnessLogits()], [make_test_set(1)], tmp_path / "cache")
    assert row["dilated"]["f1"] > 0
    assert row["intervals"]["draws"] == 0
    assert set(row["intervals"]["dilated"].values()) == {None}
    assert {entry["interval"] for entry in row["per_hit"]["by_length"]} == {None}


@pytest.mark.slow
@pytest.mark.parametrize("detector", [BrightnessLogits(), BrightnessMasks()])
@pytest.mark.parametrize("label", [SKY, CORE, IGNORED])
def test_frames_without_hits_or_sky_give_null_scores_without_a_warning(make_test_set, tmp_path, detector, label):
    test_set = make_test_set(2)
    for folder in test_set.folders:
        np.save(folder / "truth.npy", np.full((160, 128), label, np.uint8))
    results = compare([detector], [test_set], tmp_path / "cache")
    (row,) = results["rows"]
    assert row["dilated"]["tpr_at_fpr_0.1pct"] is None
    assert row["intervals"]["dilated"]["tpr_at_fpr_0.1pct"] is None
    write_results(tmp_path / "results.json", results)
    if label == SKY:
        write_report(results, tmp_path / "report")


def test_a_score_undefined_in_many_samples_has_no_interval():
    samples = np.arange(100.0)
    assert interval(np.where(samples < 4, np.nan, samples)) is not None
    assert interval(np.where(samples < 6, np.nan, samples)) is None
    assert above_zero(np.array([-1.0, 0.0, 1.0, 1.0])) == 0.625


@pytest.mark.slow
def test_differences_are_paired_by_frame(make_test_set, tmp_path):
    better, worse = BrightnessLogits("Att deepCR", blur=1.0), BrightnessLogits("deepCR", blur=1.2)
    results = compare([better, worse], [make_test_set(8)], tmp_path / "cache", [["Att deepCR", "deepCR"]])
    (entry,) = results["differences"]
    assert (entry["a"].model, entry["b"].model, entry["test_set"], entry["frames"]) == (
        "Att deepCR",
        "deepCR",
        "decam",
        8,
    )
    a, b = (row["core"]["f1"] for row in results["rows"])
    found = entry["core"]["f1"]
    assert found["difference"] == pytest.approx(a - b)
    low, high = found["interval"]
    assert 0 < low < a - b < high
    assert found["above_zero"] == 1
    alone = [row["intervals"]["core"]["f1"] for row in results["rows"]]
    assert alone[0][0] < alone[1][1], "the unpaired intervals overlap"


PAIRS = [["Att deepCR", "deepCR"], ["Att deepCR (Dice loss)", "Att deepCR"], ["Other", "Nobody"]]


@pytest.mark.slow
def test_pairs_are_matched_by_model_or_name_within_one_training_set(make_test_set, tmp_path, caplog):
    detectors = [BrightnessLogits(model, variant=v) for v in ("", "released") for model in ("deepCR", "Att deepCR")]
    detectors += [BrightnessLogits("Att deepCR", variant="Dice loss"), BrightnessLogits("Other")]
    detectors += [BrightnessLogits("deepCR", trained_on="lco"), BrightnessLogits("Att deepCR", trained_on="lco")]
    results = compare(detectors, [make_test_set(2)], tmp_path / "cache", PAIRS)
    assert [(e["a"].name, e["b"].name, e["a"].trained_on) for e in results["differences"]] == [
        ("Att deepCR", "deepCR", "decam, simulated"),
        ("Att deepCR (released)", "deepCR (released)", "decam, simulated"),
        ("Att deepCR", "deepCR", "lco"),
        ("Att deepCR (Dice loss)", "Att deepCR", "decam, simulated"),
    ]
    assert all(e["a"].trained_on == e["b"].trained_on for e in results["differences"])
    assert {d["difference"] for d in results["differences"][0]["core"].values()} == {0}
    assert results["differences"][0]["core"]["f1"]["above_zero"] == 0.5
    assert "not compared: 'Other' - 'Nobody': not among the networks here (deepCR, " in caplog.text
    caplog.clear()
    compare(
        [BrightnessLogits("deepCR"), BrightnessLogits("LACosmic", trained_on=None)],
        [make_test_set(2)],
        tmp_path / "two",
        [["A", "B"]],
    )
    assert not caplog.text, "with a single network nothing is compared"
