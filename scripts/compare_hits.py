"""Compare sizes, charges, shapes and number of simulated hits with those of real ones.

Run ``python scripts/compare_hits.py --real itl_cosmic_rays.fits.gz``, where the table is that of imSim
(data/cosmic_rays_itl_2017.fits.gz in https://github.com/LSSTDESC/imSim): the footprints of the hits in three dark
frames of 500 s of an LSST ITL sensor. It takes about a minute on one core.

Two simulations are compared: by default settings, with the pointings and the radiation of a telescope, and in the
conditions of a laboratory (``LABORATORY``), two of whose parameters were fitted by hand to the real hits.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage, stats

from cosmicgate.extras import extra

with extra("dev", __name__):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    from cosmicgate.data.pixel_labels import KERNEL_3X3
    from cosmicgate.data.simulation.ccd import DECAM, ITL
    from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
    from cosmicgate.data.simulation.itl_hits import (
        ITL_EXPTIME,
        LABORATORY,
        MIN_CHARGE,
        MIN_PIXELS,
        hit_features,
        simulate_hits,
    )
    from cosmicgate.data.sources.footprints import stamps
    from cosmicgate.report.figures.mask_figures import save_figure
    from cosmicgate.report.figures.realism import hits_figure

DECAM_EXPTIME, DECAM_SIGMAS, DECAM_MIN_PIXELS = 1200.0, 20.0, 2
DECAM_HITS = 682  # per CCD of a real dark (docs/simulation.md)
PERCENTILES = (5, 25, 50, 75, 90, 99)


def exposure_of(path: Path) -> float:
    """Compute the exposure (area times time) of the table of real hits, cm^2 min."""
    header = fits.getheader(path, 1)
    return float(header["NUM_PIX"] * (header["PIXSIZE"] * 1e-4) ** 2 * header["EXPTIME"] / 60)


def count_decam_hits(darks: int, rng: np.random.Generator) -> list[int]:
    """Simulate DECam darks and count the hits in each."""
    counts = []
    for _ in range(darks):
        image = cosmic_rays(DECAM, DECAM_EXPTIME, rng)
        image += DECAM.read_noise * rng.standard_normal(image.shape, np.float32)
        labels, _ = ndimage.label(image > DECAM_SIGMAS * DECAM.read_noise, KERNEL_3X3)
        counts.append(int((np.bincount(labels[labels > 0]) >= DECAM_MIN_PIXELS).sum()))
    return counts


def forest_auc(real: dict[str, NDArray[np.float64]], simulated: dict[str, NDArray[np.float64]], seed: int) -> float:
    """Compute the AUC of a random forest that separates real from simulated hits, by 5-fold cross-validation.

    0.5 means that they cannot be distinguished, 1 that they are always distinguished.
    """
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.concatenate([real[name], simulated[name]]) for name in real])
    is_real = np.arange(len(features)) < real["pixels"].size
    kept = np.concatenate([np.flatnonzero(is_real), rng.choice(np.flatnonzero(~is_real), is_real.sum(), replace=False)])
    forest = RandomForestClassifier(300, min_samples_leaf=5, random_state=seed)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    scores = cross_val_predict(forest, features[kept], is_real[kept], cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(is_real[kept], scores))


def report(tables: dict[str, dict[str, NDArray[np.float64]]]) -> str:
    """Format percentiles as a Markdown table, with Kolmogorov-Smirnov statistics against the real hits."""
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


def main() -> None:
    """Compare real and simulated hits; print the tables and write ``hits.md`` and ``hits_realism.png``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="imSim's table of cosmic rays (FITS)")
    parser.add_argument("--output", type=Path, default=Path("docs/figures"), help="folder for the figure and the text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=20, help="ITL dark frames of 500 s to simulate")
    parser.add_argument("--darks", type=int, default=40, help="DECam dark frames of 1200 s to simulate")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)

    real, real_exposure = list(stamps(arguments.real, MIN_PIXELS, MIN_CHARGE).values()), exposure_of(arguments.real)
    telescope, exposure = simulate_hits(arguments.frames, rng), arguments.frames * ITL.area * ITL_EXPTIME / 60
    laboratory = simulate_hits(arguments.frames, rng, **LABORATORY)
    counts = count_decam_hits(arguments.darks, rng)
    tables = {"real": hit_features(real), "default": hit_features(telescope), "laboratory": hit_features(laboratory)}
    auc = {kind: forest_auc(tables["real"], tables[kind], arguments.seed) for kind in ("default", "laboratory")}
    text = "\n\n".join(
        [
            f"Real: LSST ITL dark frames, 1500 s, {len(real)} hits with at least {MIN_PIXELS} px and {MIN_CHARGE:.0f} "
            f"e-. Simulated: {arguments.frames} dark frames of {ITL_EXPTIME:.0f} s of the same sensor, seed "
            f"{arguments.seed}: {len(telescope)} hits with default settings, and {len(laboratory)} in laboratory "
            f"conditions ({LABORATORY['zenith_angle']:.0f} degrees of tilt, {LABORATORY['rates'].charged} particles "
            f"from the sky and {LABORATORY['rates'].compton} Compton recoils per cm2 and minute, fitted to the real "
            "hits). "
            "Elongation: length over width of the footprint, from its moments. KS: two-sample Kolmogorov-Smirnov "
            "statistic against the real hits; p: the probability of a larger one if both samples have one "
            "distribution.",
            report(tables),
            "| | real | default | laboratory |\n|---|---:|---:|---:|\n"
            "| random forest that separates real from simulated, AUC (0.5: it cannot) | "
            f"| {auc['default']:.2f} | {auc['laboratory']:.2f} |\n"
            f"| ITL hits per cm2 and minute | {len(real) / real_exposure:.2f} | {len(telescope) / exposure:.2f} "
            f"| {len(laboratory) / exposure:.2f} |\n"
            f"| hits per DECam CCD in a {DECAM_EXPTIME:.0f} s dark, {DECAM_SIGMAS:.0f} sigma, >= {DECAM_MIN_PIXELS} px "
            f"| {DECAM_HITS} | {np.mean(counts):.0f} +- {np.std(counts, ddof=1):.0f} ({arguments.darks} darks) | |",
        ]
    )
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "hits.md").write_text(text + "\n", encoding="utf-8")
    save_figure(hits_figure({"real": real, "simulated": laboratory}, rng), arguments.output / "hits_realism.png")


if __name__ == "__main__":
    main()
