"""Freeze the running statistics of batch-norm layers after a fraction of the epochs."""

import math
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import ReduceLROnPlateau


class BatchNormFreeze(Callback):
    """Normalise with the running statistics from a fraction of the epochs on, and stop updating them.

    Scale and offset (the affine parameters) keep learning. A network without batch norm is left unchanged. The paper
    freezes the statistics of the deepCR networks at 40 % of the epochs. To train as the released code does::

        callbacks:
          freeze:
            _target_: cosmicgate.training.batch_norm_freeze.BatchNormFreeze
            start_fraction: 0.4
            restart_lr_factor: 0.4
            constant_lr: true
            validate_on_batch: true

    Parameters
    ----------
    start_fraction : float
        Fraction of ``max_epochs``, rounded up to a whole epoch, after which the second (frozen) phase begins. 1 never
        freezes.
    restart_lr_factor : float, optional
        Multiple of the initial learning rate at which the second phase begins, with a fresh optimizer state and
        scheduler (the released code: 1 / 2.5). None keeps optimizer and scheduler as they are.
    constant_lr : bool
        Keep the learning rate constant throughout the second phase, as the released code does: its scheduler still
        refers to the optimizer of the first phase.
    validate_on_batch : bool
        Validate the first phase with the statistics of each validation batch, as the released code does, which never
        leaves the training mode. The running statistics lag behind the weights, and so would the validation loss
        that the scheduler follows. Unlike the released code, validation does not update the running statistics, and
        the best weights are taken from the second phase only, because the first is not validated in the mode in which
        the network is used.
    """

    def __init__(
        self,
        start_fraction: float = 0.4,
        restart_lr_factor: float | None = None,
        constant_lr: bool = False,
        validate_on_batch: bool = False,
    ) -> None:
        if not 0 <= start_fraction <= 1:
            raise ValueError(f"start_fraction={start_fraction}: expected a fraction of the epochs, from 0 to 1")
        if restart_lr_factor is not None and not restart_lr_factor > 0:
            raise ValueError(f"restart_lr_factor={restart_lr_factor}: expected a number above 0, or null")
        self.start_fraction, self.restart_lr_factor = start_fraction, restart_lr_factor
        self.constant_lr, self.validate_on_batch = constant_lr, validate_on_batch
        self.restarted = False
        self._momenta: list[float | None] = []

    def state_dict(self) -> dict[str, Any]:
        """Save whether the second phase has begun."""
        return {"restarted": self.restarted}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether the second phase has begun."""
        self.restarted = state_dict["restarted"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze at once if a run resumes within an epoch of the second phase, which it does not start again."""
        if self._second_phase(trainer):
            for layer in _batch_norms(pl_module):
                layer.eval()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze at the start of each epoch of the second phase, so that a resumed run freezes too."""
        if not self._second_phase(trainer):
            return
        layers = _batch_norms(pl_module)
        for layer in layers:
            layer.eval()
        if layers and not self.restarted:
            if self.restart_lr_factor is not None:
                self._restart(trainer, pl_module)
            if self.constant_lr:
                self._keep_lr(trainer)
            if self.validate_on_batch:
                _forget_best(trainer)
            self.restarted = True

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate with batch statistics without storing them; Lightning restores the modes afterwards."""
        if self.validate_on_batch and not self._second_phase(trainer):
            for layer in _batch_norms(pl_module):
                layer.train()
                self._momenta.append(layer.momentum)
                layer.momentum = 0.0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Restore the momentum of the running statistics."""
        for layer, momentum in zip(_batch_norms(pl_module), self._momenta, strict=False):
            layer.momentum = momentum
        self._momenta.clear()

    def _second_phase(self, trainer: pl.Trainer) -> bool:
        if trainer.max_epochs is None or trainer.max_epochs < 0:
            raise ValueError("BatchNormFreeze needs trainer.max_epochs: it freezes at a fraction of them")
        return trainer.current_epoch >= math.ceil(self.start_fraction * trainer.max_epochs)

    def _restart(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Reset optimizer and scheduler in place, because Lightning keeps references to these objects."""
        for config in trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, ReduceLROnPlateau):
                name = type(config.scheduler).__name__
                raise ValueError(f"restart_lr_factor={self.restart_lr_factor}: expected ReduceLROnPlateau, got {name}")
        optimizer = trainer.optimizers[0]
        optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = optimizer.defaults["lr"] * self.restart_lr_factor
        for config in trainer.lr_scheduler_configs:
            config.scheduler.load_state_dict(pl_module.make_scheduler(optimizer).state_dict())

    def _keep_lr(self, trainer: pl.Trainer) -> None:
        """Keep schedulers from lowering the learning rate further, by raising their minimum to the current one."""
        for config in trainer.lr_scheduler_configs:
            if not isinstance(config.scheduler, ReduceLROnPlateau):
                raise ValueError(f"constant_lr=true: expected ReduceLROnPlateau, got {type(config.scheduler).__name__}")
            config.scheduler.min_lrs = [group["lr"] for group in trainer.optimizers[0].param_groups]


def _forget_best(trainer: pl.Trainer) -> None:
    """Reset the best score, because scores of the first phase were measured with other statistics."""
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, ModelCheckpoint) and callback.monitor:
            callback.best_k_models.clear()
            callback.best_model_score = None
            callback.best_model_path = callback.kth_best_model_path = ""


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
