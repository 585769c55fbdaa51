"""Training is the paper's, repeats to the bit, and goes on where it was stopped."""

from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from cosmicgate.callbacks import BatchNormFreeze, SelfContained, ValidationCurves
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.patches import EpochSampler, Grid, Patches
from cosmicgate.data.store import save_labelled
from cosmicgate.data.transforms import SkyAugmentation
from cosmicgate.detectors.network import load, read_checkpoint
from cosmicgate.models import UNet
from cosmicgate.segmentation import Segmentation
from cosmicgate.truth import CORE, IGNORED, RING, SKY

# Lightning 2.6 asks torch 2.13's tree functions by their old name, and wants more workers than two cores feed.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # A resumed run writes where it wrote before.
    pytest.mark.filterwarnings("ignore:.*exists and is not empty.*"),
]
SIZE, PATCHES = 32, 8


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> list[Path]:
    """Two labelled frames of sky with bright hits."""
    rng = np.random.default_rng(0)
    folders = [tmp_path_factory.mktemp("labelled") / f"frame-{i}" for i in range(2)]
    for folder in folders:
        image = rng.normal(100, 5, (2 * SIZE, 2 * SIZE)).astype(np.float32)
        truth = np.zeros(image.shape, np.uint8)
        for row, column in rng.integers(2, 2 * SIZE - 6, (12, 2)):
            truth[row - 1 : row + 2, column - 1 : column + 5] = RING
            truth[row, column : column + 4] = CORE
        image[truth == CORE] += 300
        truth[:, 0] = IGNORED
        save_labelled(Frame(image, 4.0, 6.0, 45_000.0, 90.0), truth, {"name": folder.name}, folder)
    return folders


class Data(pl.LightningDataModule):
    def __init__(self, frames, workers=0):
        super().__init__()
        self.patches = Patches(frames, Grid(SIZE), [SkyAugmentation()], seed=3)
        self.validation = Patches(frames, Grid(SIZE))
        self.workers = workers

    def train_dataloader(self):
        sampler = EpochSampler(len(self.patches), seed=3)
        return DataLoader(self.patches, batch_size=4, sampler=sampler, num_workers=self.workers)

    def val_dataloader(self):
        return DataLoader(self.validation, batch_size=4)


