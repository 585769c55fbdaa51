"""Show how real the simulated hits are: their sizes, charges, shapes and number against real ones.

Run ``python scripts/compare_hits.py --real itl_cosmic_rays.fits.gz``, where the table is that of imSim
(data/cosmic_rays_itl_2017.fits.gz in https://github.com/LSSTDESC/imSim): the footprints of the hits in three dark
frames of 500 s of an LSST ITL sensor. It takes about a minute on one core.

The simulation is compared twice: as it comes, with the pointings and the radiation of a telescope, and in the
conditions of a laboratory (``LABORATORY``), whose two numbers were fitted by hand to the real hits.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage, stats
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from cosmicgate.data.simulate.ccd import DECAM, ITL
from cosmicgate.data.simulate.cosmic_rays import Rates, cosmic_rays

EIGHT_NEIGHBOURS = np.ones((3, 3), bool)
SEGMENTS = (2, 8)  # of the sensor, each 2000 x 509 px, read and searched on its own
ITL_EXPTIME = 500.0  # s: the table adds up three
ITL_THRESHOLDS = np.linspace(50, 56, 16)  # electrons, of the segments: where the table's pixel values set in
ITL_NOISE = float(ITL_THRESHOLDS.mean()) / 7  # electrons, dark current included: the table was made at 7 sigma
# A sensor that looks sideways from its test dewar meets fewer muons, at a slant; concrete walls give more gamma rays.
# The angle and the share of the Compton recoils are fitted, the muons then follow from the rate. It is one sensor, and
# calibrated: no scatter from frame to frame.
LABORATORY: dict[str, Any] = {
    "rates": Rates(muons=0.6, compton=2.5),
    "zenith_angle": 75.0,
    "rate_scatter": 0.0,
    "charge_scatter": 0.0,
    "diffusion_scatter": 0.0,
}
MIN_PIXELS, MIN_CHARGE = 3, 400  # smaller footprints are near the noise, or X-rays and hot pixels
DECAM_EXPTIME, DECAM_SIGMAS, DECAM_MIN_PIXELS = 1200.0, 20.0, 2
DECAM_HITS = 682  # in a real dark, per CCD: docs/simulation.md
PERCENTILES = (5, 25, 50, 75, 90, 99)
QUANTITIES = {"pixels": "pixels per hit", "charge": "charge per hit (e$^-$)", "elongation": "length / width"}
REAL_COLOUR, SIMULATED_COLOUR = "#0072B2", "#D55E00"  # blue and vermilion of Okabe & Ito


@dataclass(frozen=True, eq=False)
class Hit:
    """One footprint: ``rows`` and ``columns`` (N,) of its pixels, and their ``charge`` (N,) in electrons."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    charge: NDArray[np.float64]

    def stamp(self) -> NDArray[np.float64]:
        """Return the hit in its bounding box, electrons."""
        rows, columns = self.rows - self.rows.min(), self.columns - self.columns.min()
        image = np.zeros((rows.max() + 1, columns.max() + 1))
        image[rows, columns] = self.charge
        return image

    def features(self) -> dict[str, float]:
        """Return what is compared (the first three) and what the random forest may use (all)."""
        covariance = np.cov(self.rows, self.columns, bias=True) + np.eye(2) / 12  # a pixel's own width
        minor, major = np.sqrt(12 * np.linalg.eigvalsh(covariance))
        height, width = np.ptp(self.rows) + 1, np.ptp(self.columns) + 1
        total = float(self.charge.sum())
        return {
            "pixels": float(self.charge.size),
            "charge": total,
            "elongation": major / minor,
            "length": major,
            "width": minor,
            "filling": self.charge.size / (height * width),
            "peak": float(self.charge.max()),
            "faintest": float(self.charge.min()),
            "charge per length": total / major,
            "contrast": float(self.charge.std()) / total * self.charge.size,
        }


def wanted(hits: list[Hit]) -> list[Hit]:
    """Leave out the footprints that are too small to say anything."""
    return [hit for hit in hits if hit.charge.size >= MIN_PIXELS and hit.charge.sum() >= MIN_CHARGE]


def read_hits(path: Path) -> tuple[list[Hit], float]:
    """Read the table of spans (``fp_id, x0, y0, pixel_values``); return the hits and the exposure in cm^2 min."""
    spans: dict[int, list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]]] = {}
    with fits.open(path, memmap=False) as hdus:
        header = hdus[1].header
        for span in hdus[1].data:
            charge = np.asarray(span["pixel_values"], float)
            columns = int(span["x0"]) + np.arange(charge.size)
            spans.setdefault(int(span["fp_id"]), []).append((np.full(charge.size, int(span["y0"])), columns, charge))
        exposure = header["NUM_PIX"] * (header["PIXSIZE"] * 1e-4) ** 2 * header["EXPTIME"] / 60
    return wanted([Hit(*map(np.concatenate, zip(*parts, strict=True))) for parts in spans.values()]), exposure


