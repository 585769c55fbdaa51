"""Messages for the user: log once, and show progress as a bar in a terminal or as log lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeVar

from cosmicgate.extras import extra

with extra("train"):
    from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0
T = TypeVar("T")

log = logging.getLogger(__name__)


@cache
def log_once(logger: logging.Logger, level: int, message: str) -> None:
    """Log a message unless the same logger has logged it before at this level."""
    logger.log(level, message)


def first_line(error: BaseException) -> str:
    """Read the first line of an error's message; the name of its class if it has none."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


class PlainFormatter(logging.Formatter):
    """Formatter that leaves messages as they are and puts the level ("warning: ", "error: ") before these."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a log record."""
        text = super().format(record)
        return text if record.levelno < logging.WARNING else f"{record.levelname.lower()}: {text}"


def on_terminal() -> bool:
    """Check whether progress bars can be drawn: stdout and stderr are both a terminal, or this is a notebook."""
    return (sys.stdout.isatty() and sys.stderr.isatty()) or "ipykernel" in sys.modules


def with_progress(items: Sequence[T], subject: str, done: str, unit: str = "frame") -> Iterator[T]:
    """Yield items with a progress bar in a terminal or a log line every 30 s elsewhere; log files always get lines.

    ``with_progress(pairs, "decam", "made")`` logs "decam: made 12 of 80 frames, 3 min left".
    """
    bars = on_terminal()
    level = logging.DEBUG if bars else logging.INFO  # the terminal shows INFO and above
    began = logged = time.monotonic()
    for number, item in enumerate(tqdm(items, desc=f"{subject}: {unit}s {done}", unit=unit, disable=not bars), 1):
        yield item
        now = time.monotonic()
        if number < len(items) and now - logged >= SECONDS_BETWEEN_LINES:
            left = (now - began) / number * (len(items) - number)
            log.log(level, "%s: %s %d of %d %ss, %s left", subject, done, number, len(items), unit, duration(left))
            logged = now
    if items:
        many, seconds = "s" * (len(items) > 1), duration(time.monotonic() - began)
        log.log(level, "%s: %s %d %s%s in %s", subject, done, len(items), unit, many, seconds)


def duration(seconds: float) -> str:
    """Format a duration in rounded units: 40 s, 12 min, 2 h 5 min."""
    minutes = round(seconds / 60)
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
