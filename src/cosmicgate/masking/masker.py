"""Cosmic-ray detector for arrays and CCDData: computes probabilities, a mask or a cleaned image."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from astropy.utils.masked import Masked
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate import __version__
from cosmicgate.inference.predictor import Predictor
from cosmicgate.io.fits.hdus import HIT, NETWORK
from cosmicgate.io.fits.headers import header_number
from cosmicgate.io.fits.mosaics import mosaic_of
from cosmicgate.masking.inpainting import Method, by_colour, clean
from cosmicgate.masking.mosaic import on_one_sky, pattern_of
from cosmicgate.pretrained.card import ModelCard
from cosmicgate.pretrained.domain_check import domain_features, warn_if_empty, warn_if_far, warn_if_too_much

MIN_SIDE = 8  # pixels
MAX_NAME_LENGTH = 40  # characters of a network's name in a header


@dataclass(frozen=True)
class CosmicRayMasker:
    """A network with its model card, ready to be applied to images.

    Attributes
    ----------
    predictor : Predictor
        Network, and how it is applied to an image: precision, cascade, onnxruntime.
    card : ModelCard
        Model card of the network.
    check : bool
        Warn about images that are unlike the training images.
    """

    predictor: Predictor
    card: ModelCard
    check: bool = True

    @property
    def network(self) -> torch.nn.Module:
        """The network, in evaluation mode."""
        return self.predictor.network

    @property
    def on_gpu(self) -> bool:
        """Whether the network computes on a GPU."""
        return self.predictor.on_gpu

    @torch.inference_mode()
    def probability(
        self, image: NDArray[Any] | NDData, bad: NDArray[np.bool_] | None = None, mosaic: bool | None = None
    ) -> NDArray[np.float32]:
        """Compute the probability that each pixel is hit.

        Parameters
        ----------
        image : ndarray (H, W) or (N, H, W), or NDData
            Counts, of any numeric type and byte order; at least 8x8 pixels. It is not modified. The mask of an NDData
            is added to ``bad``.
        bad : ndarray, bool, same shape as ``image``, optional
            Pixels to ignore, in addition to those that are not finite; their probability is 0.
        mosaic : bool, optional
            Whether the image is a colour mosaic of 2x2 pixels (RGGB). Its colours are then scaled to one sky level and
            noise before the search, which takes twice the time. None: decided by the header of an NDData.

        Returns
        -------
        ndarray, float32, same shape as ``image``
            Probabilities between 0 and 1.

        Raises
        ------
        TypeError, ValueError
            ``image`` is no image of numbers or has the wrong shape, or the network returns NaN.
        """
        values, bad = image_and_bad(image, bad)
        mosaic = is_mosaic(image, mosaic)
        if values.ndim == 3:
            return np.stack([self.probability(*pair, mosaic) for pair in zip(values, bad, strict=True)])
        if mosaic:
            return self._of_mosaic(on_one_sky(values, bad), bad)
        filled, bad = self.predictor.prepare(values, bad)
        if self.check:
            warn_if_empty(filled, bad)
            warn_if_far(domain_features(filled, bad), self.card.ranges, self.card.name)
        logits = self.predictor.prepared_logits(filled, bad)
        return logits.sigmoid_().masked_fill_(torch.from_numpy(bad), 0).numpy()

    def _of_mosaic(self, image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Compute the probabilities (H, W) of a colour mosaic with a common sky as the mean of two passes.

        The first pass searches the whole mosaic, where the cores of stars whose colour differs from that of the sky
        vary from pixel to pixel. The second searches each colour plane by itself, where stars are twice as
        undersampled and hits are split. A star seldom causes a false positive in both.
        """
        together: NDArray[np.float32] = self.probability(image, bad, False)
        if min(image.shape) < 2 * MIN_SIDE:
            return together
        unchecked = replace(self, check=False)

        def search(plane: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = unchecked.probability(plane, bad & ~bad.all(), False)
            return found

        return np.where(bad, 0, (together + by_colour(search, image, bad)) / 2)

    def mask(
        self,
        image: NDArray[Any] | NDData,
        threshold: float | None = None,
        grow: int = 0,
        fpr: float | None = None,
        bad: NDArray[np.bool_] | None = None,
        mosaic: bool | None = None,
    ) -> NDArray[np.bool_]:
        """Compute the mask of the pixels that are hit.

        Parameters
        ----------
        image, bad, mosaic
            As in :meth:`probability`.
        threshold : float, optional
            Probability from which a pixel counts as hit. None: the threshold of the card, usually 0.5.
        grow : int
            Number of pixels by which the mask is dilated on each side. Bad pixels are never in the mask.
        fpr : float, optional
            False-positive rate, given instead of a threshold; the card's calibration converts it to a threshold.

        Returns
        -------
        ndarray, bool, same shape as ``image``
            True where a pixel is hit.

        Raises
        ------
        TypeError, ValueError
            The image or an argument is invalid.
        """
        at = self.threshold(threshold, fpr)
        if grow < 0 or int(grow) != grow:
            raise ValueError(f"grow={grow}: expected a whole number of pixels, 0 or more")
        exptime = exptime_of(image)
        mosaic = is_mosaic(image, mosaic)
        values, bad = image_and_bad(image, bad)
        mask = self.probability(values, bad, mosaic) >= at
        if self.check:
            warn_if_too_much(int(mask.sum()), int((~bad).sum()), exptime, fpr)
        return dilate_mask(mask, int(grow), bad)

    def threshold(self, threshold: float | None = None, fpr: float | None = None) -> float:
        """Choose the threshold: the given one, the one of a false-positive rate, or else that of the card."""
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
        mosaic: bool | None = None,
    ) -> CCDData:
        """Copy a CCDData and replace its hits: a step for pipelines built on ``ccdproc``.

        Hit pixels get a value computed from their neighbours and are masked. Their uncertainty becomes that of the
        replacement, or stays if it is greater (:func:`uncertainty_of_guess`). The header gets the network, the
        threshold and the number of hits. Everything else is unchanged.
        """
        if not isinstance(ccd, CCDData):
            raise TypeError(f"expected CCDData, got {type(ccd).__name__}; for arrays: cosmicgate.clean(image, mask)")
        if np.ndim(ccd.data) != 2:
            raise ValueError(f"expected one image (H, W) to clean, got {np.shape(ccd.data)}: clean them one by one")
        at = self.threshold(threshold, fpr)
        mosaic = is_mosaic(ccd, mosaic)
        hits = self.mask(ccd, at, grow, mosaic=mosaic)
        bad = image_and_bad(ccd)[1]
        cleaned = clean(ccd.data, hits, method, bad=bad, mosaic=mosaic)
        return without_hits(ccd, hits, cleaned, bad, self.card, at, mosaic)


