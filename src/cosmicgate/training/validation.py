"""Refuse a training without a validation, after which no best weights would be kept."""

import logging
import math

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from cosmicgate.config import ConfigError

NO_WEIGHTS = "without a validation no weights are kept"
log = logging.getLogger(__name__)


def check_validation(trainer: pl.Trainer) -> None:
    """Check that an epoch is validated, and warn of epochs after the last validation, which are not saved.

    Raises
    ------
    ConfigError
        If none would be, or nothing would be trained; names the key.
    """
    for key in ("limit_train_batches", "limit_val_batches"):
        if getattr(trainer, key) == 0:
            raise ConfigError(f"trainer.{key}: got 0, expected at least one batch: {NO_WEIGHTS}")
    every, epochs = trainer.check_val_every_n_epoch or 1, trainer.max_epochs or -1
    if 0 < epochs < every:
        raise ConfigError(
            f"trainer.check_val_every_n_epoch={every}: expected at most trainer.max_epochs, {epochs}: {NO_WEIGHTS}"
        )
    if epochs > 0 and (left := epochs % every):
        log.warning(
            "trainer.max_epochs=%d is no multiple of trainer.check_val_every_n_epoch=%d: the last %d epoch(s) are "
            "neither validated nor saved",
            *(epochs, every, left),
        )


class ExpectValidation(Callback):
    """Refuse a training that ``trainer.max_steps`` ends before its first validation."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare the numbers of steps, which are known now."""
        batches, together = trainer.num_training_batches, trainer.accumulate_grad_batches
        before = (trainer.check_val_every_n_epoch or 1) - 1
        batch = trainer.val_check_batch or 0  # None if trainer.val_check_interval is a time
        first = (before * math.ceil(batches / together) if before else 0) + batch / together
        if 0 <= trainer.max_steps < first:
            raise ConfigError(
                f"trainer.max_steps={trainer.max_steps}: expected at least {math.ceil(first)}, the steps before the "
                f"first validation: {NO_WEIGHTS}"
            )
