"""A run becomes a packaged network that says of itself what it was made from and what it does."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from cosmicgate.detectors.network import hash_of
from cosmicgate.detectors.packaged.cards import find, read_card
from cosmicgate.masking import loading, shipping
from cosmicgate.models import UNet
from cosmicgate.truth import CORE, SKY

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
    ("told", "message"),
    [
        ({"gate": True, "gate_norm": True}, "start=att_deepcr has scaling robust, model has none"),
        ({"scaling": "robust", "channels": 8}, "start=att_deepcr is a network of another form than model: depth=3"),
        ({"scaling": "robust", "norm": "group"}, r"start=att_deepcr has groups of the norm \[\], model has \[8\]"),
    ],
)
def test_weights_that_mean_something_else_are_no_start(told, message):
    with pytest.raises(ValueError, match=message):
        loading.begin_with(UNet(**told), "att_deepcr")


@pytest.fixture(scope="module")
def packaged(runs):
    first, second = runs
    folder = second.parent / "packaged"
    told = ["--name", "mine", "--command", "python train.py model=deepcr", "--folder", str(folder)]
    assert shipping.main([str(second), *told, "--screen", str(first)]) == 0
    return folder / "mine.safetensors"


@pytest.mark.slow
def test_a_training_can_start_with_the_weights_of_another(runs):
    first, second = (dict(loading.load(run, check=False).network.named_parameters()) for run in runs)
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
def test_a_packaged_network_gives_what_its_checkpoint_gives(runs, packaged):
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    expected = loading.load(runs[1], check=False).probability(image)
    assert np.allclose(loading.load(packaged, check=False).probability(image), expected, atol=1e-6)
    quick = loading.load(packaged, check=False, fast=True).probability(image)
    seen = quick > 1e-9
    assert np.allclose(quick[seen], expected[seen], atol=1e-5)


@pytest.mark.slow
def test_a_packaged_network_can_get_another_first_look_and_stays_what_it_is(runs, packaged, tmp_path):
    told = ["--screen", str(runs[1]), "--screen-command", "python train.py", "--folder", str(tmp_path)]
    assert shipping.main([str(packaged), *told]) == 0
    before, after = read_card(packaged), read_card(tmp_path / "mine.safetensors")
    assert after.screen["command"] == "python train.py"
    assert replace(after, screen=before.screen, sha256=before.sha256) == before
    image = np.random.default_rng(0).normal(1000, 10, (64, 80))
    both = [loading.load(path, check=False).probability(image) for path in (packaged, tmp_path / "mine.safetensors")]
    assert np.array_equal(*both)


@pytest.mark.slow
def test_a_packaged_network_can_be_calibrated_anew_and_stays_what_it_is(runs, packaged, tmp_path):
    assert shipping.main([str(packaged), "--calibrate", str(runs[0]), "--folder", str(tmp_path)]) == 0
    copy = tmp_path / "mine.safetensors"
    assert read_card(copy) == read_card(packaged), "the same frames give the same thresholds"
    assert copy.read_bytes() == packaged.read_bytes()


@pytest.mark.slow
def test_the_first_look_of_a_packaged_network_can_be_tuned_for_another(runs, packaged, tmp_path):
    told = ["--screen", "general", "--calibrate", str(runs[0]), "--folder", str(tmp_path)]
    assert shipping.main([str(packaged), *told]) == 0
    card, general = read_card(tmp_path / "mine.safetensors"), read_card(find("general"))
    assert {key: card.screen[key] for key in ("network", "command", "data")} == {
        key: general.screen[key] for key in ("network", "command", "data")
    }
    first, same = (
        loading.load(one, check=False, fast=True).screen.network for one in (tmp_path / "mine.safetensors", "general")
    )
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), same.parameters(), strict=True))
    assert card.screen["settings"]["halo"] == 10, "what a UNet-2 sees around a pixel"


@pytest.mark.slow
def test_a_card_has_the_scores_of_its_own_weights_alone(runs, packaged, command, tmp_path):
    told = ("data=decam", "data.name=decam_again", f"data.root={command.data}", *TINY, "picture=false")
    for name, run in (("own", runs[1]), ("other", runs[0])):
        best = run / "checkpoints" / "best.ckpt"
        done = command("evaluate.py", *told, f"checkpoint={best}", f"hydra.run.dir={tmp_path}/{name}")
        assert done.returncode == 0, done.stderr
    own, other = (str(tmp_path / name / "results.json") for name in ("own", "other"))
    with pytest.raises(ValueError, match=r"other/results.json has no row of these weights"):
        shipping.main([str(packaged), "--results", other, "--folder", str(tmp_path)])
    assert shipping.main([str(packaged), "--results", own, "--folder", str(tmp_path)]) == 0
    before, after = read_card(packaged), read_card(tmp_path / "mine.safetensors")
    row = json.loads((tmp_path / "own/results.json").read_text())["rows"][0]
    assert [one for one in after.scores if one["data"] == "decam"] == before.scores
    (f1,) = (one for one in after.scores if (one["data"], one["truth"], one["metric"]) == ("decam_again", "core", "f1"))
    assert f1["value"] == row["core"]["f1"]
    assert hash_of(loading.load(packaged, check=False).network) == row["weights"]


def test_what_cannot_be_packaged_is_refused_with_what_is_missing(tmp_path, capsys):
    for arguments, expected in (
        ([str(tmp_path), "--name", "mine"], r"is a run: give the --name .* and its --command, no more"),
        (["deepcr", "--screen", "general"], r"--screen general: its first look is tuned on .*: give --calibrate RUN"),
        (["general"], r"general is no folder of a run: a packaged network takes --screen, --calibrate or --results"),
    ):
        with pytest.raises(SystemExit):
            shipping.main(arguments)
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
    assert 0 <= card.screen["missed"] <= card.screen["hits"]
    assert 0 < card.screen["bound"] <= 1


@pytest.mark.slow
def test_its_calibration_gives_the_rate_that_was_asked_for(packaged, command):
    """On the very frames that it was calibrated on, the part of sky pixels over the threshold is the rate."""
    from cosmicgate.data.store import load_labelled

    network = loading.load(packaged, check=False)
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
    network, frames, found = loading.load(packaged, check=False), [], []
    for number, spread in enumerate((0.0, 40.0, 80.0)):
        shutil.copytree(folder, frame := tmp_path / f"validation-{number}")
        image = np.load(frame / "image.npy")
        image[::3, ::5] += np.random.default_rng(number).uniform(0, spread, image[::3, ::5].shape).astype(image.dtype)
        np.save(frame / "image.npy", image)
        frames.append(frame)
        sky = np.load(frame / "truth.npy") == SKY
        found.append(network.probability(image, np.load(frame / "bad.npy"))[sky])
    calibrated = shipping.calibration(network.network, frames)
    assert [rate for rate, _ in calibrated][-1] == 1e-2
    for rate, threshold in calibrated:
        assert (np.concatenate(found) >= threshold - 1e-7).mean() == pytest.approx(rate, rel=0.05)


@pytest.mark.slow
def test_weights_that_were_changed_are_refused(packaged, tmp_path):
    copy = tmp_path / "mine.safetensors"
    copy.write_bytes(packaged.read_bytes()[:-1] + b"\0\0")
    copy.with_suffix(".json").write_text(packaged.with_suffix(".json").read_text())
    with pytest.raises(ValueError, match=r"its checksum is .* its card says"):
        loading.load(copy)


def test_squares_are_judged_without_their_margin_and_seen_with_a_halo_of_no_more_than_matters(monkeypatch):
    """Of two found pixels none may be lost: the threshold is that of the darker square, not of its neighbour."""
    first = UNet(depth=1, channels=2)
    logits = torch.zeros(32, 32)
    logits[4, 4], logits[4, 12] = 5.0, 9.0  # of two hits in neighbouring squares, within each other's margin
    truth = np.full((32, 32), SKY, np.uint8)
    truth[4, 7] = truth[4, 8] = CORE
    found = np.where(truth == CORE, 10.0, -10.0)
    monkeypatch.setattr(shipping, "looked_at", lambda *_: [(torch.zeros(32, 32), found, truth)])
    monkeypatch.setattr(shipping, "streamed_logits", lambda *_: logits)
    masker = loading.load("general", check=False)
    screen = shipping.tuned_screen(masker, first, [])
    assert screen.threshold == pytest.approx(5.0, abs=0.01)
    assert screen.margin > 0
    assert (masker.network.reach, screen.halo) == (23, 16)
