"""A run becomes a pretrained network whose card says what it was made from and what it does."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cosmicgate import release
from cosmicgate.config import Train, build, validate
from cosmicgate.data.pixel_labels import CORE, SKY
from cosmicgate.detectors.network import weights_sha256_of
from cosmicgate.masking import load
from cosmicgate.models import UNet
from cosmicgate.pretrained.card import find, read_card
from cosmicgate.training import warm_start
from helpers.hydra_config import composed_config
from helpers.train_command import TINY

SMALL = ("model=deepcr", "model.channels=4", "model.depth=2", "model.scaling=robust")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, command):
    """A training, and one that starts with its weights and hardly moves them."""
    folder = tmp_path_factory.mktemp("runs")
    first, second = folder / "first", folder / "second"
    command.train(first, *SMALL)
    command.train(second, *SMALL, f"start={first}", "module.optimizer.lr=1e-12")
    return first, second


@pytest.mark.parametrize(
    ("told", "overrides"),
    [
        ({"gate": True}, "model=att_deepcr model.scaling=robust"),
        ({"scaling": "robust", "channels": 8}, "model=att_deepcr model.channels=32 model.gate=true"),
        ({"scaling": "robust", "norm": "group", "gate": True}, "model=att_deepcr"),
        ({"depth": 2, "norm": "group", "groups": 4, "shared_norm": True}, "model=att_deepcr"),
    ],
)
def test_weights_of_another_form_are_no_start_and_the_overrides_that_it_wants_are_said(told, overrides):
    with pytest.raises(
        ValueError, match=r"^start=general is a network of another form than model: give model=att_"
    ) as e:
        warm_start.load_initial_weights(UNet(**told), "general")
    typed = str(e.value).partition("give ")[2].split()
    mine = ["model=cosmic_conn" if told.get("norm") == "group" else "model=deepcr"]
    mine += [f"++model.{key}={str(value).lower()}" for key, value in told.items() if key != "norm"]
    given = [one for one in mine if one.split("=")[0].lstrip("+") not in ("model", "model.gate")]
    cfg = validate(composed_config(*given, *typed), Train)
    assert warm_start.load_initial_weights(build(cfg.model), "general"), "what is typed back is right"


@pytest.fixture(scope="module")
def packaged(runs):
    first, second = runs
    folder = second.parent / "pretrained"
    told = ["--name", "mine", "--command", "python train.py model=deepcr", "--folder", str(folder)]
    assert release.main([str(second), *told, "--coarse", str(first)]) == 0
    return folder / "mine.safetensors"


@pytest.mark.slow
def test_a_training_can_start_with_the_weights_of_another(runs):
    first, second = (dict(load.load(run, check=False).network.named_parameters()) for run in runs)
    assert all(torch.allclose(first[name], second[name], atol=1e-6) for name in first)
    record = json.loads((runs[1] / "provenance.json").read_text())["config"]
    best = (runs[0] / "checkpoints" / "best.ckpt").read_bytes()
    assert record["started_from"] == hashlib.sha256(best).hexdigest(), (
        "which weights a training began with is on record"
    )


@pytest.mark.slow
def test_a_training_that_goes_on_does_not_ask_again_for_what_it_began_with(runs, command, tmp_path):
    begun, run = tmp_path / "begun", tmp_path / "run"
    shutil.copytree(runs[0], begun)
    command.train(run, *SMALL, f"start={begun}")
    began = json.loads((run / "provenance.json").read_text())["config"]["started_from"]
    shutil.rmtree(begun)
    (run / "results.json").unlink()  # as if it had been stopped before its test
    command.train(run, *SMALL, f"start={begun}")
    assert began == hashlib.sha256((runs[0] / "checkpoints" / "best.ckpt").read_bytes()).hexdigest()
    assert json.loads((run / "provenance.json").read_text())["config"]["started_from"] == began


@pytest.mark.slow
def test_a_pretrained_network_gives_what_its_checkpoint_gives(runs, packaged):
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    expected = load.load(runs[1], check=False).probability(image)
    assert np.allclose(load.load(packaged, check=False).probability(image), expected, atol=1e-6)
    quick = load.load(packaged, check=False, fast=True).probability(image)
    seen = quick > 1e-9
    assert np.allclose(quick[seen], expected[seen], atol=1e-5)


@pytest.mark.slow
def test_a_pretrained_network_can_get_another_coarse_stage_and_stays_what_it_is(runs, packaged, tmp_path):
    told = ["--coarse", str(runs[1]), "--coarse-command", "python train.py", "--folder", str(tmp_path)]
    assert release.main([str(packaged), *told]) == 0
    before, after = read_card(packaged), read_card(tmp_path / "mine.safetensors")
    assert after.cascade["command"] == "python train.py"
    assert replace(after, cascade=before.cascade, sha256=before.sha256) == before
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    both = [load.load(path, check=False).probability(image) for path in (packaged, tmp_path / "mine.safetensors")]
    assert np.array_equal(*both)


@pytest.mark.slow
def test_a_pretrained_network_can_be_calibrated_anew_and_stays_what_it_is(runs, packaged, tmp_path):
    assert release.main([str(packaged), "--calibrate", str(runs[0]), "--folder", str(tmp_path)]) == 0
    copy = tmp_path / "mine.safetensors"
    assert read_card(copy) == read_card(packaged), "the same frames give the same thresholds"
    assert copy.read_bytes() == packaged.read_bytes()


@pytest.mark.slow
def test_the_coarse_stage_of_a_pretrained_network_can_be_tuned_for_another(runs, packaged, tmp_path):
    told = ["--coarse", "general", "--calibrate", str(runs[0]), "--folder", str(tmp_path)]
    assert release.main([str(packaged), *told]) == 0
    card, general = read_card(tmp_path / "mine.safetensors"), read_card(find("general"))
    assert {key: card.cascade[key] for key in ("network", "command", "data")} == {
        key: general.cascade[key] for key in ("network", "command", "data")
    }
    first, same = (
        load.load(one, check=False, fast=True).predictor.cascade.network
        for one in (tmp_path / "mine.safetensors", "general")
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert card.cascade["settings"]["halo"] == 10, "what a UNet-2 sees around a pixel"


@pytest.mark.slow
def test_a_card_has_the_scores_of_its_own_weights_alone(runs, packaged, command, tmp_path):
    told = ("data=decam", "data.name=decam_again", f"data.root={command.data}", *TINY, "picture=false")
    for name, run in (("own", runs[1]), ("other", runs[0])):
        best = run / "checkpoints" / "best.ckpt"
        done = command("evaluate.py", *told, f"checkpoint={best}", f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    own, other = (str(tmp_path / name / "results.json") for name in ("own", "other"))
    with pytest.raises(ValueError, match=r"other/results.json has no row of these weights"):
        release.main([str(packaged), "--results", other, "--folder", str(tmp_path)])
    assert release.main([str(packaged), "--results", own, "--folder", str(tmp_path)]) == 0
    before, after = read_card(packaged), read_card(tmp_path / "mine.safetensors")
    row = json.loads((tmp_path / "own/results.json").read_text())["rows"][0]
    assert [one for one in after.scores if one["data"] == "decam"] == before.scores
    (f1,) = (one for one in after.scores if (one["data"], one["truth"], one["metric"]) == ("decam_again", "core", "f1"))
    assert f1["value"] == row["core"]["f1"]
    assert weights_sha256_of(load.load(packaged, check=False).network) == row["detector"]["weights"]


def test_what_cannot_be_packaged_is_refused_with_what_is_missing(tmp_path, capsys):
    for arguments, expected in (
        ([str(tmp_path), "--name", "mine"], r"is a run: give the network's --name and --command, no --calibrate"),
        (["deepcr", "--coarse", "general"], r"--coarse general: the coarse stage is tuned on .*: give --calibrate RUN"),
        (["general"], r"general is no folder of a run: a pretrained network takes --coarse, --calibrate or --results"),
    ):
        with pytest.raises(SystemExit):
            release.main(arguments)
        assert re.search(expected, capsys.readouterr().err)


@pytest.mark.slow
def test_its_card_says_where_it_comes_from_and_what_to_expect(runs, packaged):
    card = read_card(packaged)
    assert (card.name, card.trained_on, card.ring, card.seed) == ("mine", "decam, simulated", True, 0)
    assert card.command == "python train.py model=deepcr"
    assert {score["metric"] for score in card.scores} == {"tpr_at_fpr_0.01pct", "f1"}
    assert json.loads((runs[1] / "provenance.json").read_text())["device"] == card.machine
    assert set(card.ranges) <= {"correlation", "sources", "sharpness"}, "the network does not see the others"
    assert card.ranges["sources"][0] == 0
    rates, thresholds = zip(*card.calibration, strict=True)
    assert list(rates) == sorted(rates)
    assert list(thresholds) == sorted(thresholds, reverse=True)
    assert 0 <= card.cascade["missed"] <= card.cascade["hits"]
    assert 0 < card.cascade["bound"] <= 1


@pytest.mark.slow
def test_its_calibration_gives_the_rate_that_was_asked_for(packaged, command):
    """On the very frames that it was calibrated on, the part of sky pixels over the threshold is the rate."""
    from cosmicgate.data.cache import load_labelled

    network = load.load(packaged, check=False)
    (folder,) = (command.data / "contaminated").glob("validation-*")
    labelled = load_labelled(folder)
    sky = np.asarray(labelled.truth) == SKY
    found = network.mask(np.asarray(labelled.image), fpr=1e-2, bad=np.asarray(labelled.bad))
    assert found[sky].mean() == pytest.approx(1e-2, rel=0.05)
    with pytest.raises(ValueError, match=r"fpr=0\.5: mine is calibrated from"):
        network.mask(np.asarray(labelled.image), fpr=0.5)


@pytest.mark.slow
def test_a_rate_is_that_of_all_frames_together_however_unlike_they_are(packaged, command, tmp_path):
    """One quiet frame and two with false alarms everywhere: the threshold of 1 % lies among those of the loud ones."""
    (folder,) = (command.data / "contaminated").glob("validation-*")
    network, frames, found = load.load(packaged, check=False), [], []
    for number, spread in enumerate((0.0, 40.0, 80.0)):
        shutil.copytree(folder, frame := tmp_path / f"validation-{number}")
        image = np.load(frame / "image.npy")
        image[::3, ::5] += np.random.default_rng(number).uniform(0, spread, image[::3, ::5].shape).astype(image.dtype)
        np.save(frame / "image.npy", image)
        frames.append(frame)
        sky = np.load(frame / "truth.npy") == SKY
        found.append(network.probability(image, np.load(frame / "bad.npy"))[sky])
    calibrated = release.calibration(network.network, frames)
    assert [rate for rate, _ in calibrated][-1] == 1e-2
    for rate, threshold in calibrated:
        assert (np.concatenate(found) >= threshold - 1e-7).mean() == pytest.approx(rate, rel=0.05)


@pytest.mark.slow
def test_weights_that_were_changed_are_refused(packaged, tmp_path):
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(packaged.read_bytes()[:-1] + b"\0\0")
    copy.with_suffix(".json").write_text(packaged.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match=r"its checksum is .* its card says"):
        load.load(copy)


def test_cells_are_tuned_without_their_margin_and_a_halo_is_no_wider_than_matters(monkeypatch):
    """Of two found pixels none may be lost: the threshold is that of the darker cell, not of its neighbour."""
    first = UNet(depth=1, channels=2)
    logits = torch.zeros(32, 32)
    logits[4, 4], logits[4, 12] = 5.0, 9.0  # of two hits in neighbouring cells, within each other's margin
    truth = np.full((32, 32), SKY, np.uint8)
    truth[4, 7] = truth[4, 8] = CORE
    found = np.where(truth == CORE, 10.0, -10.0)
    monkeypatch.setattr(
        release, "predict_frames", lambda *_: [(found.astype(np.float32), np.zeros((32, 32), bool), found, truth)]
    )
    monkeypatch.setattr(release, "coarse_logits", lambda *_: logits)
    masker = load.load("general", check=False)
    cascade = release.tuned_cascade(masker.network, masker.card, first, [])
    assert cascade.threshold == pytest.approx(5.0, abs=0.01)
    assert cascade.margin > 0
    assert (masker.network.reach, cascade.halo) == (23, 16)
