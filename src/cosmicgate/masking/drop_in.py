"""Drop-in replacements for Astro-SCRAPPY and ccdproc: the same arguments in the same order, but a U-Net finds hits."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData, NDData
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.masking.arrays import image_and_bad
from cosmicgate.masking.ccddata import UNCERTAINTY_POWERS, copy_without_hits, uncertainty_unit_factor
from cosmicgate.masking.inpainting import Method, clean
from cosmicgate.masking.load import load_cached
from cosmicgate.masking.masker import CosmicRayMasker, is_mosaic

METHODS: dict[str, Method] = {"meanmask": "mean", "medmask": "median", "median": "median", "idw": "idw"}
PIXELS_PER_STEP = 100_000  # number of pixels whose surroundings are in memory at once
MAX_SATURATED = 0.05  # fraction of an image covered by saturated stars above which the saturation is questioned
# Arguments of L.A.Cosmic that have no effect here, with their defaults.
IGNORED = {
    "invar": None,
    "sigclip": 4.5,
    "sigfrac": 0.3,
    "objlim": 5.0,
    "readnoise": 6.5,
    "niter": 4,
    "fsmode": "median",
    "psfmodel": "gauss",
    "psffwhm": 2.5,
    "psfsize": 7,
    "psfk": None,
    "psfbeta": 4.765,
    "verbose": False,
}


class IgnoredArgumentWarning(UserWarning):
    """Warning that arguments of L.A.Cosmic were given, which have no effect on a network."""


def detect_cosmics(
    indat: ArrayLike,
    inmask: ArrayLike | None = None,
    inbkg: ArrayLike | None = None,
    invar: ArrayLike | None = None,
    sigclip: float = 4.5,
    sigfrac: float = 0.3,
    objlim: float = 5.0,
    gain: float = 1.0,
    readnoise: float = 6.5,
    satlevel: float = 65536.0,
    niter: int = 4,
    sepmed: bool = True,
    cleantype: str = "meanmask",
    fsmode: str = "median",
    psfmodel: str = "gauss",
    psffwhm: float = 2.5,
    psfsize: int = 7,
    psfk: ArrayLike | None = None,
    psfbeta: float = 4.765,
    verbose: bool = False,
    *,
    model: str | Path | CosmicRayMasker = "general",
    threshold: float | None = None,
    fpr: float | None = None,
    grow: int = 0,
    fast: bool = False,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """Find and replace the hits of an image, with the arguments of ``astroscrappy.detect_cosmics`` (1.1 and later).

    The network measures sky and noise itself and has its own threshold, so the arguments that tune L.A.Cosmic have no
    effect. If any of them differs from its default, one :class:`IgnoredArgumentWarning` names them.

    Parameters
    ----------
    indat : ndarray (H, W)
        Counts, of any numeric type, byte order and memory layout, at least 8x8 pixels. It is not modified. Pixels that
        are not finite, or masked in a masked array, are neither searched nor replaced.
    inmask : ndarray (H, W), optional
        Bad-pixel mask, non-zero where bad: these pixels are neither searched nor used to replace others.
    inbkg : ndarray (H, W) or float, optional
        Background in the unit of ``indat``, such as sky lines and the trace of a spectrum. It is subtracted before
        the search and added back to the replaced pixels.
    gain : float
        Electrons per count; converts ``satlevel`` to the unit of ``indat``.
    satlevel : float
        Saturation in electrons. Saturated stars, and some pixels around them, are not searched. A pixel belongs to one
        if it reaches this level and the median around it is above a tenth of the level, as in Astro-SCRAPPY. A
        saturated pixel among faint ones is searched, as it may be a hit.
    sepmed : bool
        Compute that median with a separable filter of 7x7 pixels. False: a full filter of 5x5.
    cleantype : {"meanmask", "medmask", "median", "idw"}
        Replacement value: mean, median (two names for it) or inverse-distance weighted mean of the good pixels in the
        5x5 square around.
    invar, sigclip, sigfrac, objlim, readnoise, niter, fsmode, psfmodel, psffwhm, psfsize, psfk, psfbeta, verbose
        Accepted and ignored.
    model : str, Path or CosmicRayMasker
        Model as in :func:`cosmicgate.load`, or a detector that it returned. A model given by name or path stays in
        memory for the next call.
    threshold, fpr, grow
        As in :meth:`cosmicgate.CosmicRayMasker.mask`.
    fast : bool
        As in :func:`cosmicgate.load`.

    Returns
    -------
    crmask : ndarray (H, W), bool
        True where a pixel is hit.
    cleanarr : ndarray (H, W), float32
        Image in the unit of ``indat`` with its hits replaced; a Quantity if ``indat`` is one.

    Raises
    ------
    TypeError, ValueError
        ``indat`` is no image of numbers, or an argument has an invalid value.
    """
    _warn_of_ignored(locals())
    if isinstance(indat, NDData):
        raise TypeError(f"expected an array, got {type(indat).__name__}: cosmicray_unet takes one")
    search = _search(model, fast, threshold, fpr, grow, cleantype, satlevel / _positive(gain, "gain"), sepmed)
    unit = getattr(indat, "unit", None)
    values, bad = _float32(indat)
    if inmask is not None:
        bad |= _validated_shape(inmask, values.shape, "inmask").astype(bool)
    hits, cleaned = search(values, bad, _background(inbkg, values.shape, unit))
    return hits, cleaned if unit is None else cleaned * unit


def cosmicray_unet(
    ccd: CCDData | NDArray[Any],
    sigclip: float = 4.5,
    sigfrac: float = 0.3,
    objlim: float = 5.0,
    gain: float | u.Quantity | None = None,
    readnoise: float | u.Quantity = 6.5,
    satlevel: float = 65535.0,
    pssl: float = 0.0,
    niter: int = 4,
    sepmed: bool = True,
    cleantype: str = "meanmask",
    fsmode: str = "median",
    psfmodel: str = "gauss",
    psffwhm: float = 2.5,
    psfsize: int = 7,
    psfk: ArrayLike | None = None,
    psfbeta: float = 4.765,
    verbose: bool = False,
    gain_apply: bool = True,
    inbkg: ArrayLike | None = None,
    invar: ArrayLike | None = None,
    *,
    model: str | Path | CosmicRayMasker = "general",
    threshold: float | None = None,
    fpr: float | None = None,
    grow: int = 0,
    fast: bool = False,
) -> CCDData | tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Find and replace the hits of a CCDData, with the arguments of ``ccdproc.cosmicray_lacosmic``.

    ccdproc names such functions after the method that finds the hits: lacosmic, median; here a U-Net.

    Parameters
    ----------
    ccd : CCDData or ndarray (H, W)
        Image. Masked pixels, and those that are not finite, are neither searched nor replaced.
    gain : float or Quantity, optional
        Electrons per count. It converts ``satlevel`` and, with ``gain_apply``, multiplies the result. None: the image
        is in electrons, or keeps its unit. A plain number is in electron / adu; for an image in electrons only 1 is
        allowed.
    satlevel, sepmed
        As in :func:`detect_cosmics`.
    pssl : float
        Previously subtracted sky level, in counts. It is added back only to compare the image with ``satlevel``.
    gain_apply : bool
        Return the image multiplied by ``gain``, in its new unit. False: the image keeps its unit.
    inbkg, cleantype, model, threshold, fpr, grow, fast
        As in :func:`detect_cosmics`.
    invar, sigclip, sigfrac, objlim, readnoise, niter, fsmode, psfmodel, psffwhm, psfsize, psfk, psfbeta, verbose
        Accepted and ignored.

    Returns
    -------
    CCDData
        If ``ccd`` is a CCDData: a copy in which hits are replaced and masked. The uncertainty (std, var, ivar) of
        replaced pixels is that of the replacement value; the header gets the network, the threshold and the number of
        hits; everything else is unchanged.
    cleaned : ndarray (H, W), float32, and mask : ndarray (H, W), bool
        If ``ccd`` is an array, in this order.

    Raises
    ------
    TypeError, ValueError
        ``ccd`` is no image, or an argument has an invalid value.
    """
    _warn_of_ignored(locals())
    if pssl and (inbkg is not None or invar is not None):
        raise ValueError(f"pssl={pssl}: expected 0 beside inbkg or invar")
    if not isinstance(ccd, CCDData | np.ndarray):
        raise TypeError(f"expected CCDData or an array, got {type(ccd).__name__}")
    unit = getattr(ccd, "unit", None)
    factor = _gain(gain, unit)
    level = satlevel / _positive(factor.value, "gain")
    search = _search(model, fast, threshold, fpr, grow, cleantype, level, sepmed, pssl)
    if not isinstance(ccd, CCDData):
        values, bad = _float32(ccd)
        hits, cleaned = search(values, bad, _background(inbkg, values.shape, unit))
        cleaned = cleaned * float(factor.value) if gain_apply else cleaned
        return cleaned if unit is None else cleaned * (unit * factor.unit if gain_apply else unit), hits
    values, bad = image_and_bad(ccd)
    mosaic = is_mosaic(ccd)
    hits, cleaned = search(values, bad, _background(inbkg, values.shape, unit), mosaic, ccd.meta)
    at = search.masker.threshold(threshold, fpr)
    done = copy_without_hits(ccd, hits, cleaned, bad, search.masker.card, at, mosaic)
    done.mask = bad | hits
    return _times(done, factor) if gain_apply and gain is not None else done


