"""Test that scores equal those of scikit-learn, that failures and interruptions are handled, and evaluate.py itself."""

import json
import logging
import tracemalloc
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from cosmicgate.data.background import snr_map
from cosmicgate.data.cache import load_labelled
from cosmicgate.data.datamodule import TestSet
from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.detectors import Detection
from cosmicgate.evaluation.hits import LENGTHS, SNRS, match_hits, tally
from cosmicgate.evaluation.records import DetectorRecord, write_results
from cosmicgate.evaluation.run import compare, evaluate, score_training
from cosmicgate.inference.tiling import tiled_logits
from cosmicgate.io.fits.frames import Frame
from cosmicgate.report.log_results import log_training
from cosmicgate.report.results import read_results
from cosmicgate.report.tables.paper import score_tables
from helpers.fake_detectors import BrightnessLogits, BrightnessMasks, save_frame, scored_pixels
from helpers.networks import gated_network
from helpers.train_command import TINY

# ------------------------------------------------------------------------------------ scores


@dataclass
class TrueCores(BrightnessMasks):
    """Give the core of every hit, without its ring, as the mask."""

    folders: tuple[Path, ...] = ()

    def detect(self, frame):
        truth = load_labelled(next(f for f in self.folders if f.name == frame.name)).truth
        return Detection(masks={120.0: truth == CORE})


@pytest.mark.slow
@pytest.mark.parametrize("convention", ["dilated", "core"])
def test_scores_and_tables_equal_those_of_scikit_learn(make_test_set, tmp_path, convention):
    test_set, detector = make_test_set(), BrightnessLogits()
    results = compare([detector], [test_set], tmp_path / "cache")
    write_results(tmp_path / "results.json", results)
    hit, logits = scored_pixels(test_set, detector, convention)
    fpr, tpr, _ = sk.roc_curve(hit, logits, drop_intermediate=False)
    precision, recall, _ = sk.precision_recall_curve(hit, logits)
    mask = logits >= 0
    expected = {
        "tpr_at_fpr_0.001pct": np.interp(1e-5, fpr, tpr),
        "tpr_at_fpr_0.01pct": np.interp(1e-4, fpr, tpr),
        "tpr_at_fpr_0.1pct": np.interp(1e-3, fpr, tpr),
        "precision_at_tpr_95pct": precision[np.searchsorted(-recall, -0.95, side="right") - 1],
        "roc_auc": sk.roc_auc_score(hit, logits),
        "average_precision": sk.average_precision_score(hit, logits),
        "f1": sk.f1_score(hit, mask),
        "iou": sk.jaccard_score(hit, mask),
        "fdr": 1 - sk.precision_score(hit, mask),
    }
    (row,) = read_results(tmp_path / "results.json")["rows"]
    assert row[convention] == {key: pytest.approx(value, abs=2e-3) for key, value in expected.items()}
    shown = {
        head: cell.split()[0]
        for t in score_tables([row], convention)
        for head, cell in zip(t.heads, t.lines[0], strict=True)
    }
    assert shown["F1"] == f"{expected['f1']:.4f}"
    assert shown["IoU"] == f"{expected['iou']:.4f}"
    assert shown["FDR"] == f"{expected['fdr']:.4f}"
    assert float(shown["TPR at FPR 0.1 % (%)"]) == pytest.approx(100 * expected["tpr_at_fpr_0.1pct"], abs=0.2)


@pytest.mark.slow
def test_a_row_says_that_the_network_was_trained_on_the_camera_that_is_scored(make_test_set, tmp_path):
    test_set = replace(make_test_set(), cameras=("kb97",))
    mixed = "general, simulated and real: lco0m4 (kb97), arcsat (dcam-spare)"
    trained = [mixed, f"mine, real, from CosmicGate general ({mixed})", "general, simulated and real: a (dcam-spare)"]
    trained += ["kb97 (kb97), simulated"]
    detectors = [BrightnessLogits(trained_on=one, variant=str(n)) for n, one in enumerate(trained)]
    rows = compare(detectors, [test_set], tmp_path / "cache")["rows"]
    assert [row["detector"].trained_on.removeprefix(one) for row, one in zip(rows, trained, strict=True)] == [
        *["; not independent: includes the scored camera kb97"] * 2,
        *[""] * 2,
    ]
    shown = score_tables(rows, "core")[0].lines
    assert shown[0][1] == f"{mixed}; not independent: includes the scored camera kb97"


