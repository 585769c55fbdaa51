"""Cosmic-ray detector for arrays and CCDData: computes probabilities, a mask or a cleaned image."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.inference.predictor import Predictor
from cosmicgate.masking.arrays import MIN_SIDE, image_and_bad, is_nddata
from cosmicgate.masking.html_page import HtmlPage
from cosmicgate.masking.inpainting import Method, apply_to_each_colour, clean
from cosmicgate.pretrained.card import ModelCard
from cosmicgate.pretrained.domain_check import (
    domain_features,
    warn_if_hit_fraction_high,
    warn_if_no_noise,
    warn_if_out_of_domain,
)

if TYPE_CHECKING:  # astropy takes longer to import than everything else here; an array is masked without it
    from astropy.nddata import CCDData, NDData

# Weight of the search of each colour by itself, where there is starlight; the rest is that of the whole mosaic.
COLOURS_WEIGHT = np.float32(0.4)


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
            from cosmicgate.masking.colour_mosaic import equalize_colour_skies

            return self._mosaic_probability(equalize_colour_skies(values, bad), bad)
        filled, bad = self.predictor.prepare(values, bad)
        if self.check:
            warn_if_no_noise(filled, bad)
            warn_if_out_of_domain(domain_features(filled, bad), self.card.ranges)
        logits = self.predictor.logits_of_prepared(filled, bad)
        return logits.sigmoid_().masked_fill_(torch.from_numpy(bad), 0).numpy()

    def _mosaic_probability(self, image: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Compute the probabilities (H, W) of a colour mosaic with a common sky in two passes.

        The first pass searches the whole mosaic, where the cores of stars whose colour differs from that of the sky
        vary from pixel to pixel. The second searches each colour plane by itself, where stars are twice as
        undersampled and hits are split. A star seldom causes a false positive in both, so where there is starlight the
        weighted mean counts; elsewhere the first pass alone.
        """
        from cosmicgate.masking.colour_mosaic import starlit_pixels

        together: NDArray[np.float32] = self.probability(image, bad, False)
        if min(image.shape) < 2 * MIN_SIDE:
            return together
        unchecked = replace(self, check=False)

        def search(plane: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float32]:
            found: NDArray[np.float32] = unchecked.probability(plane, bad & ~bad.all(), False)
            return found

        weight = np.where(starlit_pixels(image), COLOURS_WEIGHT, np.float32(0))
        return np.where(bad, 0, (1 - weight) * together + weight * apply_to_each_colour(search, image, bad))

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
        _check_grow(grow)
        self._warn_if_below_cascade_tuning(at)
        exptime = exptime_of(image)
        mosaic = is_mosaic(image, mosaic)
        values, bad = image_and_bad(image, bad)
        mask = self.probability(values, bad, mosaic) >= at
        if self.check:
            warn_if_hit_fraction_high(int(mask.sum()), int((~bad).sum()), exptime, fpr)
        return dilate_mask(mask, int(grow), bad)

    def view(
        self,
        image: NDArray[Any] | NDData,
        threshold: float | None = None,
        grow: int = 0,
        fpr: float | None = None,
        bad: NDArray[np.bool_] | None = None,
        mosaic: bool | None = None,
    ) -> HtmlPage:
        """Show an image and its hits in a notebook: zoom, stretch, threshold and list of hits, without a server.

        Parameters
        ----------
        image : ndarray (H, W), or NDData
            As in :meth:`probability`; at most 20 megapixels.
        threshold, grow, fpr, bad, mosaic
            As in :meth:`mask`: settings of the mask that is shown first.

        Returns
        -------
        HtmlPage
            Page that a notebook shows; ``save("hits.html")`` writes it to a file.

        Raises
        ------
        TypeError, ValueError
            The image or an argument is invalid.
        """
        at = self.threshold(threshold, fpr)
        _check_grow(grow)
        self._warn_if_below_cascade_tuning(at)
        mosaic = is_mosaic(image, mosaic)
        values, bad = image_and_bad(image, bad)
        # The page is built on files of masks, and so on this module: it is imported when it is first needed.
        static = import_module("cosmicgate.viewer.static")
        page: HtmlPage = static.array_view(self, values, bad, at, int(grow), mosaic)
        return page

    def threshold(self, threshold: float | None = None, fpr: float | None = None) -> float:
        """Choose the threshold: the given one, the one of a false-positive rate, or else that of the card."""
        if threshold is not None and fpr is not None:
            raise ValueError(f"threshold={threshold} and fpr={fpr}: give one of them")
        if fpr is not None:
            return self.card.threshold_at(fpr)
        if threshold is not None and not 0 < threshold < 1:
            raise ValueError(f"threshold={threshold}: expected a probability between 0 and 1")
        return self.card.threshold if threshold is None else threshold

    def _warn_if_below_cascade_tuning(self, threshold: float) -> None:
        if self.predictor.cascade is not None and (note := self.card.note_below_cascade_tuning(threshold)):
            warnings.warn(f"fast=True: {note}: more hits may be missed", stacklevel=3)

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
        replacement, or stays if it is greater (:func:`cosmicgate.masking.ccddata.clean_uncertainty`). The header gets
        the network, the threshold and the number of hits. Everything else is unchanged.
        """
        from astropy.nddata import CCDData

        from cosmicgate.masking.ccddata import copy_without_hits

        if not isinstance(ccd, CCDData):
            raise TypeError(f"expected CCDData, got {type(ccd).__name__}; for arrays: cosmicgate.clean(image, mask)")
        if np.ndim(ccd.data) != 2:
            raise ValueError(f"expected one image (H, W) to clean, got {np.shape(ccd.data)}: clean them one by one")
        at = self.threshold(threshold, fpr)
        mosaic = is_mosaic(ccd, mosaic)
        hits = self.mask(ccd, threshold, grow, fpr, mosaic=mosaic)
        bad = image_and_bad(ccd)[1]
        cleaned = clean(ccd.data, hits, method, bad=bad, mosaic=mosaic)
        return copy_without_hits(ccd, hits, cleaned, bad, self.card, at, mosaic)


def _check_grow(grow: int) -> None:
    if grow < 0 or int(grow) != grow:
        raise ValueError(f"grow={grow}: expected a whole number of pixels, 0 or more")


def dilate_mask(mask: NDArray[np.bool_], grow: int, bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Dilate a mask (..., H, W) by ``grow`` pixels on each side and remove its bad pixels."""
    if grow:
        square = KERNEL_3X3.reshape((1,) * (mask.ndim - 2) + (3, 3))
        mask = binary_dilation(mask, square, iterations=grow)
    return mask & ~bad


def exptime_of(image: NDArray[Any] | NDData) -> float | None:
    """Look up the exposure time (s) in the header of an NDData; None if there is none, or for an array."""
    if not is_nddata(image):
        return None
    from cosmicgate.masking.ccddata import exptime_in_header

    return exptime_in_header(image)


def is_mosaic(image: NDArray[Any] | NDData, mosaic: bool | None = None) -> bool:
    """Check whether an image is a colour mosaic: by the argument or, for an NDData, by its header."""
    if mosaic is not None or not is_nddata(image) or np.ndim(image.data) != 2:
        return bool(mosaic)
    from cosmicgate.masking.ccddata import is_mosaic_by_header

    return is_mosaic_by_header(image)