@dataclass(frozen=True)
class _Search:
    """A detector with its settings; calling it finds and replaces the hits of one image.

    Attributes
    ----------
    masker : CosmicRayMasker
        Detector.
    threshold, fpr : float, optional
        Probability from which a pixel counts as hit, or false-positive rate.
    grow : int
        Number of pixels by which masks are dilated.
    method : str
        Replacement method, as in :func:`cosmicgate.clean`.
    saturation : float
        Saturation of stars, in counts.
    separable : bool
        Astro-SCRAPPY's ``sepmed``, used to find saturated stars.
    sky : float
        Previously subtracted sky level in counts, which ``saturation`` includes.
    """

    masker: CosmicRayMasker
    threshold: float | None
    fpr: float | None
    grow: int
    method: Method
    saturation: float
    separable: bool
    sky: float

    def __call__(
        self,
        values: NDArray[Any],
        bad: NDArray[np.bool_],
        background: NDArray[Any] | None,
        mosaic: bool = False,
        header: Mapping[str, Any] | None = None,
    ) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Find the hits (H, W) and replace them; the image keeps its dtype, or becomes float with a background.

        ``header`` has the exposure time, from which the masker knows how many hits are plausible.
        """
        if values.ndim != 2:
            raise ValueError(f"expected one image (H, W), got {values.shape}: give them one by one")
        if background is not None:
            values = values.astype(np.result_type(values, np.float32), copy=False)
        not_searched = bad | self._saturated(values, bad)
        hits = np.zeros(values.shape, bool)
        source = values if background is None else values - background
        if not not_searched.all():  # otherwise there is nothing to search, for example on a masked chip
            image = NDData(source, meta=header)
            hits = self.masker.mask(image, self.threshold, self.grow, self.fpr, bad=not_searched, mosaic=mosaic)
        cleaned = clean(source, hits, self.method, bad=not_searched, mosaic=mosaic)
        if background is not None:
            cleaned = np.where(hits, cleaned + background, values)
        return hits, cleaned.astype(values.dtype, copy=False)

    def _saturated(self, values: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Find the pixels (H, W) of saturated stars, and warn if they are too many to be stars."""
        if bad.all():
            return np.zeros(values.shape, bool)
        filled = np.where(np.isfinite(values), values, np.median(values[~bad])).astype(np.float32)
        found = astroscrappy_saturated_stars(filled + np.float32(self.sky), self.saturation, self.separable)
        part = (found & ~bad).sum() / (~bad).sum()
        if part > MAX_SATURATED:
            warnings.warn(
                f"saturated stars, from {self.saturation:g} counts on (satlevel / gain), cover {100 * part:.0f} % of "
                "the image, which is not searched there: is satlevel in electrons and gain in electrons per count?",
                stacklevel=4,
            )
        return found


