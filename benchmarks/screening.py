"""What the quick first look saves, and what it misses: a curve over how strict it is.

    python benchmarks/screening.py                                            # time alone, on a frame of 90 s
    python benchmarks/screening.py --frames data/decam/contaminated/test-*    # and what it misses on labelled frames

Dense and screened by turns on one frame, as many times as there are rounds; the ratio is that of medians. A labelled
frame is a folder that a data set keeps; a hit is missed if the network finds it and the screened network does not.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch
from masking import frame

from cosmicgate.masking.loading import load
from cosmicgate.masking.shipping import missed
from cosmicgate.models.inference import frame_logits
from cosmicgate.models.screening import screened_logits


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 2048), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="general", help="as cosmicgate.load takes it; it has a screen")
    parser.add_argument("--steps", type=float, nargs="+", default=[-3, -1.5, 0, 1.5, 3], help="added to its threshold")
    parser.add_argument("--frames", type=Path, nargs="*", default=[], help="labelled frames")
    options = parser.parse_args()
    masker = load(options.model, check=False, fast=True)
    assert masker.screen is not None
    image = torch.from_numpy(frame(tuple(options.shape)))
    screens = {step: replace(masker.screen, threshold=masker.screen.threshold + step) for step in options.steps}
    dense, seconds, looked = [], {step: [] for step in screens}, {}
    for _ in range(options.rounds):
        start = time.perf_counter()
        frame_logits(masker.network, image)
        dense.append(time.perf_counter() - start)
        for step, screen in screens.items():
            start = time.perf_counter()
            _, looked[step] = screened_logits(masker.network, screen, image)
            seconds[step].append(time.perf_counter() - start)
    print(f"{image.shape[0]} x {image.shape[1]} px, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"dense: {statistics.median(dense):.2f} s ({min(dense):.2f}-{max(dense):.2f})\n")
    print(
        "| threshold (logit) | looked at (%) | times as fast | hits missed | at most (%, 95 %) | looked at there (%) |"
    )
    print("|---:|---:|---:|---:|---:|---:|")
    for step, screen in screens.items():
        ratio = statistics.median(dense) / statistics.median(seconds[step])
        cells = [f"{screen.threshold:.1f}", f"{100 * looked[step]:.1f}", f"{ratio:.1f}"]
        if options.frames:
            found = missed(masker, screen, options.frames)
            cells += [
                f"{found['missed']} of {found['hits']}",
                f"{100 * found['bound']:.2f}",
                f"{100 * found['looked']:.0f}",
            ]
        print("| " + " | ".join(cells + [""] * (6 - len(cells))) + " |")


if __name__ == "__main__":
    main()
