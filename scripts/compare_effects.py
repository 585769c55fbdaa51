"""Draw simulated hits, hot pixels, stars and spectra beside real ones: docs/figures/effects_realism.png.

Run ``python scripts/compare_effects.py --real DIR``, where DIR is the folder of the small real data, which
``make data-real`` fetches (arcsat/, lco0m4/, cr/ and spectra/); by default COSMICGATE_REAL, else data/real.

The hits of five real darks of the ARCSAT 0.5 m telescope are also compared by size and charge with those of a chip with
and without field-free silicon. The depths of that chip were chosen by hand to fit these hits.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.stats import mad_std
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage, stats

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays
from cosmicgate.data.simulation.defects import draw_defects
from cosmicgate.data.simulation.itl_hits import MIN_CHARGE, MIN_PIXELS, Stamp, simulate_hits
from cosmicgate.data.simulation.readout import read_out
from cosmicgate.data.simulation.spectra import Kind, draw_spectrum
from cosmicgate.data.sources.effects import Effects
from cosmicgate.data.sources.footprints import stamps
from cosmicgate.data.sources.random_cameras import RandomScience, draw_camera
from cosmicgate.io.fits.hdus import open_fits
from cosmicgate.report.figures.mask_figures import save_figure

Image = NDArray[np.float32]


class Hit(NamedTuple):
    """Size, charge (electrons) and cut-out of a hit."""

    pixels: int
    charge: float
    cut_out: Image


COLUMNS, SIDE = 12, 25  # cut-outs in a row, and the side of each in pixels
GAIN, NOISE, EXPTIME = 1.37, 12.0, 60.0  # of ARCSAT's darks: electrons per count, electrons after subtraction, seconds
THRESHOLD = 5.0  # sigma: a pixel of a hit
CHIP = CCD((1024, 1024), 13.0, 6.0, 1.0, 2.0, GAIN, NOISE, 65_000.0, pixel_scale=1.0)
FIELD_FREE = 14.0  # um, behind 6 um that are depleted; by hand, among nine pairs of depths
RATES = Rates(compton=4.0, x_rays=0.1)  # by hand, too
SIMULATED_DARKS, SIMULATED_EXPTIME = 24, 300.0  # number and seconds; for enough hits, of many pointings
PERCENTILES = (10, 25, 50, 75, 90)


def images(folder: Path, pattern: str) -> list[Image]:
    """Read the first image of each file that a pattern matches."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise SystemExit(f"no file {folder / pattern}: --real names the folder that `make data-real` fills")
    found = []
    for file in files:
        with open_fits(file) as hdus:
            data = next(hdu.data for hdu in hdus if getattr(hdu, "data", None) is not None and hdu.is_image)
            found.append(np.array(data, np.float32))
    return found


def arcsat_darks(real: Path) -> tuple[list[Image], Image]:
    """Read ARCSAT's darks less their median, and that median less the biases, in electrons."""
    darks = images(real / "arcsat", "Dark_*.fits.fz")
    median = np.median(darks, axis=0).astype(np.float32)
    differences = [GAIN * (dark - median) for dark in darks]
    bias = np.median(images(real / "arcsat", "Bias_*.fits.fz"), axis=0).astype(np.float32)
    current = GAIN * (median - bias)
    return [dark - np.median(dark) for dark in differences], current - np.median(current)


