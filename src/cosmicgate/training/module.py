"""The LightningModule: loss, optimizer and learning-rate scheduler of a segmentation network."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric

from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
from cosmicgate.models import UNet


class Segmentation(pl.LightningModule):
    """Train a network to segment cosmic-ray hits.

    Parameters
    ----------
    network : Module
        Network from images (N, 1, H, W) to logits (N, 1, H, W).
    loss : Module
        Loss of logits and targets (0 or 1), both 1-D.
    optimizer : callable
        Function of the parameters that makes the optimizer.
    scheduler : callable
        Function of the optimizer that makes the learning-rate scheduler. It steps once an epoch; a
        ``ReduceLROnPlateau`` after each validation, on ``val/loss``.
    pixel_weight : Module, optional
        Function of images (N, 1, H, W) that gives the weights of their sky pixels, of the same shape; a hit pixel
        weighs 1. ``loss`` must then have no reduction.
    block_size : int
        Side, in pixels, of the square cells whose loss is computed (:func:`block_max`), as the coarse stage of a
        cascade needs. 1 computes the loss of single pixels.

    Notes
    -----
    Core and ring of a hit are positives, as in the paper. Ignored pixels are excluded. A batch is a dict with ``image``
    (N, 1, H, W), ADU, and ``truth`` (N, 1, H, W), codes of :mod:`cosmicgate.data.pixel_labels`; a ``target``
    (N, 1, H, W), 0 to 1, replaces the truth as the target of the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Any], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        pixel_weight: nn.Module | None = None,
        block_size: int = 1,
    ) -> None:
        super().__init__()
        if block_size < 1 or (block_size > 1 and pixel_weight is not None):
            raise ValueError(f"block_size={block_size}: expected 1 px or more, and no pixel_weight for more than 1")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.pixel_weight = pixel_weight
        self.block_size = block_size
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        # Lightning's own mean over processes rounds when it halves an odd number of patches.
        self.validation_loss = MeanMetric()

    def forward(self, image: Tensor, truth: Tensor | None = None) -> Tensor:
        """Compute the logits of a batch of images; a U-Net leaves ignored pixels out of its sky statistics."""
        images = image.contiguous(memory_format=torch.channels_last)
        ignored = [truth == IGNORED] if truth is not None and isinstance(self.network, UNet) else []
        logits: Tensor = self.network(images, *ignored)
        return logits

    def _per_block(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Reduce logits and truth to the blocks whose loss is computed."""
        return block_max(logits, truth, self.block_size) if self.block_size > 1 else (logits, truth)

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        logits, truth = self._per_block(logits, batch["truth"])
        kept = truth != IGNORED
        if not kept.any():  # a crop of a dead amplifier has no pixel to learn from
            return logits.sum() * 0
        hit = truth[kept] != SKY
        value: Tensor = self.loss(logits[kept].float(), batch["target"][kept] if "target" in batch else hit.float())
        expected = torch.Size() if self.pixel_weight is None else hit.shape
        if value.shape != expected:
            raise ValueError(
                f"module.loss: {type(self.loss).__name__} gives the shape {tuple(value.shape)}, expected "
                f"{tuple(expected)}: with module.pixel_weight, and only with it, the loss must have no reduction"
            )
        if self.pixel_weight is None:
            return value
        weights = torch.where(hit, 1.0, self.pixel_weight(batch["image"])[kept])
        return (weights * value).sum() / weights.sum()

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Compute and log the loss of a batch."""
        loss = self._loss(self(batch["image"], batch["truth"]), batch)
        self.log(
            "train/loss",
            loss,
            on_step=True,
            on_epoch=True,
            batch_size=len(batch["image"]),
            prog_bar=True,
            sync_dist=True,
        )
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Log the loss, and return the logits for the callback that computes curves from them."""
        logits = self(batch["image"], batch["truth"])
        loss = self._loss(logits, batch)
        if (self._per_block(logits, batch["truth"])[1] != IGNORED).any():
            # torchmetrics leaves NaN out of a mean, which would hide a diverged training; it keeps infinity.
            self.validation_loss.update(loss.nan_to_num(torch.inf, torch.inf), len(batch["image"]))
        self.log("val/loss", self.validation_loss, on_epoch=True, prog_bar=True)
        return {"logits": logits}

    def on_validation_epoch_end(self) -> None:
        """Refuse a diverged training, and step the scheduler.

        Lightning would step it after checkpoints are written, and a resumed run would miss that step.
        """
        if not self.trainer.sanity_checking and self.trainer.state.fn == TrainerFn.FITTING:
            loss = self.trainer.callback_metrics["val/loss"]
            if not loss.isfinite():
                raise ValueError(
                    f"epoch {self.current_epoch + 1}: val/loss is not finite: has training diverged? Its weights are "
                    "not saved; try a lower module.optimizer.lr, model.scaling=robust or trainer.precision=32-true"
                )
            scheduler: Any = self.lr_schedulers()
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(loss)
            elif self.trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
                self._step_once(scheduler)

    def on_train_epoch_end(self) -> None:
        """Step the scheduler in an epoch that did not end with a validation, unless it waits for one."""
        scheduler: Any = self.lr_schedulers()
        if not isinstance(scheduler, ReduceLROnPlateau):
            self._step_once(scheduler)

    def _step_once(self, scheduler: Any) -> None:
        """Step a scheduler unless it has stepped in this epoch: a run that resumes at the end of one ends it again."""
        if scheduler.last_epoch <= self.current_epoch:
            scheduler.step()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Do nothing: the hooks above step the scheduler."""

    def configure_optimizers(self) -> Any:
        """Make the optimizer and the learning-rate scheduler."""
        optimizer = self.make_optimizer(self.parameters())
        scheduler = self.make_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "reduce_on_plateau": False}}


def block_max(logits: Tensor, truth: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Reduce logits and truth (N, 1, H, W) to square cells of ``side`` px, (N, 1, R, C): the highest logit of each.

    The truth of a cell is CORE if it has a core or ring pixel, else IGNORED if it has an ignored pixel, else SKY.
    """
    ignored, hit = truth == IGNORED, (truth == CORE) | (truth == RING)
    worth = torch.where(hit, 2.0, ignored.float())
    most = F.max_pool2d(worth, side, ceil_mode=True)
    judged = torch.where(most == 2, CORE, torch.where(most == 1, IGNORED, SKY)).to(truth.dtype)
    return F.max_pool2d(logits, side, ceil_mode=True), judged
