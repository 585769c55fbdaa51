"""Detectors without a network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import astroscrappy
import numpy as np

from cosmicgate.data.clean import dilate
from cosmicgate.data.frames import Frame
from cosmicgate.detectors import Detection

# The sweep of the paper: sigclip from 1 to 20, closer where the curve bends.
SIGCLIPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)


@dataclass(frozen=True)
class AstroScrappy:
    """Astro-SCRAPPY, the optimised L.A.Cosmic (van Dokkum 2001; McCully), at the paper's settings for DECam.

    Attributes
    ----------
    sigfrac, objlim : float
        Limits for the neighbours of a hit, and against the fine structure of stars.
    threshold : float
        The sigclip at which F1, IoU and FDR are taken.
    sweep : sequence of float
        The sigclips that trace its curves.
    grow : bool
        Dilate the masks by 3x3, as the truth is.
    niter : int
        Iterations at most.
    """

    sigfrac: float = 0.1
    objlim: float = 1.0
    threshold: float = 3.0
    sweep: Sequence[float] = SIGCLIPS
    grow: bool = True
    niter: int = 4
    title: str = "Astro-SCRAPPY"
    trained_on: str | None = None

    @property
    def identity(self) -> Any:
        """Its settings and the version of the library."""
        return ["astroscrappy", astroscrappy.__version__, {k: v for k, v in asdict(self).items() if k != "title"}]

    def detect(self, frame: Frame) -> Detection:
        """Return a mask for each sigclip."""
        points = sorted({float(s) for s in self.sweep} | {self.threshold})
        return Detection(masks={sigclip: self._mask(frame, sigclip) for sigclip in points})

    def _mask(self, frame: Frame, sigclip: float) -> Any:
        mask, _ = astroscrappy.detect_cosmics(
            np.ascontiguousarray(frame.image),
            inmask=frame.bad,
            gain=frame.gain,
            readnoise=frame.read_noise,
            satlevel=frame.saturation * frame.gain,
            sigclip=sigclip,
            sigfrac=self.sigfrac,
            objlim=self.objlim,
            niter=self.niter,
        )
        return dilate(mask) if self.grow else mask
