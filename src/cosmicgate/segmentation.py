"""Training: the loss of a batch, the optimizer, and when the learning rate falls."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchmetrics import MeanMetric

from cosmicgate.truth import CORE, IGNORED, RING, SKY


class Segmentation(pl.LightningModule):
    """Learn which pixels are hit.

    Parameters
    ----------
    network : Module
        Image (N, 1, H, W) in, logits (N, 1, H, W) out.
    loss : Module
        Of logits and targets (0 or 1), both flat.
    optimizer : callable
        Makes the optimizer of the parameters.
    scheduler : callable
        Makes the scheduler of the optimizer; it steps on ``val/loss``.
    weigh : Module, optional
        Weights of the sky pixels (N, 1, H, W) of images; a hit pixel weighs 1. The loss then has to be one without
        reduction.
    squares : int
        Side, in pixels, of the squares that are judged as one: the loss is of :func:`by_squares`. 1 judges pixels.

    Notes
    -----
    Core and ring of a hit are the target, as in the paper. Ignored pixels leave by indexing. A batch is a dict with
    ``image`` (N, 1, H, W), ADU, and ``truth`` (N, 1, H, W), codes of :mod:`cosmicgate.truth`.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Any], Optimizer],
        scheduler: Callable[[Optimizer], ReduceLROnPlateau],
        weigh: nn.Module | None = None,
        squares: int = 1,
    ) -> None:
        super().__init__()
        if squares < 1 or (squares > 1 and weigh is not None):
            raise ValueError(f"expected squares of 1 px or more, and no weights of pixels beside them, got {squares}")
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss
        self.weigh = weigh
        self.squares = squares
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        # Lightning's own mean over processes halves an odd number of patches to a whole one.
        self.validation_loss = MeanMetric()

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        logits: Tensor = self.network(image.contiguous(memory_format=torch.channels_last))
        return logits

    def _asked(self, logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        return by_squares(logits, truth, self.squares) if self.squares > 1 else (logits, truth)

    def _loss(self, logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
        logits, truth = self._asked(logits, batch["truth"])
        kept = truth != IGNORED
        if not kept.any():  # a crop of a dead amplifier: it teaches nothing
            return logits.sum() * 0
        hit = truth[kept] != SKY
        value: Tensor = self.loss(logits[kept].float(), hit.float())
        if self.weigh is None:
            return value
        weights = torch.where(hit, 1.0, self.weigh(batch["image"])[kept])
        return (weights * value).sum() / weights.sum()

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the loss of a batch."""
        loss = self._loss(self(batch["image"]), batch)
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
        """Log the loss; return the logits for the callbacks that draw curves of them."""
        logits = self(batch["image"])
        loss = self._loss(logits, batch)
        if (self._asked(logits, batch["truth"])[1] != IGNORED).any():
            self.validation_loss.update(loss, len(batch["image"]))
        self.log("val/loss", self.validation_loss, on_epoch=True, prog_bar=True)
        return {"logits": logits}

    def on_validation_epoch_end(self) -> None:
        """Step the scheduler here, before checkpoints are written: Lightning would do so after, and a resumed run
        would miss that step."""
        if not self.trainer.sanity_checking and self.trainer.state.fn == TrainerFn.FITTING:
            scheduler: Any = self.lr_schedulers()
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(self.trainer.callback_metrics["val/loss"])
            else:
                scheduler.step()

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Leave it to :meth:`on_validation_epoch_end`."""

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the scheduler that follows the validation loss."""
        optimizer = self.make_optimizer(self.parameters())
        scheduler = self.make_scheduler(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "val/loss"}}


def by_squares(logits: Tensor, truth: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return the highest logit in each square of ``side`` px (N, 1, R, C), and the truth of the square.

    A square is hit if a pixel of it is, else it says nothing if a pixel of it says nothing.
    """
    ignored, hit = truth == IGNORED, (truth == CORE) | (truth == RING)
    worth = torch.where(hit, 2.0, ignored.float())
    most = F.max_pool2d(worth, side, ceil_mode=True)
    judged = torch.where(most == 2, CORE, torch.where(most == 1, IGNORED, SKY)).to(truth.dtype)
    return F.max_pool2d(logits, side, ceil_mode=True), judged
