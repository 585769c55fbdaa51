"""How well labels made by comparison agree with what a simulation knows."""

from dataclasses import dataclass, fields

import numpy as np

from cosmicgate.data.lco.masked_fits import BOUNDARY, HOT, NO_DATA, SOURCE, MaskedSequence
from cosmicgate.data.lco.triples import Triple

FAINT_SIGMAS = 1.0  # less charge than that cannot be seen: the pixel is sky


@dataclass(frozen=True)
class Agreement:
    """Pixels of labels and of the known charge; add those of several fields.

    A pixel is scored where the labels' IGNORE is 0: on no source, edge, hot pixel, nor single pixel that stands out. It
    is hit if its charge exceeds three deviations of its own noise and it is not full; it is sky if its charge is at
    most one deviation. What lies between is neither.

    Attributes
    ----------
    found, missed : int
        Scored pixels that are hit, labelled and not.
    false : int
        Scored pixels that are sky and labelled.
    on_sources, too_small, elsewhere : int
        Hit, but not scored: on sources; hot, or in labels below the least size; on edges or without data.
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
        """Part of the scored hit pixels that is labelled."""
        return self.found / (self.found + self.missed) if self.found + self.missed else float("nan")

    @property
    def precision(self) -> float:
        """Part of the labelled pixels, hit or sky, that is hit."""
        return self.found / (self.found + self.false) if self.found + self.false else float("nan")


def agreement(labels: MaskedSequence, truth: Triple) -> Agreement:
    """Compare the labels of a simulated field with its charge."""
    total = Agreement()
    for exposure, hits, ignore in zip(truth.exposures, labels.hits, labels.ignore, strict=True):
        core = exposure.core
        sky = exposure.charge <= FAINT_SIGMAS * exposure.noise
        scored = ignore == 0
        source = (ignore & SOURCE) > 0
        outside = (ignore & (BOUNDARY | NO_DATA)) > 0
        small = ~source & ~outside & ((ignore & HOT) > 0)
        counts = [core & hits, core & scored & ~hits, sky & hits, core & source, core & small]
        counts.append(core & outside & ~source)
        total += Agreement(*(int(np.sum(count)) for count in counts))
    return total
