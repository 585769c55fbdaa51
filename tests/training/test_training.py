"""Test training: reproducibility, exact resumption, the two phases of the paper, losses, damaged weights."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader

from cosmicgate.data.cache import save_labelled
from cosmicgate.data.patches import GridSampler, PatchDataset, make_loader
from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.data.transforms import SkyAugmentation
from cosmicgate.detectors.network import load_checkpoint_detector, read_checkpoint
from cosmicgate.io.fits.frames import Frame
from cosmicgate.models import UNet
from cosmicgate.training.batch_norm_freeze import BatchNormFreeze
from cosmicgate.training.callbacks import ExactResume, SaveConfigInCheckpoint, ValidationCurves
from cosmicgate.training.losses import DiceBCELoss, FocalLoss
from cosmicgate.training.module import Segmentation

# Lightning 2.6 uses deprecated tree functions of torch 2.13, and recommends more workers than two cores can run.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    # A resumed run writes into the same folder.
    pytest.mark.filterwarnings("ignore:.*exists and is not empty.*"),
]
SIZE, PATCHES = 32, 8
RELEASED = {"constant_lr": True, "validate_on_batch": True}  # the two phases as in the authors' code


@pytest.fixture(scope="module")
def frames(tmp_path_factory) -> list[Path]:
    """Save two labelled frames of sky with bright hits; return their folders."""
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
        self.patches = PatchDataset(frames, GridSampler(SIZE), [SkyAugmentation()], seed=3)
        self.validation = PatchDataset(frames, GridSampler(SIZE))
        self.workers = workers

    def train_dataloader(self):
        return make_loader(self.patches, 4, self.workers, self.trainer, seed=3)

    def val_dataloader(self):
        return DataLoader(self.validation, batch_size=4)


class EpochRecorder(Callback):
    """Record batches, and learning rate and mode of batch norm at the beginning of each epoch."""

    def __init__(self):
        self.rates, self.training, self.batches = [], [], []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batches.append((trainer.current_epoch, float(batch["image"].double().sum())))
        if batch_idx == 0:
            norms = [m.training for m in pl_module.modules() if isinstance(m, torch.nn.BatchNorm2d)]
            self.training.append(all(norms) if norms else None)
            self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def small_module(norm="batch", **optimizer) -> Segmentation:
    """Build a training module with a small network."""
    torch.manual_seed(0)
    return Segmentation(
        UNet(depth=2, channels=8, norm=norm, gate=True),
        torch.nn.BCEWithLogitsLoss(),
        lambda parameters: torch.optim.Adam(parameters, **({"lr": 0.005} | optimizer)),
        lambda adam: ReduceLROnPlateau(adam, factor=0.1, patience=0, threshold=0.5),
    )


def train(
    module, frames, folder, epochs, resume=None, callbacks=(), workers=0, **options
) -> tuple[pl.Trainer, EpochRecorder]:
    """Train a module; return the trainer and the recorder of epochs."""
    seen = EpochRecorder()
    best = ModelCheckpoint(folder, "best", monitor="val/loss", enable_version_counter=False)
    last = ModelCheckpoint(folder, "last", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[
            *callbacks,
            ValidationCurves(),
            SaveConfigInCheckpoint({"model": {}, "title": "small"}),
            ExactResume(),
            best,
            last,
            seen,
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, datamodule=Data(frames, workers), ckpt_path=resume)
    return trainer, seen


def same_weights(left, right) -> bool:
    """Return True if two modules have identical weights."""
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def stop_after(epochs):
    """Make a callback that interrupts a training after a number of epochs."""

    class Stop(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == epochs:
                raise KeyboardInterrupt

    return Stop()


@pytest.mark.parametrize(
    ("stopped_after", "workers", "released"),
    [(1, 0, {}), (2, 0, {}), (3, 0, {}), (1, 1, {}), (3, 1, {}), (2, 2, {}), (1, 0, RELEASED), (3, 0, RELEASED)],
    ids=lambda value: str(value) if isinstance(value, int) else "released" if value else "text",
)
def test_resume_equals_an_uninterrupted_run(frames, tmp_path, stopped_after, workers, released):
    """Compare weights, batch norm, optimizer, learning rates, best score and the order of the data."""

    def freeze():
        return BatchNormFreeze(0.4, restart_lr_factor=0.4, **released)

    uninterrupted, interrupted, resumed = small_module(), small_module(), small_module()
    trainer, seen = train(uninterrupted, frames, tmp_path / "whole", 5, callbacks=[freeze()])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        train(
            interrupted,
            frames,
            tmp_path / "broken",
            5,
            callbacks=[freeze(), stop_after(stopped_after)],
            workers=workers,
        )
    last = tmp_path / "broken" / "last.ckpt"
    again, seen_again = train(
        resumed, frames, tmp_path / "broken", 5, resume=last, callbacks=[freeze()], workers=workers
    )
    assert again.checkpoint_callback.best_model_score == trainer.checkpoint_callback.best_model_score
    assert seen_again.batches == [b for b in seen.batches if b[0] >= stopped_after]
    assert seen_again.rates == seen.rates[stopped_after:]
    assert seen_again.training == seen.training[stopped_after:]
    assert_same_state(trainer, again)


def assert_same_state(trainer: pl.Trainer, again: pl.Trainer) -> None:
    """Check that weights, optimizer and scheduler are identical."""
    assert same_weights(trainer.lightning_module, again.lightning_module)
    ours, theirs = trainer.optimizers[0].state_dict(), again.optimizers[0].state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for key, state in ours["state"].items():
        assert all(torch.equal(value, theirs["state"][key][name]) for name, value in state.items())
    one, other = (t.lr_scheduler_configs[0].scheduler.state_dict() for t in (trainer, again))
    assert one == other


# ExactResume makes the dataloader resumable; train.py silences the warning too.
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
def test_batch_norm_stays_frozen_if_a_run_resumes_within_an_epoch_of_the_second_phase(frames, tmp_path):
    def freezing():
        return [every_step(tmp_path), BatchNormFreeze(0.4)]

    trainer, _ = train(small_module(), frames, tmp_path, 5, callbacks=freezing())
    (begin,) = tmp_path.glob("*step=7.ckpt")
    again, _ = train(small_module(), frames, tmp_path, 5, begin, freezing())
    assert_same_state(trainer, again)


def every_step(folder) -> ModelCheckpoint:
    name = "{epoch}-{step}"
    return ModelCheckpoint(folder, name, every_n_train_steps=1, save_top_k=-1, save_on_train_epoch_end=False)


# ExactResume makes the dataloader resumable; train.py silences the warning too.
@pytest.mark.filterwarnings("ignore:.*dataloader is not resumable")
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("step", [3, 5])  # within an epoch of two steps
def test_a_checkpoint_within_an_epoch_resumes_with_the_next_batch(frames, tmp_path, step, workers):
    uninterrupted, resumed = small_module(), small_module()
    trainer, seen = train(uninterrupted, frames, tmp_path, 4, callbacks=[every_step(tmp_path)])
    (begin,) = tmp_path.glob(f"*step={step}.ckpt")
    again, seen_again = train(resumed, frames, tmp_path, 4, begin, [every_step(tmp_path)], workers)
    assert seen_again.batches == seen.batches[step:]
    assert_same_state(trainer, again)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_run_resumed_twice_with_reloaded_data_equals_an_uninterrupted_run(frames, tmp_path, workers):
    module = small_module()
    trainer, seen = train(small_module(), frames, tmp_path / "whole", 4)
    batches = []
    for end in (1, 3, 4):
        resume = tmp_path / "last.ckpt" if batches else None
        options = dict(workers=workers, reload_dataloaders_every_n_epochs=1)
        again, part = train(module, frames, tmp_path, end, resume=resume, **options)
        batches += part.batches
        module = small_module()
    assert batches == seen.batches
    assert_same_state(trainer, again)


class Dropout(torch.nn.Module):
    """Draw random numbers in the forward pass."""

    def __init__(self):
        super().__init__()
        self.network, self.dropout = UNet(depth=2, channels=4), torch.nn.Dropout(0.5)

    def forward(self, image):
        return self.network(self.dropout(image))


def test_dropout_draws_the_same_random_numbers_after_a_resume(frames, tmp_path):
    def with_dropout():
        module = small_module()
        module.network = Dropout()
        return module

    uninterrupted, interrupted, resumed = with_dropout(), with_dropout(), with_dropout()
    torch.manual_seed(1)
    train(uninterrupted, frames, tmp_path / "whole", 3)
    torch.manual_seed(1)
    train(interrupted, frames, tmp_path / "broken", 2)
    torch.manual_seed(2)
    train(resumed, frames, tmp_path / "broken", 3, resume=tmp_path / "broken" / "last.ckpt", workers=1)
    assert same_weights(uninterrupted, resumed)


def test_averaged_weights_are_resumed_exactly(frames, tmp_path):
    def average():
        return [EMAWeightAveraging(decay=0.9)]

    uninterrupted, interrupted, resumed = small_module(), small_module(), small_module()
    train(uninterrupted, frames, tmp_path / "whole", 4, callbacks=average())
    train(interrupted, frames, tmp_path / "broken", 2, callbacks=average())
    train(resumed, frames, tmp_path / "broken", 4, tmp_path / "broken" / "last.ckpt", average(), workers=1)
    assert same_weights(uninterrupted, resumed)
    one, other = (torch.load(tmp_path / name / "last.ckpt", weights_only=True) for name in ("whole", "broken"))
    for key in ("state_dict", "current_model_state"):
        assert all(torch.equal(value, other[key][name]) for name, value in one[key].items())


def test_an_early_stopped_training_does_not_train_again_when_resumed(frames, tmp_path):
    def early():
        return [EarlyStopping("val/loss", patience=1, min_delta=100.0)]

    first, _ = train(small_module(), frames, tmp_path, 6, callbacks=early())
    assert first.current_epoch == 2
    again, seen = train(small_module(), frames, tmp_path, 6, resume=tmp_path / "last.ckpt", callbacks=early())
    assert seen.batches == []
    assert_same_state(first, again)


def test_checkpoints_are_written_atomically_on_any_disk(frames, tmp_path, monkeypatch):
    moved = []
    monkeypatch.setattr("shutil.move", lambda *paths: moved.append(paths))  # a copy between disks is not atomic
    train(small_module(), frames, tmp_path, 1)
    assert moved == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_moved_run_keeps_its_best_weights_when_resumed(frames, tmp_path):
    before, _ = train(small_module(), frames, tmp_path / "before", 2)
    moved = (tmp_path / "before").rename(tmp_path / "after")
    after, _ = train(small_module(), frames, moved, 2, resume=moved / "last.ckpt")
    best, same_best = (trainer.checkpoint_callback for trainer in (before, after))
    assert same_best.best_model_score == best.best_model_score
    assert same_best.best_model_path == str(moved / "best.ckpt")


def test_a_resumed_run_keeps_the_best_scores_of_further_checkpoints(frames, tmp_path):
    def more(run):
        return ModelCheckpoint(run / "run2", monitor="val/f1", mode="max", save_top_k=3)

    for before, after in (("run", "run"), ("run", "moved")):
        first = more(tmp_path / before)
        train(small_module(), frames, tmp_path / before / "run", 2, callbacks=[first])
        (tmp_path / before).rename(tmp_path / after)
        again = more(tmp_path / after)
        last = tmp_path / after / "run" / "last.ckpt"
        train(small_module(), frames, last.parent, 2, last, callbacks=[again])
        assert again.best_model_score == first.best_model_score
        assert Path(again.best_model_path).is_file()
        assert again.best_k_models
        assert all(Path(path).parent == tmp_path / after / "run2" for path in again.best_k_models)
        shutil.rmtree(tmp_path / after)


def test_the_same_seed_gives_the_same_weights_with_any_number_of_workers(frames, tmp_path):
    first, second, third = small_module(), small_module(), small_module()
    train(first, frames, tmp_path / "a", 2)
    train(second, frames, tmp_path / "b", 2)
    train(third, frames, tmp_path / "c", 2, workers=2)
    assert same_weights(first, second)
    assert same_weights(first, third)
    assert not same_weights(first, small_module())


def test_batch_norm_freezes_its_statistics_and_trains_its_scale(frames, tmp_path):
    states = {}

    class Keep(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            norm = pl_module.network.encoder[0].norm1
            states[trainer.current_epoch] = {k: v.clone() for k, v in norm.state_dict().items()}

    module = small_module()
    _, seen = train(module, frames, tmp_path, 5, callbacks=[BatchNormFreeze(0.4), Keep()])
    assert seen.training == [True, True, False, False, False]
    assert not torch.equal(states[0]["running_mean"], states[1]["running_mean"])
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert torch.equal(states[1][name], states[4][name])
    assert not torch.equal(states[1]["weight"], states[4]["weight"])


def test_phase_two_restarts_the_optimizer_of_the_scheduler(frames, tmp_path):
    steps = []

    class Steps(Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            adam = trainer.optimizers[0]
            steps.append((trainer.current_epoch, int(next(iter(adam.state.values()))["step"])))
            assert trainer.lr_scheduler_configs[0].scheduler.optimizer is adam

    _, seen = train(
        small_module(), frames, tmp_path, 5, callbacks=[BatchNormFreeze(0.4, restart_lr_factor=0.4), Steps()]
    )
    assert seen.rates[2] == pytest.approx(0.4 * 0.005)
    assert [step for epoch, step in steps if epoch == 2] == [1, 2]


def test_with_constant_lr_phase_two_keeps_its_learning_rate(frames, tmp_path):
    _, falls = train(small_module(), frames, tmp_path / "a", 5, callbacks=[BatchNormFreeze(0.4, restart_lr_factor=0.4)])
    _, held = train(
        small_module(),
        frames,
        tmp_path / "b",
        5,
        callbacks=[BatchNormFreeze(0.4, restart_lr_factor=0.4, constant_lr=True)],
    )
    assert held.rates[:3] == falls.rates[:3]
    assert falls.rates[4] < 0.002
    assert held.rates[2:] == pytest.approx([0.002] * 3)


def test_a_scheduler_that_does_not_support_constant_lr_is_refused_by_name(frames, tmp_path):
    module = small_module()
    module.make_scheduler = lambda adam: StepLR(adam, 1)
    with pytest.raises(ValueError, match=r"constant_lr=true: expected ReduceLROnPlateau, got StepLR"):
        train(module, frames, tmp_path, 3, callbacks=[BatchNormFreeze(0.4, constant_lr=True)])


def test_phase_one_can_be_validated_with_batch_statistics(frames, tmp_path):
    modes, kept, scores = [], [], []

    class Look(Callback):
        def on_validation_batch_end(self, trainer, pl_module, *_):
            modes.append((trainer.current_epoch, pl_module.network.encoder[0].norm1.training))

        def on_train_epoch_end(self, trainer, pl_module):  # Lightning validates before it
            norm = pl_module.network.encoder[0].norm1
            kept.append((norm.training, norm.momentum, norm.running_var.clone()))

        def on_validation_end(self, trainer, pl_module):
            scores.append(float(trainer.callback_metrics["val/loss"]))

    on_batch, plain = (BatchNormFreeze(0.4, validate_on_batch=flag) for flag in (True, False))
    trainer, _ = train(small_module(), frames, tmp_path / "a", 5, callbacks=[on_batch, Look()])
    assert all(training == (epoch < 2) for epoch, training in modes)
    statistics, on_batch_scores = [k[2] for k in kept[:2]], list(scores)
    assert [k[:2] for k in kept] == [(True, 0.005)] * 2 + [(False, 0.005)] * 3
    kept.clear(), scores.clear()
    train(small_module(), frames, tmp_path / "b", 5, callbacks=[plain, Look()])
    for one, other in zip(statistics, (k[2] for k in kept), strict=False):
        assert torch.equal(one, other)  # validation does not change the running statistics
    assert on_batch_scores[:2] != scores[:2]
    assert trainer.checkpoint_callback.best_model_score == pytest.approx(min(on_batch_scores[2:]))


@pytest.mark.parametrize("restart", [0.0, -0.4])
def test_a_restart_learning_rate_that_is_not_positive_is_refused(restart):
    with pytest.raises(ValueError, match=f"restart_lr_factor={restart}"):
        BatchNormFreeze(0.4, restart_lr_factor=restart)


def test_a_network_without_batch_norm_has_no_phase_two(frames, tmp_path):
    _, seen = train(
        small_module(norm="group"), frames, tmp_path, 3, callbacks=[BatchNormFreeze(0.4, restart_lr_factor=0.4)]
    )
    assert seen.rates[0] == 0.005
    assert 0.4 * 0.005 not in seen.rates


def test_the_learning_rate_falls_if_the_validation_loss_does_not(frames, tmp_path):
    _, seen = train(small_module(norm="group", lr=1e-6), frames, tmp_path, 3)
    assert seen.rates == pytest.approx([1e-6, 1e-6, 1e-7])


def test_a_scheduler_steps_once_in_an_epoch_with_several_validations(frames, tmp_path):
    module = small_module(norm="group", lr=1e-3)
    module.make_scheduler = lambda adam: StepLR(adam, 1, gamma=0.1)
    _, seen = train(module, frames, tmp_path, 3, val_check_interval=0.5)
    assert seen.rates == pytest.approx([1e-3, 1e-4, 1e-5])


def test_a_plateau_waits_for_the_next_validation(frames, tmp_path):
    module = small_module(norm="group", lr=1e-6)
    _, seen = train(module, frames, tmp_path, 5, check_val_every_n_epoch=2)
    assert seen.rates == pytest.approx([1e-6] * 4 + [1e-7])


@pytest.mark.parametrize(
    ("between", "drawn"), [(1, [0, 5, 10, 15]), (2, [1, 5, 11, 15]), (3, [2, 5, 11, 17]), (5, [4, 9, 14, 19])]
)
def test_curves_are_drawn_every_fifth_epoch_however_seldom_it_is_validated(between, drawn):
    trainers = [
        SimpleNamespace(current_epoch=epoch, check_val_every_n_epoch=between)
        for epoch in range(between - 1, 20, between)
    ]
    assert [trainer.current_epoch for trainer in trainers if ValidationCurves()._due(trainer)] == drawn


@pytest.mark.parametrize("every", [1, 2, 3])
def test_a_scheduler_without_a_monitored_loss_steps_each_epoch_however_seldom_it_is_validated(frames, tmp_path, every):
    def stepping():
        module = small_module(norm="group", lr=1e-3)
        module.make_scheduler = lambda adam: StepLR(adam, 1, gamma=0.1)
        return module

    options = {"check_val_every_n_epoch": every}
    whole, seen = train(stepping(), frames, tmp_path / "whole", 6, **options)
    assert seen.rates == pytest.approx([1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])
    train(stepping(), frames, tmp_path / "part", 3 if every != 2 else 4, **options)
    resumed, rest = train(stepping(), frames, tmp_path, 6, resume=tmp_path / "part" / "last.ckpt", **options)
    assert rest.rates == seen.rates[-len(rest.rates) :]
    assert_same_state(whole, resumed)


def test_ignored_pixels_change_neither_loss_nor_gradient(frames):
    module = small_module()
    batch = torch.utils.data.default_collate([PatchDataset(frames, GridSampler(SIZE))[i] for i in range(2)])
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


def test_a_batch_of_ignored_pixels_has_zero_loss_and_does_not_count(frames):
    module = small_module()
    batch = torch.utils.data.default_collate([PatchDataset(frames, GridSampler(SIZE))[i] for i in range(2)])
    batch["truth"] = torch.full_like(batch["truth"], IGNORED)
    loss = module._loss(module(batch["image"]), batch)
    loss.backward()
    assert loss.item() == 0
    assert not any(parameter.grad.any() for parameter in module.parameters() if parameter.grad is not None)
    module.log = lambda *_, **__: None  # there is no trainer to log to
    for module.block_size in (1, 4):
        batch["truth"][..., ::4, ::4] = IGNORED if module.block_size == 1 else SKY
        batch["truth"][..., 1::4, 1::4] = IGNORED  # in each block, which is then ignored
        module.validation_step(batch)
        assert module.validation_loss.update_count == 0


def test_pixel_weights_apply_to_sky_and_hits_have_weight_one(frames):
    module = small_module()
    module.loss = torch.nn.BCEWithLogitsLoss(reduction="none")
    module.pixel_weight = lambda image: torch.full_like(image, 0.25)
    batch = next(iter(Data(frames).train_dataloader()))
    logits = torch.randn(batch["truth"].shape, generator=torch.Generator().manual_seed(1))
    kept, hit = batch["truth"] != IGNORED, (batch["truth"] != SKY) & (batch["truth"] != IGNORED)
    weights = torch.where(hit, 1.0, 0.25)[kept]
    each = torch.nn.functional.binary_cross_entropy_with_logits(logits, hit.float(), reduction="none")[kept]
    assert module._loss(logits, batch).item() == pytest.approx((weights * each).sum().item() / weights.sum().item())


@pytest.mark.parametrize("loss", [torch.nn.BCEWithLogitsLoss(), FocalLoss(), DiceBCELoss()])
def test_pixel_weights_without_effect_are_refused(loss):
    module, truth = small_module(), torch.tensor([[[[SKY, CORE, RING, IGNORED]]]], dtype=torch.uint8)
    batch = {"truth": truth, "image": torch.zeros(truth.shape)}
    module.loss, module.pixel_weight = loss, torch.nn.Identity()
    with pytest.raises(
        ValueError, match=r"module\.loss: .* gives the shape \(\), expected \(3,\): with module\.pixel_weight"
    ):
        module._loss(torch.zeros(truth.shape), batch)
    module.loss, module.pixel_weight = torch.nn.BCEWithLogitsLoss(reduction="none"), None
    with pytest.raises(ValueError, match=r"gives the shape \(3,\), expected \(\)"):
        module._loss(torch.zeros(truth.shape), batch)


def test_the_target_is_core_and_ring(frames):
    module = small_module()
    truth = {"truth": torch.tensor([[[[0, CORE, RING, IGNORED]]]], dtype=torch.uint8)}
    right = torch.tensor([[[[-50.0, 50.0, 50.0, -50.0]]]])
    assert module._loss(right, truth) < 1e-6
    assert module._loss(-right, truth) > 10


def test_a_checkpoint_holds_plain_values_and_rebuilds_the_network(frames, tmp_path):
    module = small_module()
    train(module, frames, tmp_path, 1)
    checkpoint = read_checkpoint(tmp_path / "best.ckpt")
    assert checkpoint["config"] == {"model": {}, "title": "small"}
    config = {
        "model": {"_target_": "cosmicgate.models.UNet", "depth": 2, "channels": 8, "norm": "batch", "gate": True},
        "title": "small",
        "trained_on": "a test",
        "seed": 0,
        "threshold": 0.5,
    }
    torch.save(checkpoint | {"config": config}, tmp_path / "whole.ckpt")
    detector = load_checkpoint_detector(tmp_path / "whole.ckpt")
    assert same_weights(detector.predictor.network, module.network)
    image = torch.randn(1, 1, 37, 41) * 5 + 100
    assert torch.allclose(detector.predictor.network(image), module.network.eval()(image))


class DivergeAtEpoch1(Callback):
    """Set a weight to NaN after the validation of the second epoch."""

    def on_validation_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            torch.nn.init.constant_(pl_module.network.head.bias, float("nan"))


class NaNInValidation(torch.nn.BCEWithLogitsLoss):
    """Give NaN in validation steps."""

    def forward(self, logits, target):
        return super().forward(logits, target) * (1 if logits.requires_grad else float("nan"))


def test_nan_weights_end_the_training_and_are_not_saved(frames, tmp_path):
    with pytest.raises(
        ValueError, match=r"epoch 2: .*'head\.bias' are NaN or infinite: training has diverged and is not"
    ):
        train(small_module(), frames, tmp_path, 3, callbacks=[DivergeAtEpoch1()])
    for name in ("best", "last"):
        assert read_checkpoint(tmp_path / f"{name}.ckpt")["epoch"] == 0


def test_a_nan_validation_loss_ends_the_training_without_a_checkpoint(frames, tmp_path):
    module = small_module()
    module.loss = NaNInValidation()
    with pytest.raises(ValueError, match=r"epoch 1: val/loss is not finite: has training diverged\?"):
        train(module, frames, tmp_path, 1)
    assert not list(tmp_path.glob("*.ckpt"))


def test_averaged_weights_are_resumed_and_checked_by_their_hash(frames, tmp_path):
    train(small_module(), frames, tmp_path, 1, callbacks=[pl.callbacks.EMAWeightAveraging()])
    assert set(read_checkpoint(tmp_path / "last.ckpt")["weights_sha256"]) == {"state_dict", "current_model_state"}
    train(small_module(), frames, tmp_path, 2, tmp_path / "last.ckpt", callbacks=[pl.callbacks.EMAWeightAveraging()])
    checkpoint = torch.load(tmp_path / "last.ckpt")
    checkpoint["current_model_state"]["network.head.bias"] += 1
    torch.save(checkpoint, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"are not those that train\.py saved"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_an_invalid_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.ckpt"):
        read_checkpoint(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ValueError, match=r"text\.ckpt is not a readable checkpoint"):
        read_checkpoint(tmp_path / "text.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"not a checkpoint of train\.py"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_a_fraction_outside_zero_and_one_is_refused():
    with pytest.raises(ValueError, match="start_fraction=40"):
        BatchNormFreeze(40)
