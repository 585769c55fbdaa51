"""Measure the time for the simulation of one DECam CCD (4096x2048 pixels) on one core.

    python benchmarks/simulation.py                    # two minutes; prints a Markdown table
    python benchmarks/simulation.py --repeats 9 --bands g z

Every repeat has another field or other particles. The table gives the median and the range of CPU seconds, which other
work on the machine changes little.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from cosmicgate.extras import extra

with extra("simulate", __name__):
    import galsim

    from cosmicgate.data.simulation.ccd import DECAM
    from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
    from cosmicgate.data.simulation.readout import read_out
    from cosmicgate.data.simulation.sky import BANDS, scene


def seconds(call: Callable[[np.random.Generator], object], repeats: int) -> list[float]:
    """Measure the CPU seconds of each of ``repeats`` calls, after a warm-up call (seed 0) that compiles."""
    taken = []
    for seed in range(repeats + 1):
        rng = np.random.default_rng(seed)
        start = time.process_time()
        call(rng)
        taken.append(time.process_time() - start)
    return taken[1:]


def row(name: str, taken: list[float]) -> str:
    """Format a line of the table."""
    return f"| {name} | {np.median(taken):.2f} | {min(taken):.2f}-{max(taken):.2f} |"


def main() -> None:
    """Time the steps of the simulation and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="fields for each row (default 5)")
    parser.add_argument("--bands", nargs="+", default=list(BANDS), choices=list(BANDS), help="default: all")
    parser.add_argument("--exptime", type=float, default=90.0, help="seconds of a science frame (default 90)")
    parser.add_argument("--shape", nargs=2, type=int, default=DECAM.shape, help="rows and columns of a smaller CCD")
    args = parser.parse_args()
    galsim.set_omp_threads(1)
    ccd = replace(DECAM, shape=tuple(args.shape))
    print(f"| {ccd.shape[0]}x{ccd.shape[1]} CCD | median, s | range, s |")
    print("|---|---:|---:|")
    for band in args.bands:
        taken = seconds(partial(scene, ccd, band, args.exptime), args.repeats)
        print(row(f"scene, {band}, {args.exptime:g} s", taken))
    for exptime in (90.0, 1200.0):
        taken = seconds(partial(cosmic_rays, ccd, exptime), args.repeats)
        print(row(f"cosmic rays, {exptime:g} s", taken))
    drawn = scene(ccd, args.bands[0], args.exptime, np.random.default_rng(1))
    hits = cosmic_rays(ccd, args.exptime, np.random.default_rng(1))
    print(row("read-out", seconds(partial(read_out, drawn, hits=hits), args.repeats)))


if __name__ == "__main__":
    main()
