"""Count pixels in a separate process, which imports this module instead of a test file."""

from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from cosmicgate.data.pixel_labels import CORE, RING, SKY
from cosmicgate.metrics import LogitHistogram


def simulated_pixels(n=400_000, positive=0.003, spread=1.0, seed=0):
    """Simulate logits whose classes overlap at an FPR of about 1e-4, and labels: half of the hits core, half ring."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(n, np.uint8)
    truth[: round(n * positive)] = rng.choice([CORE, RING], round(n * positive)).astype(np.uint8)
    logits = np.where(truth == SKY, rng.normal(-8, 2.5, n), rng.normal(3, 3, n)) * spread
    return logits.astype(np.float32), truth


def count_share(rank: int, folder: str) -> None:
    """Count one batch in the first of two processes, three batches of other sizes in the second, and save the sum."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    logits, truth = (torch.as_tensor(a) for a in simulated_pixels(5000))
    parts = [slice(0, 1000)] if rank == 0 else [slice(1000, 1001), slice(1001, 4000), slice(4000, 5000)]
    histogram = LogitHistogram()
    for part in parts:
        histogram.update(logits[part], truth[part])
    torch.save(histogram.compute(), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