def find_hits(image: Image) -> Iterator[Hit]:
    """Find hits of three pixels or more, away from the edge of an image (electrons)."""
    labels, _ = ndimage.label(image > THRESHOLD * NOISE, KERNEL_3X3)
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        inside = labels[box] == number
        middle = [(side.start + side.stop) // 2 for side in box]
        within = all(SIDE <= place < size - SIDE for place, size in zip(middle, image.shape, strict=True))
        if inside.sum() >= MIN_PIXELS and within:
            yield Hit(int(inside.sum()), float(image[box][inside].sum()), cut_out(image, *middle))


def simulated_hits(field_free: float, rng: np.random.Generator) -> list[Hit]:
    """Simulate darks of the chip with a field-free layer, or with all of its silicon depleted, and find their hits."""
    chip = replace(CHIP, thickness=CHIP.thickness + (0.0 if field_free else FIELD_FREE))
    found = []
    for _ in range(SIMULATED_DARKS):
        charge = cosmic_rays(chip, SIMULATED_EXPTIME, rng, RATES, field_free=field_free)
        found += find_hits(charge + NOISE * rng.standard_normal(chip.shape, np.float32))
    return found


def cut_out(image: Image, row: int, column: int) -> Image:
    """Cut out SIDE x SIDE pixels around a place that is at least that far from the edge."""
    half = SIDE // 2
    return image[row - half : row + half + 1, column - half : column + half + 1]


def hot_pixel_cutouts(image: Image, rng: np.random.Generator) -> list[Image]:
    """Cut out places around hot pixels between 10 and 1000 sigma, drawn at random."""
    inner = image[SIDE:-SIDE, SIDE:-SIDE]
    rows, columns = np.nonzero((inner > 10 * NOISE) & (inner < 1000 * NOISE))
    chosen = rng.permutation(rows.size)[:COLUMNS]
    return [cut_out(image, rows[i] + SIDE, columns[i] + SIDE) for i in chosen]


def brightest_star(image: Image, limit: float) -> Image | None:
    """Cut out the brightest star of an image whose peak is below ``limit``; None if there is none above 30 sigma."""
    parts = np.array_split(image, max(1, len(image) // 96))  # of columns, since a bad column may be half as long
    flat = np.concatenate([part - np.median(part, axis=0) for part in parts])  # without background and bad columns
    smooth = ndimage.gaussian_filter(flat, 2)
    noise = mad_std(smooth)
    inner = slice(SIDE, -SIDE)
    peaks = ndimage.maximum_filter(smooth, SIDE)[inner, inner] == smooth[inner, inner]
    highest = ndimage.maximum_filter(image, 7)[inner, inner]
    rows, columns = np.nonzero(peaks & (smooth[inner, inner] > 30 * noise) & (highest < limit))
    if not rows.size:
        return None
    best = int(np.argmax(smooth[inner, inner][rows, columns]))
    cut = cut_out(image, rows[best] + SIDE, columns[best] + SIDE)
    return cut - np.median(image)


def simulated_stars(seed: int) -> Iterator[Image]:
    """Simulate frames of randomised cameras with aberrations and guiding jumps, and cut out a star of each."""
    chosen = {"aberrations": 0.6, "guiding_jumps": 0.6}
    source = RandomScience({"train": 60}, (192, 192), seed, seeing=(1.5, 4.0), effects=Effects(**chosen))
    for number, lazy in enumerate(source.lazy_frames("train")):
        frame = read_out(lazy.build(), np.random.default_rng(number))
        star = brightest_star(frame.image, 0.9 * frame.saturation)
        if star is not None and np.median(star, axis=0).max() < 0.3 * star.max():  # else a bad column crosses it
            yield star


def spectra(real: Path, rng: np.random.Generator) -> dict[str, Image]:
    """Cut out parts of 250 x 250 px of real spectra, and simulate as many."""
    floyds = images(real / "spectra", "floyds_*.fits.fz")[0]
    sprat = images(real / "spectra", "sprat_*_1.fits.gz")[0]
    cuts = {"FLOYDS": floyds[:250, 1250:1500], "SPRAT": sprat[:250, 450:700]}
    kinds: tuple[Kind, ...] = ("slit", "echelle", "fibres")
    for kind in kinds:
        camera = draw_camera((250, 250), rng)
        cuts[f"simulated: {kind}"] = read_out(draw_spectrum(camera, kind, 600.0, rng), rng).image
    return cuts


def table(samples: dict[str, tuple[list[Hit], float]]) -> str:
    """Format sizes and charges of hits, and their number per cm2 and minute, as a Markdown table."""
    lines = [
        "| | " + " | ".join(f"{p} %" for p in PERCENTILES) + " | KS, p | per cm² and minute |",
        "|---|" + "---:|" * 7,
    ]
    for field, name in (("pixels", "pixels"), ("charge", "charge (e-)")):
        real = [getattr(hit, field) for hit in samples["real"][0]]
        for kind, (found, exposure) in samples.items():
            values = [getattr(hit, field) for hit in found]
            cells = " | ".join(f"{value:.0f}" for value in np.percentile(values, PERCENTILES))
            test = stats.ks_2samp(real, values)
            same = "" if kind == "real" else f"{test.statistic:.2f}, {test.pvalue:.1g}"
            rate = f"{len(found) / exposure:.2f} ({len(found)} hits)" if field == "pixels" else ""
            lines.append(f"| {name}, {kind} | {cells} | {same} | {rate} |")
    return "\n".join(lines)


def figure_of(rows: list[tuple[str, list[Image]]], spectra: dict[str, Image]) -> Figure:
    """Draw a row of cut-outs under a label for each sample, and the spectra below."""
    figure = Figure(figsize=(11, 0.85 * len(rows) + 2.4), dpi=85, layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(0.85 * len(rows), 2.4), squeeze=False)[:, 0]
    subplot_options: dict[str, Any] = {"xticks": [], "yticks": []}
    grid = top.subplots(len(rows), COLUMNS, squeeze=False, subplot_kw=subplot_options)
    for line, (name, cuts) in zip(grid, rows, strict=True):
        for axes, cut in zip(line, cuts, strict=False):
            draw(axes, cut)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    for axes, (name, spectrum) in zip(
        bottom.subplots(1, len(spectra), squeeze=False, subplot_kw=subplot_options)[0], spectra.items(), strict=True
    ):
        draw(axes, spectrum)
        axes.set_title(name, fontsize=8)
    return figure


def draw(axes: Any, image: Image) -> None:
    """Draw an image with a logarithm-like scale from its background to its peak."""
    level = np.median(image)
    noise = max(float(mad_std(image)), 1e-3)
    peak = max(float(np.percentile(image, 99.8) - level) / noise, 20.0)
    scaled = np.arcsinh((image - level) / noise / 3)
    axes.imshow(scaled, cmap="cividis", vmin=-0.5, vmax=np.arcsinh(peak / 3), origin="lower", interpolation="nearest")


def framed(stamp: Stamp, rng: np.random.Generator) -> Image:
    """Put a hit into the middle of a cut-out with a little noise."""
    spare = SIDE - np.array(stamp.shape)
    padded = np.pad(stamp, np.stack([spare // 2, spare - spare // 2], axis=1).tolist())
    return padded + 7 * rng.standard_normal(padded.shape, np.float32)


def fitting(found: list[Stamp], rng: np.random.Generator) -> list[Image]:
    """Draw hits at random among those that fit into a cut-out."""
    small = [stamp for stamp in found if max(stamp.shape) <= SIDE - 2]
    return [framed(small[i], rng) for i in rng.permutation(len(small))[:COLUMNS]]


def main() -> None:
    """Compare real and simulated frames; print the table and write ``effects_realism.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("COSMICGATE_REAL", "data/real"))
    parser.add_argument("--real", type=Path, default=default, help="folder of the small real data")
    parser.add_argument("--output", type=Path, default=Path("docs/figures"), help="folder for the figure")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    real, rng = arguments.real, np.random.default_rng(arguments.seed)

    darks, current = arcsat_darks(real)
    inside = (CHIP.shape[0] - 2 * SIDE) * (CHIP.shape[1] - 2 * SIDE) * (CHIP.pixel * 1e-4) ** 2 / 60
    simulated = SIMULATED_DARKS * SIMULATED_EXPTIME * inside
    samples = {
        "real": ([hit for dark in darks for hit in find_hits(dark)], len(darks) * EXPTIME * inside),
        "field-free": (simulated_hits(FIELD_FREE, rng), simulated),
        "all depleted": (simulated_hits(0.0, rng), simulated),
    }
    print(table(samples))
    rows = []
    labels = {"real": "ARCSAT hits", "field-free": "simulated,\nfield-free", "all depleted": "all depleted"}
    for kind, label in labels.items():
        found = samples[kind][0]
        rows.append((label, [found[i].cut_out for i in rng.permutation(len(found))[:COLUMNS]]))
    itl = list(stamps(real / "cr" / "itl_cosmic_rays.fits.gz", MIN_PIXELS, MIN_CHARGE).values())
    rows.append(("ITL hits", fitting(itl, rng)))
    rows.append(("simulated", fitting(simulate_hits(6, rng, (1000, 1000)), rng)))
    rows.append(("ARCSAT\nhot pixels", hot_pixel_cutouts(current, rng)))
    detectors = (draw_defects(CHIP.shape, rng) for _ in range(100))
    defects = next(detector for detector in detectors if detector.pixels.size > 1000)  # one as warm as the real one
    charge = defects.charge(EXPTIME, rng) + NOISE * rng.standard_normal(CHIP.shape, np.float32)
    rows.append(("simulated", hot_pixel_cutouts(charge, rng)))
    frames = [*images(real / "arcsat", "XO1*.fits.fz")[::3], *images(real / "lco0m4", "*.fits.fz")[::3]]
    stars = [star for frame in frames if (star := brightest_star(frame, 60_000.0)) is not None]
    rows.append(("ARCSAT and\nLCO stars", stars[:COLUMNS]))
    rows.append(("simulated", list(islice(simulated_stars(arguments.seed), COLUMNS))))
    arguments.output.mkdir(parents=True, exist_ok=True)
    save_figure(figure_of(rows, spectra(real, rng)), arguments.output / "effects_realism.png")


if __name__ == "__main__":
    main()
