"""A callback that sends a signal to its training; COSMICGATE_TEST_KILL gives signal, place and epoch."""

import os
import signal
import sys

from pytorch_lightning.callbacks import Callback

KILL_VARIABLE = "COSMICGATE_TEST_KILL"  # "SIGKILL train 1": in the second batch of epoch 1


def _die(place: str, epoch: int, batch: int = 1) -> None:
    name, where, when = (os.environ.get(KILL_VARIABLE) or "none nowhere 0").split()
    if (where, int(when), 1) == (place, epoch, batch) and os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write("sending the signal\n")
        os.kill(os.getpid(), getattr(signal, name))


class KillAt(Callback):
    """Send this process a signal in a training batch, a validation batch, or after the last epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        _die("train", trainer.current_epoch, batch_idx)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        _die("validation", trainer.current_epoch, batch_idx)

    def on_train_end(self, trainer, pl_module):
        _die("end", 0)
