"""Show where the check for images unlike the training warns, and how good the masks are there.

    python evaluate.py data=real_lco0m4 detector=pretrained       # makes its labelled frames; others likewise
    python benchmarks/domain_check.py --set 'LCO 0.4 m' data/real_lco0m4/*/* --set M13 data/real/m13/M13_*.fits.fz

A set has a name and paths: folders of labelled frames, which are also scored after they were made bad on purpose, or
FITS files, of whose hits nothing is known. The whole frame is checked, its middle masked and scored.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage

from cosmicgate.extras import extra

with extra("train", __name__):
    import torch

    from cosmicgate.data.bad_pixels import interpolate_bad_pixels
    from cosmicgate.data.cache import load_labelled
    from cosmicgate.data.pixel_labels import CORE, IGNORED, RING, SKY
    from cosmicgate.evaluation.hits import match_hits
    from cosmicgate.masking.load import load
    from cosmicgate.masking.masker import CosmicRayMasker
    from cosmicgate.masking.read_images import read_images
    from cosmicgate.metrics import Curves, LogitHistogram
    from cosmicgate.models.normalization import level_and_noise
    from cosmicgate.pretrained.domain_check import (
        FEATURES,
        NEVER_IN_TRAINING,
        OutOfDomainWarning,
        domain_features,
        warn_if_out_of_domain,
    )

Image, Truth, Mask = NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]
Frame = tuple[Image, Truth]
ABOUT = FEATURES | {name: text.split(" (")[0] for name, (_, text) in NEVER_IN_TRAINING.items()}  # how warnings begin
RATE = 1e-4  # false-positive rate at which masks are compared
TRAIL, BINS = 12, 3  # pixels


def main() -> None:
    """Check and score all sets and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="sets", nargs="+", action="append", required=True, metavar=("NAME", "PATH"))
    parser.add_argument("--model", default="general")
    parser.add_argument("--every", type=int, default=1, help="use every Nth frame of a set")
    parser.add_argument("--side", type=int, default=512, help="pixels of a frame's middle that are masked")
    options = parser.parse_args()
    masker = load(options.model, check=False)
    print(f"{masker.card.name}, threshold {masker.threshold():g}\n")
    print("| set | change | frames | warned | for | hits found | false hits/Mpx | TPR at 0.01 % |")
    print("|---|---|---:|---:|---|---:|---:|---:|")
    for name, *paths in options.sets:
        chosen = [Path(one) for one in paths[:: options.every]]
        for change, make in CHANGES.items():
            if change == "none" or chosen[0].is_dir():
                read = (one for path in chosen for one in frames(path))
                scores = scored([(*make(image, truth), bad) for image, truth, bad in read], masker, options.side)
                print(" | ".join([f"| {name}", change, *scores]) + " |", flush=True)


def frames(path: Path) -> Iterator[tuple[Image, Truth, Mask]]:
    """Read image, truth and bad pixels of a labelled frame, or of the images of a FITS file; the image has no gaps."""
    if path.is_dir():
        one = load_labelled(path)
        image, bad = interpolate_bad_pixels(np.asarray(one.image), np.asarray(one.bad))
        yield image, np.where(bad, np.uint8(IGNORED), one.truth), bad
    else:
        for found in read_images(path):
            image, bad = interpolate_bad_pixels(found.image, found.bad)
            yield image, np.full(image.shape, IGNORED, np.uint8), bad


def scored(images: Sequence[tuple[Image, Truth, Mask]], masker: CosmicRayMasker, side: int) -> list[str]:
    """Check and score the frames of a set, for a row of the table."""
    reasons: list[set[str]] = []
    histogram, hits, found, false, pixels = LogitHistogram(), 0, 0, 0, 0
    for image, truth, bad in images:
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always", OutOfDomainWarning)
            known = bad if bad.shape == image.shape else np.zeros(image.shape, bool)
            features = domain_features(image, known)
            texts = warn_if_out_of_domain(features, masker.card.ranges)
        reasons.append({name for name, about in ABOUT.items() for text in texts if text.startswith(about)})
        if (truth == IGNORED).all():
            continue
        middle = tuple(slice(max((n - side) // 2, 0), max((n - side) // 2, 0) + side) for n in image.shape)
        logits = masker.predictor.logits(image[middle])
        histogram.update(logits, torch.from_numpy(np.ascontiguousarray(truth[middle])))
        table = match_hits(truth[middle], logits.sigmoid().numpy() >= masker.threshold())
        hits, found, false = hits + len(table.found), found + int(table.found.sum()), false + table.false_hits
        pixels += int((truth[middle] != IGNORED).sum())
    warned = sum(bool(one) for one in reasons)
    why = ", ".join(sorted(set().union(*reasons))) or "-"
    scores = ["-"] * 3
    if pixels:
        tpr = Curves.from_counts(histogram.counts, "core").tpr_at_fpr(RATE) if hits else np.nan
        scores = [f"{found} of {hits}", f"{1e6 * false / pixels:.1f}", f"{100 * tpr:.1f}" if np.isfinite(tpr) else "-"]
    return [str(len(images)), str(warned), why, *scores]


def spread(truth: NDArray[np.uint8]) -> Truth:
    """Combine the truth (H, W, N) of the N pixels whose light is in one: a hit, if any of them is hit."""
    combined = np.full(truth.shape[:-1], SKY, np.uint8)
    for code in (RING, IGNORED, CORE):  # the last one prevails
        combined[(truth == code).any(axis=-1)] = code
    return combined


def resampled(image: Image, truth: Truth) -> Frame:
    """Shift by half a pixel in both directions, by linear interpolation."""
    light, labels = (sliding_window_view(one, (2, 2)).reshape(*(n - 1 for n in one.shape), 4) for one in (image, truth))
    return light.mean(axis=-1), spread(labels)


def sharpened(image: Image, truth: Truth) -> Frame:
    """Add the difference from an image that is smoothed by 1 px."""
    return 2 * image - ndimage.gaussian_filter(image, 1), truth


def binned(image: Image, truth: Truth) -> Frame:
    """Add up blocks of pixels, so that stars are undersampled."""
    rows, columns = (length // BINS for length in image.shape)
    parts = (one[: rows * BINS, : columns * BINS].reshape(rows, BINS, columns, BINS) for one in (image, truth))
    light, labels = (one.swapaxes(1, 2).reshape(rows, columns, -1) for one in parts)
    return light.sum(axis=-1), spread(labels)


def trailed(image: Image, truth: Truth) -> Frame:
    """Trail the stars along the rows; noise and hits stay as they were. Pixels beside ignored ones are ignored."""
    hit = (truth == CORE) | (truth == RING)
    sky = interpolate_bad_pixels(image, hit)[0]
    noise = float(level_and_noise(torch.from_numpy(sky.reshape(1, -1)))[1])
    rng = np.random.default_rng(0)
    light = ndimage.uniform_filter1d(sky, TRAIL, axis=1) + rng.normal(0, noise, sky.shape)
    unknown = ndimage.binary_dilation(truth == IGNORED, np.ones((1, TRAIL + 1))) & ~hit
    return (light + image - sky).astype(np.float32), np.where(unknown, np.uint8(IGNORED), truth)


CHANGES: dict[str, Callable[[Image, Truth], Frame]] = {
    "none": lambda image, truth: (image, truth),
    "resampled by half a pixel": resampled,
    "sharpened": sharpened,
    f"binned {BINS}x{BINS}, undersampled": binned,
    f"stars trailed by {TRAIL} px": trailed,
    "another unit (0.001)": lambda image, truth: (image / np.float32(1000), truth),
}

if __name__ == "__main__":
    main()
