"""Test that the memory allocator keeps freed memory for the next training step."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from cosmicgate.training import distributed

FAULTS = """
import resource, sys, torch
from cosmicgate.training.malloc import keep_memory
assert sys.argv[1] == "default" or keep_memory()
def step():
    torch.ones(16, 1024, 1024).mul(2).sum()  # 64 MiB, twice
for _ in range(10):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the malloc of glibc")
def test_kept_memory_is_not_requested_from_the_system_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("default", "kept")
    }
    # By default every step requests 64 MiB twice; with kept memory, a small array may still split a free block.
    assert faults["default"] > 1000, faults
    assert faults["kept"] < faults["default"] / 5, faults


def test_every_process_of_a_training_keeps_freed_memory(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(distributed, "keep_memory", lambda: calls.append(True))
    distributed.prepare_run(SimpleNamespace(world_size=1, is_global_zero=False), tmp_path, 0, None, {})
    assert calls == [True]
