"""Let a command send itself a signal; COSMICGATE_TEST_KILL gives signal, place and epoch."""

import os
import signal
import sys
from fnmatch import fnmatch
from pathlib import Path

from pytorch_lightning.callbacks import Callback

# "SIGKILL train 1": in the second batch of epoch 1; "SIGKILL *.ckpt 0": before the first such file gets its name.
KILL_VARIABLE = "COSMICGATE_TEST_KILL"


def _asked() -> list[str]:
    return (os.environ.get(KILL_VARIABLE) or "none nowhere 0").split()


def send_signal_before_rename() -> None:
    """From now on, send this process the signal when a file or folder is whole but has its temporary name."""
    name, pattern, _ = _asked()

    def hook(event, arguments):
        if event == "os.rename" and fnmatch(Path(arguments[1]).name, pattern):
            os.kill(os.getpid(), getattr(signal, name))

    sys.addaudithook(hook)


def _send_signal_at(place: str, epoch: int, batch: int = 1) -> None:
    name, where, when = _asked()
    if (where, int(when), 1) == (place, epoch, batch) and os.environ.get("LOCAL_RANK", "0") == "0":
        sys.stderr.write("sending the signal\n")
        os.kill(os.getpid(), getattr(signal, name))


class KillAt(Callback):
    """Send this process a signal in the second training or validation batch of an epoch, or after the last epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        _send_signal_at("train", trainer.current_epoch, batch_idx)

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        _send_signal_at("validation", trainer.current_epoch, batch_idx)

    def on_train_end(self, trainer, pl_module):
        _send_signal_at("end", 0)
