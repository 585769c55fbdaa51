"""Test the progress output: bars in a terminal; plain lines in a pipe and in the log file."""

import logging
import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from cosmicgate.io import messages
from cosmicgate.io.messages import PlainFormatter, duration, with_progress
from helpers.repository import ROOT
from helpers.train_command import TINY

EPOCHS = ("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2")
FAST = ("trainer=smoke", *TINY, "model=deepcr", "model.channels=4", *EPOCHS)
LOSS, TIME = r"training loss [\d.e-]+", r"\d+ (s|min)"
VALIDATED = rf"epoch 2 of 3: {LOSS}, validation loss [\d.e-]+, validation TPR at 0.01 % FPR [\d.]+ %, {TIME}"


def log_lines(run) -> list[str]:
    """Read the messages of a log file."""
    return [line.partition("] - ")[2] for line in (run / "train.log").read_text().splitlines()]


def expected_lines(run) -> list[str]:
    """List patterns of the lines that a training prints."""
    return [
        r"(warning: )?trainer.max_epochs=3 is no multiple of trainer.check_val_every_n_epoch=2: the last 1 .*",
        f"training deepCR on decam, simulated: 3 epochs, then a test, in {run}; each epoch says how much time is left",
        r"decam: made \d frames in \d+ (s|min)",
        rf"epoch 1 of 3: {LOSS}, {TIME}, {TIME} left",
        rf"{VALIDATED}, {TIME} left",
        rf"epoch 3 of 3: {LOSS}, {TIME}",
        r"deepCR on decam: scored 1 frame in \d+ (s|min)",
        r"decam \(simulated\): 1 frames, .*",
        r" +TPR at FPR 0.01 % \(%\) +F1  Hits found \(%\)",
        r"deepCR( +[\d.—]+){3}",
        f"report   {run}/report/tables.md",
        f"figure   {run}/report/masks_decam.png",
        f"next     cosmicgate mask -m {run} image.fits",
    ]


def assert_matching(lines: list[str], expected: list[str]) -> None:
    assert len(lines) == len(expected), lines
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), line


@pytest.mark.slow
def test_a_pipe_gets_plain_lines_and_no_warnings(command, tmp_path):
    before = dict(command.environment)
    del command.environment["PYTHONWARNINGS"]  # the default of users
    run, data = tmp_path / "run", f"data.root={tmp_path}/data"
    try:
        done = command("train.py", *FAST, data, f"hydra.run.dir={run}")
    finally:
        command.environment = before
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_matching(done.stdout.splitlines(), expected_lines(run))
    assert log_lines(run) == [line.removeprefix("warning: ") for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_a_terminal_gets_progress_bars_and_the_log_file_plain_lines(command, tmp_path):
    run = tmp_path / "run"
    arguments = [*FAST, f"data.root={tmp_path}/data", f"hydra.run.dir={run}"]
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    environment = command.environment | {"TERM": "xterm", "COLUMNS": "200", "LINES": "40"}  # not those of the test
    program = [sys.executable, "train.py", *arguments, "logger=csv"]
    process = subprocess.Popen(program, cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the terminal's other end is closed
        pass
    os.close(ours)
    text = shown.decode()
    assert process.wait() == 0, text
    assert "decam: frames made" in text
    assert "━" in text, "Lightning's bar"
    assert re.search(VALIDATED, text)
    assert_matching(log_lines(run), expected_lines(run))


def test_progress_lines_give_the_remaining_time(monkeypatch, caplog):
    monkeypatch.setattr(messages, "on_terminal", lambda: False)
    caplog.set_level(logging.INFO)
    assert list(with_progress([7, 8, 9], "decam", "made")) == [7, 8, 9]
    assert [record.getMessage() for record in caplog.records] == ["decam: made 3 frames in 0 s"]
    caplog.clear()
    monkeypatch.setattr(messages, "SECONDS_BETWEEN_LINES", 0.0)
    assert list(with_progress([7, 8, 9], "decam", "made")) == [7, 8, 9]
    lines = [record.getMessage() for record in caplog.records]
    assert lines[:2] == [f"decam: made {number} of 3 frames, 0 s left" for number in (1, 2)]
    caplog.clear()
    assert list(with_progress([], "decam", "made")) == []
    assert not caplog.records


def test_a_duration_has_one_unit_or_two():
    texts = [duration(seconds) for seconds in (0, 59.4, 59.6, 719, 3590, 7500)]
    assert texts == ["0 s", "59 s", "1 min", "12 min", "1 h 0 min", "2 h 5 min"]


def test_a_warning_begins_with_the_word_warning():
    record = logging.LogRecord("a", logging.WARNING, "", 0, "no %s", ("sky",), None)
    assert PlainFormatter().format(record) == "warning: no sky"
    record.levelno = logging.INFO
    assert PlainFormatter().format(record) == "no sky"
