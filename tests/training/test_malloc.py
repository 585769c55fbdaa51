"""Test that the memory allocator keeps freed memory for the next training step."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from cosmicgate.training import prepare_run

FAULTS = """
import resource
import numpy as np
from cosmicgate.training.malloc import keep_memory
def faults(steps):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(steps):
        (np.ones((16, 1024, 1024), np.float32) * 2).sum()  # 64 MiB, twice
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(10)
default = faults(20)
assert keep_memory()
faults(10)
print(default, faults(20))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the malloc of glibc")
def test_kept_memory_is_not_requested_from_the_system_again():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    default, kept = map(int, done.stdout.split())
    # By default every step requests 64 MiB twice; with kept memory, a small array may still split a free block.
    assert default > 1000
    assert kept < default / 5, (default, kept)


def test_every_process_of_a_training_keeps_freed_memory(monkeypatch, tmp_path):
    calls = []
    monkeypatch.setattr(prepare_run, "keep_memory", lambda: calls.append(True))
    prepare_run.prepare_run(SimpleNamespace(world_size=1, is_global_zero=False), tmp_path, 0, None, {})
    assert calls == [True]