class Seen(Callback):
    """Note what each epoch began with."""

    def __init__(self):
        self.rates, self.training, self.batches = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append((trainer.current_epoch, float(batch["image"].double().sum())))
        if batch_idx == 0:
            norms = [m.training for m in pl_module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            self.training.append(all(norms) if norms else None)
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def small(norm="batch", **optimizer) -> Segmentation:
    torch.manual_seed(0)
    return Segmentation(
        UNet(depth=2, channels=8, norm=norm, gate=True),
        torch.nn.BCEWithLogitsLoss(),
        lambda parameters: torch.optim.Adam(parameters, **({"lr": 0.005} | optimizer)),
        lambda adam: ReduceLROnPlateau(adam, factor=0.1, patience=0, threshold=0.5),
    )


def fit(module, frames, folder, epochs, resume=None, callbacks=(), workers=0) -> tuple[pl.Trainer, Seen]:
    seen = Seen()
    best = ModelCheckpoint(folder, "best", monitor="val/loss", enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[*callbacks, ValidationCurves(), SelfContained({"model": {}, "title": "small"}), best, last, seen],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(module, datamodule=Data(frames, workers), ckpt_path=resume)
    return trainer, seen


def same(left, right) -> bool:
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def stop_after(epochs):
    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == epochs:
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.parametrize("stopped_after", [1, 2, 3])
def test_resume_equals_an_uninterrupted_run(frames, tmp_path, stopped_after):
    """Weights, running statistics, frozen flag, optimizer, learning rate and the order of the data."""
    whole, broken, resumed = small(), small(), small()
    trainer, seen = fit(whole, frames, tmp_path / "whole", 5, callbacks=[BatchNormFreeze(0.4, restart=0.4)])
    stopped = [BatchNormFreeze(0.4, restart=0.4), stop_after(stopped_after)]
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit(broken, frames, tmp_path / "broken", 5, callbacks=stopped)
    last = tmp_path / "broken" / "last.ckpt"
    again, seen_again = fit(
        resumed, frames, tmp_path / "broken", 5, resume=last, callbacks=[BatchNormFreeze(0.4, restart=0.4)]
    )
    assert seen_again.batches == [b for b in seen.batches if b[0] >= stopped_after]
    assert seen_again.rates == seen.rates[stopped_after:]
    assert seen_again.training == seen.training[stopped_after:]
    assert same(whole, resumed)
    ours, theirs = trainer.optimizers[0].state_dict(), again.optimizers[0].state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for key, state in ours["state"].items():
        assert all(torch.equal(value, theirs["state"][key][name]) for name, value in state.items())
    one, other = (t.lr_scheduler_configs[0].scheduler.state_dict() for t in (trainer, again))
    assert one == other


def test_a_run_that_was_moved_and_goes_on_remembers_its_best_weights(frames, tmp_path):
    before, _ = fit(small(), frames, tmp_path / "before", 2)
    moved = (tmp_path / "before").rename(tmp_path / "after")
    after, _ = fit(small(), frames, moved, 2, resume=moved / "last.ckpt")
    best, same_best = (trainer.checkpoint_callback for trainer in (before, after))
    assert same_best.best_model_score == best.best_model_score
    assert same_best.best_model_path == str(moved / "best.ckpt")


def test_same_seed_same_weights_whatever_the_number_of_workers(frames, tmp_path):
    first, second, third = small(), small(), small()
    fit(first, frames, tmp_path / "a", 2)
    fit(second, frames, tmp_path / "b", 2)
    fit(third, frames, tmp_path / "c", 2, workers=2)
    assert same(first, second)
    assert same(first, third)
    assert not same(first, small())


def test_batch_norm_freezes_at_two_fifths_and_keeps_learning_its_scale(frames, tmp_path):
    states = {}

    class Keep(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            norm = pl_module.network.encoder[0].norm1
            states[trainer.current_epoch] = {k: v.clone() for k, v in norm.state_dict().items()}

    module = small()
    _, seen = fit(module, frames, tmp_path, 5, callbacks=[BatchNormFreeze(0.4), Keep()])
    assert seen.training == [True, True, False, False, False]
    assert not torch.equal(states[0]["running_mean"], states[1]["running_mean"])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(states[1][name], states[4][name])
    assert not torch.equal(states[1]["weight"], states[4]["weight"])


def test_phase_two_restarts_the_optimizer_that_the_scheduler_holds(frames, tmp_path):
    steps = []

    class Steps(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            adam = trainer.optimizers[0]
            steps.append((trainer.current_epoch, int(next(iter(adam.state.values()))["step"])))
            assert trainer.lr_scheduler_configs[0].scheduler.optimizer is adam

    _, seen = fit(small(), frames, tmp_path, 5, callbacks=[BatchNormFreeze(0.4, restart=0.4), Steps()])
    assert seen.rates[2] == pytest.approx(0.4 * 0.005)
    assert [step for epoch, step in steps if epoch == 2] == [1, 2]


def test_a_network_without_batch_norm_is_left_alone(frames, tmp_path):
    _, seen = fit(small(norm="group"), frames, tmp_path, 3, callbacks=[BatchNormFreeze(0.4, restart=0.4)])
    assert seen.rates[0] == 0.005
    assert 0.4 * 0.005 not in seen.rates


def test_the_rate_falls_when_the_validation_loss_does_not(frames, tmp_path):
    _, seen = fit(small(norm="group", lr=1e-6), frames, tmp_path, 3)
    assert seen.rates == pytest.approx([1e-6, 1e-6, 1e-7])


def test_a_scheduler_that_looks_at_no_loss_steps_each_epoch(frames, tmp_path):
    module = small(norm="group", lr=1e-3)
    module.make_scheduler = lambda adam: StepLR(adam, 1, gamma=0.1)
    _, seen = fit(module, frames, tmp_path, 3)
    assert seen.rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_ignored_pixels_change_neither_loss_nor_gradient(frames):
    module = small()
    batch = torch.utils.data.default_collate([Patches(frames, Grid(SIZE))[i] for i in range(2)])
    for spoiled in (0.0, 1e30, float("nan")):
        logits = module(batch["image"])
        logits = torch.where(batch["truth"] == IGNORED, torch.full_like(logits, spoiled), logits)
        module.zero_grad()
        loss = module._loss(logits, batch)
        loss.backward()
        gradient = module.network.head.weight.grad.clone()
        if spoiled == 0.0:
            first = loss.detach(), gradient
        assert torch.equal(loss.detach(), first[0])
        assert torch.equal(gradient, first[1])


def test_a_batch_in_which_no_pixel_counts_teaches_nothing_and_spoils_no_mean(frames):
    module = small()
    batch = torch.utils.data.default_collate([Patches(frames, Grid(SIZE))[i] for i in range(2)])
    batch["truth"] = torch.full_like(batch["truth"], IGNORED)
    loss = module._loss(module(batch["image"]), batch)
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in module.parameters() if parameter.grad is not None)
    module.log = lambda *_, **__: None  # there is no trainer to log to
    for module.squares in (1, 4):
        batch["truth"][..., ::4, ::4] = IGNORED if module.squares == 1 else SKY
        batch["truth"][..., 1::4, 1::4] = IGNORED  # in each square, which then says nothing though a pixel of it does
        module.validation_step(batch)
        assert module.validation_loss.update_count == 0


def test_weights_are_those_of_sky_pixels_and_hits_weigh_one(frames):
    module = small()
    module.loss = torch.nn.BCEWithLogitsLoss(reduction="none")
    module.weigh = lambda image: torch.full_like(image, 0.25)
    batch = next(iter(Data(frames).train_dataloader()))
    logits = torch.randn(batch["truth"].shape, generator=torch.Generator().manual_seed(1))
    kept, hit = batch["truth"] != IGNORED, (batch["truth"] != SKY) & (batch["truth"] != IGNORED)
    weights = torch.where(hit, 1.0, 0.25)[kept]
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, hit.float(), reduction="none")[kept]
    assert module._loss(logits, batch).item() == pytest.approx((weights * each).sum().item() / weights.sum().item())


def test_the_target_is_core_and_ring(frames):
    module = small()
    truth = {"truth": torch.tensor([[[[0, CORE, RING, IGNORED]]]], dtype=torch.uint8)}
    right = torch.tensor([[[[-50.0, 50.0, 50.0, -50.0]]]])
    assert module._loss(right, truth) < 1e-6
    assert module._loss(-right, truth) > 10


def test_a_checkpoint_holds_plain_values_and_rebuilds_the_network(frames, tmp_path):
    module = small()
    fit(module, frames, tmp_path, 1)
    checkpoint = read_checkpoint(tmp_path / "best.ckpt")
    assert checkpoint["config"] == {"model": {}, "title": "small"}
    config = {
        "model": {"_target_": "cosmicgate.models.UNet", "depth": 2, "channels": 8, "norm": "batch", "gate": True},
        "title": "small",
        "trained_on": "a test",
        "threshold": 0.5,
    }
    torch.save(checkpoint | {"config": config}, tmp_path / "whole.ckpt")
    detector = load(tmp_path / "whole.ckpt")
    assert same(detector.network, module.network)
    image = torch.randn(1, 1, 37, 41) * 5 + 100
    assert torch.allclose(detector.network(image), module.network.eval()(image))


def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"text\.ckpt is not a readable checkpoint"):
        read_checkpoint(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"not a checkpoint of train\.py"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_no_fraction_outside_zero_and_one_freezes():
    with pytest.raises(ValueError, match="fraction=40"):
        BatchNormFreeze(40)
