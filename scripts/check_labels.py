"""Compare the labels from several exposures of a field with the known hits of simulated ones, by telescope class.

Run ``python scripts/check_labels.py``; it prints the table of docs/data.md.
:class:`cosmicgate.data.labelling.agreement.Agreement` describes which pixels are scored.
"""

import argparse
import time

import numpy as np
from scipy import ndimage

from cosmicgate.extras import extra

with extra("label", __name__):
    from cosmicgate.data.labelling.agreement import Agreement, agreement
    from cosmicgate.data.labelling.multi_exposure import Comparison
    from cosmicgate.data.lco.simulation import TELESCOPES, Triple, simulate_triple
    from cosmicgate.data.pixel_labels import KERNEL_3X3

HEADS = ("class", "hits", "of 1 or 2 px (%)", "recall (%)", "precision (%)", "hit px scored")
HEADS += ("on sources (%)", "single or hot (%)", "edges (%)", "s a sequence")


def sizes_of(triple: Triple) -> list[int]:
    """Count the pixels of each hit in all exposures."""
    labels = [ndimage.label(e.core, KERNEL_3X3)[0] for e in triple.exposures]
    return [int(n) for label in labels for n in np.bincount(label.ravel())[1:]]


def table_row(telescope: str, fields: int, side: int, rate: float, comparison: Comparison) -> list[str]:
    """Simulate fields of a telescope class, label them, and format a line of the table."""
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
    """Print the table for all telescope classes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=6, help="number of fields of each class")
    parser.add_argument("--side", type=int, default=768, help="rows and columns of a frame, pixels")
    parser.add_argument("--rate", type=float, default=20, help="rate of particles, times the natural rate")
    parser.add_argument("--min-size", type=int, default=2, help="pixels of the smallest hit that is labelled")
    parser.add_argument("--align", default="auto", choices=("auto", "wcs", "stars"))
    options = parser.parse_args()
    print("|", " | ".join(HEADS), "|")
    print("|---" + "|---:" * (len(HEADS) - 1) + "|")
    for telescope in TELESCOPES:
        comparison = Comparison(min_size=options.min_size, align=options.align)
        print(
            "|",
            " | ".join(table_row(telescope, options.fields, options.side, options.rate, comparison)),
            "|",
            flush=True,
        )


if __name__ == "__main__":
    main()
