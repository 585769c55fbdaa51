"""A detector that is killed at its work, as a machine of a cluster may be."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from cosmicgate.masker import Masker

LAST = {"once": 7777.0, "always": 8888.0}  # the first pixel of an image that is the death of its worker


@dataclass(frozen=True)
class Mortal(Masker):
    """Dies at an image that is marked as one of LAST; ``note`` is a file that remembers the first time."""

    note: str = ""

    def probability(self, image, bad=None):
        """Look at an image, or die."""
        found = super().probability(image, bad)
        first = image[0, 0] == LAST["once"] and not Path(self.note).exists()
        if first or image[0, 0] == LAST["always"]:
            Path(self.note).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return found
