"""List the pixels that may be hit, and how far they stand out from the sky."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cosmicgate.data.bad_pixels import interpolate_bad_pixels
from cosmicgate.inference.background_grid import BackgroundGrid
from cosmicgate.models.normalization import asinh_unstretch
from cosmicgate.pretrained.card import ModelCard
from cosmicgate.viewer.runs import to_text

MIN_PROBABILITY = 0.01  # minimum probability of a candidate, unless lower thresholds are of interest
MAX_CANDIDATES = 4_000_000  # maximum number of candidates: pixels


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pixels whose probability is not small.

    Attributes
    ----------
    index : ndarray (N,), uint32
        Pixels, counted along the rows from the first row, ascending.
    probability : ndarray (N,), float32
        Probability that the pixel is hit.
    excess : ndarray (N,), float32
        Excess over the sky, in sigma of the sky.
    floor : float
        Probability from which pixels are listed.
    """

    index: NDArray[np.uint32]
    probability: NDArray[np.float32]
    excess: NDArray[np.float32]
    floor: float

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can hold."""
        arrays = {key: to_text(getattr(self, key)) for key in ("index", "probability", "excess")}
        return arrays | {"floor": self.floor}


def candidates(
    probability: NDArray[np.float32],
    image: NDArray[np.float32],
    bad: NDArray[np.bool_],
    card: ModelCard,
    threshold: float | None = None,
) -> Candidates:
    """List the pixels that are hits at some threshold of interest.

    Parameters
    ----------
    probability : ndarray (H, W), float32
        Probability of each pixel.
    image, bad : ndarray (H, W)
        Counts, and pixels that were not searched (bool).
    card : ModelCard
        Card of the network, whose thresholds for false-positive rates can all be chosen.
    threshold : float, optional
        Threshold of the mask that is shown first; None: that of the card.
    """
    first = card.threshold if threshold is None else threshold
    floor = min([MIN_PROBABILITY, card.threshold, first, *(threshold for _, threshold in card.calibration)])
    number = np.count_nonzero(probability >= floor)
    if number > MAX_CANDIDATES:
        floor = float(np.nextafter(np.partition(probability.ravel(), -MAX_CANDIDATES)[-MAX_CANDIDATES], np.float32(1)))
    index = np.flatnonzero(probability >= floor).astype(np.uint32)
    excess = excess_in_sigma(image, bad).ravel()[index]
    return Candidates(index, probability.ravel()[index], excess, floor)


def excess_in_sigma(image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Compute the excess (H, W) of each pixel over the sky in sigma of the sky, both as the networks measure them."""
    filled, bad = interpolate_bad_pixels(image, bad)
    values, bad_tensor = torch.from_numpy(filled), torch.from_numpy(bad)
    return np.asarray(asinh_unstretch(BackgroundGrid.of(values, bad_tensor).scaled(values)).numpy(), np.float32)
