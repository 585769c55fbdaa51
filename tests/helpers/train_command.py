"""Run train.py and evaluate.py as a user does, on tiny simulated data."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from helpers.fork_server import ForkedProcess, ForkServer
from helpers.repository import ROOT

TINY = (
    "data.science.shape=[256,256]",
    "data.science.bands=[g]",
    "data.science.frames={train:1,validation:1,test:1}",
    "data.darks.shape=[256,256]",
    "data.darks.frames={train:1,validation:1,test:1}",
    "data.windows.size=64",
    "data.windows.count=16",
    "data.patch=256",
    "data.num_workers=0",
)


class Command:
    """Run scripts of the repository in separate processes, without a W&B login.

    Parameters
    ----------
    home : Path
        Home folder of the commands.
    data : Path
        Folder of the frames that they simulate.
    forks : bool
        Run scripts in forks of an interpreter that has imported the packages of train.py and evaluate.py (see
        fork_server); otherwise, and if a test has changed ``environment``, in new interpreters.
    """

    def __init__(self, home: Path, data: Path, forks: bool = False) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
        path = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        own = {"HOME": str(home), "PYTHONWARNINGS": "default"}
        self.environment = kept | own | {"PYTHONPATH": path}
        self.data = data
        self._served = dict(self.environment) if forks else None
        self._server: ForkServer | None = None

    def start(
        self, script: str, *arguments: str, cwd: Path = ROOT, **variables: str
    ) -> subprocess.Popen | ForkedProcess:
        """Start a script, whose path is relative to ``cwd``, with further environment variables."""
        if script.endswith(".py") and self.environment == self._served:
            if self._server is None:
                folder = Path(tempfile.mkdtemp(dir=self.environment["HOME"], prefix="forks"))
                self._server = ForkServer(folder, self.environment, ROOT)
            return self._server.start([script, *arguments], variables, cwd)
        command, pipe = [sys.executable, script, *arguments], subprocess.PIPE
        environment = self.environment | variables
        return subprocess.Popen(command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True)

    def __call__(self, script: str, *arguments: str, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess:
        process = self.start(script, *arguments, cwd=cwd, **variables)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def train(self, run: Path, *arguments: str) -> dict[str, Any]:
        """Train on tiny simulated frames; return the content of results.json."""
        done = self("train.py", "trainer=smoke", *TINY, f"data.root={self.data}", f"hydra.run.dir={run}", *arguments)
        assert done.returncode == 0, done.stderr
        return json.loads((run / "results.json").read_text())

    def close(self) -> None:
        """End the interpreter that is forked."""
        if self._server is not None:
            self._server.close()
