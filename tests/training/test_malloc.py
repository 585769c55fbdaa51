"""What a training frees it keeps for its next step."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from cosmicgate.training import distributed

FAULTS = """
import resource, sys, torch
from cosmicgate.training.malloc import keep_memory
assert sys.argv[1] == "as it is" or keep_memory()
def step():
    torch.ones(16, 1024, 1024).mul(2).sum()  # 64 MiB, twice
for _ in range(10):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc's malloc is asked to keep memory")
def test_memory_that_is_kept_is_not_asked_for_again():
    faults = {
        how: int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("as it is", "kept")
    }
    # As it is, every step asks twice for its 64 MiB; kept, a small array may still split a piece that was free.
    assert faults["as it is"] > 1000, faults
    assert faults["kept"] < faults["as it is"] / 5, faults


def test_every_process_of_a_training_keeps_its_memory(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(distributed, "keep_memory", lambda: asked.append(True))
    distributed.prepare_run(SimpleNamespace(world_size=1, is_global_zero=False), tmp_path, 0, None, {})
    assert asked == [True]
