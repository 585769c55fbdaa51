"""Check labels made by comparing exposures against the known charge of simulated ones, by class of telescope.

Run ``python scripts/check_labels.py``; it prints the table of docs/data.md. The convention of what is scored is that of
:class:`cosmicgate.data.labels.agreement.Agreement`.
"""

import argparse
import time

import numpy as np
from scipy import ndimage

from cosmicgate.data.clean import SQUARE
from cosmicgate.data.labels.agreement import Agreement, agreement
from cosmicgate.data.labels.comparison import Comparison
from cosmicgate.data.lco.triples import TELESCOPES, Triple, simulate_triple

HEADS = ("class", "hits", "of 1 or 2 px (%)", "recall (%)", "precision (%)", "hit px scored")
HEADS += ("on sources (%)", "single or hot (%)", "edges (%)", "s a sequence")


def sizes_of(triple: Triple) -> list[int]:
    """Return the pixels of each hit of all exposures."""
    labels = [ndimage.label(e.core, SQUARE)[0] for e in triple.exposures]
    return [int(n) for label in labels for n in np.bincount(label.ravel())[1:]]


def line(telescope: str, fields: int, side: int, rate: float, comparison: Comparison) -> list[str]:
    """Simulate fields of a class, label them, and return a line of the table."""
    total, sizes, seconds = Agreement(), [], 0.0
    for seed in range(fields):
        triple = simulate_triple(telescope, [seed, 17], (side, side), rate=rate)
        start = time.process_time()
        labels = comparison([e.exposure for e in triple.exposures])
        seconds += time.process_time() - start
        total += agreement(labels, triple)
        sizes += sizes_of(triple)
    scored = total.found + total.missed
    hit = scored + total.on_sources + total.too_small + total.elsewhere
    lost = (f"{100 * part / hit:.1f}" for part in (total.on_sources, total.too_small, total.elsewhere))
    small = f"{100 * np.mean(np.array(sizes) <= 2):.0f}"
    scores = f"{100 * total.recall:.1f}", f"{100 * total.precision:.1f}"
    return [telescope, str(len(sizes)), small, *scores, str(scored), *lost, f"{seconds / fields:.1f}"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=6, help="of each class")
    parser.add_argument("--side", type=int, default=768, help="pixels of a frame")
    parser.add_argument("--rate", type=float, default=20, help="particles, in units of nature's")
    parser.add_argument("--min-size", type=int, default=2, help="pixels of a hit, of the labels")
    parser.add_argument("--align", default="auto", choices=("auto", "wcs", "stars"))
    given = parser.parse_args()
    print("|", " | ".join(HEADS), "|")
    print("|---" + "|---:" * (len(HEADS) - 1) + "|")
    for telescope in TELESCOPES:
        comparison = Comparison(min_size=given.min_size, align=given.align)
        print("|", " | ".join(line(telescope, given.fields, given.side, given.rate, comparison)), "|", flush=True)


if __name__ == "__main__":
    main()
