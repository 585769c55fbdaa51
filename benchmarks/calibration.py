"""Choose a threshold on some labelled frames and score it on others, also one for each image from the image itself.

    python evaluate.py data=real_lco0m4 detector=pretrained      # makes its labelled frames; data=real_arcsat likewise
    python benchmarks/calibration.py --set 'LCO 0.4 m' data/real_lco0m4/*/* --set ARCSAT data/real_arcsat/*/*

A set has a name and the folders of its labelled frames. The threshold with the highest F1 (hits, not pixels) is chosen
on each set, on all together, and on every second field of all. It is a fixed probability, or a logit relative to a
reference of each image: a quantile of the image's own logits, or (--mirror N) the logit at which its mirror image, with
all values mirrored at the sky, has N objects a megapixel, none of which is a hit.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from cosmicgate.extras import extra

with extra("train", __name__):
    from cosmicgate.data.cache import load_labelled
    from cosmicgate.data.pixel_labels import IGNORED, SKY
    from cosmicgate.evaluation.operating_points import objects_by_logit
    from cosmicgate.inference.predictor import Predictor
    from cosmicgate.masking.load import load
    from cosmicgate.metrics import BINS, bin_index
    from cosmicgate.metrics.counts import LOGIT_LIMIT

QUANTILE = 0.999  # of an image's logits, as its reference
ZERO = BINS // 2  # bin of the logit 0
FIXED = "fixed"  # kind of reference: the logit 0, the same for all images
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Counted:
    """Counts of a frame.

    Attributes
    ----------
    objects : ndarray (2, BINS), int64
        Hits found and false objects by logit.
    references : mapping of str to int
        Kind of reference -> bin of the frame's reference logit.
    """

    field: str
    pixels: int
    hits: int
    objects: Counts
    references: Mapping[str, int]


def main() -> None:
    """Count all frames and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", dest="sets", nargs="+", action="append", required=True, metavar=("NAME", "PATH"))
    parser.add_argument("--model", default="general")
    parser.add_argument("--every", type=int, default=1, help="use every Nth frame of a set")
    parser.add_argument("--mirror", type=int, nargs="*", default=[], help="objects a megapixel of the mirror images")
    options = parser.parse_args()
    masker = load(options.model, check=False)
    sets = {}
    for name, *paths in options.sets:
        folders = [Path(one) for one in paths[:: options.every]]
        sets[name] = [count(folder, masker.predictor, options.mirror) for folder in folders]
    for line in table(sets, masker.threshold()):
        print(line)


def count(folder: Path, predictor: Predictor, mirror: Sequence[int]) -> Counted:
    """Search a labelled frame and count its objects."""
    labelled = load_labelled(folder)
    image, truth, bad = np.array(labelled.image), np.array(labelled.truth), np.array(labelled.bad)
    bins = bin_index(logits := predictor.logits(image, bad)).numpy()
    references = {FIXED: ZERO, f"quantile {QUANTILE:g} of the image": int(np.quantile(bins[~bad], QUANTILE))}
    if mirror:
        opposite = predictor.logits(2 * np.median(image[~bad]) - image, bad)
        known = np.where(truth == IGNORED, np.uint8(IGNORED), np.uint8(SKY))
        false = np.cumsum(objects_by_logit(known, opposite)[1][::-1])[::-1]
        for number in mirror:
            over = np.flatnonzero(false > number * (truth != IGNORED).sum() / 1e6)
            references[f"mirror image, {number} objects/Mpx"] = int(over[-1]) if over.size else 0
    objects = objects_by_logit(truth, logits)
    name, pixels = str(labelled.facts.get("field", folder.name)), int((truth != IGNORED).sum())
    return Counted(name, pixels, int(objects[0].sum()), objects, references)


def table(sets: Mapping[str, Sequence[Counted]], default: float) -> Iterator[str]:
    """Choose and score thresholds; yield the lines of a table."""
    yield "| threshold | chosen on | value | " + " | ".join(f"{name}: hits, false hits/Mpx, F1" for name in sets) + " |"
    yield "|---|---|---:|" + "---|" * len(sets)
    every = [one for frames in sets.values() for one in frames]
    fields = sorted({(name, one.field) for name, frames in sets.items() for one in frames})
    half = [one for name, frames in sets.items() for one in frames if fields.index((name, one.field)) % 2 == 0]
    rest = {name: [one for one in frames if all(one is not other for other in half)] for name, frames in sets.items()}
    yield line(FIXED, "the model card", round(BINS * (logit(default) / LOGIT_LIMIT + 1) / 2), sets)
    for reference in every[0].references:
        for name, frames in sets.items():
            yield line(reference, name, best(frames, reference), sets)
        yield line(reference, "every second field, scored on the others", best(half, reference), rest)
        yield line(reference, "all, scored on the same frames", best(every, reference), sets)


def line(reference: str, chosen_on: str, value: int, sets: Mapping[str, Sequence[Counted]]) -> str:
    """Score a threshold for a line of the table; ``value`` is its bin when each image's reference is at ``ZERO``."""
    cells = []
    for frames in sets.values():
        found, false = (int(column[value]) for column in counts_above(frames, reference))
        hits, area = sum(one.hits for one in frames), sum(one.pixels for one in frames) / 1e6
        cells.append(f"{found} of {hits}, {false / area:.1f}, {f1(found, false, hits):.3f}" if area else "-")
    number = (value - ZERO) * 2 * LOGIT_LIMIT / BINS
    shown = f"{expit(number):.2g}" if reference == FIXED else f"{number:+.1f}"
    return " | ".join([f"| {reference}", chosen_on, shown, *cells]) + " |"


def best(frames: Sequence[Counted], reference: str) -> int:
    """Find the threshold with the highest F1; the middle one, if there are several."""
    found, false = counts_above(frames, reference)
    scores = f1(found, false, sum(one.hits for one in frames))
    return int(np.median(np.flatnonzero(scores == scores.max())))


def counts_above(frames: Sequence[Counted], reference: str) -> Counts:
    """Count hits found and false objects (2, BINS) at each threshold, relative to the reference of each image."""
    total = np.zeros((2, BINS), np.int64)
    for one in frames:
        relative = np.clip(np.arange(BINS) - one.references[reference] + ZERO, 0, BINS - 1)
        for row in (0, 1):
            total[row] += np.bincount(relative, one.objects[row], BINS).astype(np.int64)
    return np.cumsum(total[:, ::-1], axis=1)[:, ::-1]


def f1(found: Any, false: Any, hits: int) -> Any:
    """Compute F1 from numbers of hits found, of false objects and of hits."""
    return 2 * found / np.maximum(found + false + hits, 1)


if __name__ == "__main__":
    main()
