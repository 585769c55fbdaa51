"""What happens around training: frozen batch norm, curves and pictures of the validation, the checkpoint's contents."""

import math
from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import wandb
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger, WandbLogger
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from cosmicgate.metrics import Curves, LogitHistogram
from cosmicgate.report.pictures.media import overlay, pr_chart, roc_chart
from cosmicgate.truth import CORE


class BatchNormFreeze(Callback):
    """From a fraction of the epochs on, normalise with the running statistics and stop updating them.

    Scale and offset go on learning. A network without batch norm is left alone. The paper does so for the deepCR
    networks at 40 % of the epochs::

        callbacks:
          freeze: {_target_: cosmicgate.callbacks.BatchNormFreeze, fraction: 0.4, restart: 0.4}

    Parameters
    ----------
    fraction : float
        Of ``max_epochs``, rounded up, at which the second phase begins.
    restart : float, optional
        Begin the second phase with a fresh optimizer state and scheduler at this multiple of the first learning rate
        (the released code: 1 / 2.5). None goes on as it was.
    """

    def __init__(self, fraction: float = 0.4, restart: float | None = None) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction={fraction}: expected a part of the epochs from 0 to 1")
        self.fraction, self.restart = fraction, restart
        self.restarted = False

    def state_dict(self) -> dict[str, Any]:
        """Remember whether the second phase's restart has been."""
        return {"restarted": self.restarted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up where the checkpoint was."""
        self.restarted = state_dict["restarted"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze in each epoch of the second phase: a resumed run begins in the midst of it."""
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            raise ValueError("BatchNormFreeze needs trainer.max_epochs: it freezes at a fraction of them")
        if trainer.current_epoch < math.ceil(self.fraction * trainer.max_epochs):
            return
        layers = [layer for layer in pl_module.modules() if isinstance(layer, _BatchNorm)]
        for layer in layers:
            layer.eval()
        if layers and self.restart is not None and not self.restarted:
            self._restart(trainer, pl_module)
            self.restarted = True

    def _restart(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Forget the optimizer's and the scheduler's past in place: both stay the objects that Lightning holds."""
        optimizer = trainer.optimizers[0]
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * self.restart
        for config in trainer.lr_scheduler_configs:
            config.scheduler.load_state_dict(pl_module.make_scheduler(optimizer).state_dict())


class ValidationCurves(Callback):
    """Log the validation's scores each epoch, its ROC and PR curves and a few masks every ``every`` epochs.

    Parameters
    ----------
    threshold : float
        Probability from which a pixel is called hit, for precision, recall and F1.
    every : int
        Epochs between two pictures.
    images : int
        Patches in a picture, those with the most hit pixels of the first batch.
    """

    def __init__(self, threshold: float = 0.5, every: int = 5, images: int = 3) -> None:
        self.threshold, self.every, self.images = threshold, every, images
        self.histogram = LogitHistogram()
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with nothing counted."""
        self.histogram = LogitHistogram().to(pl_module.device)
        self.kept = None

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Tensor],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the pixels of a batch."""
        self.histogram.update(outputs["logits"], batch["truth"])
        if self.kept is None and trainer.is_global_zero:
            hits = ((batch["truth"] == CORE).sum(dim=(1, 2, 3))).argsort(descending=True)[: self.images]
            self.kept = (batch["image"][hits].cpu(), batch["truth"][hits].cpu(), outputs["logits"][hits].float().cpu())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log scores; now and then curves and masks."""
        curves = Curves.from_counts(self.histogram.compute(), "dilated")
        scores = curves.at_threshold(self.threshold)
        values = {
            "val/tpr_at_fpr_0.01pct": curves.tpr_at_fpr(1e-4),
            "val/tpr_at_fpr_0.1pct": curves.tpr_at_fpr(1e-3),
            "val/precision_at_tpr_95pct": curves.precision_at_tpr(0.95),
            "val/precision": scores.precision,
            "val/recall": scores.recall,
            "val/f1": scores.f1,
        }
        # The counts are those of all processes, so are the scores: the mean over processes changes none.
        pl_module.log_dict({key: value for key, value in values.items() if math.isfinite(value)}, sync_dist=True)
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        due = last or (self.every > 0 and trainer.current_epoch % self.every == 0)
        if due and not trainer.sanity_checking and trainer.is_global_zero:
            for logger in trainer.loggers:
                self._draw(logger, curves, trainer.current_epoch)

    def _draw(self, logger: Logger, curves: Curves, epoch: int) -> None:
        if not isinstance(logger, WandbLogger):
            return
        title = f"validation, epoch {epoch}"
        (fpr, tpr), (recall, precision) = curves.roc(200), curves.pr(200)
        logger.experiment.log(
            {
                "val/masks": self._pictures(epoch),
                "val/roc": roc_chart(fpr.tolist(), tpr.tolist(), f"ROC, {title}"),
                "val/pr": pr_chart(recall.tolist(), precision.tolist(), f"Precision-recall, {title}"),
            }
        )

    def _pictures(self, epoch: int) -> list[wandb.Image]:
        """Return the kept patches under their truth and their mask."""
        pictures = []
        for image, truth, logits in zip(*self.kept or ((), (), ()), strict=True):
            mask = (logits[0].sigmoid() >= self.threshold).numpy()
            pictures.append(overlay(image[0].numpy(), truth[0].numpy(), mask, f"validation patch, epoch {epoch}"))
        return pictures


class SelfContained(Callback):
    """Put the resolved configuration into each checkpoint, as plain values: one file rebuilds the model.

    A run folder that was moved is the same run: what a checkpoint remembers of the best weights is of the folder that
    it is resumed in.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration."""
        checkpoint["config"] = self.config

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let ModelCheckpoint find its files here: in another folder it would forget the best score."""
        for state in checkpoint["callbacks"].values():
            if before := state.get("dirpath"):
                here = getattr(trainer.checkpoint_callback, "dirpath", before)
                state |= {key: _moved(value, str(before), str(here)) for key, value in state.items()}


def _moved(value: Any, before: str, here: str) -> Any:
    """Return a path, or the paths that a mapping is keyed by, in another folder; anything else as it is."""
    if isinstance(value, str) and value.startswith(before):
        return here + value.removeprefix(before)
    return {_moved(key, before, here): score for key, score in value.items()} if isinstance(value, dict) else value
