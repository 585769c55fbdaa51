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
from cosmicgate.io.atomic import atomic_write, process_scope, process_started, remove_stale_temp_files

HOLDER_FILE = ".in_use.json"
GUARD_LOCK = ".in_use.lock"  # locked only while HOLDER_FILE is read and written; the empty file stays
HEARTBEAT_S = 15.0  # seconds between two renewals of the lock file
STALE_AFTER_S = 60.0  # seconds without a renewal after which a holder on another machine is taken for dead
READ_TIMEOUT_S = 2.0  # seconds to wait for the content of a lock file that is being written

log = logging.getLogger(__name__)


@contextmanager
def lock_run_folder(run: Path) -> Iterator[None]:
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
    mine = _acquire(run)
    remove_stale_temp_files(run, *(run / name for name in ("checkpoints", "frames", "report")))
    done = threading.Event()
    beat = threading.Thread(target=_renew, args=(run / HOLDER_FILE, mine, done), daemon=True)
    beat.start()
    try:
        yield
    finally:
        if os.getpid() == mine["pid"]:  # a forked child must not release the lock
            done.set()
            beat.join()
            if (_read_holder(run / HOLDER_FILE) or {}).get("key") == mine["key"]:
                (run / HOLDER_FILE).unlink(missing_ok=True)


def refuse_if_held(run: Path) -> None:
    """Raise ConfigError if another command works in a run folder, without changing the folder."""
    if is_first_process() and (holder := _read_holder(run / HOLDER_FILE)) and _is_alive(run / HOLDER_FILE, holder):
        raise ConfigError(_in_use_message(run, holder))


def is_first_process() -> bool:
    """Check whether this is the first process of a training, before there is a trainer to ask."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    return getattr(rank_zero_only, "rank", 0) in (0, None) and node in ("", "0")


def _acquire(run: Path) -> dict[str, Any]:
    """Write this command's holder file, unless a live command holds the folder; GUARD_LOCK makes this atomic."""
    run.mkdir(parents=True, exist_ok=True)
    file, mine = run / HOLDER_FILE, _holder_record()
    with FileLock(run / GUARD_LOCK):
        holder = _read_holder(file)
        if holder is not None and _is_alive(file, holder):
            raise ConfigError(_in_use_message(run, holder))
        atomic_write(file, json.dumps(mine))
    return mine


def _holder_record() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no name
        user = str(os.getuid())
    return {
        "key": secrets.token_hex(8),
        "pid": os.getpid(),
        "started": process_started(os.getpid()),
        "machine": process_scope(),
        "host": socket.gethostname(),
        "user": user,
        "command": Path(sys.argv[0]).name,
        "since": datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        "beat": 0,
    }


def _is_alive(file: Path, holder: dict[str, Any]) -> bool:
    if holder.get("machine") == process_scope():
        started = process_started(int(holder["pid"]))
        return started is not None and started in ("", holder["started"])
    who = f"{holder['command']} on {holder['host']}"
    log.info("%s: waiting %.0f s for a sign of life of %s", file.parent, STALE_AFTER_S, who)
    end = time.monotonic() + STALE_AFTER_S
    while time.monotonic() < end:
        time.sleep(min(1.0, STALE_AFTER_S / 10))
        if (now := _read_holder(file)) != holder:
            return now is not None
    return False


def _renew(file: Path, mine: dict[str, Any], done: threading.Event) -> None:
    while not done.wait(HEARTBEAT_S):
        if (_read_holder(file) or {}).get("key") != mine["key"]:
            log.warning("%s: another command has taken this folder: two of them write here", file.parent)
            return
        mine["beat"] += 1
        with contextlib.suppress(OSError):  # a full disk may have room at the next beat
            atomic_write(file, json.dumps(mine))


def _read_holder(file: Path) -> dict[str, Any] | None:
    """Read a lock file; None if there is none, or if its command died before writing it."""
    end = time.monotonic() + READ_TIMEOUT_S
    while time.monotonic() < end:
        try:
            content = json.loads(file.read_text())
            return content if isinstance(content, dict) and {"pid", "key", "started"} <= content.keys() else None
        except FileNotFoundError:
            return None
        except (ValueError, OSError):
            time.sleep(0.05)
    return None


def _in_use_message(run: Path, holder: dict[str, Any]) -> str:
    who = f"{holder.get('command')}, process {holder['pid']} of {holder.get('user')} on {holder.get('host')}"
    return (
        f"{run} is in use by {who}, since {holder.get('since')}: choose another folder, wait for it, or "
        f"stop it; if it is gone, remove {run / HOLDER_FILE}"
    )