def find_hits(image: NDArray[np.floating], threshold: float) -> list[Hit]:
    """Return the groups of touching pixels above ``threshold`` in ``image`` (both in electrons)."""
    labels, _ = ndimage.label(image > threshold, EIGHT_NEIGHBOURS)
    hits = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = np.nonzero(labels[box] == number)
        charge = image[box][rows, columns].astype(int).astype(float)  # the table's charges are cut to integers
        hits.append(Hit(rows + box[0].start, columns + box[1].start, charge))
    return hits


def simulate_hits(frames: int, rng: np.random.Generator, **conditions: Any) -> tuple[list[Hit], float]:
    """Simulate dark frames of the ITL sensor; return the hits and the exposure in cm^2 min."""
    hits = []
    for _ in range(frames):
        image = cosmic_rays(ITL, ITL_EXPTIME, rng, **conditions)
        image += ITL_NOISE * rng.standard_normal(image.shape, np.float32)
        halves = np.split(image, SEGMENTS[0], axis=0)
        segments = [segment for half in halves for segment in np.split(half, SEGMENTS[1], axis=1)]
        for segment, threshold in zip(segments, ITL_THRESHOLDS, strict=True):
            hits += find_hits(segment, threshold)
    return wanted(hits), frames * ITL.area * ITL_EXPTIME / 60


def count_decam_hits(darks: int, rng: np.random.Generator) -> list[int]:
    """Return the number of hits in each of some simulated DECam darks."""
    counts = []
    for _ in range(darks):
        image = cosmic_rays(DECAM, DECAM_EXPTIME, rng)
        image += DECAM.read_noise * rng.standard_normal(image.shape, np.float32)
        labels, _ = ndimage.label(image > DECAM_SIGMAS * DECAM.read_noise, EIGHT_NEIGHBOURS)
        counts.append(int((np.bincount(labels[labels > 0]) >= DECAM_MIN_PIXELS).sum()))
    return counts


