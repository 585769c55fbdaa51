"""Replace hit pixels by values estimated from the good pixels around them."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cosmicgate.masking.arrays import is_masked, is_nddata, is_quantity
from cosmicgate.masking.maskfill import fill_from_rim

Method = Literal["median", "mean", "idw", "interpolate", "maskfill"]
CHUNK = 65536  # number of pixels that are replaced at once, to bound the memory
Statistic = Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]]  # (n, k) values with NaN, (k,) distances in pixels
COLOUR_SLICES = tuple(np.s_[row::2, column::2] for row in (0, 1) for column in (0, 1))  # the colours of a mosaic


def clean(
    image: NDArray[Any],
    mask: NDArray[np.bool_],
    method: Method = "median",
    size: int = 5,
    bad: NDArray[np.bool_] | None = None,
    mosaic: bool = False,
) -> NDArray[Any]:
    """Copy an image and replace the pixels where the mask is true.

    Parameters
    ----------
    image : ndarray (H, W)
        Image of any numeric type, which the copy keeps; for integers the replaced values are rounded. A Quantity keeps
        its unit. The masked pixels of a masked array are bad and stay masked.
    mask : ndarray (H, W), bool, or numbers 0 and 1
        True where a pixel is replaced. The masks that ``cosmicgate mask`` writes are uint8.
    method : {"median", "mean", "idw", "interpolate", "maskfill"}
        "median", "mean" and "idw": median, mean or inverse-distance weighted mean of the good pixels in a square around
        the pixel. "interpolate": Gaussian-weighted mean of the good pixels nearby (astropy's
        ``interpolate_replace_nans``). "maskfill": iterative medians from the rim of the mask inwards (van Dokkum &
        Pasha 2024, PASP 136, 034503), which keeps more of a star under a hit.
    size : int
        Side of the square, an odd number of pixels. A square without any good pixel is enlarged. The standard
        deviation of the Gaussian is a fifth of it; "maskfill" always uses squares of 3x3.
    bad : ndarray (H, W), optional
        Bad-pixel mask, non-zero where bad: these pixels are neither replaced nor used to replace others.
    mosaic : bool
        Whether the image is a colour mosaic of 2x2 pixels. Each pixel is then replaced from pixels of its own colour,
        in squares of about half the side.

    Returns
    -------
    ndarray (H, W), same type as ``image``
        Copy of the image with the masked pixels replaced.

    Raises
    ------
    TypeError, ValueError
        The image is no array of numbers, or the mask has another shape or values other than 0 and 1 (the bits of a
        quality plane, for example), or leaves no good pixel.
    """
    if is_nddata(image):
        raise TypeError(f"expected an array, got {type(image).__name__}: masker.clean(ccd) cleans all planes of one")
    if isinstance(image, np.ma.MaskedArray):
        masked = np.ma.getmaskarray(image)
        cleaned = clean(image.data, mask, method, size, _add_bad(masked, bad), mosaic)
        return np.ma.array(cleaned, mask=masked)
    if is_masked(image):
        from astropy.utils.masked import Masked

        masked = np.asarray(image.mask)
        cleaned = clean(image.unmasked, mask, method, size, _add_bad(masked, bad), mosaic)
        both: NDArray[Any] = Masked(cleaned, masked)
        return both
    if is_quantity(image):
        cleaned = clean(image.value, mask, method, size, bad, mosaic)
        quantity: NDArray[Any] = type(image)(cleaned, image.unit, dtype=cleaned.dtype, copy=False)
        return quantity
    if (kind := np.asarray(image).dtype).kind not in "iuf":
        raise TypeError(f"expected an image of numbers, got {kind}")
    mask = as_mask(mask, np.shape(image))
    bad = None if bad is None else _as_bool(bad, np.shape(image))
    if size < 3 or size % 2 == 0:
        raise ValueError(f"size={size}: expected an odd number of pixels, 3 or more")
    if method not in get_args(Method):
        raise ValueError(f"unknown method {method!r}: expected one of {', '.join(map(repr, get_args(Method)))}")
    if mosaic:
        side, bad = max(size // 2 | 1, 3), np.zeros(mask.shape, bool) if bad is None else bad
        return apply_to_each_colour(partial(_clean_array, method=method, size=side), np.asarray(image), mask, bad)
    return _clean_array(np.asarray(image), mask, bad, method, size)


def _clean_array(
    image: NDArray[Any], mask: NDArray[np.bool_], bad: NDArray[np.bool_] | None, method: Method, size: int
) -> NDArray[Any]:
    """Clean a plain array; parameters, except ``mosaic``, are those of :func:`clean`, which has checked them."""
    cleaned = np.array(image)
    values = cleaned.astype(np.result_type(cleaned, np.float32))  # float64 for int32 and wider
    unknown = mask | ~np.isfinite(values)
    unknown = unknown if bad is None else unknown | bad
    replaced = mask if bad is None else mask & ~bad
    if not replaced.any():
        return cleaned
    if unknown.all():
        raise ValueError(f"none of the {unknown.size} pixels is good: masked ones cannot be replaced from others")
    values[unknown] = np.nan
    rows, columns = np.nonzero(replaced)
    if method == "interpolate":
        guesses = _interpolated(values, rows, columns, size / 5)
    elif method == "maskfill":
        guesses = fill_from_rim(values, rows, columns)
        lost = np.isnan(guesses)  # bad pixels separate these from all good ones
        guesses[lost] = _square_statistic(values, rows[lost], columns[lost], size, STATISTICS["median"])
    else:
        guesses = _square_statistic(values, rows, columns, size, STATISTICS[method])
    if np.issubdtype(cleaned.dtype, np.integer):
        limits = np.iinfo(cleaned.dtype)
        below = np.nextafter(float(limits.max + 1), 0)  # limits.max may round up as a float and would then overflow
        guesses = np.clip(np.rint(guesses), limits.min, below)
    cleaned[rows, columns] = guesses
    return cleaned


def apply_to_each_colour(step: Callable[..., NDArray[Any]], *images: NDArray[Any]) -> NDArray[Any]:
    """Apply a function to each of the four colour planes of mosaics (H, W) and reassemble the results."""
    results = [step(*(np.ascontiguousarray(image[plane]) for image in images)) for plane in COLOUR_SLICES]
    types = {result.dtype for result in results}
    whole = np.empty(images[0].shape, types.pop() if len(types) == 1 else np.result_type(*results))
    for plane, result in zip(COLOUR_SLICES, results, strict=True):
        whole[plane] = result
    return whole


def as_mask(mask: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Convert a mask to bool; raise ValueError if it holds values other than 0 and 1 or has another shape."""
    given: NDArray[Any] = np.ma.filled(mask, 0) if isinstance(mask, np.ma.MaskedArray) else np.asarray(mask)
    if given.shape != shape or given.ndim != 2:
        raise ValueError(
            f"expected a two-dimensional mask of the image's shape {shape}, got {given.dtype} {given.shape}"
        )
    if given.dtype.kind not in "biuf":
        raise ValueError(f"expected a mask of bool, or of 0 and 1, got {given.dtype}")
    if given.dtype == bool:
        return given
    other = given[(given != 0) & (given != 1)]
    if other.size:
        advice = "for a bit mask, pass (mask & BIT) != 0"
        raise ValueError(f"expected a mask of bool, or of 0 and 1, got {other.flat[0]}: {advice}")
    return np.asarray(given != 0)