def test_a_training_says_like_an_evaluation_that_its_cameras_are_scored(make_test_set, tmp_path):
    test_set = replace(make_test_set(1), cameras=("kb97",))
    network = BrightnessLogits(trained_on="general, simulated and real: lco0m4 (kb97)")
    trained = score_training(network, [], [], [test_set], tmp_path / "cache")["rows"]
    assert trained == compare([network], [test_set], tmp_path / "cache")["rows"]
    logger = SimpleNamespace(log_metrics=lambda scores, _: logged.update(scores), save=lambda: None)
    logged: dict[str, float] = {}
    log_training([logger], trained, network, [test_set], tmp_path)
    assert logged["test/decam/f1"] == trained[0]["dilated"]["f1"]


@dataclass
class Saturated(BrightnessLogits):
    """Give logits beyond the histogram to most hits and half of the sky."""

    def detect(self, frame):
        return Detection(logits=torch.from_numpy(np.where(frame.image > 100, np.float32(30), frame.image / 100)))


def test_within_the_highest_bin_no_score_interval_or_difference_is_interpolated(make_test_set, tmp_path):
    detectors = [Saturated("Att deepCR"), BrightnessLogits()]
    content = compare(detectors, [make_test_set()], tmp_path / "cache", [["Att deepCR", "deepCR"]])
    row, difference = content["rows"][0], content["differences"][0]["core"]
    for key in ("tpr_at_fpr_0.001pct", "tpr_at_fpr_0.01pct", "tpr_at_fpr_0.1pct", "precision_at_tpr_95pct"):
        assert row["core"][key] is None
        assert row["intervals"]["core"][key] is None
        assert difference[key] == {"difference": None, "interval": None, "above_zero": None}
    assert row["core"]["average_precision"] > 0


def test_curves_of_a_threshold_sweep_are_interpolated_but_not_extrapolated(make_test_set, tmp_path):
    test_set = make_test_set()
    (row,) = evaluate([BrightnessMasks()], [test_set], tmp_path / "cache")
    labelled = [load_labelled(folder) for folder in test_set.folders]
    image, truth = (np.concatenate([getattr(f, name).ravel() for f in labelled]) for name in ("image", "truth"))
    hit, image = truth[truth != IGNORED] != SKY, image[truth != IGNORED]
    masks = [image >= at for at in (150, 120, 116, 112, 108, 105)]
    fpr = [mask[~hit].mean() for mask in masks]
    tpr = [sk.recall_score(hit, mask) for mask in masks]
    assert row["curves"]["dilated"]["fpr"] == pytest.approx(fpr)
    assert row["curves"]["dilated"]["tpr"] == pytest.approx(tpr)
    assert fpr[1] < 1e-3 < fpr[4]
    assert row["dilated"]["tpr_at_fpr_0.1pct"] == pytest.approx(np.interp(1e-3, fpr, tpr))
    assert row["dilated"]["f1"] == pytest.approx(sk.f1_score(hit, image >= 120))
    assert row["dilated"]["precision_at_tpr_95pct"] is None  # no setting reaches this TPR
    assert row["dilated"]["roc_auc"] is None


def test_core_masks_are_dilated_only_if_the_truth_is(make_test_set, tmp_path):
    test_set = make_test_set()
    detector = TrueCores(dilate_masks=True, folders=test_set.folders)
    (row,) = evaluate([detector], [test_set], tmp_path / "grown")
    assert row["dilated"]["f1"] > 0.99
    for folder in test_set.folders:
        facts = folder / "facts.json"
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"dilated": False}))
    (row,) = evaluate([detector], [test_set], tmp_path / "thin")
    assert row["dilated"]["f1"] < 0.7


def test_the_ring_is_positive_or_left_out(make_test_set, tmp_path):
    test_set = make_test_set()
    (row,) = evaluate([TrueCores(folders=test_set.folders)], [test_set], tmp_path / "cache")
    assert (row["core"]["f1"], row["core"]["fdr"], row["per_hit"]["recall"]) == (1, 0, 1)
    assert row["dilated"]["fdr"] == 0
    assert row["dilated"]["f1"] < 0.7