def table(hits: list[Hit]) -> dict[str, NDArray[np.float64]]:
    """Return the features of all hits, an array (N,) each."""
    rows = [hit.features() for hit in hits]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def forest_auc(real: dict[str, NDArray[np.float64]], simulated: dict[str, NDArray[np.float64]], seed: int) -> float:
    """Return how well a random forest tells real from simulated: 0.5 not at all, 1 without fail (5-fold)."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.concatenate([real[name], simulated[name]]) for name in real])
    is_real = np.arange(len(features)) < real["pixels"].size
    kept = np.concatenate([np.flatnonzero(is_real), rng.choice(np.flatnonzero(~is_real), is_real.sum(), replace=False)])
    forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(forest, features[kept], is_real[kept], cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(is_real[kept], scores))


def report(tables: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """Return the percentiles as a Markdown table, with Kolmogorov-Smirnov statistics against the first, the real."""
    real = tables["real"]
    lines = [
        "| | " + " | ".join(f"{p} %" for p in PERCENTILES) + " | KS | p |",
        "|---|" + "---:|" * (len(PERCENTILES) + 2),
    ]
    for name, digits in (("pixels", 0), ("charge", 0), ("elongation", 2)):
        for kind, values in tables.items():
            cells = " | ".join(f"{v:.{digits}f}" for v in np.percentile(values[name], PERCENTILES))
            test = stats.ks_2samp(real[name], values[name])
            verdict = f"{test.statistic:.3f} | {test.pvalue:.1g}" if kind != "real" else "| "
            lines.append(f"| {name}{' (e-)' if name == 'charge' else ''}, {kind} | {cells} | {verdict} |")
    return "\n".join(lines)


def draw(real: list[Hit], simulated: list[Hit], path: Path, rng: np.random.Generator) -> None:
    """Draw histograms of the compared quantities, and a row each of real and of simulated hits, drawn at random."""
    columns, side = 14, 24
    figure = plt.figure(figsize=(11, 5.2), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.8, 1), squeeze=False)[:, 0]
    histograms = dict(zip(QUANTITIES, top.subplots(1, 3), strict=True))
    gallery = bottom.subplots(2, columns)
    samples = {"real": table(real), "simulated": table(simulated)}
    looks: dict[str, dict[str, Any]] = {
        "real": {"color": REAL_COLOUR, "alpha": 0.45},
        "simulated": {"color": SIMULATED_COLOUR, "histtype": "step", "linewidth": 2},
    }
    for name, title in QUANTITIES.items():
        low, high = np.percentile(np.concatenate([sample[name] for sample in samples.values()]), (0, 99.8))
        bins = np.geomspace(low, high, 25).tolist()
        for kind, sample in samples.items():
            weights = np.full(sample[name].size, 1 / sample[name].size)
            histograms[name].hist(
                sample[name], bins, weights=weights, label=f"{kind} ({sample[name].size})", **looks[kind]
            )
        histograms[name].set(xscale="log", xlabel=title)
    histograms["pixels"].set_ylabel("part of the hits")
    histograms["elongation"].legend(frameon=False)
    for row, hits in zip(gallery, (real, simulated), strict=True):
        small = [hit for hit in hits if max(hit.stamp().shape) <= side - 2 and hit.charge.size >= 6]
        for column, choice in enumerate(rng.choice(len(small), columns, replace=False)):
            panel, stamp = row[column], small[choice].stamp()
            low, left = ((side - length) // 2 for length in stamp.shape)
            frame = np.zeros((side, side))
            frame[low : low + stamp.shape[0], left : left + stamp.shape[1]] = stamp
            panel.imshow(np.arcsinh(frame / 100), cmap="cividis", vmin=0, vmax=np.arcsinh(60), origin="lower")
            panel.set(xticks=[], yticks=[])
    gallery[0, 0].set_ylabel("real")
    gallery[1, 0].set_ylabel("simulated")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """Compare, print and write ``hits.md`` and ``hits_realism.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="imSim's table of cosmic rays (FITS)")
    parser.add_argument("--output", type=Path, default=Path("docs/figures"), help="folder for the figure and the text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=20, help="ITL dark frames of 500 s to simulate")
    parser.add_argument("--darks", type=int, default=40, help="DECam dark frames of 1200 s to simulate")
    arguments = parser.parse_args()
    mpl.use("agg")
    rng = np.random.default_rng(arguments.seed)

    real, real_exposure = read_hits(arguments.real)
    shipped, exposure = simulate_hits(arguments.frames, rng)
    laboratory, _ = simulate_hits(arguments.frames, rng, **LABORATORY)
    counts = count_decam_hits(arguments.darks, rng)
    tables = {"real": table(real), "as shipped": table(shipped), "laboratory": table(laboratory)}
    auc = {kind: forest_auc(tables["real"], tables[kind], arguments.seed) for kind in ("as shipped", "laboratory")}
    text = "\n\n".join(
        [
            f"Real: LSST ITL dark frames, 1500 s, {len(real)} hits with at least {MIN_PIXELS} px and {MIN_CHARGE} e-. "
            f"Simulated: {arguments.frames} dark frames of {ITL_EXPTIME:.0f} s of the same sensor, seed "
            f"{arguments.seed}: {len(shipped)} hits as shipped, and {len(laboratory)} in laboratory conditions "
            f"({LABORATORY['zenith_angle']:.0f} degrees of tilt, {LABORATORY['rates'].muons} particles from the sky "
            f"and {LABORATORY['rates'].compton} Compton recoils per cm2 and minute, fitted to the real hits). "
            "Elongation: length over width of the footprint, from its moments. KS: two-sample Kolmogorov-Smirnov "
            "statistic against the real hits; p: the chance of a larger one if both were drawn alike.",
            report(tables),
            "| | real | as shipped | laboratory |\n|---|---:|---:|---:|\n"
            "| random forest that tells real from simulated, AUC (0.5: it cannot) | "
            f"| {auc['as shipped']:.2f} | {auc['laboratory']:.2f} |\n"
            f"| ITL hits per cm2 and minute | {len(real) / real_exposure:.2f} | {len(shipped) / exposure:.2f} "
            f"| {len(laboratory) / exposure:.2f} |\n"
            f"| hits per DECam CCD in a {DECAM_EXPTIME:.0f} s dark, {DECAM_SIGMAS:.0f} sigma, >= {DECAM_MIN_PIXELS} px "
            f"| {DECAM_HITS} | {np.mean(counts):.0f} +- {np.std(counts, ddof=1):.0f} ({arguments.darks} darks) | |",
        ]
    )
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "hits.md").write_text(text + "\n", encoding="utf-8")
    draw(real, laboratory, arguments.output / "hits_realism.png", rng)


if __name__ == "__main__":
    main()
