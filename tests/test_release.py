"""Test the release of a run as a pretrained network: weights, model card, calibration, coarse stage."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from astropy.io import fits
from scipy.special import logit

from cosmicgate import release
from cosmicgate.config import Train, build, validate
from cosmicgate.data.labelled_exposures import LabelledExposures
from cosmicgate.data.lco.io import SIMULATED
from cosmicgate.data.mixture import Mixture
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.detectors.network import weights_sha256_of
from cosmicgate.masking import load
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import read_card
from cosmicgate.pretrained.registry import find_weights
from cosmicgate.training import warm_start
from helpers.hydra_config import composed_config
from helpers.labelled_field import write_labelled_field
from helpers.train_command import TINY

SMALL = ("model=deepcr", "model.channels=4", "model.depth=2", "model.scaling=robust")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, command):
    """Train a network, and another that starts from its weights with a learning rate near zero; return both runs."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "first", folder / "second"
    command.train(first, *SMALL)
    command.train(second, *SMALL, f"start={first}", "module.optimizer.lr=1e-12")
    return first, second


@pytest.mark.parametrize(
    ("settings", "overrides"),
    [
        ({"gate": True}, "model=att_deepcr model.scaling=robust"),
        ({"scaling": "robust", "channels": 8}, "model=att_deepcr model.channels=32 model.gate=true"),
        ({"scaling": "robust", "norm": "group", "gate": True}, "model=att_deepcr"),
        ({"depth": 2, "norm": "group", "groups": 4, "shared_norm": True}, "model=att_deepcr"),
    ],
)
def test_weights_of_another_network_are_refused_with_the_overrides_that_fit(settings, overrides):
    with pytest.raises(ValueError, match=r"^start=general has another architecture than model: give model=att_") as e:
        warm_start.load_initial_weights(UNet(**settings), "general")
    typed = str(e.value).partition("give ")[2].split()
    current = ["model=cosmic_conn" if settings.get("norm") == "group" else "model=deepcr"]
    current += [f"++model.{key}={str(value).lower()}" for key, value in settings.items() if key != "norm"]
    given = [one for one in current if one.split("=")[0].lstrip("+") not in ("model", "model.gate")]
    cfg = validate(composed_config(*given, *typed), Train)
    assert warm_start.load_initial_weights(build(cfg.model), "general"), "the suggested overrides fit"


@pytest.fixture(scope="module")
def released(runs):
    """Release the second run, with the first as the coarse stage; return the file of weights."""
    first, second = runs
    folder = second.parent / "pretrained"
    arguments = ["--name", "mine", "--command", "python train.py model=deepcr", "--folder", str(folder)]
    assert release.main([str(second), *arguments, "--coarse", str(first)]) == 0
    return folder / "mine.safetensors"


@pytest.mark.slow
def test_a_training_can_start_with_the_weights_of_another(runs):
    first, second = (dict(load.load(run, check=False).network.named_parameters()) for run in runs)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    record = json.loads((runs[1] / "provenance.json").read_text())["config"]
    best = (runs[0] / "checkpoints" / "best.ckpt").read_bytes()
    assert record["started_from"] == hashlib.sha256(best).hexdigest(), "the record has the hash of the initial weights"


