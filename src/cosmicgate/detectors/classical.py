"""Detectors without a network: L.A.Cosmic (van Dokkum 2001) in the implementations of two packages.

Each sigclip of a sweep is a separate call of the package. Neither package exposes intermediate results, and from the
second iteration on every sigclip works on a different image, in which its own hits have been replaced: only the first
of four iterations could be shared, which is a quarter of Astro-SCRAPPY's time and a seventh of lacosmic's. The inputs
are prepared once per frame: the image in the type that the package needs, bad pixels and saturated stars.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import numpy as np
from astropy import log
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, median_filter

from cosmicgate.data.bad_pixels import to_native_float32
from cosmicgate.detectors.base import Detection, Setting, for_telescope
from cosmicgate.detectors.optional_packages import installed_version
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame
from cosmicgate.io.messages import on_terminal

with extra("train"):
    from tqdm import tqdm

# The paper's sweep: sigclip from 1 to 20, denser where the curve bends.
SIGCLIPS = (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0)
OBJLIM = {"decam": 1.0, "0m4": 0.5, "1m0": 2.0, "2m0": 2.0, "other": 1.0}
SIGCLIP = {"decam": 3.0, "0m4": 15.0, "1m0": 15.0, "2m0": 15.0, "other": 3.0}

NOISE = ("gain", "read_noise", "saturation")

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LACosmicFamily(ABC):
    """Base class of the two implementations; the defaults are the paper's settings.

    Attributes
    ----------
    objlim, sigfrac : float, or mapping of telescope to float
        Minimum contrast to the fine structure of stars, and threshold for the neighbours of a hit as a fraction of
        sigclip.
    threshold : float, or mapping of telescope to float
        Sigclip at which F1, IoU and FDR are computed.
    sweep : sequence of float
        Values of sigclip that trace its curves.
    dilate_masks : bool
        Whether its masks are dilated by 3x3 where the truth is.
    niter : int
        Maximum number of iterations.
    gain, read_noise, saturation : float, optional
        Values in e-/ADU, e- and ADU that replace those of the frame. The paper's rows have Astro-SCRAPPY's defaults, 1,
        6.5 and 65536.
    """

    objlim: Setting = field(default_factory=lambda: dict(OBJLIM))
    sigfrac: Setting = 0.1
    threshold: Setting = field(default_factory=lambda: dict(SIGCLIP))
    sweep: Sequence[float] = SIGCLIPS
    dilate_masks: bool = True
    niter: int = 4
    gain: float | None = None
    read_noise: float | None = None
    saturation: float | None = None
    model: str = ""
    variant: str = ""
    trained_on: str | None = None
    package: ClassVar[str]

    def __post_init__(self) -> None:
        installed_version(self.package, self.model)
        for name in ("objlim", "sigfrac", "threshold", "sweep", "niter", *NOISE):
            value = getattr(self, name)
            if value is None:
                continue
            values = list(value.values()) if isinstance(value, Mapping) else np.ravel(value).tolist()
            if wrong := [v for v in values if not v > 0]:
                raise ValueError(f"{self.model}: {name} is {wrong[0]}, expected a number above 0")

    @property
    def cache_key(self) -> Any:
        """Settings of the detector and version of the package, with the keys of the first results that were cached."""
        names = {"dilate_masks": "grow"} | dict.fromkeys(("model", "variant", "trained_on"))
        settings = {name: value for key, value in asdict(self).items() if (name := names.get(key, key))}
        return [self.package, installed_version(self.package, self.model), settings]

    def detect(self, frame: Frame) -> Detection:
        """Compute a mask for each sigclip; bad pixels are never in it."""
        find, bad = self._finder(frame)
        at = [for_telescope(self.threshold, frame.telescope, f"{self.model}: threshold")]
        if self.sweep and isinstance(self.threshold, Mapping):
            at = list(self.threshold.values())  # the curve of a test set has the same points for every telescope
        points = sorted({float(sigclip) for sigclip in (*self.sweep, *at)})
        hidden = not on_terminal()
        progress = tqdm(points, desc=f"{self.model}, sigclip", unit="point", leave=False, delay=2, disable=hidden)
        return Detection(masks={sigclip: find(sigclip) & ~bad for sigclip in progress})

    def _settings(self, telescope: str) -> tuple[float, float]:
        return for_telescope(self.objlim, telescope, "objlim"), for_telescope(self.sigfrac, telescope, "sigfrac")

    def _noise(self, frame: Frame) -> tuple[float, float, float]:
        """Choose gain (e-/ADU), read noise (e-) and saturation (ADU): those of the detector if set, or the frame's."""
        gain, read_noise, saturation = (getattr(self, name) or getattr(frame, name) for name in NOISE)
        return gain, read_noise, saturation

    @abstractmethod
    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        """Make the function that computes a mask (H, W) for a sigclip, and return it with the bad pixels (H, W)."""


