"""Scores are those of the sorted pixels and say how far they can be trusted; no detector can spoil another's row."""

import json
import logging
import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY
from matplotlib import image as png
from omegaconf import OmegaConf
from sklearn import metrics as sk
from test_config import composed

from cosmicgate import lineup, panels
from cosmicgate.bootstrap import DRAWS, above_zero, interval, resamples, sums
from cosmicgate.config import Evaluate, checked
from cosmicgate.data.clean import dilate
from cosmicgate.data.decam import TestSet
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.store import load_labelled, save_labelled
from cosmicgate.detectors import Detection, Unavailable
from cosmicgate.detectors.network import Network
from cosmicgate.evaluation import compare, evaluate, features, pictures
from cosmicgate.featuremaps import feature_maps
from cosmicgate.hits import LENGTHS, SNRS, match_hits, snr_map, tally
from cosmicgate.models import UNet
from cosmicgate.models.tiling import tiled_logits
from cosmicgate.report import write_report
from cosmicgate.results import read_results
from cosmicgate.tables import tables_of
from cosmicgate.truth import CORE, IGNORED, RING, SKY


def a_frame(folder: Path, number: int, shape=(160, 128), band="g", hits=12) -> Path:
    """Save a sky of 100 ADU with tracks of up to 24 px and a few bad pixels; return its folder."""
    rng = np.random.default_rng(number)
    image = rng.normal(100, 5, shape)
    core = np.zeros(shape, bool)
    for _ in range(hits):
        y, x, length = rng.integers(shape[0]), rng.integers(shape[1]), rng.integers(1, 25)
        core[y, x : x + length] = True
        image[y, x : x + length] += rng.lognormal(4, 1)
    truth = np.select([core, dilate(core)], [CORE, RING], SKY).astype(np.uint8)
    truth[3:5] = IGNORED
    frame = Frame(image.astype(np.float32), 4.0, 7.0, 40000.0, 90.0, band, f"f{number}")
    save_labelled(frame, truth, {"name": frame.name}, folder / f"f{number}")
    return folder / f"f{number}"


@pytest.fixture
def a_set(tmp_path):
    """Return a function that makes a test set of so many frames."""

    def make(frames=4, bands="g", **about) -> TestSet:
        folders = tuple(a_frame(tmp_path / "data", n, band=bands[n % len(bands)], **about) for n in range(frames))
        return TestSet("decam", "simulated", folders)

    return make


@dataclass
class Brightness:
    """Calls bright pixels hit, with some noise; ``fail`` numbers the frame on which it raises."""

    title: str = "deepCR"
    blur: float = 2.0
    trained_on: str | None = "decam, simulated"
    threshold: float = 0.5
    grow: bool = False
    fail: dict[int, BaseException] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)

    @property
    def identity(self) -> Any:
        return ["brightness", self.blur]

    def detect(self, frame: Frame) -> Detection:
        self.seen.append(frame.name)
        if len(self.seen) in self.fail:
            raise self.fail[len(self.seen)]
        noise = np.random.default_rng(frame.image.size).normal(0, self.blur, frame.shape)
        return Detection(logits=torch.from_numpy(((frame.image - 125) / 5 + noise).astype(np.float32)))


@dataclass
class Swept:
    """The same as masks, one for each of a few thresholds in ADU."""

    title: str = "LACosmic"
    trained_on: str | None = None
    threshold: float = 120.0
    identity: Any = "swept"
    grow: bool = False

    def detect(self, frame: Frame) -> Detection:
        return Detection(masks={at: frame.image >= at for at in (105.0, 108.0, 112.0, 116.0, 120.0, 150.0)})


def pixels_of(test_set, detector, convention):
    """All pixels that count of a test set: is it a hit, and the detector's logit."""
    truths, logits = [], []
    for folder in test_set.folders:
        labelled = load_labelled(folder)
        frame = Frame(np.array(labelled.image), 4.0, 7.0, 40000.0, 90.0)
        kept = np.isin(labelled.truth, (SKY, CORE, RING) if convention == "dilated" else (SKY, CORE))
        truths.append(labelled.truth[kept] != SKY)
        logits.append(detector.detect(frame).logits.numpy()[kept])
    return np.concatenate(truths), np.concatenate(logits)


# ------------------------------------------------------------------------------------ the tables' numbers