# ------------------------------------------------------------------------------------ single hits


def test_recall_is_given_by_hit_length_and_by_brightness(make_test_set, tmp_path):
    test_set, detector = make_test_set(), BrightnessLogits(blur=0.5)
    (row,) = evaluate([detector], [test_set], tmp_path / "cache")
    lengths, found = [], []
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        mask = detector.detect(Frame(np.array(labelled.image), 4.0, 7.0, 40000.0, 90.0)).logits.numpy() >= 0
        hits = match_hits(np.array(labelled.truth), mask)
        lengths, found = [*lengths, *hits.length], [*found, *hits.found]
    spans = [(1, 2), (3, 5), (6, 10), (11, 20), (21, 999)]
    for entry, (low, high) in zip(row["per_hit"]["by_length"], spans, strict=True):
        inside = [f for length, f in zip(lengths, found, strict=True) if low <= length <= high]
        assert (entry["from"], entry["to"]) == (low, high if high < 999 else None)
        assert (entry["hits"], entry["found"]) == (len(inside), sum(inside))
    for name in ("by_length", "by_snr"):
        assert sum(entry["hits"] for entry in row["per_hit"][name]) == row["hits"] == len(found)
        assert sum(entry["found"] for entry in row["per_hit"][name]) == sum(found)
    faint, *_, bright = (entry["found"] / entry["hits"] for entry in row["per_hit"]["by_snr"] if entry["hits"])
    assert faint < 0.5 < bright == 1


def test_signal_to_noise_is_charge_above_sky_over_sky_and_read_noise():
    image = np.full((70, 50), 400, np.float32)
    image[:, 25:] = 0  # the median of a tile is that of its larger part
    image[40, 7] += 100
    sigma = np.sqrt(400 * 4 + 7**2) / 4
    assert snr_map(image, 4.0, 7.0)[40, 7] == pytest.approx(100 / sigma)
    assert snr_map(image, 4.0, 7.0)[40, 40] == pytest.approx(0)
    assert np.isfinite(
        snr_map(-image, 4.0, 0.0)
    ).all()  # with negative sky and no read noise, the noise is one electron


def test_bins_of_length_and_brightness_include_their_lower_edge():
    found = np.array([True, False, True, True])
    assert tally(np.array([1, 2, 3, 400]), found, LENGTHS).tolist() == [[2, 1], [1, 1], [0, 0], [0, 0], [1, 1]]
    by_snr = tally(np.array([-3.0, 4.99, 5.0, 1e9]), found, SNRS)
    assert by_snr.tolist() == [[2, 1], [1, 1], [0, 0], [0, 0], [0, 0], [1, 1]]


# ------------------------------------------------------------------------------------ failures, resuming, memory


@pytest.mark.slow
def test_a_failing_detector_does_not_affect_the_others(make_test_set, tmp_path, caplog):
    test_set = make_test_set(3)
    broken = BrightnessLogits("Broken", blur=9.0, fail={2: RuntimeError("no ink\nin line 2")})
    with caplog.at_level(logging.DEBUG, "cosmicgate"):
        results = compare([BrightnessLogits(), broken, BrightnessMasks()], [test_set], tmp_path / "cache")
    assert results["rows"] == evaluate([BrightnessLogits(), BrightnessMasks()], [test_set], tmp_path / "other")
    assert results["failed"] == [{"test_set": "decam", "detector": DetectorRecord.of(broken), "reason": "no ink"}]
    assert any(record.exc_info for record in caplog.records)
    with pytest.raises(RuntimeError, match="no ink"):  # without other detectors the error is raised
        evaluate([replace(broken, seen=["a frame"])], [test_set], tmp_path / "third")


