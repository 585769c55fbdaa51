"""Lock a run folder, so that only one command at a time works in it.

The lock is a file that names its holder; the lock of a command that has died is ignored.
"""

import contextlib
import getpass
import json
import logging
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pytorch_lightning.utilities import rank_zero_only

from cosmicgate.config import ConfigError
from cosmicgate.io.atomic import atomic_write, machine, process_started, remove_stale_temp_files

NOTE = ".in_use.json"
DOOR = ".in_use.lock"  # locked only while NOTE is checked and written; the empty file stays
HEARTBEAT = 15.0  # seconds between two renewals of the lock file
WATCH = 60.0  # seconds without a renewal after which a holder on another machine is taken for dead
SETTLE = 2.0  # seconds to wait for the content of a lock file that is just being written

log = logging.getLogger(__name__)


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Lock a run folder against other commands; of several processes of a training, the first takes the lock.

    A holder on this machine is alive if its process is. One on another machine or in another container is watched: it
    is taken for dead if it does not renew its lock file for a minute. Clocks of machines are never compared.

    Raises
    ------
    ConfigError
        If another command works there; the message says which, whose, and since when.
    """
    if not is_first_process():
        yield
        return
    mine = _take(run)
    remove_stale_temp_files(run, *(run / name for name in ("checkpoints", "frames", "report")))
    done = threading.Event()
    beat = threading.Thread(target=_renew, args=(run / NOTE, mine, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        if os.getpid() == mine["pid"]:  # a forked child must not release the lock
            done.set()
            beat.join()
            if (_read(run / NOTE) or {}).get("key") == mine["key"]:
                (run / NOTE).unlink(missing_ok=True)


def refuse_if_held(run: Path) -> None:
    """Raise the error of :func:`alone` if another command works in a run folder, without changing the folder."""
    if is_first_process() and (holder := _read(run / NOTE)) and _lives(run / NOTE, holder):
        raise ConfigError(_sentence(run, holder))


def is_first_process() -> bool:
    """Check whether this is the first process of a training, before there is a trainer to ask."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) in (0, None) and node in ("", "0")


def _take(run: Path) -> dict[str, Any]:
    """Write this command's lock file, unless a living command holds the folder; DOOR makes check and write atomic."""
    run.mkdir(parents=True, exist_ok=True)
    note, mine = run / NOTE, _about_me()
    with FileLock(run / DOOR):
        holder = _read(note)
        if holder is not None and _lives(note, holder):
            raise ConfigError(_sentence(run, holder))
        atomic_write(note, json.dumps(mine))
    return mine


def _about_me() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        user = str(os.getuid())
    return {
        "key": secrets.token_hex(8),
        "pid": os.getpid(),
        "started": process_started(os.getpid()),
        "machine": machine(),
        "host": socket.gethostname(),
        "user": user,
        "command": Path(sys.argv[0]).name,
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "beat": 0,
    }


def _lives(note: Path, holder: dict[str, Any]) -> bool:
    if holder.get("machine") == machine():
        started = process_started(int(holder["pid"]))
        return started is not None and started in ("", holder["started"])
    log.info("%s: waiting %.0f s for a sign of life of %s on %s", note.parent, WATCH, holder["command"], holder["host"])
    end = time.monotonic() + WATCH
    while time.monotonic() < end:
        time.sleep(min(1.0, WATCH / 10))
        if (now := _read(note)) != holder:
            return now is not None
    return False


def _renew(note: Path, mine: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(HEARTBEAT):
        if (_read(note) or {}).get("key") != mine["key"]:
            log.warning("%s: another command has taken this folder: two of them write here", note.parent)
            return
        mine["beat"] += 1
        with contextlib.suppress(OSError):  # a full disk may have room at the next beat
            atomic_write(note, json.dumps(mine))


def _read(note: Path) -> dict[str, Any] | None:
    """Read a lock file; None if there is none, or if its command died before writing it."""
    end = time.monotonic() + SETTLE
    while time.monotonic() < end:
        try:
            content = json.loads(note.read_text())
            return content if isinstance(content, dict) and {"pid", "key", "started"} <= content.keys() else None
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            time.sleep(0.05)
    return None


def _sentence(run: Path, holder: dict[str, Any]) -> str:
    who = f"{holder.get('command')}, process {holder['pid']} of {holder.get('user')} on {holder.get('host')}"
    return (
        f"{run} is in use by {who}, since {holder.get('since')}: choose another folder, wait for it, or "
        f"stop it; if it is gone, remove {run / NOTE}"
    )
