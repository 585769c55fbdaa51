"""Measure the pixels counted per second on one core, compared with torchmetrics' ROC of 200 thresholds.

    python benchmarks/metric.py                        # half a minute; prints a Markdown table
    python benchmarks/metric.py --side 256 --repeats 1

"Error" is the difference of the TPR at an FPR of 0.01 % from that of scikit-learn's exact curve.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from cosmicgate.extras import extra

with extra("dev", __name__):
    from sklearn.metrics import roc_curve
    from torchmetrics.classification import BinaryROC

    from cosmicgate.data.pixel_labels import IGNORED, SKY
    from cosmicgate.metrics import Curves, LogitHistogram

IMAGES = 4
FPR = 1e-4


def pixels(side: int) -> tuple[Tensor, Tensor]:
    """Draw logits (float32) and truth (uint8), (IMAGES, side, side): 0.1 % core, 0.2 % ring, 1 % ignored."""
    shape = (IMAGES, side, side)
    generator = torch.Generator().manual_seed(1)
    chance = torch.rand(shape, generator=generator)
    truth = (chance < 0.003).to(torch.uint8) + (chance < 0.002).to(torch.uint8)
    truth[chance > 0.99] = IGNORED
    noise = torch.randn(shape, generator=generator)
    return torch.where(truth == SKY, -9 + 2.5 * noise, 4 + 4 * noise), truth


def fastest(call: Callable[[], None], repeats: int) -> float:
    """Measure the seconds of the fastest of ``repeats`` calls, after one warm-up call."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def main() -> None:
    """Time both metrics and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help=f"pixels along each side of {IMAGES} images")
    parser.add_argument("--repeats", type=int, default=5, help="number of repeats, of which the fastest counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logits, truth = pixels(options.side)
    probability = logits.sigmoid()
    target = torch.where(truth == IGNORED, -1, (truth != SKY).long())
    keep = target.numpy() >= 0
    exact = np.interp(FPR, *roc_curve(target.numpy()[keep], logits.numpy()[keep])[:2])

    histogram = LogitHistogram()
    roc = BinaryROC(thresholds=200, ignore_index=-1, validate_args=False)
    ours = fastest(lambda: histogram.update(logits, truth), options.repeats)
    theirs = fastest(lambda: roc.update(probability, target), options.repeats)
    half = fastest(lambda: LogitHistogram().update(logits.bfloat16(), truth), options.repeats)
    fpr, tpr, _ = roc.compute()

    def row(name: str, seconds: float, state: Tensor, found: float) -> str:
        return (
            f"| {name} | {truth.numel() / seconds / 1e6:.1f} | {theirs / seconds:.1f} "
            f"| {state.nbytes:,} | {found - exact:+.5f} |"
        )

    found = Curves.from_counts(histogram.compute()).tpr_at_fpr(FPR)
    print(f"{truth.numel():,} pixels, one thread; exact TPR at FPR {FPR:g}: {exact:.5f}\n")
    print("| metric | Mpx/s | times BinaryROC | state, bytes | error |")
    print("|---|---:|---:|---:|---:|")
    print(row("LogitHistogram", ours, histogram.counts, found))
    print(
        f"| LogitHistogram, bfloat16 with its conversion | {truth.numel() / half / 1e6:.1f} "
        f"| {theirs / half:.1f} | {histogram.counts.nbytes:,} | |"
    )
    print(row("BinaryROC(thresholds=200)", theirs, roc.confmat, float(np.interp(FPR, fpr, tpr))))


if __name__ == "__main__":
    main()