@pytest.mark.parametrize("convention", ["dilated", "core"])
def test_the_tables_numbers_are_scikit_learns(a_set, tmp_path, convention):
    test_set, detector = a_set(), Brightness()
    results = compare([detector], [test_set], tmp_path / "kept")
    (tmp_path / "results.json").write_text(json.dumps(results))
    hit, logits = pixels_of(test_set, detector, convention)
    fpr, tpr, _ = sk.roc_curve(hit, logits, drop_intermediate=False)
    precision, recall, _ = sk.precision_recall_curve(hit, logits)
    mask = logits >= 0
    expected = {
        "tpr_at_fpr_0.01pct": np.interp(1e-4, fpr, tpr),
        "tpr_at_fpr_0.1pct": np.interp(1e-3, fpr, tpr),
        "precision_at_tpr_95pct": precision[np.searchsorted(-recall, -0.95, side="right") - 1],
        "roc_auc": sk.roc_auc_score(hit, logits),
        "average_precision": sk.average_precision_score(hit, logits),
        "f1": sk.f1_score(hit, mask),
        "iou": sk.jaccard_score(hit, mask),
        "fdr": 1 - sk.precision_score(hit, mask),
    }
    (row,) = read_results([tmp_path / "results.json"])["rows"]
    assert row[convention] == {key: pytest.approx(value, abs=2e-3) for key, value in expected.items()}
    shown = {
        head: cell.split()[0]
        for t in tables_of([row], convention)
        for head, cell in zip(t.heads, t.lines[0], strict=True)
    }
    assert shown["F1"] == f"{expected['f1']:.4f}"
    assert shown["IoU"] == f"{expected['iou']:.4f}"
    assert shown["FDR"] == f"{expected['fdr']:.4f}"
    assert float(shown["TPR at FPR 0.1 % (%)"]) == pytest.approx(100 * expected["tpr_at_fpr_0.1pct"], abs=0.2)


def test_a_swept_detectors_points_are_joined_by_straight_lines_and_not_beyond(a_set, tmp_path):
    test_set = a_set()
    (row,) = evaluate([Swept()], [test_set], tmp_path / "kept")
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
    assert row["dilated"]["precision_at_tpr_95pct"] is None  # no setting gets there
    assert row["dilated"]["roc_auc"] is None


def test_thin_masks_are_grown_by_the_ring_where_the_truth_has_one(a_set, tmp_path):
    @dataclass
    class Core(Swept):
        def detect(self, frame):
            found = load_labelled(next(f for f in test_set.folders if f.name == frame.name)).truth == CORE
            return Detection(masks={120.0: found})

    test_set = a_set()
    (row,) = evaluate([Core(grow=True)], [test_set], tmp_path / "grown")
    assert row["dilated"]["f1"] > 0.99
    for folder in test_set.folders:
        facts = folder / "facts.json"
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"dilated": False}))
    (row,) = evaluate([Core(grow=True)], [test_set], tmp_path / "thin")
    assert row["dilated"]["f1"] < 0.7


def test_the_ring_is_asked_for_or_left_out(a_set, tmp_path):
    @dataclass
    class Truth(Swept):
        """Knows the core of every hit and nothing of the ring."""

        def detect(self, frame):
            found = load_labelled(next(f for f in test_set.folders if f.name == frame.name)).truth == CORE
            return Detection(masks={120.0: found})

    test_set = a_set()
    (row,) = evaluate([Truth()], [test_set], tmp_path / "kept")
    assert (row["core"]["f1"], row["core"]["fdr"], row["per_hit"]["recall"]) == (1, 0, 1)
    assert row["dilated"]["fdr"] == 0
    assert row["dilated"]["f1"] < 0.7


# ------------------------------------------------------------------------------------ hits one by one


def test_hits_are_told_apart_by_length_and_by_brightness(a_set, tmp_path):
    test_set, detector = a_set(), Brightness(blur=0.5)
    (row,) = evaluate([detector], [test_set], tmp_path / "kept")
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
    image[:, 25:] = 0  # the tile's median is that of its greater part, here the first 32 columns' sky
    image[40, 7] += 100
    sigma = np.sqrt(400 * 4 + 7**2) / 4
    assert snr_map(image, 4.0, 7.0)[40, 7] == pytest.approx(100 / sigma)
    assert snr_map(image, 4.0, 7.0)[40, 40] == pytest.approx(0)
    assert np.isfinite(snr_map(-image, 4.0, 0.0)).all()  # a sky below zero, no read noise: one electron