def without_hits(
    ccd: CCDData,
    hits: NDArray[np.bool_],
    cleaned: NDArray[Any],
    bad: NDArray[np.bool_],
    card: ModelCard,
    threshold: float,
    mosaic: bool = False,
) -> CCDData:
    """Copy a CCDData with its hits replaced in image, mask and uncertainty, and record it in the header.

    Parameters
    ----------
    ccd : CCDData (H, W)
        Image; it is not modified.
    hits, bad : ndarray (H, W), bool
        Hit pixels, and bad pixels that were not searched; both are in the mask of the copy.
    cleaned : ndarray (H, W)
        Image values of the copy, in the unit of ``ccd``.
    card : ModelCard
        Card of the network that found the hits.
    threshold : float
        Probability from which a pixel counts as hit.
    mosaic : bool
        Whether the image is a colour mosaic.
    """
    done = ccd.copy()
    done.data = cleaned
    done.mask = bad | hits if ccd.mask is not None or hits.any() else None
    if ccd.uncertainty is not None:
        kind, factor = ccd.uncertainty.uncertainty_type, in_unit_of_image(ccd)
        found = uncertainty_of_guess(np.asarray(ccd.uncertainty.array) * factor, kind, done.data, hits, bad, mosaic)
        done.uncertainty.array = found / factor
    for key, (value, comment) in {
        NETWORK: (header_name(card), f"cosmicgate {__version__}"),
        "CRTHRESH": (float(f"{threshold:.6g}"), "pixels at or above this probability are hits"),
        HIT: (int(hits.sum()), "pixels hit by cosmic rays, replaced"),
    }.items():
        done.header[key] = (value, comment) if isinstance(done.header, fits.Header) else value
    return done


