"""One interface for all that finds hits: a frame in, logits or masks out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor

from cosmicgate.data.clean import dilate
from cosmicgate.data.fits.frames import Frame

NEVER = -30.0  # logit of a bad pixel


class Unavailable(ValueError):  # noqa: N818 (what is lacking is no mistake of anybody)
    """A detector that lacks something on this machine; the message says what to install or make."""


@dataclass(frozen=True)
class Detection:
    """What a detector says of one frame: logits, or a mask for each of its operating points.

    Attributes
    ----------
    logits : Tensor (H, W), float32, or None
        Of the probability that a pixel is hit.
    masks : mapping of float to ndarray (H, W), bool
        For a detector without scores: its setting (a sigclip, say) and the mask that it gives.
    """

    logits: Tensor | None = None
    masks: Mapping[float, NDArray[np.bool_]] = field(default_factory=dict)

    def grown(self, bad: NDArray[np.bool_]) -> "Detection":
        """Return it dilated by 3x3, without ``bad`` pixels (H, W).

        Each logit becomes the highest around it, which is the dilation of the mask at every threshold at once.
        """
        masks = {setting: dilate(mask) & ~bad for setting, mask in self.masks.items()}
        if self.logits is None:
            return Detection(masks=masks)
        highest = F.max_pool2d(self.logits[None, None], 3, stride=1, padding=1)[0, 0]
        return Detection(highest.masked_fill(self.logits <= NEVER, NEVER), masks)


class Detector(Protocol):
    """Finds the hits of a frame. Its own units, padding and threshold are its own affair.

    Attributes
    ----------
    title : str
        Its row in the tables.
    trained_on : str or None
        Data set and provenance; None for a detector that learns nothing.
    threshold : float
        The setting at which its F1, IoU, FDR and hits are counted: a probability, or a key of ``masks``.
    grow : bool
        Its masks are as thin as the hits: they are dilated where the truth is (:func:`seen`).
    identity : object
        Plain values that determine what it says of a frame: finished frames are kept under them.
    """

    @property
    def title(self) -> str:
        """Its row in the tables."""

    @property
    def trained_on(self) -> str | None:
        """Data set and provenance."""

    @property
    def threshold(self) -> float:
        """Where its mask is taken."""

    @property
    def grow(self) -> bool:
        """Whether its masks are dilated where the truth is."""

    @property
    def identity(self) -> Any:
        """What determines its answers."""

    def detect(self, frame: Frame) -> Detection:
        """Find the hits of a frame, which stays as it is."""


def seen(detector: Detector, frame: Frame, dilated: bool) -> Detection:
    """Return what a detector finds, grown by a pixel where that is its way and the truth is ``dilated``."""
    detection = detector.detect(frame)
    return detection.grown(frame.bad) if dilated and detector.grow else detection
