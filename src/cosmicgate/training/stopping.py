"""Handle SIGTERM, Ctrl-C and errors of the user's input, with the exit codes that schedulers and shells expect."""

import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.exceptions import SIGTERMException

from cosmicgate.config import ConfigError, cause_of, hint_for_unknown_name, report_user_errors
from cosmicgate.io.atomic import short
from cosmicgate.training.loggers import silence_lightning
from cosmicgate.training.run_lock import is_first_process, lock_run_folder

# Config groups at the top of conf/; those below them have a slash.
GROUPS = (
    *("data", "model", "module", "callbacks", "trainer", "logger", "pretrained", "experiment", "sweep", "debug"),
    *("detector", "evaluation"),
)
RUN, SWEEP = "hydra.run.dir", "hydra.sweep.dir"
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
    key, folder = (RUN, hydra.runtime.output_dir)
    if hydra.mode == RunMode.MULTIRUN:
        key, folder = SWEEP, hydra.sweep.dir
    words = [word for word in sys.argv[1:] if not re.match(r"\+*resume=", word)]
    if not any(word.startswith(f"{key}=") for word in words):
        words.append(typed(key, str(short(Path(folder)))))
    program = ["torchrun", "..."] if "TORCHELASTIC_RUN_ID" in os.environ else ["python"]
    return shlex.join([*program, sys.argv[0], *words])


def typed(key: str, value: str) -> str:
    """Format an override with a string value, in Hydra's quotes where its grammar needs them."""
    plain = f"{key}={value}"
    try:
        if str(OverridesParser.create().parse_override(plain).value()) == value:
            return plain
    except HydraException:
        pass
    escaped = value.replace('"', '\\"')
    return f'{key}="{escaped}"'


def explain_arguments(main: Callable[[], Any]) -> Callable[[], Any]:
    """Explain arguments that Hydra would refuse with a message that does not help.

    These are values that need quotes, such as older run folders, and keys and choices with another name here.
    """

    @wraps(main)
    def explained() -> Any:
        for word in sys.argv[1:]:
            if found := unquoted(word) or renamed(word) or without_file(word):
                sys.exit(f"error: {found}")
        return main()

    return explained


def renamed(word: str) -> str:
    """Name what the key of an argument, or one of the choices in it, is called here; empty if it has that name."""
    key, _, value = word.lstrip("+~").partition("=")
    names = [key, *(f"{key.partition('@')[0]}={choice.strip(' []')}" for choice in value.split(","))]
    return next((f"{word}: {said}" for name in names if (said := hint_for_unknown_name(name))), "")


def without_file(word: str) -> str:
    """Explain how to leave out a file of a config group, for an argument that gives it no name; else empty."""
    key, equals, value = word.lstrip("+").partition("=")
    group = key.partition("@")[0]
    if not equals or value not in ("null", "false", "true") or not (group in GROUPS or "/" in group):
        return ""
    if group == "logger":
        return f"{word}: expected the name of a file in conf/logger: logger=csv, which needs no account"
    return f"{word}: expected the name of a file in conf/{group}; without one, if it can be left out: '~{key}'"


def unquoted(word: str) -> str:
    """Explain how to quote an argument that Hydra cannot parse because its value contains ``=``; else empty."""
    key, _, value = word.partition("=")
    if word.startswith("-") or "=" not in value:
        return ""
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        example = shlex.quote(typed(key, value)) if not set(value) & set("'\"[]{}") else f"{key}='[\"a=b/c\"]'"
        return f"{word}: a value that contains '=' must be quoted: {example}"
    return ""
