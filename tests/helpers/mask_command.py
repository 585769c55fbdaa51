"""Run the masking command of cosmicgate, in this process or in one of its own."""

import os
import subprocess
import sys

from astropy.io import fits
from typer.testing import CliRunner

from cosmicgate.cli import app
from helpers.repository import ROOT

SHAPE = (40, 56)


def run(*arguments):
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def masked(path, name="CRMASK"):
    with fits.open(path) as hdus:
        return hdus[name].data.astype(bool)


# A shell may start background jobs with SIGINT ignored, and children inherit that; the command has to receive it.
LISTEN = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def process(*arguments, code="from cosmicgate.cli import app; app()"):
    """Start the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", LISTEN + code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


DIES = """
from pathlib import Path
replace = Path.replace
def dies(self, target):
    if Path(target).name == "1_crmask.fits":
        os.kill(os.getpid(), signal.{signal})
    return replace(self, target)
Path.replace = dies
from cosmicgate.cli import app
app()
"""
