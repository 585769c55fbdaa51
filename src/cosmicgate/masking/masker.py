"""The detector that astronomers use: an image in, probabilities, a mask or a cleaned image out."""

import logging
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate import __version__
from cosmicgate.data.fits.hdus import HIT, NETWORK
from cosmicgate.detectors.inputs import bridged
from cosmicgate.detectors.packaged.cards import Card
from cosmicgate.masking.engine import Runtime, runtime_logits
from cosmicgate.masking.inpainting import Method, clean
from cosmicgate.masking.traits import traits, warn_if_far
from cosmicgate.models import UNet
from cosmicgate.models.inference import frame_logits
from cosmicgate.models.screening import Screen, screened_logits

log = logging.getLogger(__name__)

SMALLEST = 8  # pixels
LARGEST = 1e30  # counts: beyond, a pixel would become infinite on its way through a network, and all around it
LONGEST = 40  # letters of a network's name in a header
Precision = Literal["float32", "bfloat16", "float16"]
PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Masker:
    """A network and its card, ready for images.

    Attributes
    ----------
    network : UNet
        In evaluation mode, on the device to compute on.
    card : Card
        Of the network.
    precision : {"float32", "bfloat16", "float16"}
        To compute in. bfloat16 is faster on processors that know it, and moves probabilities by a hundredth; float16 on
        GPUs, by a thousandth.
    check : bool
        Warn of images that are unlike those of the training.
    screen : Screen, optional
        Look quickly first, and with the network only where there could be a hit: several times faster. What that may
        miss is in the card.
    engine : Runtime, optional
        The network in onnxruntime, to compute with instead of torch.
    """

    network: UNet
    card: Card
    precision: Precision = "float32"
    check: bool = True
    screen: Screen | None = None
    engine: Runtime | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")
        if self.engine is not None and self.precision != "float32":
            raise ValueError(f"precision={self.precision!r}: onnxruntime computes in float32")
        if self.engine is not None and self.screen is not None:
            raise ValueError("a screen looks in torch: fast, or onnxruntime")

    @property
    def on_gpu(self) -> bool:
        """Whether the network computes on a GPU."""
        return on_gpu(self.network)

    @torch.inference_mode()
    def probability(self, image: NDArray[Any] | NDData, bad: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
        """Return the probability that each pixel is hit.

        Parameters
        ----------
        image : ndarray (H, W) or (N, H, W), or NDData
            Counts, of any numeric type and byte order; it stays as it is. At least 8x8 pixels. Of NDData the mask is
            ``bad`` as well.
        bad : ndarray, bool, optional
            Pixels that say nothing, like those that are not finite: their probability is 0.

        Returns
        -------
        ndarray, float32
            Of the image's shape.
        """
        values, bad = _plain(image, bad)
        if values.ndim == 3:
            return np.stack([self.probability(*pair) for pair in zip(values, bad, strict=True)])
        filled, bad = bridged(values, bad)
        np.clip(filled, -LARGEST, LARGEST, out=filled)
        if self.check:
            warn_if_far(traits(filled, bad), self.card.ranges, self.card.name)
        logits = self._logits(torch.from_numpy(filled))
        return logits.sigmoid_().masked_fill_(torch.from_numpy(bad), 0).numpy()

    def _logits(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits of an image, which may be lost."""
        dtype = PRECISIONS[self.precision]
        if self.screen is not None:
            logits, looked = screened_logits(self.network, self.screen, image, dtype)
            log.debug("%s: looked at %.1f %% of the image", self.card.name, 100 * looked)
            return logits
        if self.engine is not None:
            return runtime_logits(self.engine, self.network, image)
        return frame_logits(self.network, image, dtype=dtype, overwrite=True)

    def mask(
        self,
        image: NDArray[Any] | NDData,
        threshold: float | None = None,
        grow: int = 0,
        fpr: float | None = None,
        bad: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.bool_]:
        """Return which pixels are hit.

        Parameters
        ----------
        image, bad
            As in :meth:`probability`.
        threshold : float, optional
            Probability from which a pixel is hit; None: that of the card, usually 0.5.
        grow : int
            Pixels by which the mask becomes wider on each side. Bad pixels stay out of it.
        fpr : float, optional
            Instead of a threshold: the rate of false alarms that is wanted, for which the card knows the threshold.

        Returns
        -------
        ndarray, bool
            Of the image's shape.
        """
        at = self.threshold(threshold, fpr)
        if grow < 0 or int(grow) != grow:
            raise ValueError(f"grow={grow}: expected a whole number of pixels, 0 or more")
        values, bad = _plain(image, bad)
        return grown(self.probability(values, bad) >= at, int(grow), bad)

    def threshold(self, threshold: float | None = None, fpr: float | None = None) -> float:
        """Return the probability from which a pixel is hit, from what was asked for or from the card."""
        if threshold is not None and fpr is not None:
            raise ValueError(f"threshold={threshold} and fpr={fpr}: give one of them")
        if fpr is not None:
            return self.card.threshold_at(fpr)
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f"threshold={threshold}: expected a probability between 0 and 1")
        return self.card.threshold if threshold is None else threshold

    def clean(
        self,
        ccd: CCDData,
        threshold: float | None = None,
        grow: int = 0,
        fpr: float | None = None,
        method: Method = "median",
    ) -> CCDData:
        """Return a copy of a CCDData without its hits: a step for pipelines of ``ccdproc``.

        Hit pixels get the value of their neighbours, an uncertainty that says so (that of the guess, or their own if
        it is greater: :func:`uncertainty_of_guess`) and a true mask; the header says by what. All else stays.
        """
        if not isinstance(ccd, CCDData):
            raise TypeError(f"expected CCDData, got {type(ccd).__name__}; for arrays: cosmicgate.clean(image, mask)")
        if np.ndim(ccd.data) != 2:
            raise ValueError(f"expected one image (H, W) to clean, got {np.shape(ccd.data)}: clean them one by one")
        at = self.threshold(threshold, fpr)
        hits = self.mask(ccd, at, grow)
        bad = _plain(ccd, None)[1]
        done = ccd.copy()
        done.data = clean(ccd.data, hits, method, bad=bad)
        done.mask = bad | hits if ccd.mask is not None or hits.any() else None
        if ccd.uncertainty is not None:
            kind, factor = ccd.uncertainty.uncertainty_type, in_unit_of_image(ccd)
            found = uncertainty_of_guess(np.asarray(ccd.uncertainty.array) * factor, kind, done.data, hits, bad)
            done.uncertainty.array = found / factor
        for key, (value, comment) in {
            NETWORK: (called(self.card), f"cosmicgate {__version__}"),
            "CRTHRESH": (float(f"{at:.6g}"), "probability from which a pixel is a hit"),
            HIT: (int(hits.sum()), "pixels hit by cosmic rays, replaced"),
        }.items():
            done.header[key] = (value, comment) if isinstance(done.header, fits.Header) else value
        return done


def grown(mask: NDArray[np.bool_], grow: int, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (..., H, W) that is ``grow`` pixels wider on each side, without bad pixels."""
    if grow:
        square = np.ones((3, 3), bool).reshape((1,) * (mask.ndim - 2) + (3, 3))
        mask = binary_dilation(mask, square, iterations=grow)
    return mask & ~bad


def in_unit_of_image(ccd: CCDData) -> float:
    """Return what uncertainties times become of the image's unit (that squared, one over that squared); mJy of Jy."""
    unit, power = ccd.uncertainty.unit, {"std": 1, "var": 2, "ivar": -2}.get(ccd.uncertainty.uncertainty_type)
    if unit is None or power is None or unit == ccd.unit**power:
        return 1.0
    return float(unit.to(ccd.unit**power))


def uncertainty_of_guess(
    uncertainty: NDArray[Any], kind: str, cleaned: NDArray[Any], hits: NDArray[np.bool_], bad: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the uncertainties (H, W) of a cleaned image, greater where pixels were replaced.

    What a guess may be wrong by has two parts, whose squares add up: what a pixel of its neighbourhood scatters by
    itself (the median of the variances around), and how much the image changes from pixel to pixel there (the median
    of the squared steps between neighbours, which is large on the flank of a star). Where a pixel's own variance is
    greater, as a hit's light may have made it, that one stays. ``kind`` is "std", "var" or "ivar"; uncertainties of
    another kind stay. One number may stand for all pixels; whole numbers become real ones. Squares are taken in
    float64: float32 cannot hold those of erg/s/cm2.
    """
    power = {"std": 0.5, "var": 1.0, "ivar": -1.0}.get(kind)
    if power is None or not hits.any():
        return np.array(uncertainty)
    array = np.array(np.broadcast_to(uncertainty, hits.shape), np.result_type(uncertainty, np.float32))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.asarray(array, np.float64) ** (1 / power)
        steps = np.square(np.diff(np.asarray(cleaned, np.float64), axis=1, append=cleaned[:, -2:-1]))
        own = clean(variance, hits, bad=bad | ~np.isfinite(variance))
        guess = own[hits] + clean(steps, hits, bad=bad)[hits]
        array[hits] = np.maximum(variance[hits], guess) ** power
    return array


def called(card: Card) -> str:
    """Return what headers call a network: its name, of a path the last three parts, which tell runs apart."""
    return ascii_of(PurePath(*PurePath(card.name).parts[-3:]).as_posix(), LONGEST)


def ascii_of(text: str, longest: int) -> str:
    """Return a text as FITS knows it, its end if it is too long."""
    clean = text.encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in clean)[-longest:]


def on_gpu(network: UNet) -> bool:
    """Say whether a network computes on a GPU."""
    return next(network.parameters()).device.type == "cuda"


def _plain(image: NDArray[Any] | NDData, bad: NDArray[np.bool_] | None) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the values and the bad pixels (not finite or masked) of what was given; refuse what cannot be an image."""
    masked = None
    if isinstance(image, NDData):
        image, masked = image.data, image.mask
    if isinstance(image, np.ma.MaskedArray):
        image, masked = image.data, np.ma.getmaskarray(image)
    values = np.asarray(image)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"expected an image of numbers, got {values.dtype}")
    if values.ndim not in (2, 3):
        raise ValueError(f"expected an image (H, W) or images (N, H, W), got {values.shape}")
    if min(values.shape[-2:]) < SMALLEST or not values.size:
        raise ValueError(f"expected at least {SMALLEST}x{SMALLEST} pixels, got {values.shape}")
    all_bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for one in (bad, masked):
        if one is not None:
            if np.shape(one) not in (values.shape, ()):
                raise ValueError(f"the bad pixels are {np.shape(one)}, the image {values.shape}")
            all_bad |= np.asarray(one, bool)
    return values, all_bad
