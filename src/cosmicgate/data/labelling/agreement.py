"""Measure the agreement between labels made by comparing exposures and the truth of a simulation."""

from dataclasses import dataclass, fields

import numpy as np

from cosmicgate.data.lco.io import (
    IGNORE_BOUNDARY,
    IGNORE_HOT,
    IGNORE_NO_DATA,
    IGNORE_SOURCE,
    IGNORE_TRAIL,
    MaskedSequence,
)
from cosmicgate.data.lco.simulation import Triple

FAINT_SIGMAS = 1.0  # sigma; a pixel with less charge counts as sky


@dataclass(frozen=True)
class Agreement:
    """Pixel counts of labels compared with the known charge; instances of several fields can be added.

    A pixel is scored where the labels' IGNORE is 0, that is, not on sources, edges, hot pixels or isolated outliers. It
    is a hit pixel if its charge exceeds three sigma of its own noise and it is not saturated; it is sky if its charge
    is at most one sigma. Pixels in between are neither.

    Attributes
    ----------
    found, missed : int
        Scored hit pixels that are labelled, and that are not.
    false : int
        Labelled sky pixels.
    on_sources, too_small, elsewhere : int
        Hit pixels that are not scored: on sources; on hot pixels, or in labels below the minimum size; on edges,
        without data, or on a supposed trail.
    """

    found: int = 0
    missed: int = 0
    false: int = 0
    on_sources: int = 0
    too_small: int = 0
    elsewhere: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    @property
    def recall(self) -> float:
        """Fraction of the scored hit pixels that are labelled."""
        return self.found / (self.found + self.missed) if self.found + self.missed else float("nan")

    @property
    def precision(self) -> float:
        """Fraction of the labelled pixels, hit or sky, that are hit pixels."""
        return self.found / (self.found + self.false) if self.found + self.false else float("nan")


def agreement(labels: MaskedSequence, truth: Triple) -> Agreement:
    """Compare the labels of a simulated field with its true charge."""
    total = Agreement()
    for exposure, hits, ignore in zip(truth.exposures, labels.hits, labels.ignore, strict=True):
        core = exposure.core
        sky = exposure.charge <= FAINT_SIGMAS * exposure.noise
        scored = ignore == 0
        source = (ignore & IGNORE_SOURCE) > 0
        outside = (ignore & (IGNORE_BOUNDARY | IGNORE_NO_DATA | IGNORE_TRAIL)) > 0
        small = ~source & ~outside & ((ignore & IGNORE_HOT) > 0)
        counts = [core & hits, core & scored & ~hits, sky & hits, core & source, core & small]
        counts.append(core & outside & ~source)
        total += Agreement(*(int(np.sum(count)) for count in counts))
    return total
