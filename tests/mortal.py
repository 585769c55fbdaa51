"""A detector that is killed at its work, as a machine of a cluster may be."""

import os
import signal
from pathlib import Path

from cosmicgate.masking.masker import Masker

LAST = {"once": 7777.0, "always": 8888.0}  # the first pixel of an image that is the death of its worker
NOTE = "COSMICGATE_TEST_NOTE"  # a variable: names a file which remembers the first time


class Mortal(Masker):
    """Dies at an image that is marked as one of LAST; what it writes is what a Masker writes."""

    def probability(self, image, bad=None):
        """Look at an image, or die."""
        note = Path(os.environ[NOTE])
        first = image[0, 0] == LAST["once"] and not note.exists()
        if first:
            note.touch()  # by this image alone: the other one may come before it
        if first or image[0, 0] == LAST["always"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().probability(image, bad)
