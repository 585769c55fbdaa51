"""The detector that astronomers use: an image in, probabilities, a mask or a cleaned image out."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate import __version__
from cosmicgate.cards import SCREEN, Card, find, read_card, read_weights
from cosmicgate.config import build
from cosmicgate.detectors.inputs import bridged
from cosmicgate.detectors.network import PREFIX, has_ring, read_checkpoint, ready
from cosmicgate.inpainting import Method, clean
from cosmicgate.models import UNet
from cosmicgate.models.inference import frame_logits
from cosmicgate.models.screening import Screen, screened_logits
from cosmicgate.traits import traits, warn_if_far

log = logging.getLogger(__name__)

SMALLEST = 8  # pixels
LARGEST = 1e30  # counts: beyond, a pixel would become infinite on its way through a network, and all around it
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
    """

    network: UNet
    card: Card
    precision: Precision = "float32"
    check: bool = True
    screen: Screen | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"unknown precision {self.precision!r}: expected one of {', '.join(PRECISIONS)}")

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
        dtype = PRECISIONS[self.precision]
        if self.screen is None:
            return frame_logits(self.network, image, dtype=dtype)
        logits, looked = screened_logits(self.network, self.screen, image, dtype)
        log.debug("%s: looked at %.1f %% of the image", self.card.name, 100 * looked)
        return logits

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

        Hit pixels get the value of their neighbours, an uncertainty that says so (that of the guess, added to their
        own: :func:`uncertainty_of_guess`) and a true mask; the header says by what. All else stays.
        """
        if not isinstance(ccd, CCDData):
            raise TypeError(f"expected CCDData, got {type(ccd).__name__}; for arrays: cosmicgate.clean(image, mask)")
        at = self.threshold(threshold, fpr)
        hits = self.mask(ccd, at, grow)
        bad = _plain(ccd, None)[1]
        done = ccd.copy()
        done.data = clean(ccd.data, hits, method, bad=bad)
        done.mask = bad | hits if ccd.mask is not None or hits.any() else None
        if ccd.uncertainty is not None:
            kind = ccd.uncertainty.uncertainty_type
            done.uncertainty.array = uncertainty_of_guess(ccd.uncertainty.array, kind, done.data, hits, bad)
        for key, (value, comment) in {
            "CRMODEL": (self.card.name, f"cosmicgate {__version__}"),
            "CRTHRESH": (round(at, 6), "probability from which a pixel is a hit"),
            "CRPIXELS": (int(hits.sum()), "pixels hit by cosmic rays, replaced"),
        }.items():
            done.header[key] = (value, comment) if isinstance(done.header, fits.Header) else value
        return done


def grown(mask: NDArray[np.bool_], grow: int, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return a mask (..., H, W) that is ``grow`` pixels wider on each side, without bad pixels."""
    if grow:
        square = np.ones((3, 3), bool).reshape((1,) * (mask.ndim - 2) + (3, 3))
        mask = binary_dilation(mask, square, iterations=grow)
    return mask & ~bad


def uncertainty_of_guess(
    uncertainty: NDArray[Any], kind: str, cleaned: NDArray[Any], hits: NDArray[np.bool_], bad: NDArray[np.bool_]
) -> NDArray[Any]:
    """Return the uncertainties (H, W) of a cleaned image, greater where pixels were replaced.

    What a guess may be wrong by has two parts, whose squares add up: what a pixel of its neighbourhood scatters by
    itself (the median of the variances around), and how much the image changes from pixel to pixel there (the median
    of the squared steps between neighbours, which is large on the flank of a star). ``kind`` is "std", "var" or "ivar";
    uncertainties of another kind stay.
    """
    power = {"std": 0.5, "var": 1.0, "ivar": -1.0}.get(kind)
    array = np.array(uncertainty)
    if power is None or not hits.any():
        return array
    real = np.result_type(array, cleaned, np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.asarray(array, real) ** (1 / power)
        steps = np.square(np.diff(np.asarray(cleaned, real), axis=1, append=cleaned[:, -2:-1]))
        own = clean(variance, hits, bad=bad | ~np.isfinite(variance))
        array[hits] = (own[hits] + clean(steps, hits, bad=bad)[hits]) ** power
    return array


def load(
    model: str | Path = "general",
    precision: Precision | None = None,
    check: bool = True,
    fast: bool = False,
) -> Masker:
    """Return a detector: a packaged network by name, or one of your own.

    Parameters
    ----------
    model : str or Path
        One of :func:`cosmicgate.cards.names`, the folder of a run of ``train.py``, a checkpoint of it, or a file of
        weights with its card beside it.
    precision : {"float32", "bfloat16", "float16"}, optional
        As in :class:`Masker`; None: float16 on a GPU, float32 elsewhere.
    check : bool
        As in :class:`Masker`.
    fast : bool
        Use the network's screen.
    """
    path = Path(model)
    if path.is_dir():
        path = path / "checkpoints" / "best.ckpt"
    if path.suffix == ".ckpt":
        if fast:
            raise ValueError(f"{path} has no screen for fast=True: a packaged network has one")
        network, card = from_checkpoint(path)
        return Masker(network, card, precision or usual_precision(network), check)
    weights = find(model)
    card = read_card(weights)
    tensors = read_weights(weights, card.sha256)
    network = UNet(**card.network)
    ready(network, {name: value for name, value in tensors.items() if not name.startswith(SCREEN)})
    precision = precision or usual_precision(network)
    return Masker(network, card, precision, check, screen_of(card, tensors) if fast else None)


def usual_precision(network: UNet) -> Precision:
    """Return what to compute in: half precision on a GPU, if the images are scaled (65504 is its largest number)."""
    on_gpu = next(network.parameters()).device.type == "cuda"
    return "float16" if on_gpu and network.scaling == "robust" else "float32"


def begin_with(network: UNet, model: str | Path | None) -> None:
    """Give a network the weights of another of the same form, as :func:`load` finds it; None leaves its own."""
    if model is not None:
        network.load_state_dict(load(model, check=False).network.state_dict())


def screen_of(card: Card, tensors: Mapping[str, torch.Tensor]) -> Screen:
    """Return the screen that was packaged with a network."""
    if card.screen is None:
        raise ValueError(f"{card.name} has no screen for fast=True")
    network = UNet(**card.screen["network"])
    ready(network, {k.removeprefix(SCREEN): v for k, v in tensors.items() if k.startswith(SCREEN)})
    return Screen(network, **card.screen["settings"])


def from_checkpoint(path: Path) -> tuple[UNet, Card]:
    """Return the network of a checkpoint and what its card can say before it is packaged."""
    checkpoint = read_checkpoint(path)
    config = checkpoint["config"]
    arguments = {k: v for k, v in config["model"].items() if not k.startswith("_")}
    weights = {k.removeprefix(PREFIX): v for k, v in checkpoint["state_dict"].items() if k.startswith(PREFIX)}
    network = build(config["model"])
    ready(network, weights)
    card = Card(
        name=str(path),
        title=config["title"],
        version=__version__,
        network=arguments,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        trained_on=config["trained_on"],
        command="",
        data_hash="",
        seed=config["seed"],
        machine="",
        ring=has_ring(config.get("data", {})),
        threshold=config["threshold"],
    )
    return network, card


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