def astroscrappy_saturated_stars(values: NDArray[np.float32], level: float, separable: bool) -> NDArray[np.bool_]:
    """Mark the pixels of saturated stars exactly as Astro-SCRAPPY's ``update_mask`` does.

    :func:`cosmicgate.detectors.classical.mask_saturated_stars`, for L.A.Cosmic, differs at the border and in the shape
    of the dilation.

    Parameters
    ----------
    values : ndarray (H, W), float32
        Finite image, in the unit of ``level``.
    level : float
        Saturation, above 0. A pixel that reaches it is of a star if the median of its surroundings is above a tenth
        of it. The pixels of a star are dilated by four pixels.
    separable : bool
        Take the median of the medians of the rows of 7x7 pixels; else the median of 5x5 pixels. Pixels at the border
        have no such median and count as stars.

    Returns
    -------
    ndarray (H, W), bool
    """
    side = 7 if separable else 5
    found = values >= np.float32(level)
    if min(values.shape) >= side:
        inner = found[side // 2 : -(side // 2), side // 2 : -(side // 2)]  # a view
        squares, (rows, columns) = sliding_window_view(values, (side, side)), np.nonzero(inner)
        for start in range(0, rows.size, PIXELS_PER_STEP):
            pixels = rows[start : start + PIXELS_PER_STEP], columns[start : start + PIXELS_PER_STEP]
            square = squares[pixels]
            medians = np.median(np.median(square, axis=2), axis=1) if separable else np.median(square, axis=(1, 2))
            inner[pixels] = medians > level / 10
    disc = np.ones((5, 5), bool)
    disc[[0, 0, -1, -1], [0, -1, 0, -1]] = False
    dilated = np.zeros(found.shape, bool)
    dilated[2:-2, 2:-2] = True  # two pixels at the border stay as they are
    stars: NDArray[np.bool_] = binary_dilation(found, disc, iterations=2, mask=dilated)
    return stars


def _search(
    model: str | Path | CosmicRayMasker,
    fast: bool,
    threshold: float | None,
    fpr: float | None,
    grow: int,
    cleantype: str,
    saturation: float,
    separable: bool,
    sky: float = 0.0,
) -> _Search:
    """Check the arguments, then load the network or take it from the cache."""
    if cleantype not in METHODS:
        raise ValueError(f"cleantype={cleantype!r}: expected one of {', '.join(map(repr, METHODS))}")
    if not saturation > 0:
        raise ValueError(f"satlevel / gain is {saturation:g}: expected a level above 0")
    if isinstance(model, CosmicRayMasker) and fast:
        raise ValueError("fast=True beside a loaded network: give that to cosmicgate.load")
    masker = model if isinstance(model, CosmicRayMasker) else load_cached(model, fast)
    masker.threshold(threshold, fpr)  # raises ValueError before anything is searched
    return _Search(masker, threshold, fpr, grow, METHODS[cleantype], saturation, separable, sky)


def _warn_of_ignored(given: dict[str, Any]) -> None:
    """Warn about arguments that differ from their defaults but have no effect."""
    names = [name for name, default in IGNORED.items() if _differs(given[name], default)]
    if names:
        steer = "steer L.A.Cosmic and have" if len(names) > 1 else "steers L.A.Cosmic and has"
        warnings.warn(
            f"{', '.join(names)} {steer} no effect here: use threshold, fpr or grow",
            IgnoredArgumentWarning,
            stacklevel=3,
        )


def _differs(value: Any, default: Any) -> bool:
    return value is not default if default is None else bool(np.any(value != default))


def _float32(image: Any) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Copy an image as C-ordered float32, which Astro-SCRAPPY needs, and find its bad pixels."""
    values, bad = image_and_bad(image)
    with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite and so a bad pixel
        copy = np.array(values, np.float32, order="C")
    return copy, bad | ~np.isfinite(copy)


def _validated_shape(value: ArrayLike, shape: tuple[int, ...], name: str) -> NDArray[Any]:
    array = np.asarray(value)
    if array.shape not in (shape, ()):
        raise ValueError(f"{name} is {array.shape}, the image {shape}")
    return array


def _background(value: Any, shape: tuple[int, ...], unit: u.UnitBase | None) -> NDArray[Any] | None:
    """Convert a background to the image's unit, as native float32; None if there is none."""
    if value is None:
        return None
    if isinstance(value, CCDData):
        value = u.Quantity(value.data, value.unit)
    if isinstance(value, u.Quantity) and unit is not None:
        value = value.to_value(unit)
    array = _validated_shape(value, shape, "inbkg")
    if not np.isfinite(array).all():
        raise ValueError(f"inbkg has {(~np.isfinite(array)).sum()} pixels that are not finite")
    return array.astype(np.float32)


def _positive(value: Any, name: str) -> float:
    number = float(getattr(value, "value", value))
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name}={value}: expected a finite number above 0")
    return number


