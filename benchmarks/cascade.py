"""Measure the speed-up by the cascade, and the hits that it misses, at several thresholds of its coarse stage.

    python benchmarks/cascade.py                                            # time only, on a frame of 90 s
    python benchmarks/cascade.py --frames data/decam/contaminated/test-*    # and missed hits, on labelled frames

The network alone and the cascade are run in turn on one frame, once in each round; the ratio is that of the medians. A
labelled frame is a folder of a data set's cache; a hit is missed if the network finds it and the cascade does not.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

from cosmicgate.extras import extra
from masking import frame

with extra("train", __name__):
    from cosmicgate.inference.cascade import NO_HIT_LOGIT
    from cosmicgate.masking.load import load
    from cosmicgate.release import cascade_losses


def main() -> None:
    """Time the cascade at several thresholds of its coarse stage and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 2048), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="general", help="network with a coarse stage, as cosmicgate.load takes it")
    parser.add_argument(
        "--steps", type=float, nargs="+", default=[-3, -1.5, 0, 1.5, 3], help="added to the threshold, logits"
    )
    parser.add_argument("--frames", type=Path, nargs="*", default=[], help="labelled frames")
    options = parser.parse_args()
    masker = load(options.model, check=False, fast=True)
    cascade = masker.predictor.cascade
    assert cascade is not None
    image = frame(tuple(options.shape))
    whole = replace(masker.predictor, cascade=None)
    cascades = {step: replace(cascade, threshold=cascade.threshold + step) for step in options.steps}
    dense, seconds, searched = [], {step: [] for step in cascades}, {}
    for _ in range(options.rounds):
        start = time.perf_counter()
        whole.logits(image)
        dense.append(time.perf_counter() - start)
        for step, one in cascades.items():
            start = time.perf_counter()
            logits = replace(whole, cascade=one).logits(image)
            seconds[step].append(time.perf_counter() - start)
            searched[step] = float((logits > NO_HIT_LOGIT).double().mean())
    print(f"{image.shape[0]} x {image.shape[1]} px, {torch.get_num_threads()} threads, {options.rounds} rounds")
    print(f"dense: {statistics.median(dense):.2f} s ({min(dense):.2f}-{max(dense):.2f})\n")
    print("| threshold (logit) | searched (%) | times as fast | hits missed | at most (%, 95 %) | searched there (%) |")
    print("|---:|---:|---:|---:|---:|---:|")
    for step, one in cascades.items():
        ratio = statistics.median(dense) / statistics.median(seconds[step])
        cells = [f"{one.threshold:.1f}", f"{100 * searched[step]:.1f}", f"{ratio:.1f}"]
        if options.frames:
            found = cascade_losses(masker.network, masker.card, one, options.frames)
            cells += [
                f"{found['missed']} of {found['hits']}",
                f"{100 * found['bound']:.2f}",
                f"{100 * found['searched']:.0f}",
            ]
        print("| " + " | ".join(cells + [""] * (6 - len(cells))) + " |")


if __name__ == "__main__":
    main()
