"""Split images into values and bad pixels: arrays, masked arrays and astropy's types, which are known by their imports.

Importing astropy's types takes longer than importing all that masks an array. An image of such a type exists only if
somebody has imported it.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from astropy.nddata import NDData

MIN_SIDE = 8  # pixels


def is_nddata(image: Any) -> TypeGuard[NDData]:
    """Check whether an image is an astropy NDData, such as a CCDData."""
    return _is_instance(image, "astropy.nddata", "NDData")


def is_masked(image: Any) -> TypeGuard[Any]:
    """Check whether an image is an astropy Masked array or quantity."""
    return _is_instance(image, "astropy.utils.masked", "Masked")


def is_quantity(image: Any) -> TypeGuard[Any]:
    """Check whether an image is an astropy Quantity."""
    return _is_instance(image, "astropy.units", "Quantity")


def _is_instance(image: Any, module: str, name: str) -> bool:
    """Check the type of an image against a class, without importing its module."""
    return isinstance(image, getattr(sys.modules.get(module), name, ()))


def image_and_bad(
    image: NDArray[Any] | NDData, bad: NDArray[np.bool_] | None = None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Split an image into its values and its bad pixels (given as such, masked or not finite).

    Raises
    ------
    TypeError, ValueError
        The image is not numeric, not (H, W) or (N, H, W), or too small, or a mask has another shape.
    """
    values, masked = _values_and_mask(image)
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


def _values_and_mask(image: Any) -> tuple[NDArray[Any], Any]:
    """Split an image, or a list of images, into its values and its mask, which is None if it has none."""
    if isinstance(image, list | tuple) and any(is_masked(one) or isinstance(one, np.ma.MaskedArray) for one in image):
        values, masks = zip(*map(_values_and_mask, image), strict=True)
        flags = [np.broadcast_to(mask is not None and mask, one.shape) for one, mask in zip(values, masks, strict=True)]
        return np.stack(values), np.stack(flags)
    masked = None
    if is_nddata(image):
        image, masked = image.data, image.mask
    if isinstance(image, np.ma.MaskedArray):
        image, masked = image.data, np.ma.getmaskarray(image)
    if is_masked(image):
        image, masked = image.unmasked, np.asarray(image.mask)
    return np.asarray(image), masked
