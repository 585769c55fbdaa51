"""Search an image for hits in a thread, and report progress to the page."""

import warnings
from dataclasses import dataclass, field
from threading import Event
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.masker import CosmicRayMasker
from cosmicgate.masking.read_images import FitsImage
from cosmicgate.pretrained.domain_check import ImageWarning
from cosmicgate.viewer.candidates import Candidates, candidates


class Cancelled(Exception):  # noqa: N818 (no error)
    """The search was stopped by the user."""


@dataclass(eq=False)
class Search:
    """Search for the hits of an image, in a thread of its own.

    Attributes
    ----------
    state : {"running", "done", "failed", "cancelled"}
        What has become of it.
    fraction : float
        Fraction of the image that was searched.
    message : str
        Error, or warnings about the image, in sentences.
    found : Candidates, optional
        Result.
    """

    state: Literal["running", "done", "failed", "cancelled"] = "running"
    fraction: float = 0.0
    message: str = ""
    found: Candidates | None = None
    stop: Event = field(default_factory=Event)

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can hold."""
        about = {"state": self.state, "fraction": round(self.fraction, 3), "message": self.message}
        return about | {"candidates": self.found.to_json() if self.found else None}

    def run(
        self,
        fits: FitsImage,
        masker: CosmicRayMasker,
        kept: tuple[NDArray[np.float32], str] | None = None,
        threshold: float | None = None,
    ) -> None:
        """Compute the probability of each pixel of an image, and list the candidates.

        Parameters
        ----------
        fits : FitsImage
            Image.
        masker : CosmicRayMasker
            Detector.
        kept : tuple of ndarray (H, W) and str, optional
            Probabilities by this detector that a file has, and the name of the file: nothing is computed then.
        threshold : float, optional
            Threshold of the mask by this detector that a file has.
        """
        size = fits.image.size
        done = 0

        def count(_module: Any, _given: Any, logits: Any) -> None:
            nonlocal done
            done += logits.shape[-2] * logits.shape[-1]
            self.fraction = min(done / size, 0.99)
            if self.stop.is_set():
                raise Cancelled

        head = getattr(masker.network, "head", None)
        hook = head.register_forward_hook(count) if head is not None else None
        try:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", ImageWarning)
                if kept is None:
                    mosaic, note = find_mosaic_card(fits.extension.headers, fits.image, fits.bad)
                    probability = masker.probability(fits.image, fits.bad, bool(mosaic))
                else:
                    probability, note = np.where(fits.bad, np.float32(0), kept[0]), f"Probabilities from {kept[1]}"
            self.message = ". ".join([*(str(one.message) for one in caught), *[note] * bool(note)])
            self.found = candidates(probability, fits.image, fits.bad, masker.card, threshold)
            self.fraction, self.state = 1.0, "done"
        except Cancelled:
            self.state = "cancelled"
        finally:
            if hook is not None:
                hook.remove()
