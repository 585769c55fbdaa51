"""Measure time and memory for masking a frame, by this package and by others, on the same frame.

    python benchmarks/masking.py                          # 4096 x 2048, all installed packages; ten minutes
    python benchmarks/masking.py --shape 512 512 --rounds 1 --model outputs/RUN
    python benchmarks/masking.py --rows CosmicGate 'CosmicGate, fast'

All detectors run in turn in one process, once in each round; ratios are those of medians. "Rate" is that of the
network's operations relative to a matrix product on the same machine, without what a detector computes twice. Peak
memory is that of a separate process, with interpreter and libraries. With --busy 2, two processes keep the processor
busy meanwhile, as on a shared machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from cosmicgate.models import UNet

PAUSE = 0.5  # seconds until the threads of the previous detector stop busy-waiting
Job = Callable[[NDArray[np.float32]], object]


def ours(model: str, **how: object) -> Callable[[], Job]:
    """Make a factory of one of this package's detectors."""

    def make() -> Job:
        from cosmicgate.masking.load import load  # imported in functions, to measure the peak memory

        return load(model, check=False, **how).probability

    return make


def without_gates(model: str) -> Callable[[], Job]:
    """Make a factory of the network without its gates, with random weights, as only its speed matters."""

    def make() -> Job:
        import torch

        from cosmicgate.inference.predictor import Predictor
        from cosmicgate.masking.load import load
        from cosmicgate.masking.masker import CosmicRayMasker
        from cosmicgate.models import UNet

        known = load(model, check=False)
        network = UNet(**(dict(known.card.network) | {"gate": False})).eval()
        predictor = Predictor(network.to(memory_format=torch.channels_last))
        return CosmicRayMasker(predictor, known.card, check=False).probability

    return make


def astroscrappy(niter: int) -> Callable[[], Job]:
    """Make a factory of Astro-SCRAPPY."""

    def make() -> Job:
        from astroscrappy import detect_cosmics

        return lambda image: detect_cosmics(image, niter=niter, gain=4.0, readnoise=7.0, satlevel=45000.0)

    return make


def lacosmic() -> Job:
    """Make LACosmic with one iteration."""
    from lacosmic import remove_cosmics

    return lambda image: remove_cosmics(image, 0.3, 4.5, 5.0, effective_gain=4.0, readnoise=7.0, maxiter=1)


def cosmic_conn(tile: int) -> Callable[[], Job]:
    """Make a factory of the package cosmic-conn, with tiles of ``tile`` px."""

    def make() -> Job:
        from cosmic_conn import init_model

        model = init_model("ground_imaging")
        model.opt.crop = tile
        return model.detect_cr

    return make


def deepcr(tile: int) -> Callable[[], Job]:
    """Make a factory of the package deepCR, with tiles of ``tile`` px."""

    def make() -> Job:
        from deepCR import deepCR

        model = deepCR(mask="decam", device="CPU")
        return lambda image: model.clean(image, threshold=0.5, inpaint=False, segment=True, patch=tile)

    return make


def rows(model: str) -> dict[str, Callable[[], Job]]:
    """List the factories of all rows of the table, by name."""
    return {
        "CosmicGate": ours(model),
        "CosmicGate, bfloat16": ours(model, precision="bfloat16"),
        "CosmicGate, onnxruntime": ours(model, engine="onnxruntime"),
        "CosmicGate, fast": ours(model, fast=True),
        "CosmicGate, fast, bfloat16": ours(model, fast=True, precision="bfloat16"),
        "the same without gates": without_gates(model),
        "Astro-SCRAPPY, niter=4 (default)": astroscrappy(4),
        "Astro-SCRAPPY, niter=1": astroscrappy(1),
        "LACosmic, 1 iteration": lambda: lacosmic(),
        "cosmic-conn, 1024 px (default)": cosmic_conn(1024),
        "cosmic-conn, 256 px": cosmic_conn(256),
        "deepCR, 1024 px (default)": deepcr(1024),
        "deepCR, 256 px": deepcr(256),
    }


