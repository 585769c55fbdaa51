"""Compare the photometry after hits are replaced by each method of ``cosmicgate.clean``, on the same stars and hits.

    python benchmarks/cleaning.py                     # two minutes; the tables of docs/masking.md
    python benchmarks/cleaning.py --scenes 200 --rounds 20

Stars (Moffat profiles, beta 3), galaxies (exponential discs) and empty sky, with photon and read noise, are measured
in an aperture before and after the pixels of a hit are replaced. Only the shape of the hit matters, not its charge:
shapes are those of simulated hits of a thick CCD (DECam) and a thin one (LCO's Sinistro) above half the noise; with
"grow 1" one pixel wider. All methods are applied to the same scenes. The table has the flux error due to the
replacement: the 68th percentile of its absolute value and, in brackets, its median (bias), in per cent of the flux; on
empty sky in units of the noise of the aperture.
"""

import argparse
import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, find_objects, label

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.extras import extra

with extra("simulate", __name__):
    from cosmicgate.data.simulation.ccd import CCD, DECAM, SINISTRO
    from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
    from cosmicgate.masking.inpainting import Method, clean

SIDE = 48  # side of a scene, pixels
MAX_LENGTH = 31  # pixels; longer hits are cropped
SKY, READ_NOISE = 200.0, 7.0  # electrons per pixel
NOISE = (SKY + READ_NOISE**2) ** 0.5
OVERSAMPLING = 5
METHODS: tuple[Method, ...] = get_args(Method)
MOFFAT_BETA = 3.0  # exponent of the stars' profile
HALF_LIGHT = 1.678  # half-light radius of an exponential disc, in scale lengths
Shapes = list[NDArray[np.bool_]]


@dataclass(frozen=True)
class Case:
    """Describe a row of the table.

    Attributes
    ----------
    source : {"star", "galaxy", "sky"}
        Source in the aperture.
    place : {"anywhere", "flank", "core"}
        Position of the hit in the aperture: random; covering no pixel within half a FWHM of the centre; covering one
        of these pixels.
    fwhm : float
        FWHM of the star, or half-light diameter of the galaxy, pixels. The aperture's radius is 1.5 times this value.
    snr : float
        Signal-to-noise ratio in the aperture, without the hit.
    """

    source: Literal["star", "galaxy", "sky"]
    place: Literal["anywhere", "flank", "core"]
    fwhm: float
    snr: float = 100.0


CASES = [
    *(Case("star", place, fwhm) for place in ("flank", "core", "anywhere") for fwhm in (1.5, 2.0, 3.0, 4.0)),
    Case("star", "flank", 2.0, snr=10.0),
    Case("galaxy", "anywhere", 8.0),
    Case("sky", "anywhere", 3.0, snr=0.0),
]


def hit_shapes(ccd: CCD, rng: np.random.Generator) -> Shapes:
    """Simulate hits of a CCD and cut out their masks."""
    charge = cosmic_rays(replace(ccd, shape=(2048, 2048)), 300.0, rng)
    labels, _ = label(charge > NOISE / 2, KERNEL_3X3)
    boxes = enumerate(find_objects(labels), start=1)
    shapes = [(labels[box] == number)[:MAX_LENGTH, :MAX_LENGTH] for number, box in boxes]
    return [shape for shape in shapes if shape.any()]


