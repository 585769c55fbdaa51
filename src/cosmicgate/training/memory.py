"""Memory of a training: what a step has freed is kept for the next one.

The C library gives arrays of 32 MiB and more back to the system as soon as they are freed, and the next step gets its
own from it again, a page of 4 kB at a time, each of them filled with zeros. On a CPU that is a quarter of a training's
time (docs/training.md).
"""

import ctypes
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4  # names in malloc.h
KEPT, ASKED = 1 << 30, 1 << 28  # bytes


def keep_memory() -> bool:
    """Keep what is freed for what comes next, but for more than a gigabyte at the end; say whether that can be done."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wishes = {MMAP_MAX: 0, TRIM_THRESHOLD: KEPT, TOP_PAD: ASKED}
    return mallopt is not None and all(mallopt(*wish) == 1 for wish in wishes.items())