@dataclass(frozen=True)
class AstroScrappy(LACosmicFamily):
    """Astro-SCRAPPY (McCully), an optimised L.A.Cosmic, which finds and excludes saturated stars itself."""

    model: str = "Astro-SCRAPPY"
    package: ClassVar[str] = "astroscrappy"

    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        from astroscrappy import detect_cosmics  # imported here: a training whose frames are cached does not need it

        image, bad = to_native_float32(frame.image, frame.bad)
        objlim, sigfrac = self._settings(frame.telescope)
        gain, read_noise, saturation = self._noise(frame)

        def find(sigclip: float) -> Mask:
            mask, _ = detect_cosmics(
                image,
                inmask=bad,
                gain=gain,
                readnoise=read_noise,
                satlevel=saturation * gain,
                sigclip=sigclip,
                sigfrac=sigfrac,
                objlim=objlim,
                niter=self.niter,
            )
            return np.asarray(mask, bool)

        return find, bad


@dataclass(frozen=True)
class LACosmic(LACosmicFamily):
    """The original L.A.Cosmic in the package ``lacosmic``; saturated stars are masked, as its authors recommend."""

    model: str = "LACosmic"
    package: ClassVar[str] = "lacosmic"

    def _finder(self, frame: Frame) -> tuple[Callable[[float], Mask], Mask]:
        from lacosmic import remove_cosmics  # optional: requirements-baselines.txt

        image, bad = to_native_float32(frame.image, frame.bad)
        objlim, sigfrac = self._settings(frame.telescope)
        gain, read_noise, saturation = self._noise(frame)
        left_out = bad | mask_saturated_stars(image, saturation)

        def find(sigclip: float) -> Mask:
            with _silent():
                _, mask = remove_cosmics(
                    image,
                    contrast=objlim,
                    cr_threshold=sigclip,
                    neighbor_threshold=sigfrac * sigclip,
                    mask=left_out,
                    effective_gain=gain,
                    readnoise=read_noise,
                    maxiter=self.niter,
                )
            return np.asarray(mask, bool)

        return find, bad


def mask_saturated_stars(image: NDArray[np.float32], saturation: float) -> Mask:
    """Mark saturated pixels (H, W) in bright surroundings, and 4 px around them.

    ``image`` and ``saturation`` have the same unit. As in Astro-SCRAPPY, surroundings are bright if the 5x5 median is
    above a tenth of saturation; around a saturated cosmic-ray hit they are not. Unlike
    :func:`cosmicgate.masking.drop_in.astroscrappy_saturated_stars`, the image is mirrored at its border, and the
    dilation is a diamond, not an octagon.
    """
    full = image >= saturation
    if not full.any():
        return full
    return np.asarray(binary_dilation(full & (median_filter(image, 5) > saturation / 10), iterations=4))


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the messages of ``lacosmic``, which prints its counts through astropy's logger."""
    level = log.level
    log.setLevel("WARNING")
    try:
        yield
    finally:
        log.setLevel(level)
