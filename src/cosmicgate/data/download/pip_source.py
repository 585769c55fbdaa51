"""Download the source package of a Python project with pip, which knows where this machine's package index is."""

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from shutil import rmtree

from cosmicgate.data.download.client import FetchError, Progress, Session
from cosmicgate.data.download.manifest import RemoteFile

SCHEME = "pip:"  # the URL of such a file is pip:NAME==VERSION
HIDDEN = ".pip-"
POLL_S = 0.2


def download_by_pip(session: Session, file: RemoteFile, partial: Path, progress: Progress) -> None:
    """Download a source package to ``partial``; pip compares its sha256 before it looks into it.

    Raises
    ------
    FetchError
        If pip is missing or fails; the message says what to do.
    """
    requirement, name = file.url.removeprefix(SCHEME), Path(file.path).name
    by_hand = f"or put {name}, the source package of {requirement}, into {partial.parent}, and repeat the command"
    if importlib.util.find_spec("pip") is None:
        raise FetchError(f"{sys.executable} has no pip: install it (python -m ensurepip), {by_hand}")
    for left in partial.parent.glob(f"{HIDDEN}*"):  # left by a process that was killed
        rmtree(left)
    with tempfile.TemporaryDirectory(prefix=HIDDEN, dir=partial.parent) as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{file.sha256}\n")
        how = ["--no-deps", "--no-binary", requirement.split("==")[0], "--progress-bar", "off", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *how, "--dest", folder, "--requirement", str(wanted)]
        status, output_lines = _run(session, command, Path(folder) / "output.txt")
        if status or not (Path(folder) / name).is_file():
            reason = next(
                (line for line in output_lines if line.startswith("ERROR:")),
                output_lines[-1] if output_lines else "no output",
            )
            reason = re.sub(r"\S*://\S*", "the index", reason.removeprefix("ERROR: "))  # it may hold a password
            raise FetchError(f"{file.url}: pip download failed ({reason}): try again, {by_hand}")
        (Path(folder) / name).replace(partial)
    progress(file.path, partial.stat().st_size)


def _run(session: Session, command: list[str], output: Path) -> tuple[int, list[str]]:
    """Run a command until it ends or the session stops; return its exit code and what it printed."""
    with (
        output.open("w") as out,
        subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process,
    ):
        while (status := process.poll()) is None:
            if session.stop.wait(POLL_S):
                process.terminate()
                process.wait()
                raise FetchError("stopped")
    return status, output.read_text(errors="replace").strip().splitlines()
