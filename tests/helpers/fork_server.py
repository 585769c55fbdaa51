"""Run train.py, evaluate.py and other scripts in forks of an interpreter that has imported what they import.

Most of the time of a tiny training goes into imports. Each fork is a process of its own, which runs the script from its
first line to the exit of the interpreter; tests of the imports themselves use new interpreters.
"""

import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

SCRIPTS = ("train.py", "evaluate.py")
IMPORTED_LATER = ("wandb", "numba", "astroscrappy", "cosmicgate.training.module")


class ForkedProcess:
    """Control a script that runs in a fork, by the methods of :class:`subprocess.Popen` that tests use."""

    def __init__(self, folder: Path, args: list[str]) -> None:
        self.args, self.returncode = args, None
        self._folder = folder
        self.pid = int(self._read("pid"))

    def _read(self, name: str, timeout: float = 600.0) -> str:
        end = time.monotonic() + timeout
        while not (self._folder / name).exists():
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout)
            time.sleep(0.01)
        return (self._folder / name).read_text()

    def poll(self) -> int | None:
        """Read the exit code, negative after a signal; None while the script runs."""
        if self.returncode is None and (self._folder / "status").exists():
            self.returncode = os.waitstatus_to_exitcode(int(self._read("status")))
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal to the script if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the script if it still runs."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 600.0) -> int:
        """Wait for the script; return its exit code."""
        self._read("status", timeout)
        return self.poll()

    def wait_for_line(self, line: str, timeout: float = 600.0) -> None:
        """Wait until the script has printed a line; raise an AssertionError with its errors if it ends without it."""
        end = time.monotonic() + timeout
        while line not in self._read("out", timeout).splitlines():
            assert self.poll() is None, self._read("err")
            assert time.monotonic() < end, f"no line {line!r} in {timeout} s"
            time.sleep(0.01)

    def communicate(self, timeout: float = 600.0) -> tuple[str, str]:
        """Wait for the script; return what it wrote to standard output and to standard error."""
        try:
            self._read("status", timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self.poll()
        return (self._folder / "out").read_text(), (self._folder / "err").read_text()


class ForkServer:
    """Start an interpreter that has imported the packages, and scripts in forks of it.

    Parameters
    ----------
    folder : Path
        Folder of the scripts' output.
    environment : dict
        Environment of the server and its forks.
    root : Path
        Working directory, which holds the scripts.
    """

    def __init__(self, folder: Path, environment: dict[str, str], root: Path) -> None:
        self._folder = folder
        pipe = subprocess.PIPE
        with (folder / "server.log").open("w") as log:
            command = [sys.executable, __file__]
            # A fork of a process whose OpenMP has started threads waits for them for ever.
            one_thread = environment | {"OMP_NUM_THREADS": "1"}
            self._server = subprocess.Popen(command, cwd=root, env=one_thread, stdin=pipe, stderr=log, text=True)

    def start(self, args: list[str], variables: dict[str, str], cwd: Path) -> ForkedProcess:
        """Run a script in the folder ``cwd`` with its arguments and further variables of the environment."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        job = {"args": args, "variables": variables, "cwd": str(cwd), "folder": str(folder)}
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        return ForkedProcess(folder, args)

    def close(self) -> None:
        """End the server."""
        self._server.communicate()


def write(folder: Path, name: str, number: int) -> None:
    """Write a file atomically."""
    (folder / f".{name}").write_text(str(number))
    (folder / f".{name}").rename(folder / name)


def watched_fork(folder: Path) -> bool:
    """Fork twice: return True in the process of the script; the process between waits for it and writes its status."""
    if os.fork():
        return False
    if (pid := os.fork()) == 0:
        return True
    write(folder, "pid", pid)
    write(folder, "status", os.waitpid(pid, 0)[1])
    os._exit(0)


def next_job() -> dict[str, Any] | None:
    """Read jobs and fork for each: return the job in its fork, and None in the server at the end of the input."""
    while line := sys.stdin.readline():
        job = json.loads(line)
        if watched_fork(Path(job["folder"])):
            return job
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    return None


def set_up_process(args: list[str], variables: dict[str, str], cwd: str, folder: str) -> None:
    """Set up this process as a shell does: arguments, environment, folder, streams, signals; reseed random numbers."""
    for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, "out", os.O_WRONLY), (2, "err", os.O_WRONLY)):
        os.dup2(os.open(Path(folder) / name, mode | os.O_CREAT), number)
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv, sys.path[0] = args, str(Path(args[0]).resolve().parent)
    sys.path[1:1] = filter(None, variables.get("PYTHONPATH", "").split(os.pathsep))
    # A shell may start background jobs with SIGINT ignored, and children inherit this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # W&B makes this folder when it is imported, and every process removes it at its exit.
    importlib.import_module("wandb.sdk.data_types._private").MEDIA_TMP.name = tempfile.mkdtemp("wandb-media")
    random.seed()
    np.random.seed()  # noqa: NPY002 (the global generator is the one that a new interpreter seeds)


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())
    for script in SCRIPTS:
        runpy.run_path(script, run_name="imported")
    for module in IMPORTED_LATER:
        importlib.import_module(module)
    if job := next_job():
        set_up_process(**job)
        runpy.run_path(job["args"][0], run_name="__main__")
