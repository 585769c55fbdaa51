"""Handle SIGTERM, Ctrl-C and errors of the user's input, with the exit codes that schedulers and shells expect."""

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from cosmicgate.config import ConfigError, cause_of, report_user_errors
from cosmicgate.io.atomic import short
from cosmicgate.training.arguments import typed
from cosmicgate.training.loggers import silence_lightning
from cosmicgate.training.run_lock import is_first_process, lock_run_folder

RUN_FOLDER_KEY, SWEEP_FOLDER_KEY = "hydra.run.dir", "hydra.sweep.dir"
# Pattern of torch's message when a data-loader worker dies, and its likely cause.
WORKERS = (
    (
        r"Bus error|shared memory|\(shm\)|/torch_\d+",
        "shared memory (/dev/shm) is full; more of it (docker run --shm-size)",
    ),
    (r"killed by signal: Killed", "a process that makes patches was killed, perhaps for want of memory: more memory"),
    (r"Too many open files|ancdata", "too many open files: a higher `ulimit -n`"),
)


@contextmanager
def in_run_folder() -> Iterator[None]:
    """Lock the run folder; on SIGTERM or Ctrl-C print the command that resumes and exit with 143 or 130.

    During training Lightning handles SIGTERM itself, at the end of a batch, as well as SLURM's signals. Errors of the
    user's input are reported in one sentence.
    """
    silence_lightning()
    with report_user_errors(), stoppable(resume_command), lock_run_folder(Path(HydraConfig.get().runtime.output_dir)):
        yield


@contextmanager
def stoppable(command: Callable[[], str]) -> Iterator[None]:
    """On SIGTERM or Ctrl-C print the command that resumes, as ``command`` formats it, and exit with 143 or 130."""
    received: list[int] = []
    process = os.getpid()

    def stop(number: int, _: Any) -> None:
        if os.getpid() != process:  # a forked child, such as a data-loader worker
            os._exit(128 + number)
        received.append(number)
        if signal.getsignal(number) is stop:  # Lightning's own handler calls this one and stops by itself
            raise SystemExit(128 + number)

    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, stop) if main_thread else None
    try:
        yield
    except BaseException as error:
        number = received[0] if received else _signal_of(error)
        if number is None:
            if reason := _explain_failed_workers(error) or _explain_lightning(error):
                raise ConfigError(reason) from error
            raise
        if is_first_process():
            sys.stderr.write(f"stopped; resume with: {command()}\n")
        raise SystemExit(128 + number) from error
    finally:
        if main_thread:
            signal.signal(signal.SIGTERM, before)


def _signal_of(error: BaseException | None) -> int | None:
    """Find which signal ended a training; Lightning turns both SIGINT and SIGTERM into an exit with another code."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return int(signal.SIGINT)
        if isinstance(error, SIGTERMException):
            return int(signal.SIGTERM)
        error = error.__context__ if isinstance(error, SystemExit) else None
    return None


def _explain_failed_workers(error: BaseException) -> str:
    """Explain why data-loader workers failed; empty if the error is another one."""
    if not isinstance(error, (RuntimeError, OSError)):
        return ""
    for pattern, reason in WORKERS:
        if re.search(pattern, str(error)):
            return f"data.num_workers: {reason}, or data.num_workers=0, which makes the patches in the training process"
    return ""


def _explain_lightning(error: BaseException) -> str:
    """Find Lightning's reason for refusing a configuration, say a missing GPU; empty if it is another error."""
    cause = cause_of(error)
    return f"trainer: {cause}" if isinstance(cause, MisconfigurationException) else ""


def resume_command() -> str:
    """Format the command line that resumes this run: the same arguments, with the run folder."""
    hydra = HydraConfig.get()
    key, folder = (RUN_FOLDER_KEY, hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        key, folder = SWEEP_FOLDER_KEY, hydra.sweep.dir
    words = [word for word in sys.argv[1:] if not re.match(r"\+*resume=", word)]
    if not any(word.startswith(f"{key}=") for word in words):
        words.append(typed(key, str(short(Path(folder)))))
    program = ["torchrun", "..."] if "TORCHELASTIC_RUN_ID" in os.environ else ["python"]
    return shlex.join([*program, sys.argv[0], *words])
