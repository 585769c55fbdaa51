"""Run the command ``cosmicgate``, in this process or in a new one."""

import os
import subprocess
import sys

from astropy.io import fits
from typer.testing import CliRunner

from cosmicgate.cli import app
from helpers.repository import ROOT

SHAPE = (40, 56)


def run(*arguments):
    """Run ``cosmicgate`` in this process; return exit code and output as :class:`typer.testing.CliRunner` does."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def output_text(done):
    """Join the lines of the output of :func:`run`, without the frame that is drawn around an invalid argument."""
    return " ".join(done.output.replace("│", " ").split())


def read_mask(path, name="CRMASK"):
    """Read the mask (H, W), bool, from an HDU of a file."""
    with fits.open(path) as hdus:
        return hdus[name].data.astype(bool)


# A shell may start background jobs with SIGINT ignored, and children inherit this; the command has to receive it.
RECEIVE_SIGINT = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


def start_process(*arguments, code="from cosmicgate.cli import app; app()", **options):
    """Start ``cosmicgate`` in a new process; return its :class:`subprocess.Popen`."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}/src", "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", RECEIVE_SIGINT + code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, **options)


# Program that masks, and sends itself a signal while it writes the mask of the second file.
SELF_SIGNAL = """
from pathlib import Path
replace = Path.replace
def replace_or_signal(self, target):
    if Path(target).name == "1_crmask.fits":
        os.kill(os.getpid(), signal.{signal})
    return replace(self, target)
Path.replace = replace_or_signal
from cosmicgate.cli import app
app()
"""