def test_classes_of_hits_begin_where_they_say():
    found = np.array([True, False, True, True])
    assert tally(np.array([1, 2, 3, 400]), found, LENGTHS).tolist() == [[2, 1], [1, 1], [0, 0], [0, 0], [1, 1]]
    by_snr = tally(np.array([-3.0, 4.99, 5.0, 1e9]), found, SNRS)
    assert by_snr.tolist() == [[2, 1], [1, 1], [0, 0], [0, 0], [0, 0], [1, 1]]


# ------------------------------------------------------------------------------------ intervals


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    frames, hits, recall = 25, 30, 0.8
    weights = resamples(frames)
    found = np.random.default_rng(0).binomial(hits, recall, (400, frames))
    covered = 0
    for counts in found:
        low, high = interval(weights @ counts / (frames * hits))
        covered += low <= recall <= high
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(recall * (1 - recall) / (frames * hits)), rel=0.6)
    assert 0.90 < covered / len(found) < 0.98  # 0.95, less a little because frames are few


def test_the_same_frames_give_the_same_intervals(a_set, tmp_path):
    test_set = a_set(6)
    rows = [evaluate([Brightness()], [test_set], tmp_path / name)[0] for name in "ab"]
    assert rows[0] == rows[1]
    intervals = rows[0]["intervals"]
    assert intervals["draws"] == DRAWS
    for part in ("dilated", "core", "per_hit"):
        assert set(intervals[part]) == set(rows[0][part]) - {"by_length", "by_snr"}
        for key, (low, high) in intervals[part].items():
            assert low <= rows[0][part][key] <= high


def test_the_draws_are_sums_of_whole_frames():
    counts = np.random.default_rng(0).integers(0, 10**9, (5, 3, 40))
    weights = resamples(5)
    assert weights.shape == (DRAWS, 5)
    assert (weights.sum(axis=1) == 5).all()
    drawn = list(sums(weights, counts))
    for k in (0, 7, DRAWS - 1):
        assert np.array_equal(drawn[k], sum(int(w) * c for w, c in zip(weights[k], counts, strict=True)))


def test_a_single_frame_has_scores_and_no_intervals(a_set, tmp_path):
    (row,) = evaluate([Brightness()], [a_set(1)], tmp_path / "kept")
    assert row["dilated"]["f1"] > 0
    assert row["intervals"]["draws"] == 0
    assert set(row["intervals"]["dilated"].values()) == {None}
    assert {entry["interval"] for entry in row["per_hit"]["by_length"]} == {None}


@pytest.mark.parametrize("detector", [Brightness(), Swept()])
@pytest.mark.parametrize("everywhere", [SKY, CORE, IGNORED])
def test_frames_without_hits_or_without_sky_have_nulls_and_no_warning(a_set, tmp_path, detector, everywhere):
    test_set = a_set(2)
    for folder in test_set.folders:
        np.save(folder / "truth.npy", np.full((160, 128), everywhere, np.uint8))
    results = compare([detector], [test_set], tmp_path / "kept")
    (row,) = results["rows"]
    assert row["dilated"]["tpr_at_fpr_0.1pct"] is None
    assert row["intervals"]["dilated"]["tpr_at_fpr_0.1pct"] is None
    (tmp_path / "results.json").write_text(json.dumps(results, allow_nan=False))
    if everywhere == SKY:
        write_report(tmp_path / "results.json", tmp_path / "report")


def test_a_score_that_many_draws_lack_has_no_interval():
    draws = np.arange(100.0)
    assert interval(np.where(draws < 4, np.nan, draws)) is not None
    assert interval(np.where(draws < 6, np.nan, draws)) is None
    assert above_zero(np.array([-1.0, 0.0, 1.0, 1.0])) == 0.625


# ------------------------------------------------------------------------------------ differences


def test_a_difference_is_taken_on_the_same_frames(a_set, tmp_path):
    better, worse = Brightness("Att deepCR", blur=1.0), Brightness("deepCR", blur=1.2)
    results = compare([better, worse], [a_set(8)], tmp_path / "kept", [["Att deepCR", "deepCR"]])
    (entry,) = results["differences"]
    assert (entry["a"], entry["b"], entry["test_set"], entry["frames"]) == ("Att deepCR", "deepCR", "decam", 8)
    a, b = (row["core"]["f1"] for row in results["rows"])
    found = entry["core"]["f1"]
    assert found["difference"] == pytest.approx(a - b)
    low, high = found["interval"]
    assert 0 < low < a - b < high
    assert found["above_zero"] == 1
    alone = [row["intervals"]["core"]["f1"] for row in results["rows"]]
    assert alone[0][0] < alone[1][1], "unpaired, their intervals overlap"


