"""Detectors without a network: L.A.Cosmic (van Dokkum 2001) as two packages have it.

Each point of a sweep is a call of its own. Neither package lets go of anything between the image and the mask, and
from its second iteration on every sigclip works on an image of its own, in which its own hits have been replaced:
only the first of four iterations could be shared, which is a quarter of Astro-SCRAPPY's time and a seventh of
lacosmic's. What is made once for a frame is what stands before it: the image as the package wants it, bad pixels,
saturated stars.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import astroscrappy
import numpy as np
from astropy import log
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, median_filter
from tqdm.auto import tqdm

from cosmicgate.data.fits.frames import Frame
from cosmicgate.detectors import Detection
from cosmicgate.detectors.inputs import installed, usable

# The sweep of the paper: sigclip from 1 to 20, closer where the curve bends.
SIGCLIPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0)
OBJLIM = {"decam": 1.0, "0m4": 0.5, "1m0": 2.0, "2m0": 2.0, "other": 1.0}

Mask = NDArray[np.bool_]
Setting = float | Mapping[str, float]  # one for all, or one for each telescope and, under "other", for the rest


@dataclass(frozen=True)
class LACosmicFamily(ABC):
    """What both packages have in common, at the paper's settings.

    Attributes
    ----------
    objlim, sigfrac : float, or mapping of telescope to float
        Limits against the fine structure of stars, and for the neighbours of a hit (a part of sigclip).
    threshold : float
        The sigclip at which F1, IoU and FDR are taken.
    sweep : sequence of float
        The sigclips that trace its curves.
    grow : bool
        Its masks are dilated by 3x3 where the truth is.
    niter : int
        Iterations at most.
    """

    objlim: Setting = field(default_factory=lambda: dict(OBJLIM))
    sigfrac: Setting = 0.1
    threshold: float = 3.0
    sweep: Sequence[float] = SIGCLIPS
    grow: bool = True
    niter: int = 4
    title: str = ""
    trained_on: str | None = None
    package: ClassVar[str]

    def __post_init__(self) -> None:
        installed(self.package, self.title)
        for name in ("objlim", "sigfrac", "threshold", "sweep", "niter"):
            value = getattr(self, name)
            values = list(value.values()) if isinstance(value, Mapping) else np.ravel(value).tolist()
            if wrong := [v for v in values if not v > 0]:
                raise ValueError(f"{self.title}: {name} is {wrong[0]}, expected a number above 0")

    @property
    def identity(self) -> Any:
        """Its settings and the version of the library."""
        settings = {key: value for key, value in asdict(self).items() if key not in ("title", "trained_on")}
        return [self.package, installed(self.package, self.title), settings]

    def detect(self, frame: Frame) -> Detection:
        """Return a mask for each sigclip; no bad pixel is in it."""
        find, bad = self._finder(frame)
        points = sorted({float(sigclip) for sigclip in self.sweep} | {float(self.threshold)})
        progress = tqdm(points, desc=f"{self.title}, sigclip", unit="point", leave=False, delay=2)
        return Detection(masks={sigclip: find(sigclip) & ~bad for sigclip in progress})

    def _settings(self, telescope: str) -> tuple[float, float]:
        return chosen(self.objlim, telescope, "objlim"), chosen(self.sigfrac, telescope, "sigfrac")

    @abstractmethod
    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        """Return what gives a mask (H, W) for a sigclip, and the bad pixels (H, W)."""


@dataclass(frozen=True)
class AstroScrappy(LACosmicFamily):
    """Astro-SCRAPPY, the optimised L.A.Cosmic (McCully). It finds saturated stars by itself and leaves them out."""

    title: str = "Astro-SCRAPPY"
    package: ClassVar[str] = "astroscrappy"

    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        image, bad = usable(frame.image, frame.bad)
        objlim, sigfrac = self._settings(frame.telescope)

        def find(sigclip: float) -> Mask:
            mask, _ = astroscrappy.detect_cosmics(
                image,
                inmask=bad,
                gain=frame.gain,
                readnoise=frame.read_noise,
                satlevel=frame.saturation * frame.gain,
                sigclip=sigclip,
                sigfrac=sigfrac,
                objlim=objlim,
                niter=self.niter,
            )
            return np.asarray(mask, bool)

        return find, bad


@dataclass(frozen=True)
class LACosmic(LACosmicFamily):
    """L.A.Cosmic to the letter, as the package ``lacosmic`` has it. Saturated stars are masked, as its authors ask."""

    title: str = "LACosmic"
    package: ClassVar[str] = "lacosmic"

    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        from lacosmic import remove_cosmics  # optional: requirements-baselines.txt

        image, bad = usable(frame.image, frame.bad)
        left_out = bad | saturated_stars(image, frame.saturation)
        objlim, sigfrac = self._settings(frame.telescope)

        def find(sigclip: float) -> Mask:
            with _silent():
                _, mask = remove_cosmics(
                    image,
                    contrast=objlim,
                    cr_threshold=sigclip,
                    neighbor_threshold=sigfrac * sigclip,
                    mask=left_out,
                    effective_gain=frame.gain,
                    readnoise=frame.read_noise,
                    maxiter=self.niter,
                )
            return np.asarray(mask, bool)

        return find, bad


def chosen(setting: Setting, telescope: str, name: str) -> float:
    """Return the value of a setting for a telescope; that of "other" where there is none."""
    if not isinstance(setting, Mapping):
        return setting
    key = telescope if telescope in setting else "other"
    if key not in setting:
        raise ValueError(f"{name}: expected a value for {telescope!r} or for 'other', got {dict(setting)}")
    return setting[key]


def saturated_stars(image: NDArray[np.float32], saturation: float) -> Mask:
    """Mark full pixels (H, W) in bright surroundings, and 4 px around them. A hit that saturates stands alone.

    ``image`` and ``saturation`` in one unit. The rule is Astro-SCRAPPY's: the 5x5 median above a tenth of saturation.
    """
    full = image >= saturation
    if not full.any():
        return full
    return np.asarray(binary_dilation(full & (median_filter(image, 5) > saturation / 10), iterations=4))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep ``lacosmic`` from printing its counts: it does so through astropy's log."""
    level = log.level
    log.setLevel("WARNING")
    try:
        yield
    finally:
        log.setLevel(level)