def _as_bool(bad: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    given = np.asarray(bad)
    if given.shape not in (shape, ()):
        raise ValueError(f"the bad pixels are {given.shape}, the image {shape}")
    return np.broadcast_to(given.astype(bool), shape)


def _add_bad(masked: NDArray[np.bool_], bad: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """Combine the masked pixels of an image (H, W) with its bad pixels, if there are any."""
    return masked if bad is None else masked | _as_bool(bad, masked.shape)


def _median(around: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.nanmedian(around, axis=1))


def _mean(around: NDArray[Any], _: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(np.nanmean(around, axis=1))


def _by_distance(around: NDArray[Any], distance: NDArray[Any]) -> NDArray[Any]:
    weights = ~np.isnan(around) / np.maximum(distance, 1)  # the centre (distance 0) is always NaN
    return np.asarray(np.nansum(around * weights, axis=1) / weights.sum(axis=1))


STATISTICS: dict[str, Statistic] = {"median": _median, "mean": _mean, "idw": _by_distance}


def _square_statistic(
    values: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], size: int, statistic: Statistic
) -> NDArray[Any]:
    """Compute a statistic of the finite values in a square around each pixel; enlarge squares that have none."""
    guesses = np.full(rows.size, np.nan, values.dtype)
    left = np.arange(rows.size)
    reach = size // 2
    while left.size:
        offsets = np.arange(-reach, reach + 1)
        for first in range(0, left.size, chunk := max(CHUNK * 25 // (2 * reach + 1) ** 2, 1)):
            here = left[first : first + chunk]
            y = rows[here, None, None] + offsets[:, None]
            x = columns[here, None, None] + offsets
            inside = (y >= 0) & (y < values.shape[0]) & (x >= 0) & (x < values.shape[1])
            around = values[np.clip(y, 0, values.shape[0] - 1), np.clip(x, 0, values.shape[1] - 1)]
            around = np.where(inside, around, np.nan).reshape(here.size, -1)
            some = np.isfinite(around).any(axis=1)
            guesses[here[some]] = statistic(around[some], np.hypot(offsets[:, None], offsets).ravel())
        left = left[np.isnan(guesses[left])]
        reach += 1 if reach < 8 else reach
    return guesses


def _interpolated(values: NDArray[Any], rows: NDArray[Any], columns: NDArray[Any], sigma: float) -> NDArray[Any]:
    """Compute Gaussian-weighted means, in a window around each group of hits so as not to convolve the whole image."""
    from astropy.convolution import Gaussian2DKernel, interpolate_replace_nans  # slow to import
    from astropy.utils.exceptions import AstropyUserWarning

    kernel = Gaussian2DKernel(sigma)
    margin = kernel.shape[0]
    guesses = np.full(rows.size, np.nan, values.dtype)
    order = np.lexsort((columns, rows))
    while order.size:
        y, x = rows[order[0]], columns[order[0]]
        near = order[(np.abs(rows[order] - y) < 64) & (np.abs(columns[order] - x) < 64)]
        top, left = max(rows[near].min() - margin, 0), max(columns[near].min() - margin, 0)
        window = values[top : rows[near].max() + margin + 1, left : columns[near].max() + margin + 1]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "nan_treatment=", AstropyUserWarning)  # holes wider than the kernel
            filled = interpolate_replace_nans(window, kernel, boundary="extend")
        guesses[near] = filled[rows[near] - top, columns[near] - left]
        order = order[~np.isin(order, near)]
    lost = np.isnan(guesses)
    if lost.any():  # inside holes wider than the kernel
        guesses[lost] = _square_statistic(values, rows[lost], columns[lost], margin, _median)
    return guesses
