"""Log the progress of a training, one line per epoch."""

import logging
import sys
import time
from importlib.util import find_spec

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from cosmicgate.io.messages import duration, on_terminal

log = logging.getLogger(__name__)
# Logged score -> name, format and unit factor in the line.
SCORES = {
    "train/loss_epoch": ("training loss", "{:.4g}", 1),
    "val/loss": ("validation loss", "{:.4g}", 1),
    "val/tpr_at_fpr_0.01pct": ("validation TPR at 0.01 % FPR", "{:.1f} %", 100),
}


class EpochLogger(Callback):
    """Log a line for each epoch: losses, TPR, duration, and time left.

    The line appears above Lightning's progress bar, or in place of it where none is drawn. The log file always has it.
    """

    def __init__(self) -> None:
        self.began = self.last = 0.0  # monotonic clock, s: start of this attempt, time of the previous line
        self.validated = False  # whether the epoch has a validation
        self.first: int | None = None  # first epoch of this attempt in which a patch is trained on

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Disable the progress bar where it cannot be drawn."""
        if trainer.progress_bar_callback is not None and not _draws_bars():
            trainer.progress_bar_callback.disable()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.first, self.began = None, time.monotonic()
        self.last = self.began

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        """Log the epoch at which a resumed training continues: the one after that of a checkpoint saved at its end."""
        if self.first is None:
            self.first = trainer.current_epoch
            if self.first:
                self._say(trainer, f"resumes with epoch {self.first + 1}{_format_total(trainer)}")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the validation of an earlier epoch."""
        self.validated = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take note that the validation scores are of this epoch."""
        self.validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line, unless the epoch was finished in an earlier attempt."""
        if self.first is None:
            return
        epoch, now = trainer.current_epoch, time.monotonic()
        mean = (now - self.began) / (epoch + 1 - self.first)
        parts = [
            f"{name} {form.format(factor * float(trainer.callback_metrics[key]))}"
            for key, (name, form, factor) in SCORES.items()
            if key in trainer.callback_metrics and (self.validated or not key.startswith("val/"))
        ]
        parts.append(duration(now - self.last))
        if (left := (trainer.max_epochs or 0) - epoch - 1) > 0:
            parts.append(f"{duration(mean * left)} left")
        self._say(trainer, f"epoch {epoch + 1}{_format_total(trainer)}: {', '.join(parts)}")
        self.last = now

    def _say(self, trainer: pl.Trainer, line: str) -> None:
        """Write a line to the log file, and to the terminal without breaking the bar."""
        bar = trainer.progress_bar_callback if _draws_bars() else None
        if trainer.is_global_zero:
            log.log(logging.DEBUG if bar else logging.INFO, line)  # the terminal handler shows INFO and above
            if bar:
                bar.print(line)


def _draws_bars() -> bool:
    """Check whether Lightning's bar can be drawn: in a terminal, or in a notebook with ipywidgets."""
    return on_terminal() and ("ipykernel" not in sys.modules or find_spec("ipywidgets") is not None)


def _format_total(trainer: pl.Trainer) -> str:
    """Format the total number of epochs, or an empty string if it is unknown."""
    return f" of {trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else ""