def test_a_pair_is_found_with_one_ending_and_one_training(a_set, tmp_path):
    titles = ["deepCR", "Att deepCR", "deepCR (released)", "Att deepCR (released)", "Att deepCR, seed 1", "Other"]
    detectors = [Brightness(title) for title in titles]
    detectors += [Brightness("deepCR", trained_on="lco"), Brightness("Att deepCR", trained_on="lco")]
    results = compare(detectors, [a_set(2)], tmp_path / "kept", [["Att deepCR", "deepCR"], ["Other", "Nobody"]])
    assert [(e["a"], e["b"], *e["trained_on"]) for e in results["differences"]] == [
        ("Att deepCR", "deepCR", "decam, simulated", "decam, simulated"),
        ("Att deepCR (released)", "deepCR (released)", "decam, simulated", "decam, simulated"),
        ("Att deepCR", "deepCR", "lco", "lco"),
    ]
    assert {d["difference"] for d in results["differences"][0]["core"].values()} == {0}
    assert results["differences"][0]["core"]["f1"]["above_zero"] == 0.5


# ------------------------------------------------------------------------------------ failures, resuming, memory


def test_a_detector_that_raises_does_not_lose_the_others(a_set, tmp_path, caplog):
    test_set = a_set(3)
    broken = Brightness("Broken", blur=9.0, fail={2: RuntimeError("no ink\nin line 2")})
    with caplog.at_level(logging.DEBUG, "cosmicgate"):
        results = compare([Brightness(), broken, Swept()], [test_set], tmp_path / "kept")
    assert results["rows"] == evaluate([Brightness(), Swept()], [test_set], tmp_path / "other")
    assert results["failed"] == [{"test_set": "decam", "detector": "Broken", "reason": "no ink"}]
    assert any(record.exc_info for record in caplog.records)
    with pytest.raises(RuntimeError, match="no ink"):  # train.py has one detector and wants to know
        evaluate([replace(broken, seen=["a frame"])], [test_set], tmp_path / "third")