def _gain(gain: float | u.Quantity | None, unit: u.UnitBase | None) -> u.Quantity:
    """Give a gain its unit; refuse one that does not convert the image's unit to electrons."""
    if gain is None:
        return u.Quantity(1.0)
    if unit is None:
        return u.Quantity(getattr(gain, "value", gain))
    one = u.one if unit == u.electron and np.all(gain == 1) else u.electron / u.adu
    found = gain if isinstance(gain, u.Quantity) else u.Quantity(gain, one)
    if not (found.unit * unit).is_equivalent(u.electron):
        raise ValueError(
            f"gain={found} of an image in {unit}: expected electrons per {unit}, and none for an image in electrons"
        )
    return found


def _times(ccd: CCDData, gain: u.Quantity) -> CCDData:
    """Multiply an image and its uncertainty by a gain, in place; mask and header are unchanged."""
    uncertainty, factor = ccd.uncertainty, float(gain.value)  # a float of Python keeps the type of the arrays
    if uncertainty is not None:
        power = UNCERTAINTY_POWERS.get(uncertainty.uncertainty_type, 0)
        array = np.asarray(uncertainty.array) * uncertainty_unit_factor(ccd) * factor**power
        ccd.uncertainty = None
    ccd.data = ccd.data * factor
    ccd.unit = ccd.unit * gain.unit
    if uncertainty is not None:
        ccd.uncertainty = type(uncertainty)(array)
    return ccd