def frame(shape: tuple[int, int]) -> NDArray[np.float32]:
    """Simulate a DECam frame of 90 s with its hits, (H, W) float32."""
    from cosmicgate.data.simulation.ccd import DECAM  # imported here, so that detectors are measured without GalSim
    from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
    from cosmicgate.data.simulation.readout import read_out
    from cosmicgate.data.simulation.sky import BANDS, draw

    rng = np.random.default_rng(0)
    ccd = replace(DECAM, shape=shape)
    scene = draw(ccd, BANDS["r"], 90.0, rng, "benchmark")
    return read_out(scene, rng, cosmic_rays(ccd, 90.0, rng)).image


def multiplications(network: "UNet") -> float:
    """Count the multiplications and additions of a network per pixel."""
    from cosmicgate.models.layers import DoubleConv

    total, level = 0.0, 0
    for kind in ("encoder", "decoder"):
        for level, block in enumerate(getattr(network, kind)):
            assert isinstance(block, DoubleConv)
            total += sum(c.weight.numel() for c in (block.conv1, block.conv2)) / 4**level
    for level, up in enumerate(network.up):
        total += up.weight.numel() / 4 ** (level + 1)
    for level, gate in enumerate(network.gates):
        total += sum(weight.numel() for weight in gate.parameters() if weight.ndim == 4) / 4**level
    return 2 * (total + network.head.weight.numel())


def matrix_rate(side: int = 2048) -> float:
    """Measure the operations per second of a matrix product."""
    import torch

    a = torch.randn(side, side)
    a @ a
    start = time.perf_counter()
    for _ in range(4):
        a @ a
    return 4 * 2 * side**3 / (time.perf_counter() - start)


def peak_memory(name: str, model: str, image: Path) -> float:
    """Measure the peak memory, MB, of a process that runs one row on an image file."""
    arguments = ["--only", name, "--model", model, "--image", str(image)]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def own_peak_memory() -> float:
    """Read the peak memory of this process from Linux, MB; getrusage would start from the parent's peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def main() -> None:
    """Time all detectors in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=2, default=(4096, 2048), metavar=("ROWS", "COLUMNS"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="general", help="as cosmicgate.load takes it")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows of the table, beside CosmicGate")
    parser.add_argument("--only", help="run one row once on --image and print its peak memory, MB")
    parser.add_argument("--image", type=Path, help=".npy file to use instead of a simulated frame")
    parser.add_argument("--busy", type=int, default=0, metavar="N", help="number of busy processes beside")
    parser.add_argument("--no-memory", action="store_true", help="do not measure the peak memory, which needs Linux")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message=".*emulates it")  # emulated bfloat16 would take hours: skip the row
    image = np.load(options.image) if options.image else frame(tuple(options.shape))
    if options.only:
        rows(options.model)[options.only]()(image)
        print(own_peak_memory())
        return
    import torch

    from cosmicgate.masking.load import load

    every = rows(options.model)
    if unknown := sorted(set(options.rows or ()) - set(every)):
        parser.error(f"--rows {unknown[0]!r}: expected some of {', '.join(map(repr, every))}")
    jobs, absent = {}, []
    for name in ["CosmicGate"] + [row for row in options.rows or every if row != "CosmicGate"]:
        make = every[name]
        try:
            jobs[name] = make()
        except (ImportError, ValueError, UserWarning) as error:  # package, coarse stage or native bfloat16 is missing
            absent.append(f"{name}: {error}")
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.busy)]
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    rates = []
    for _ in range(options.rounds):
        rates.append(matrix_rate())
        for name, job in jobs.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            job(image)
            seconds[name].append(time.perf_counter() - start)
    for other in others:
        other.kill()
    base = statistics.median(seconds["CosmicGate"])
    network = load(options.model, check=False).network
    part = multiplications(network) * image.size / base / statistics.median(rates)
    print(
        f"{image.shape[0]} x {image.shape[1]} px, {torch.get_num_threads()} threads, {options.rounds} rounds, "
        f"{options.busy} busy processes beside\n"
    )
    print("| detector | s, median | range | times as long as CosmicGate | peak MB |\n|---|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        np.save(file, image)
        for name, taken in seconds.items():
            median = statistics.median(taken)
            memory = "" if options.no_memory else f"{peak_memory(name, options.model, file):.0f}"
            print(f"| {name} | {median:.2f} | {min(taken):.2f}-{max(taken):.2f} | {median / base:.2f} | {memory} |")
    print(f"\nRate of CosmicGate relative to the matrix product: {100 * part:.0f} %")
    print(*absent, sep="\n")


if __name__ == "__main__":
    main()
