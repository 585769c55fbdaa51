"""Lightning callbacks: validation curves and masks, the contents of checkpoints, exact resuming."""

import math
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger
from pytorch_lightning.utilities.exceptions import SIGTERMException
from torch import Tensor

from cosmicgate.data.patches import training_progress
from cosmicgate.data.pixel_labels import CORE
from cosmicgate.io.atomic import atomic_write
from cosmicgate.metrics import Curves, LogitHistogram
from cosmicgate.pretrained.checkpoint import add_weights_hash
from cosmicgate.training.loggers import MetricsWriter

if TYPE_CHECKING:
    import wandb


class ValidationCurves(Callback):
    """Log the scores of each validation, and ROC and PR curves with a few masks every ``every_n_epochs`` epochs.

    Parameters
    ----------
    threshold : float
        Probability at or above which a pixel counts as a hit, for precision, recall and F1.
    every_n_epochs : int
        Number of epochs between two sets of curves and masks, or more if an epoch has no validation. The last of
        ``max_epochs`` has a set too.
    max_images : int
        Largest number of patches shown: those of the first batch with the most core pixels.
    """

    def __init__(self, threshold: float = 0.5, every_n_epochs: int = 5, max_images: int = 3) -> None:
        self.threshold, self.every_n_epochs, self.max_images = threshold, every_n_epochs, max_images
        self.histogram = LogitHistogram()
        self.kept: tuple[Tensor, Tensor, Tensor] | None = None

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset the histogram and the patches to show."""
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
        """Add the pixels of a batch to the histogram."""
        self.histogram.update(outputs["logits"], batch["truth"])
        if self.kept is None and trainer.is_global_zero:
            hits = ((batch["truth"] == CORE).sum(dim=(1, 2, 3))).argsort(descending=True)[: self.max_images]
            self.kept = (batch["image"][hits].cpu(), batch["truth"][hits].cpu(), outputs["logits"][hits].float().cpu())

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores, and the curves and masks when they are due."""
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
        # compute() adds up the counts of all processes, so every process has the same scores: the mean changes nothing.
        pl_module.log_dict({key: value for key, value in values.items() if math.isfinite(value)}, sync_dist=True)
        last = trainer.max_epochs is not None and trainer.current_epoch + 1 >= trainer.max_epochs
        if (last or self._due(trainer)) and not trainer.sanity_checking and trainer.is_global_zero:
            for logger in trainer.loggers:
                self._draw(logger, curves, trainer.current_epoch)

    def _due(self, trainer: pl.Trainer) -> bool:
        """Check whether a multiple of ``every_n_epochs`` was reached since the last validation; the first is due."""
        now, between = trainer.current_epoch, trainer.check_val_every_n_epoch or 1
        return self.every_n_epochs > 0 and now // self.every_n_epochs != (now - between) // self.every_n_epochs

    def _draw(self, logger: Logger, curves: Curves, epoch: int) -> None:
        if not isinstance(logger, WandbLogger):
            return
        from cosmicgate.report.wandb_charts import pr_chart, roc_chart  # imports W&B, which is optional

        title = f"validation, epoch {epoch}"
        (fpr, tpr), (recall, precision) = curves.roc(200), curves.pr(200)
        logger.experiment.log(
            {
                "val/masks": self._overlays(epoch),
                "val/roc": roc_chart(fpr.tolist(), tpr.tolist(), f"ROC, {title}"),
                "val/pr": pr_chart(recall.tolist(), precision.tolist(), f"Precision-recall, {title}"),
            }
        )

    def _overlays(self, epoch: int) -> "list[wandb.Image]":
        """Overlay truth and predicted mask on the patches to show."""
        from cosmicgate.report.wandb_charts import overlay

        overlays = []
        for image, truth, logits in zip(*self.kept or ((), (), ()), strict=True):
            mask = (logits[0].sigmoid() >= self.threshold).numpy()
            overlays.append(overlay(image[0].numpy(), truth[0].numpy(), mask, f"validation patch, epoch {epoch}"))
        return overlays


