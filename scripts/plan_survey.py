"""Compute files, bytes and hours of a night and of a survey from a measured rate: the tables of docs/scale.md.

    python scripts/plan_survey.py                                   # print the tables
    python scripts/plan_survey.py --rate 0.3 --write docs/scale.md  # write them into the page

The rate is that of one core while all cores are busy, see benchmarks/masking.py. GPU hours are not measured: they are
the operations of the network divided by a fraction of the GPU's peak rate.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

FLOP = 193e3  # floating-point operations per pixel of one forward pass of a UNet-3-32
BEGIN, END = "<!-- plan -->\n", "<!-- end of plan -->\n"


@dataclass(frozen=True)
class Survey:
    """Hold the data volume of a survey."""

    name: str
    exposures: int  # per night
    ccds: int  # per exposure
    pixels: int  # per CCD
    files: int  # per exposure
    nights: int  # of the whole survey


SURVEYS = (
    Survey("DECam", exposures=400, ccds=62, pixels=2048 * 4096, files=1, nights=750),
    Survey("Rubin-like", exposures=1000, ccds=189, pixels=4096 * 4096, files=189, nights=3000),
)


def row(survey: Survey, nights: int, rate: float, flops: float) -> str:
    """Format a line of the table.

    Parameters
    ----------
    survey : Survey
        Survey of the line.
    nights : int
        Number of nights.
    rate : float
        Throughput of one core, Mpx/s.
    flops : float
        Sustained operations of the GPU, 1/s.
    """
    pixels = survey.exposures * survey.ccds * survey.pixels * nights
    cores = pixels / (rate * 1e6) / 3600
    gpus = pixels * FLOP / flops / 3600
    what = f"{survey.name}, " + ("one night" if nights == 1 else f"{nights} nights")
    files = survey.exposures * survey.files * nights
    cells = [f"{files:,}", short(pixels / 1e12), short(2 * pixels / 1e12), short(4 * pixels / 1e12)]
    cells += [short(cores), short(cores / 10) if nights == 1 else "", short(gpus)]
    return f"| {what} | " + " | ".join(cells) + " |"


def short(number: float) -> str:
    """Format a number with three significant digits and a comma between thousands."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:g}"


def tables(rate: float, tflops: float, used: float) -> str:
    """Format the tables as Markdown, for a core's rate in Mpx/s and a GPU's peak and the fraction of it used."""
    head = (
        "| | files | Tpx | TB, 16 bits | TB, float32 | core hours | cores, to be done in 10 h | GPU hours (estimate) |"
    )
    lines = [head, "|---|" + "---:|" * 7]
    for survey in SURVEYS:
        lines += [row(survey, nights, rate, tflops * used * 1e12) for nights in (1, survey.nights)]
    gpu = tflops * used * 1e12 / FLOP / 1e6
    notes = [
        "",
        f"**Rate used: {rate:g} Mpx/s for each core** (core hours = pixels / rate / 3600).",
        f"GPU hours are an estimate, not a measurement: {FLOP / 1e3:.0f} kFLOP a pixel on a GPU with a peak of",
        f"{tflops:g} TFLOP/s, {100 * used:g} % of it used: {gpu:.0f} Mpx/s, reading and writing not counted.",
        "",
    ]
    return "\n".join(lines + notes)


def main() -> None:
    """Print the tables, or write them into a page between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=0.38, help="Mpx/s of one core (default: %(default)s)")
    parser.add_argument("--tflops", type=float, default=100.0, help="peak of the GPU (default: %(default)s)")
    parser.add_argument(
        "--used", type=float, default=0.2, help="fraction of the peak that is used (default: %(default)s)"
    )
    parser.add_argument("--write", type=Path, help="page with the two marks")
    options = parser.parse_args()
    text = tables(options.rate, options.tflops, options.used)
    if options.write is None:
        print(text)
        return
    page = options.write.read_text()
    before, after = page.index(BEGIN) + len(BEGIN), page.index(END)
    options.write.write_text(page[:before] + text + page[after:])


if __name__ == "__main__":
    main()