def dilate_mask(mask: NDArray[np.bool_], grow: int, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask (..., H, W) by ``grow`` pixels on each side and remove its bad pixels."""
    if grow:
        square = np.ones((3, 3), bool).reshape((1,) * (mask.ndim - 2) + (3, 3))
        mask = binary_dilation(mask, square, iterations=grow)
    return mask & ~bad


def exptime_of(image: Any) -> float | None:
    """Look up the exposure time (s) in the header of an NDData; None if there is none."""
    try:
        return header_number(Path(), [fits.Header(dict(image.meta))], "exptime") if isinstance(image, NDData) else None
    except ValueError:  # the header is not valid FITS, or the value is no number
        return None


def in_unit_of_image(ccd: CCDData) -> float:
    """Compute the factor that converts the uncertainties of a CCDData to the unit of its image.

    The target is the image's unit for "std", its square for "var" and the inverse of its square for "ivar". For an
    image in Jy with a standard deviation in mJy the factor is 0.001.
    """
    unit, power = ccd.uncertainty.unit, {"std": 1, "var": 2, "ivar": -2}.get(ccd.uncertainty.uncertainty_type)
    if unit is None or power is None or unit == ccd.unit**power:
        return 1.0
    return float(unit.to(ccd.unit**power))


def uncertainty_of_guess(
    uncertainty: NDArray[Any],
    kind: str,
    cleaned: NDArray[Any],
    hits: NDArray[np.bool_],
    bad: NDArray[np.bool_],
    mosaic: bool = False,
) -> NDArray[Any]:
    """Compute the uncertainties (H, W) of a cleaned image, which are larger where pixels were replaced.

    The variance of a replaced pixel is the sum of two parts: the noise of its neighbours (the median of their
    variances) and the change of the image from pixel to pixel there (the median of the squared differences between
    adjacent pixels, which is large on the flank of a star). A pixel whose own variance is greater, for example because
    the light of the hit is part of it, keeps it.

    Parameters
    ----------
    uncertainty : ndarray (H, W) or scalar
        Uncertainties before the cleaning, in the image's unit, its square or one over its square. Integers are
        converted to floats.
    kind : str
        "std", "var" or "ivar"; uncertainties of any other kind are returned unchanged.
    cleaned : ndarray (H, W)
        Image after the cleaning.
    hits, bad : ndarray (H, W), bool
        Replaced pixels, and pixels that are not used as neighbours.
    mosaic : bool
        Whether the image is a colour mosaic: only pixels of the same colour are then neighbours.

    Notes
    -----
    Squares are computed in float64, because float32 cannot hold those of values in erg/s/cm2.
    """
    if mosaic:
        planes = np.broadcast_to(uncertainty, hits.shape), cleaned, hits, bad
        return by_colour(lambda one, *more: uncertainty_of_guess(one, kind, *more), *planes)
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


def header_name(card: ModelCard) -> str:
    """Make the name of a network for a header: its name, or the last three parts of a run's path."""
    return ascii_of(PurePath(*PurePath(card.name).parts[-3:]).as_posix(), MAX_NAME_LENGTH)


def ascii_of(text: str, longest: int) -> str:
    """Convert a text to printable ASCII, as FITS requires, and keep its last ``longest`` characters."""
    clean = text.encode("ascii", "replace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in clean)[-longest:]


def is_mosaic(image: NDArray[Any] | NDData, mosaic: bool | None = None) -> bool:
    """Check whether an image is a colour mosaic: by the argument or, for an NDData, by its header."""
    if mosaic is not None or not isinstance(image, NDData) or np.ndim(image.data) != 2:
        return bool(mosaic)
    return bool(mosaic_of((image.meta,)) and pattern_of((image.meta,), *image_and_bad(image))[0])


def image_and_bad(
    image: NDArray[Any] | NDData, bad: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Split an image into its values and its bad pixels (given as such, masked or not finite).

    Raises
    ------
    TypeError, ValueError
        The image is not numeric, not (H, W) or (N, H, W), or too small, or a mask has another shape.
    """
    masked = None
    if isinstance(image, NDData):
        image, masked = image.data, image.mask
    if isinstance(image, np.ma.MaskedArray):
        image, masked = image.data, np.ma.getmaskarray(image)
    if isinstance(image, Masked):
        image, masked = image.unmasked, np.asarray(image.mask)
    values = np.asarray(image)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"expected an image of numbers, got {values.dtype}")
    if values.ndim not in (2, 3):
        raise ValueError(f"expected an image (H, W) or images (N, H, W), got {values.shape}")
    if min(values.shape[-2:]) < MIN_SIDE or not values.size:
        raise ValueError(f"expected at least {MIN_SIDE}x{MIN_SIDE} pixels, got {values.shape}")
    all_bad = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for one in (bad, masked):
        if one is not None:
            if np.shape(one) not in (values.shape, ()):
                raise ValueError(f"the bad pixels are {np.shape(one)}, the image {values.shape}")
            all_bad |= np.asarray(one, bool)
    return values, all_bad
