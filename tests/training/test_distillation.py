"""Test that a network is trained on its teacher's probabilities and the truth, and validated on the truth alone."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)

from cosmicgate.data.pixel_labels import CORE, IGNORED, SKY
from cosmicgate.models import UNet
from cosmicgate.pretrained.load import load_network
from cosmicgate.training import fit
from cosmicgate.training.distillation import Distillation

pytestmark = pytest.mark.filterwarnings("ignore:You are trying to `self.log")  # without a trainer it logs nowhere


def distillation(teacher="general", **settings):
    torch.manual_seed(0)
    return Distillation(
        teacher=teacher,
        network=UNet(depth=2, channels=4, scaling="robust"),
        loss=torch.nn.BCEWithLogitsLoss(),
        optimizer=torch.optim.Adam,
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=1),
        **settings,
    )


@pytest.fixture
def batch():
    """Two noisy images, of which the first has a hit and an ignored pixel."""
    image = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 5 + 100
    truth = torch.full((2, 1, 32, 32), SKY, dtype=torch.uint8)
    image[0, 0, 10, 10:14] += 400
    truth[0, 0, 10, 10:14] = CORE
    truth[0, 0, 20, 20] = IGNORED
    return {"image": image, "truth": truth}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_target_is_the_mean_of_truth_and_teacher_by_its_weight(batch, weight):
    module = distillation(teacher_weight=weight).train()
    kept = batch["truth"] != IGNORED
    with torch.no_grad():
        logits = module(batch["image"], batch["truth"])[kept]
        predicted = load_network("general")[0](batch["image"], ~kept)[kept].sigmoid()
        target = (1 - weight) * (batch["truth"][kept] == CORE).float() + weight * predicted
        loss = module.training_step(batch)
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, target).item(), rel=1e-5)


def test_the_validation_loss_does_not_depend_on_the_teacher(batch):
    losses = []
    for weight in (0.0, 1.0):
        module = distillation(teacher_weight=weight).eval()
        with torch.no_grad():
            module.validation_step(batch)
        losses.append(module.validation_loss.compute())
    assert losses[0] == losses[1] > 0


def test_the_teacher_is_neither_trained_nor_saved(batch):
    module = distillation().train()
    assert all(name.startswith("network.") for name in module.state_dict())
    assert {id(one) for one in module.parameters()} == {id(one) for one in module.network.parameters()}
    before = load_network("general")[0].state_dict()
    module.training_step(batch).backward()
    (teacher,) = module._teacher
    assert not teacher.training
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())


def test_training_resumes_with_the_same_teacher_only():
    checkpoint = {}
    distillation().on_save_checkpoint(checkpoint)
    distillation().on_load_checkpoint(checkpoint)
    with pytest.raises(ValueError, match=r"module\.teacher: its weights are not those that this training began with"):
        distillation("deepcr").on_load_checkpoint(checkpoint)


@pytest.mark.parametrize(("setting", "value"), [("teacher_weight", 1.1), ("block_size", 8)])
def test_impossible_settings_are_refused(setting, value):
    with pytest.raises(ValueError, match=f"{setting}={value}: expected"):
        distillation(**{setting: value})


@pytest.mark.parametrize(("teacher", "had", "has"), [("general", "no ring", "a ring"), ("deepcr", "a ring", "no ring")])
def test_a_teacher_of_another_truth_than_the_data_is_refused(monkeypatch, tmp_path, teacher, had, has):
    module, data = distillation(teacher), {"name": "night", "contamination": {"ring": has == "a ring"}}
    monkeypatch.setattr(fit, "build", {"module": module}.get)
    monkeypatch.setattr(fit, "training_data", lambda *_: SimpleNamespace(name="night", data_origin="real"))
    cfg = SimpleNamespace(resume=True, start=None, seed=0, model={}, data=data, module="module")
    with pytest.raises(
        ValueError, match=rf"teacher: its truth had {had} .*, and that of the data \(night\) has {has}: give"
    ):
        fit.fit(cfg, {"model": {}, "data": data}, tmp_path)
    module.check_truth({"contamination": {"ring": has != "a ring"}})


def test_an_unknown_teacher_is_named():
    with pytest.raises(FileNotFoundError, match="'genral': expected one of att_cosmic_conn"):
        distillation("genral")
