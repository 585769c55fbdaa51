"""Keep memory that a training step has freed for the next step, by settings of the C library's malloc.

The C library returns arrays of 32 MiB and more to the system as soon as they are freed, and the next step has to
allocate them again in pages of 4 kB, each of which the system fills with zeros. On a CPU that takes a quarter of the
training time (docs/training.md).
"""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # names in malloc.h
KEPT_BYTES, REQUESTED_BYTES = 1 << 30, 1 << 28  # bytes


def keep_memory() -> bool:
    """Make malloc keep freed memory, except what exceeds 1 GiB at the top of the heap.

    Returns
    -------
    bool
        True if the settings were accepted: only glibc on Linux has them.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {MMAP_MAX: 0, TRIM_THRESHOLD: KEPT_BYTES, TOP_PAD: REQUESTED_BYTES}
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in settings.items())