class SaveConfigInCheckpoint(Callback):
    """Store the resolved configuration, as plain values, and the hash of the weights in each checkpoint.

    A checkpoint alone then rebuilds the model, and loads only if its weights are unchanged. NaN or infinite weights
    are not saved: training ends with an error. Place this callback after those that change what is saved, such as
    weight averaging.

    A run folder may be moved and resumed: the paths of the best weights in the checkpoint are changed to the folders of
    the trainer's own callbacks.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = dict(config)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the configuration and the hash."""
        checkpoint["config"] = self.config
        add_weights_hash(checkpoint, trainer.current_epoch)

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Change each ModelCheckpoint's paths to its current folder; in a moved one it would forget the best score."""
        for callback in trainer.checkpoint_callbacks:
            state, here = checkpoint["callbacks"].get(callback.state_key, {}), getattr(callback, "dirpath", None)
            if here and (before := state.get("dirpath")):
                state |= {key: _moved(value, str(before), str(here)) for key, value in state.items()}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write checkpoints atomically: to a temporary file in the same folder, which is then renamed.

    Lightning writes to the system's temporary folder; if that is another file system the checkpoint is copied, and a
    process that is killed meanwhile leaves half a file. On a full disk torch raises a RuntimeError that names no file.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write the checkpoint to ``path``."""
        content = BytesIO()
        torch.save(checkpoint, content)
        atomic_write(Path(path), content.getvalue())


class ExactResume(Callback):
    """Store in each checkpoint what a resumed run needs, beyond Lightning's own state, to equal an uninterrupted one.

    That is the state of torch's random number generators (a network may have dropout), whether training was about to
    stop, and the mean losses not yet written to ``metrics.csv``. A resumed run removes the rows of ``metrics.csv`` that
    were written after the checkpoint.
    """

    def __init__(self) -> None:
        self.loaded = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Make checkpoint writing atomic."""
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:  # keep a plugin that the user chose
            trainer.strategy.checkpoint_io = AtomicCheckpointIO()

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the state, after writing ``metrics.csv`` so that it is never behind the checkpoint."""
        for logger in trainer.loggers:
            if isinstance(logger, CSVLogger):
                logger.save()
        checkpoint["resume"] = {
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "should_stop": trainer.should_stop,
            # Lightning logs the mean over the epoch only after the checkpoint is written.
            "pending": {} if training_progress(trainer)[1] else _mean_losses(trainer),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the state of the checkpoint; checkpoints of earlier versions lack some of it."""
        state = checkpoint.get("resume", {})
        if "rng" in state:
            torch.set_rng_state(state["rng"])
        if len(state.get("rng_cuda", ())) == torch.cuda.device_count() > 0:
            torch.cuda.set_rng_state_all(state["rng_cuda"])
        trainer.should_stop = state.get("should_stop", False)
        self.loaded = True
        _rewind(trainer, checkpoint["global_step"], state.get("pending", {}))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Empty ``metrics.csv`` if no checkpoint was loaded: its rows are from an attempt that left no checkpoint."""
        if not self.loaded:
            _rewind(trainer, 0, {})

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Stop if SIGTERM came after the last batch, when Lightning no longer checks for it."""
        if stage == "fit" and trainer.received_sigterm:
            raise SIGTERMException


def _rewind(trainer: pl.Trainer, step: int, pending: Mapping[str, float]) -> None:
    for logger in trainer.loggers:
        if isinstance(logger, CSVLogger) and isinstance(logger.experiment, MetricsWriter):
            logger.experiment.rewind(step, pending)


def _mean_losses(trainer: pl.Trainer) -> dict[str, float]:
    """Collect the mean training losses of the epoch that has just ended."""
    means = {key: float(value) for key, value in trainer.callback_metrics.items() if key.startswith("train/")}
    return {key: value for key, value in means.items() if key.endswith("_epoch")} | {"epoch": trainer.current_epoch}


def _moved(value: Any, before: str, here: str) -> Any:
    """Replace the folder in a path, or in the paths that are a dict's keys; leave any other value unchanged."""
    if isinstance(value, str) and f"{value}/".startswith(f"{before}/"):
        return here + value.removeprefix(before)
    return {_moved(key, before, here): score for key, score in value.items()} if isinstance(value, dict) else value