@pytest.mark.slow
def test_a_resumed_evaluation_equals_an_uninterrupted_one(make_test_set, tmp_path):
    test_set = make_test_set(5)
    stopped = BrightnessLogits(fail={3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        compare([BrightnessMasks(), stopped], [test_set], tmp_path / "cache")
    again = BrightnessLogits()
    resumed = compare([BrightnessMasks(), again], [test_set], tmp_path / "cache")
    assert again.seen == ["f2", "f3", "f4"], "the other two frames were finished"
    assert resumed == compare([BrightnessMasks(), BrightnessLogits()], [test_set], tmp_path / "other")


@pytest.mark.slow
def test_cached_results_depend_on_detector_and_pixels(make_test_set, tmp_path):
    test_set = make_test_set(2)
    (first,) = evaluate([BrightnessLogits()], [test_set], tmp_path / "cache")
    for changed in (BrightnessLogits(blur=1.0), BrightnessLogits(threshold=0.9)):
        assert evaluate([changed], [test_set], tmp_path / "cache") != [first]
    np.save(test_set.folders[0] / "truth.npy", np.full((160, 128), SKY, np.uint8))
    detector = BrightnessLogits()
    (again,) = evaluate([detector], [test_set], tmp_path / "cache")
    assert detector.seen == ["f0"]
    assert again["hits"] < first["hits"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    shape = (1024, 1024)
    folders = [save_frame(tmp_path / "data", n, shape) for n in range(8)]
    peaks = []
    for frames in (2, 8):
        tracemalloc.start()
        evaluate([BrightnessMasks()], [TestSet("decam", "simulated", tuple(folders[:frames]))], tmp_path / str(frames))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    pixels = 6 * shape[0] * shape[1]
    assert peaks[1] - peaks[0] < 0.1 * pixels, "less than one byte for ten pixels"


# ------------------------------------------------------------------------------------ tiles


@torch.inference_mode()
@pytest.mark.parametrize(
    ("norm", "halo", "equal"),
    [
        ("batch", 24, True),
        ("batch", 20, False),  # the reach of the network is larger
        ("batch", 0, False),  # the paper's separate patches
        ("group", 24, False),  # its statistics are those of the tile
    ],
)
def test_tiled_equals_whole_image_inference(norm, halo, equal):
    image = torch.randn(202, 181, generator=torch.Generator().manual_seed(1))
    image[60:64, 20:160] += 50
    whole = gated_network(norm)(image[None, None])[0, 0]
    tiled = tiled_logits(gated_network(norm), image, tile=96, halo=halo)
    assert torch.allclose(tiled, whole, rtol=0, atol=1e-6) == equal


# ------------------------------------------------------------------------------------ command


@pytest.mark.slow
def test_evaluate_writes_all_other_rows_and_names_those_that_fail(command, tmp_path):
    data = ("data=decam", *TINY, f"data.root={command.data}", "data.seed=0")
    missing = "+detector.gone={_target_: cosmicgate.detectors.maximask.load_maximask, weights: nowhere.pt}"
    sweep = "detector.astroscrappy.sweep=[3,10]"
    quick = (*data, "detector=astroscrappy", sweep, missing)
    done = command("evaluate.py", *quick, f"hydra.run.dir={tmp_path}/whole")
    assert done.returncode == 0, done.stderr
    assert "left out: gone: " in done.stderr
    content = json.loads((tmp_path / "whole" / "results.json").read_text())
    ((model, variant),) = [(row["detector"]["model"], row["detector"]["variant"]) for row in content["rows"]]
    assert (model, variant) == ("Astro-SCRAPPY", "fair")
    assert [entry["detector"] for entry in content["unavailable"]] == ["gone"]

    broken = (
        "+detector.broken={_target_: cosmicgate.detectors.classical.AstroScrappy, model: Broken, objlim: {moon: 1}}"
    )
    done = command("evaluate.py", *quick, broken, f"hydra.run.dir={tmp_path}/partly")
    assert done.returncode == 1
    assert "1 row(s) failed, the others are written: Broken on decam: objlim" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Traceback" in (tmp_path / "partly" / "evaluate.log").read_text()
    assert json.loads((tmp_path / "partly" / "results.json").read_text())["rows"] == content["rows"]
    merged = command(
        "-m",
        "cosmicgate.report",
        *(f"{tmp_path}/{name}/results.json" for name in ("whole", "partly")),
        "-o",
        f"{tmp_path}/merged",
    )
    assert merged.returncode == 0, merged.stderr
    text = (tmp_path / "merged" / "tables.md").read_text()
    assert text.count("| Astro-SCRAPPY (fair) |") == 5
    assert "| Broken | decam | objlim" in text
