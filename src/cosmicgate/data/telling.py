"""What is told once, though it is found out again and again."""

import logging
from functools import cache


@cache
def tell_once(logger: logging.Logger, level: int, message: str) -> None:
    """Log a message, but not again."""
    logger.log(level, message)