@lru_cache(maxsize=64)
def draw_source(source: str, fwhm: float, row: int, column: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Draw a source of flux 1; return its image and each pixel's distance from its centre, both (SIDE, SIDE).

    ``row`` and ``column`` shift the centre by fifths of a pixel.
    """
    middle = (SIDE - 1) / 2 + np.array([row, column]) / OVERSAMPLING
    fine = (np.arange(SIDE * OVERSAMPLING) + 0.5) / OVERSAMPLING - 0.5
    distance = np.hypot(fine[:, None] - middle[0], fine - middle[1])
    if source == "galaxy":
        values = np.exp(-HALF_LIGHT * np.hypot(distance, 1.0) / (fwhm / 2))  # softened by 1 px, as by seeing
    else:
        values = (1 + (2 * distance / fwhm) ** 2 * (2 ** (1 / MOFFAT_BETA) - 1)) ** -MOFFAT_BETA
    pixels = values.reshape(SIDE, OVERSAMPLING, SIDE, OVERSAMPLING).sum(axis=(1, 3))
    coarse = np.arange(SIDE)
    return pixels / pixels.sum(), np.hypot(coarse[:, None] - middle[0], coarse - middle[1])


def place_hit(
    shape: NDArray[np.bool_], case: Case, distance: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Draw the mask (SIDE, SIDE) of a hit at a random position allowed by the case; empty if none is found."""
    aperture = distance < 1.5 * case.fwhm
    core = distance <= max(case.fwhm / 2, distance.min())
    targets = np.argwhere({"anywhere": aperture, "flank": aperture & ~core, "core": core}[case.place])
    own = np.argwhere(shape)
    for _ in range(50):
        at = own + targets[rng.integers(len(targets))] - own[rng.integers(len(own))]
        at = at[((at >= 0) & (at < SIDE)).all(axis=1)]
        if case.place != "flank" or not core[tuple(at.T)].any():
            mask = np.zeros((SIDE, SIDE), bool)
            mask[tuple(at.T)] = True
            return mask
    return np.zeros((SIDE, SIDE), bool)


def flux_errors(case: Case, shapes: Shapes, scenes: int, rng: np.random.Generator) -> dict[Method, NDArray[np.float64]]:
    """Measure the flux error (scenes,) of each method, in per cent of the flux or, for sky, in units of the noise."""
    images, masks, apertures, units = [], [], [], []
    while len(images) < scenes:
        source, distance = draw_source(case.source, case.fwhm, *rng.integers(-2, 3, 2).tolist())
        mask = place_hit(shapes[rng.integers(len(shapes))], case, distance, rng)
        if not mask.any():
            continue
        aperture = distance < 1.5 * case.fwhm
        inside, variance, wanted = source[aperture].sum(), aperture.sum() * NOISE**2, case.snr**2
        flux = (wanted + (wanted**2 + 4 * wanted * variance) ** 0.5) / 2 / inside if wanted else 0.0
        images.append(rng.poisson(SKY + flux * source) + rng.normal(0, READ_NOISE, source.shape))
        masks.append(mask)
        apertures.append(aperture)
        units.append(flux * inside / 100 if wanted else variance**0.5)
    image, mask, weight = (np.stack(part) for part in (images, masks, apertures))
    found = {}
    for method in METHODS:
        cleaned = clean(image.reshape(-1, SIDE), mask.reshape(-1, SIDE), method).reshape(image.shape)
        found[method] = ((cleaned - image) * weight).sum(axis=(1, 2)) / np.array(units)
    return found


def spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the 68th percentile of absolute values over the last axis."""
    return np.asarray(np.quantile(np.abs(values), 0.6827, axis=-1))


def ratio(found: dict[Method, NDArray[np.float64]], rounds: int, rng: np.random.Generator) -> str:
    """Format the ratio of the errors of maskfill to those of the median, with its 95 % interval by bootstrap."""
    pair = np.stack([found["maskfill"], found["median"]])
    scenes = pair.shape[1]
    ratios = [np.divide(*spread(pair[:, rng.integers(scenes, size=scenes)])) for _ in range(rounds)]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return f"{np.divide(*spread(pair)):.2f} ({low:.2f}-{high:.2f})"


def seconds(method: Method, rng: np.random.Generator) -> float:
    """Time a method on a frame of 2048 x 2048 px with 8000 hits of 3x3 px."""
    image = rng.normal(SKY, NOISE, (2048, 2048)).astype(np.float32)
    mask = binary_dilation(rng.random(image.shape) < 0.002, KERNEL_3X3)
    start = time.perf_counter()
    clean(image, mask, method)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print the errors of each method, the ratio of maskfill to the median, and the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=2000, help="number of scenes for each case, CCD and mask width")
    parser.add_argument("--rounds", type=int, default=500, help="number of bootstrap samples")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    thin = {"thick": hit_shapes(DECAM, rng), "thin": hit_shapes(SINISTRO, rng)}
    wide = {ccd: [binary_dilation(np.pad(one, 1), KERNEL_3X3) for one in shapes] for ccd, shapes in thin.items()}
    kinds = {f"{ccd}, grow {grow}": shapes[ccd] for ccd in thin for grow, shapes in enumerate((thin, wide))}
    errors = {(kind, case): flux_errors(case, kinds[kind], options.scenes, rng) for kind in kinds for case in CASES}
    head = "| CCD, mask | source, hit | FWHM (px) | S/N |"
    print(f"{head} {' | '.join(METHODS)} |\n|---|---|---:|---:|{'---:|' * len(METHODS)}")
    for (kind, case), found in errors.items():
        cells = " | ".join(f"{spread(one):.3g} ({np.median(one):+.2g})" for one in found.values())
        print(f"| {kind} | {case.source}, {case.place} | {case.fwhm:g} | {case.snr:g} | {cells} |")
    print("\nErrors by maskfill / errors by the median (95 % interval)\n")
    print(f"| source, hit | FWHM (px) | S/N | {' | '.join(kinds)} |\n|---|---:|---:|{'---:|' * len(kinds)}")
    for case in CASES:
        cells = " | ".join(ratio(errors[kind, case], options.rounds, rng) for kind in kinds)
        print(f"| {case.source}, {case.place} | {case.fwhm:g} | {case.snr:g} | {cells} |")
    print("\n| method | seconds per frame |\n|---|---:|")
    for method in METHODS:
        print(f"| {method} | {seconds(method, np.random.default_rng(0)):.2f} |")


if __name__ == "__main__":
    main()
