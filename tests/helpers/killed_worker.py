"""Define a masker that kills its own process, as a machine of a cluster may fail."""

import os
import signal
from pathlib import Path

from cosmicgate.masking.masker import CosmicRayMasker

FATAL_PIXEL = {"once": 7777.0, "always": 8888.0}  # value of the first pixel of an image that kills its worker
MARKER_VARIABLE = "COSMICGATE_TEST_NOTE"  # environment variable: path of a file that exists after the first kill


class KilledMasker(CosmicRayMasker):
    """Kill the process at an image marked with a value of FATAL_PIXEL; otherwise mask as the parent does."""

    def probability(self, image, bad=None, mosaic=None):
        """Compute hit probabilities (H, W), or kill this process if the image is marked."""
        note = Path(os.environ[MARKER_VARIABLE])
        first = image[0, 0] == FATAL_PIXEL["once"] and not note.exists()
        if first:
            note.touch()  # not for the other value, whose image may come first
        if first or image[0, 0] == FATAL_PIXEL["always"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().probability(image, bad, mosaic)