def test_a_resumed_evaluation_equals_an_uninterrupted_one(a_set, tmp_path):
    test_set = a_set(5)
    stopped = Brightness(fail={3: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        compare([Swept(), stopped], [test_set], tmp_path / "kept")
    again = Brightness()
    resumed = compare([Swept(), again], [test_set], tmp_path / "kept")
    assert again.seen == ["f2", "f3", "f4"], "two frames were finished"
    assert resumed == compare([Swept(), Brightness()], [test_set], tmp_path / "other")


def test_what_is_kept_belongs_to_this_detector_and_these_pixels(a_set, tmp_path):
    test_set = a_set(2)
    (first,) = evaluate([Brightness()], [test_set], tmp_path / "kept")
    for changed in (Brightness(blur=1.0), Brightness(threshold=0.9)):
        assert evaluate([changed], [test_set], tmp_path / "kept") != [first]
    np.save(test_set.folders[0] / "truth.npy", np.full((160, 128), SKY, np.uint8))
    detector = Brightness()
    (again,) = evaluate([detector], [test_set], tmp_path / "kept")
    assert detector.seen == ["f0"]
    assert again["hits"] < first["hits"]


def test_memory_does_not_grow_with_the_frames(tmp_path):
    shape = (1024, 1024)
    folders = [a_frame(tmp_path / "data", n, shape) for n in range(8)]
    peaks = []
    for frames in (2, 8):
        tracemalloc.start()
        evaluate([Swept()], [TestSet("decam", "simulated", tuple(folders[:frames]))], tmp_path / str(frames))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    pixels = 6 * shape[0] * shape[1]
    assert peaks[1] - peaks[0] < 0.1 * pixels, "less than a byte for each ten pixels more"


# ------------------------------------------------------------------------------------ tiles


def network(norm):
    """A network whose statistics are neither zero nor one."""
    torch.manual_seed(0)
    made = UNet(channels=16, norm=norm, gate=True)
    with torch.no_grad():
        made.train()(torch.randn(4, 1, 64, 64))
    return made.eval()


@torch.inference_mode()
@pytest.mark.parametrize(
    ("norm", "halo", "equal"),
    [
        ("batch", 24, True),
        ("batch", 20, False),  # the network sees further
        ("batch", 0, False),  # the paper's separate patches
        ("group", 24, False),  # its statistics are the tile's
    ],
)
def test_tiled_equals_whole_image_inference(norm, halo, equal):
    image = torch.randn(202, 181, generator=torch.Generator().manual_seed(1))
    image[60:64, 20:160] += 50
    whole = network(norm)(image[None, None])[0, 0]
    tiled = tiled_logits(network(norm), image, tile=96, halo=halo)
    assert torch.allclose(tiled, whole, rtol=0, atol=1e-6) == equal


# ------------------------------------------------------------------------------------ the line-up


def a_checkpoint(path: Path, **config) -> str:
    path.parent.mkdir(parents=True)
    made = UNet(channels=4)
    weights = {f"network.{key}": value for key, value in made.state_dict().items()}
    config = {
        "model": {"_target_": "cosmicgate.models.UNet", "channels": 4},
        **dict(title="deepCR", trained_on="decam", threshold=0.5, seed=0, data={"name": "decam"}),
        **config,
    }
    torch.save({"state_dict": weights, "config": config}, path)
    return str(path)


NODE = {"checkpoint": {"_target_": "cosmicgate.detectors.network.load", "path": "?"}}
GONE = {"_target_": "test_evaluation.gone"}


LACKS = "the package gone is not installed; to install it: pip install gone"


def gone():
    raise Unavailable(LACKS)


def test_what_is_not_installed_is_left_out_and_named(tmp_path):
    path = a_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")
    detectors, unavailable = lineup.line_up({"gone": GONE} | NODE, path)
    assert [d.title for d in detectors] == ["deepCR"]
    assert unavailable == [{"detector": "gone", "reason": LACKS}]
    with pytest.raises(ValueError, match="no detector: gone: the package gone"):
        lineup.line_up({"gone": GONE}, None)
    _, unavailable = lineup.line_up(NODE | {"other": NODE["checkpoint"] | {"path": path}}, f"{tmp_path}/*/nothing.ckpt")
    assert "no file matches" in unavailable[0]["reason"]


def test_several_checkpoints_are_several_rows_of_different_names(tmp_path):
    for run, config in {
        "a": dict(title="Att deepCR"),
        "b": dict(title="deepCR", seed=0),
        "c": dict(title="deepCR", seed=1),
        "d": dict(title="deepCR", seed=1),
        "e": dict(title="deepCR", trained_on="lco"),
    }.items():
        a_checkpoint(tmp_path / run / "checkpoints" / "best.ckpt", **config)
    detectors, _ = lineup.line_up(NODE, f"{tmp_path}/*/checkpoints/best.ckpt")
    assert [d.title for d in detectors] == [
        "Att deepCR",
        "deepCR, seed 0",
        "deepCR, seed 1, c",
        "deepCR, seed 1, d",
        "deepCR",
    ]
    assert lineup.line_up(NODE, [f"{tmp_path}/{run}/checkpoints/best.ckpt" for run in "ab"])[0][1].title == "deepCR"


def test_the_experiment_of_the_papers_tables_has_every_row():
    cfg = checked(composed("experiment=paper_tables", "real=nowhere", name="evaluate"), Evaluate)
    config = OmegaConf.to_container(cfg, resolve=True)
    detectors, unavailable = lineup.line_up(config["detector"], config["checkpoint"])
    assert len(config["detector"]) == len(detectors) + len(unavailable) == 12, "released are four"
    assert "Astro-SCRAPPY" in [detector.title for detector in detectors]
    assert {"released_att_deepcr", "checkpoint"} <= {entry["detector"] for entry in unavailable}


def test_checkpoints_of_different_data_need_data_to_be_named(tmp_path):
    paths = [a_checkpoint(tmp_path / r / "checkpoints" / "best.ckpt", data={"name": r}) for r in "ab"]
    assert lineup.data_of(paths[0]) == {"name": "a"}
    with pytest.raises(ValueError, match=r"a/.* and .*b/.* different data: give data=NAME"):
        lineup.data_of(paths)


# ------------------------------------------------------------------------------------ pictures


def test_a_frame_of_each_band_is_drawn(a_set, tmp_path, monkeypatch):
    shown = []
    draw = panels.masks_figure
    monkeypatch.setattr("cosmicgate.evaluation.masks_figure", lambda *a: shown.append(a[2:]) or draw(*a))
    test_set, detectors = a_set(5, bands="gr"), [Brightness(), Swept()]
    results = compare(detectors, [test_set], tmp_path / "kept")
    seen = list(detectors[0].seen)
    made = pictures(detectors, test_set, tmp_path / "kept", tmp_path / "report")
    assert [path.name for path in made] == ["masks_decam_g.png", "masks_decam_r.png"]
    assert [list(masks) for masks, _ in shown] == [["deepCR", "LACosmic"]] * 2
    assert "g band" in shown[0][1]
    assert "simulated" in shown[0][1]
    assert detectors[0].seen == seen, "masks are kept: no detector runs again"
    failed = [{"test_set": "decam", "detector": "LACosmic", "reason": "no ink"}]
    pictures(detectors, test_set, tmp_path / "kept", tmp_path / "report", failed)
    assert list(shown[-1][0]) == ["deepCR"]
    assert results["rows"]


@pytest.mark.parametrize("halo", [0, 24])
def test_feature_maps_are_what_the_network_computes(halo):
    gated = network("batch")
    frame = Frame(np.random.default_rng(0).normal(100, 5, (50, 63)).astype(np.float32), 4.0, 7.0, 4e4, 90.0)
    detector = Network(gated, "Att deepCR", None, "x", tile=64, halo=halo)
    maps = feature_maps(detector, frame)
    assert {name: found.shape for name, found in maps.layers.items()} == {
        "encoder 1": (16, 50, 63),
        "encoder 2": (32, 25, 32),
        "encoder 3": (64, 13, 16),
        "gated skip 2": (32, 25, 32),
        "decoder 2": (32, 25, 32),
        "gated skip 1": (16, 50, 63),
        "decoder 1": (16, 50, 63),
    }
    for level, attention in maps.attention.items():
        assert np.allclose(maps.layers[f"gated skip {level}"], maps.layers[f"encoder {level}"] * attention, atol=1e-6)
    with torch.inference_mode():
        logits = gated.head(torch.from_numpy(maps.layers["decoder 1"])[None])[0, 0]
    assert torch.allclose(logits, detector.detect(frame).logits, atol=1e-5)
    assert not any(module._forward_hooks for module in gated.modules())


def test_features_are_drawn_of_networks_only(a_set, tmp_path):
    plain = Network(UNet(channels=4).eval(), "deepCR", None, "x", tile=64)
    gated = Network(network("batch"), "Att deepCR", None, "y", tile=64)
    made = features([plain, Brightness("Other"), gated], a_set(1), tmp_path)
    names = ["features_decam_deepCR.png", "features_decam_Att-deepCR.png", "attention_decam_Att-deepCR.png"]
    assert [path.name for path in made] == names
    for path in made:
        assert np.ptp(png.imread(path)[..., :3]) > 0.9, f"{path.name} is blank"


# ------------------------------------------------------------------------------------ the command


def test_the_command_writes_what_it_can_and_says_what_it_could_not(command, tmp_path):
    data = ("data=decam", *TINY, f"data.root={command.data}", "data.seed=0")
    missing = "+detector.gone={_target_: cosmicgate.detectors.maximask.load, weights: nowhere.pt}"
    sweep = "detector.astroscrappy.sweep=[3,10]"
    quick = (*data, "detector=astroscrappy", sweep, missing)
    done = command("evaluate.py", *quick, f"hydra.run.dir={tmp_path}/whole")
    assert done.returncode == 0, done.stderr
    assert "left out: gone: " in done.stderr
    content = json.loads((tmp_path / "whole" / "results.json").read_text())
    assert [row["detector"] for row in content["rows"]] == ["Astro-SCRAPPY"]
    assert [entry["detector"] for entry in content["unavailable"]] == ["gone"]

    broken = (
        "+detector.broken={_target_: cosmicgate.detectors.classical.AstroScrappy, title: Broken, objlim: {moon: 1}}"
    )
    done = command("evaluate.py", *quick, broken, f"hydra.run.dir={tmp_path}/partly")
    assert done.returncode == 1
    assert "1 row(s) failed, the others are written: Broken on decam: objlim" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "Traceback" in (tmp_path / "partly" / "evaluate.log").read_text()
    assert json.loads((tmp_path / "partly" / "results.json").read_text())["rows"] == content["rows"]
    assert (tmp_path / "partly" / "report" / "tables.tex").is_file()
    merged = command(
        "-m",
        "cosmicgate.report",
        *(f"{tmp_path}/{name}/results.json" for name in ("whole", "partly")),
        "-o",
        f"{tmp_path}/merged",
    )
    assert merged.returncode == 0, merged.stderr
    text = (tmp_path / "merged" / "tables.md").read_text()
    assert text.count("| Astro-SCRAPPY |") == 5
    assert "Broken on decam failed: objlim" in text