@pytest.mark.slow
def test_a_resumed_training_does_not_need_its_initial_weights(runs, command, tmp_path):
    initial, run = tmp_path / "begun", tmp_path / "run"
    shutil.copytree(runs[0], initial)
    command.train(run, *SMALL, f"start={initial}")
    began = json.loads((run / "provenance.json").read_text())["config"]["started_from"]
    shutil.rmtree(initial)
    (run / "results.json").unlink()  # as if it had been stopped before its test
    command.train(run, *SMALL, f"start={initial}")
    assert began == hashlib.sha256((runs[0] / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert json.loads((run / "provenance.json").read_text())["config"]["started_from"] == began


@pytest.mark.slow
def test_a_released_network_gives_the_probabilities_of_its_checkpoint(runs, released):
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    expected = load.load(runs[1], check=False).probability(image)
    assert np.allclose(load.load(released, check=False).probability(image), expected, atol=1e-6)
    quick = load.load(released, check=False, fast=True).probability(image)
    seen = quick > 1e-9
    assert np.allclose(quick[seen], expected[seen], atol=1e-5)


@pytest.mark.slow
def test_the_coarse_stage_of_a_network_can_be_replaced_without_other_changes(runs, released, tmp_path):
    arguments = ["--coarse", str(runs[1]), "--coarse-command", "python train.py", "--folder", str(tmp_path)]
    assert release.main([str(released), *arguments]) == 0
    before, after = read_card(released), read_card(tmp_path / "mine.safetensors")
    assert after.cascade["command"] == "python train.py"
    assert replace(after, cascade=before.cascade, sha256=before.sha256) == before
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    both = [load.load(path, check=False).probability(image) for path in (released, tmp_path / "mine.safetensors")]
    assert np.array_equal(*both)


@pytest.mark.slow
def test_calibrating_again_on_the_same_frames_changes_nothing(runs, released, tmp_path):
    assert release.main([str(released), "--calibrate", str(runs[0]), "--folder", str(tmp_path)]) == 0
    copy = tmp_path / "mine.safetensors"
    assert read_card(copy) == read_card(released), "the same frames give the same thresholds"
    assert copy.read_bytes() == released.read_bytes()


@pytest.mark.slow
def test_with_new_thresholds_the_losses_of_the_cascade_are_measured_again(runs, released, tmp_path):
    stale = tmp_path / "mine.safetensors"
    shutil.copy(released, stale)
    content = json.loads(released.with_suffix(".json").read_text())
    hits = content["cascade"]["hits"]
    stale.with_suffix(".json").write_text(json.dumps(content | {"cascade": content["cascade"] | {"hits": hits + 1}}))
    assert release.main([str(stale), "--calibrate", str(runs[0]), "--folder", str(tmp_path / "new")]) == 0
    assert read_card(tmp_path / "new" / "mine.safetensors").cascade["hits"] == hits


@pytest.mark.slow
def test_the_coarse_stage_of_one_network_can_be_tuned_for_another(runs, released, tmp_path):
    arguments = ["--coarse", "general", "--calibrate", str(runs[0]), "--folder", str(tmp_path)]
    assert release.main([str(released), *arguments]) == 0
    card, general = read_card(tmp_path / "mine.safetensors"), read_card(find_weights("general"))
    assert {key: card.cascade[key] for key in ("network", "command", "data")} == {
        key: general.cascade[key] for key in ("network", "command", "data")
    }
    first, same = (
        load.load(one, check=False, fast=True).predictor.cascade.network
        for one in (tmp_path / "mine.safetensors", "general")
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert card.cascade["settings"]["halo"] == 10, "the reach of a UNet-2"


@pytest.mark.slow
def test_a_card_has_the_scores_of_its_own_weights_only(runs, released, command, tmp_path):
    arguments = ("data=decam", "data.name=decam_again", f"data.root={command.data}", *TINY, "draw_masks=false")
    for name, run in (("own", runs[1]), ("other", runs[0])):
        best = run / "checkpoints" / "best.ckpt"
        done = command("evaluate.py", *arguments, f"checkpoint={best}", f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    own, other = (str(tmp_path / name / "results.json") for name in ("own", "other"))
    with pytest.raises(ValueError, match=r"other/results.json has no row of these weights"):
        release.main([str(released), "--results", other, "--folder", str(tmp_path)])
    assert release.main([str(released), "--results", own, "--folder", str(tmp_path)]) == 0
    before, after = read_card(released), read_card(tmp_path / "mine.safetensors")
    row = json.loads((tmp_path / "own/results.json").read_text())["rows"][0]
    assert [one for one in after.scores if one["data"] == "decam"] == before.scores
    (f1,) = (one for one in after.scores if (one["data"], one["truth"], one["metric"]) == ("decam_again", "core", "f1"))
    assert f1["value"] == row["core"]["f1"]
    assert weights_sha256_of(load.load(released, check=False).network) == row["detector"]["weights"]


def test_invalid_arguments_are_refused_with_what_is_missing(tmp_path, capsys):
    for arguments, expected in (
        ([str(tmp_path), "--name", "mine"], r"is a run: give the network's --name and --command, no --calibrate"),
        (["deepcr", "--coarse", "general"], r"--coarse general: the coarse stage is tuned on .*: give --calibrate RUN"),
        (["general"], r"general is no folder of a run: a pretrained network takes --coarse, --calibrate or --results"),
    ):
        with pytest.raises(SystemExit):
            release.main(arguments)
        assert re.search(expected, capsys.readouterr().err)


@pytest.mark.slow
def test_the_card_records_origin_scores_ranges_and_calibration(runs, released):
    card = read_card(released)
    assert (card.name, card.trained_on, card.ring, card.seed) == ("mine", "decam, simulated", True, 0)
    assert card.command == "python train.py model=deepcr"
    assert {score["metric"] for score in card.scores} == {"tpr_at_fpr_0.01pct", "f1"}
    assert json.loads((runs[1] / "provenance.json").read_text())["device"] == card.machine
    assert set(card.ranges) <= {"correlation", "sources", "sharpness"}, "other features do not affect the network"
    assert card.ranges["sources"][0] == 0
    rates, thresholds = zip(*card.calibration, strict=True)
    assert list(rates) == sorted(rates)
    assert list(thresholds) == sorted(thresholds, reverse=True)
    assert 0 <= card.cascade["missed"] <= card.cascade["hits"]
    assert 0 < card.cascade["bound"] <= 1


def test_the_default_threshold_is_chosen_on_real_validation_frames_alone(tmp_path):
    """The hits are of 2000 ADU in the real validation exposure, and of 1000 ADU in the simulated one."""
    parts = {}
    for name, which in (("real", 1), ("simulated", 0)):
        folder = tmp_path / name
        folder.mkdir()
        splits = {"train": {"a": [1 - which]}, "validation": {"a": [which]}, "test": {"a": [2]}}
        parts[name] = LabelledExposures(str(write_labelled_field(folder)), splits, density=0.0)
    fits.setval(tmp_path / "simulated" / "labels" / "a_masks.fits", SIMULATED, value=True)
    data = Mixture(parts, {"real": 0.5, "simulated": 0.5}, 16)
    data.prepare_data()

    network = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1))
    torch.nn.init.constant_(network[0].weight, 0.01)
    torch.nn.init.constant_(network[0].bias, -30.0)
    assert -9.2 <= logit(release.default_threshold(network, data)) <= -8.8, "a hit of 2000 ADU over a sky of 100"
    assert release.default_threshold(network, parts["simulated"], 0.3) == 0.3, "no real frames"


@pytest.mark.slow
def test_the_calibrated_threshold_gives_its_false_positive_rate(released, command):
    """Measure the fraction of sky pixels above the threshold on the frames of the calibration."""
    from cosmicgate.data.cache import load_labelled

    network = load.load(released, check=False)
    (folder,) = (command.data / "contaminated").glob("validation-*")
    labelled = load_labelled(folder)
    sky = np.asarray(labelled.truth) == SKY
    found = network.mask(np.asarray(labelled.image), fpr=1e-2, bad=np.asarray(labelled.bad))
    assert found[sky].mean() == pytest.approx(1e-2, rel=0.05)
    with pytest.raises(ValueError, match=r"fpr=0\.5: mine is calibrated from"):
        network.mask(np.asarray(labelled.image), fpr=0.5)


@pytest.mark.slow
def test_the_false_positive_rate_is_that_of_all_frames_together(released, command, tmp_path):
    """Calibrate on one frame with few and two frames with many false positives."""
    (folder,) = (command.data / "contaminated").glob("validation-*")
    network, frames, found = load.load(released, check=False), [], []
    for number, spread in enumerate((0.0, 40.0, 80.0)):
        shutil.copytree(folder, frame := tmp_path / f"validation-{number}")
        image = np.load(frame / "image.npy")
        image[::3, ::5] += np.random.default_rng(number).uniform(0, spread, image[::3, ::5].shape).astype(image.dtype)
        np.save(frame / "image.npy", image)
        frames.append(frame)
        sky = np.load(frame / "truth.npy") == SKY
        found.append(network.probability(image, np.load(frame / "bad.npy"))[sky])
    calibrated = release.calibrate(network.network, frames)
    assert [rate for rate, _ in calibrated][-1] == 1e-2
    for rate, threshold in calibrated:
        assert (np.concatenate(found) >= threshold - 1e-7).mean() == pytest.approx(rate, rel=0.05)


@pytest.mark.slow
def test_changed_weights_are_refused(released, tmp_path):
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(released.read_bytes()[:-1] + b"\0\0")
    copy.with_suffix(".json").write_text(released.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match=r"its checksum is .* its card says"):
        load.load(copy)


def test_the_coarse_stage_is_tuned_by_single_cells_and_its_halo_is_minimal(monkeypatch):
    """Check that the threshold is that of the darker of two neighbouring cells, so that no found pixel is lost."""
    first = UNet(depth=1, channels=2)
    logits = torch.zeros(32, 32)
    logits[4, 4], logits[4, 12] = 5.0, 9.0  # two hits in neighbouring cells, within the margin of each other
    truth = np.full((32, 32), SKY, np.uint8)
    truth[4, 7] = truth[4, 8] = CORE
    found = np.where(truth == CORE, 10.0, -10.0)
    monkeypatch.setattr(
        release, "predict_frames", lambda *_: [(found.astype(np.float32), np.zeros((32, 32), bool), found, truth)]
    )
    monkeypatch.setattr(release, "coarse_logits", lambda *_: logits)
    masker = load.load("general", check=False)
    cascade = release.tune_cascade(masker.network, masker.card, first, [])
    assert cascade.threshold == pytest.approx(5.0, abs=0.01)
    assert cascade.margin > 0
    assert (masker.network.receptive_field_radius, cascade.halo) == (23, 16)
