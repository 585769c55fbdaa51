"""The interface of all detectors: from a frame to logits or masks of cosmic-ray hits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from numpy.typing import NDArray
from torch import Tensor

from cosmicgate.data.background import dilate
from cosmicgate.inference.cascade import NO_HIT_LOGIT
from cosmicgate.io.fits.frames import Frame

Setting = float | Mapping[str, float]  # one value, or one per telescope, with "other" for all telescopes not listed


class MissingDependency(ValueError):  # noqa: N818 (something to install, not a mistake of the caller)
    """Error for a detector whose package or weights are missing; the message says what to install or make."""


@dataclass(frozen=True)
class Detection:
    """The result of a detector for one frame: logits, or a mask for each of its operating points.

    Attributes
    ----------
    logits : Tensor (H, W), float32, or None
        Logit of the probability that a pixel is hit.
    masks : mapping of float to ndarray (H, W), bool
        For a detector without logits, the mask at each of its settings (for example each sigclip).
    """

    logits: Tensor | None = None
    masks: Mapping[float, NDArray[np.bool_]] = field(default_factory=dict)

    def dilated(self, bad: NDArray[np.bool_]) -> "Detection":
        """Dilate the detection by 3x3 pixels; ``bad`` pixels (H, W) are left out of the masks.

        Each logit becomes the highest of its 3x3 pixels, which dilates the mask at every threshold at once.
        """
        masks = {setting: dilate(mask) & ~bad for setting, mask in self.masks.items()}
        if self.logits is None:
            return Detection(masks=masks)
        highest = F.max_pool2d(self.logits[None, None], 3, stride=1, padding=1)[0, 0]
        return Detection(highest.masked_fill(self.logits <= NO_HIT_LOGIT, NO_HIT_LOGIT), masks)


class Detector(Protocol):
    """Protocol of a detector, which finds the hits of a frame and handles units and padding itself.

    It may also have ``variant`` (str), ``seed`` (int) and ``weights`` (SHA-256), which distinguish its row in tables
    from others of the same model (:class:`cosmicgate.evaluation.records.DetectorRecord`).

    Attributes
    ----------
    model : str
        Name of the network or algorithm.
    trained_on : str or None
        Training data set and its data origin; None for a detector that is not trained.
    threshold : float or mapping of telescope to float
        Setting at which F1, IoU, FDR and hits are computed: a probability, or a key of ``masks``.
    dilate_masks : bool
        Whether its masks are as thin as the hits, so that they are dilated where the truth is
        (:func:`detect_for_truth`).
    cache_key : object
        Plain values that determine its results; results are cached under them.
    """

    @property
    def model(self) -> str:
        """Name of the network or algorithm."""

    @property
    def trained_on(self) -> str | None:
        """Training data set and its data origin."""

    @property
    def threshold(self) -> Setting:
        """Setting at which its mask is taken."""

    @property
    def dilate_masks(self) -> bool:
        """Whether its masks are dilated where the truth is."""

    @property
    def cache_key(self) -> Any:
        """Plain values that determine its results."""

    def detect(self, frame: Frame) -> Detection:
        """Find the hits of a frame, without modifying it."""


def for_telescope(setting: Setting, telescope: str, name: str) -> float:
    """Look up the value of the setting ``name`` for a telescope, or the value for "other" if it is not listed.

    Raises
    ------
    ValueError
        The setting has a value neither for the telescope nor for "other".
    """
    if not isinstance(setting, Mapping):
        return setting
    key = telescope if telescope in setting else "other"
    if key not in setting:
        raise ValueError(f"{name}: expected a value for {telescope!r} or for 'other', got {dict(setting)}")
    return setting[key]


def detect_for_truth(detector: Detector, frame: Frame, dilated: bool) -> Detection:
    """Run a detector on a frame; if the truth is ``dilated`` and the detector's masks are thin, dilate by a pixel."""
    detection = detector.detect(frame)
    return detection.dilated(frame.bad) if dilated and detector.dilate_masks else detection
