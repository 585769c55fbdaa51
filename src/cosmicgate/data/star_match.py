"""Check whether the stars of two aligned exposures coincide."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Positions = NDArray[np.float64]
RADIUS = 1.5  # pixels, maximum distance of two matching stars
MAX_RESIDUAL = 0.75  # pixels, maximum median distance; if it is larger, the flanks of stars look like hits
MIN_MATCHED_FRACTION = 0.5  # matched fraction of the exposure with fewer stars, from which no other shift is tried
MIN_PAIRS = 3
MIN_STARS = 6  # in each exposure: with fewer, a mismatch proves nothing
MAX_SHIFT = 200.0  # pixels, maximum shift that is tried
CHANCE = 4.0  # sigma by which the number of pairs must exceed that of chance coincidences


@dataclass(frozen=True)
class Match:
    """Result of matching the stars of two exposures.

    Attributes
    ----------
    pairs, inside : int
        Number of stars with a counterpart; number of stars in the area that both exposures cover.
    residual : float
        Median distance of matching stars, pixels; 0 if there are none.
    problem : str
        Reason why the exposures do not match; empty if they do, or if there are too few stars for a check.
    """

    pairs: int
    inside: int
    residual: float = 0.0
    problem: str = ""


def match(moved: Positions, stars: Positions, shape: tuple[int, ...]) -> Match:
    """Match the stars of two exposures, both given in the pixels of the second.

    Parameters
    ----------
    moved, stars : ndarray (N, 2), (M, 2)
        Positions x and y of the stars of the first and the second exposure, brightest first.
    shape : tuple of int
        Rows and columns of the exposures.
    """
    here = moved[np.isfinite(moved).all(axis=1)]
    here = here[((here >= 0) & (here < (shape[1], shape[0]))).all(axis=1)]
    if not len(here) or not len(stars):
        # An exposure without stars may still show the same sky.
        return Match(0, 0 if len(moved) >= MIN_STARS else 1)
    distances = _distances(here, stars, RADIUS)
    pairs, poorer = len(distances), min(len(here), len(stars))
    residual = float(np.median(distances)) if pairs else 0.0
    chance = len(here) * len(stars) * np.pi * RADIUS**2 / (shape[0] * shape[1])
    significant = pairs >= MIN_PAIRS and pairs > chance + CHANCE * np.sqrt(chance)
    if not (significant and pairs >= MIN_MATCHED_FRACTION * poorer):
        shift, better = best_shift(here, stars)
        far = float(np.hypot(*shift))
        least = max(MIN_PAIRS + 1, poorer / 4, 1.5 * pairs, chance + CHANCE * np.sqrt(chance))
        if far > MAX_RESIDUAL and (better >= least or (better == poorer and better > max(1, pairs))):
            problem = f"{better} of {poorer} bright stars lie {far:.1f} px from where they should be ({pairs} do not)"
            return Match(pairs, len(here), residual, problem)
        turned = best_shift(np.array(shape[::-1]) - 1 - here, stars)[1]  # as after a meridian flip
        if not significant and turned >= max(MIN_PAIRS, pairs + 1) and turned > poorer / 2:
            problem = f"{turned} of {poorer} bright stars lie where they should be after half a turn ({pairs} without)"
            return Match(pairs, len(here), residual, problem)
        if not significant and poorer >= MIN_STARS:
            problem = f"{pairs} of {poorer} bright stars lie where they should be"
            return Match(pairs, len(here), residual, problem)
    if significant and residual > MAX_RESIDUAL:
        problem = f"the median star lies {residual:.2f} px from where it should be, expected {MAX_RESIDUAL} at most"
        return Match(pairs, len(here), residual, problem)
    return Match(pairs if significant else 0, len(here), residual)


def best_shift(here: Positions, there: Positions) -> tuple[Positions, int]:
    """Find the shift (x, y) that matches most positions of ``here`` (N, 2) with ``there`` (M, 2), and their number."""
    steps = (there[None] - here[:, None]).reshape(-1, 2)
    steps = steps[np.hypot(*steps.T) < MAX_SHIFT]
    if not len(steps):
        return np.zeros(2), 0
    near = KDTree(steps).query_ball_point(steps, RADIUS, return_length=True)
    best = steps[int(np.argmax(near))]
    shift = np.median(steps[np.hypot(*(steps - best).T) < RADIUS], axis=0)
    return shift, len(_distances(here + shift, there, RADIUS))


def _distances(here: Positions, there: Positions, radius: float) -> Positions:
    """Compute the distances of matching positions; each of ``there`` is matched at most once, with the nearest."""
    distances, nearest = KDTree(there).query(here)
    order = np.argsort(distances)
    first = np.unique(nearest[order], return_index=True)[1]  # nearest counterpart only
    found = distances[order][first]
    return np.asarray(found[found < radius], np.float64)
