"""Compile functions with numba, and cache the result on disk if numba finds a writable folder."""

import logging
from collections.abc import Callable
from typing import Any

from cosmicgate.extras import extra
from cosmicgate.io.messages import log_once

with extra("simulate"):
    from numba import njit

NO_CACHE = "numba finds no folder to keep what it compiles, and compiles it in each run: NUMBA_CACHE_DIR names one"

log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function on its first call; warn once, and compile it in each process, if numba has no cache folder."""
    try:
        return njit(cache=True)(function)
    except RuntimeError as error:
        if "cache" not in str(error):
            raise
        log_once(log, logging.WARNING, NO_CACHE)
        return njit(function)
