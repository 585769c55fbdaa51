"""Count the hits found in simulated colour mosaics by several ways of searching them, and in frames without colours.

    python benchmarks/mosaics.py --frames 24

A frame has a sky and stars of random colours behind filters RGGB, and hits of a thin CCD of small pixels. A hit counts
if its brightest pixel is above 8 sigma, and as found if one of its pixels is in the mask; a false object is a connected
component of the mask that touches no hit.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.data.random_streams import log_uniform
from cosmicgate.extras import extra

with extra("simulate", __name__):
    from cosmicgate.data.simulation.ccd import CCD
    from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
    from cosmicgate.masking.colour_mosaic import equalize_colour_skies
    from cosmicgate.masking.inpainting import apply_to_each_colour
    from cosmicgate.masking.load import load

FULL_WELL = 5e4
Frame = tuple[NDArray[np.float32], NDArray[np.float32], float]  # counts, charge of hits in electrons, sky sigma


def main() -> None:
    """Score all ways of searching and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--seed", type=int, default=100, help="of the first frame; settings were chosen on 0 to 7")
    parser.add_argument("--side", type=int, default=512, help="pixels")
    parser.add_argument(
        "--scatter", type=float, default=0.5, help="standard deviation of the colours of stars, magnitudes"
    )
    parser.add_argument("--model", default="general")
    options = parser.parse_args()
    masker = load(options.model, check=False)
    threshold = masker.threshold()

    def mono(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return masker.probability(image, mosaic=False)

    def one_sky(image: NDArray[np.float32]) -> NDArray[np.float32]:
        return mono(equalize_colour_skies(image, np.zeros(image.shape, bool)))

    searches: dict[str, tuple[bool, Callable[[NDArray[np.float32]], NDArray[np.float32]]]] = {
        "no mosaic": (False, mono),
        "as one image": (True, mono),
        "colours on one sky": (True, one_sky),
        "each colour by itself": (True, lambda image: apply_to_each_colour(mono, image)),
        "both (mosaic=True)": (True, lambda image: masker.probability(image, mosaic=True)),
    }
    totals: dict[str, Counter[str]] = {name: Counter() for name in searches}
    for seed in range(options.seed, options.seed + options.frames):
        for name, (colours, search) in searches.items():
            image, hits, sigma = frame(seed, options.side, options.scatter, colours)
            totals[name].update(score(search(image) >= threshold, hits, sigma))
    print(
        f"{options.frames} frames of {options.side} x {options.side} px, {masker.card.name}, threshold {threshold:g}\n"
    )
    print("| search | hits found | of | pixels found | of | false objects |\n|---|---:|---:|---:|---:|---:|")
    for name, one in totals.items():
        print(f"| {name} | {one['found']} | {one['hits']} | {one['marked']} | {one['pixels']} | {one['false']} |")


def frame(seed: int, side: int, scatter: float, colours: bool) -> Frame:
    """Simulate a frame with hits; without ``colours`` all pixels are behind the green filter."""
    rng = np.random.default_rng(seed)
    read_noise = rng.uniform(2, 5)
    ccd = CCD(
        shape=(side, side), pixel=rng.uniform(3, 7), thickness=rng.uniform(5, 20), diffusion_min=1.0, diffusion_max=2.0,
        gain=1.0, read_noise=read_noise, saturation=FULL_WELL, pixel_scale=1.0, substrate=0.0, dark_current=0.001,
    )  # fmt: skip
    sky = log_uniform((100, 3000), rng) * np.array([rng.uniform(0.5, 0.9), 1, rng.uniform(0.3, 0.7)])
    width = log_uniform((2.2, 5), rng)  # px
    planes = np.full((3, side, side), sky[:, None, None])
    for _ in range(int(log_uniform((30, 600), rng))):
        flux = 10 ** rng.uniform(2.5, 6.2) * 10 ** (0.4 * rng.normal((0, 0, -0.4), (scatter, 0, scatter)))
        _add_star(planes, *rng.uniform(0, side, 2), flux * (0.7, 1, 0.6), width)
    expected = planes[1].copy()
    if colours:
        expected[::2, ::2], expected[1::2, 1::2] = planes[0, ::2, ::2], planes[2, 1::2, 1::2]
    rng = np.random.default_rng([seed, 1])
    hits = np.zeros((side, side), np.float32)
    while np.count_nonzero(hits) < 600:
        hits += cosmic_rays(ccd, 600.0, rng)
    image = rng.poisson(np.minimum(expected, FULL_WELL)) + hits + rng.normal(0, read_noise, hits.shape)
    sigma = float(np.sqrt(np.median(expected) + read_noise**2))
    return np.minimum(np.rint(image), FULL_WELL).astype(np.float32), hits, sigma


def _add_star(planes: NDArray[np.float64], y: float, x: float, flux: NDArray[np.float64], width: float) -> None:
    """Add a Moffat star (beta 3) with a flux (3,) in three colours to planes (3, H, W), electrons."""
    core = width / 2 / np.sqrt(2 ** (1 / 3) - 1)
    rows, columns = (slice(max(int(at) - 60, 0), min(int(at) + 60, planes.shape[1])) for at in (y, x))
    down, across = np.arange(planes.shape[1])[rows, None] - y, np.arange(planes.shape[2])[columns] - x
    profile = 2 / (np.pi * core**2) * (1 + (down**2 + across**2) / core**2) ** -3.0
    planes[:, rows, columns] += flux[:, None, None] * profile


def score(mask: NDArray[np.bool_], hits: NDArray[np.float32], sigma: float) -> dict[str, int]:
    """Count hits, pixels and false objects of a mask (H, W), given the charge of the hits (H, W), electrons."""
    objects, number = ndimage.label(hits > 0, KERNEL_3X3)
    peaks = ndimage.maximum(hits, objects, range(1, number + 1))
    bright = [i + 1 for i, peak in enumerate(peaks) if peak > 8 * sigma]
    parts, made = ndimage.label(mask, KERNEL_3X3)
    touched = set(np.unique(parts[ndimage.binary_dilation(hits > 0, KERNEL_3X3)])) - {0}
    significant = hits > 5 * sigma
    return {
        "hits": len(bright),
        "found": sum(bool(mask[objects == i].any()) for i in bright),
        "pixels": int(significant.sum()),
        "marked": int((mask & significant).sum()),
        "false": made - len(touched),
    }


if __name__ == "__main__":
    main()
