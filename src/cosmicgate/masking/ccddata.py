"""Read the header of an astropy NDData, and copy a CCDData with its hits replaced."""

from pathlib import Path, PurePath
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData, NDData
from numpy.typing import NDArray

from cosmicgate import __version__
from cosmicgate.io.fits.cards import CRHITPIX, CRMODEL, CRTHRESH
from cosmicgate.io.fits.colour_mosaics import mosaic_of
from cosmicgate.io.fits.headers import ascii_of, header_number
from cosmicgate.masking.arrays import image_and_bad
from cosmicgate.masking.colour_mosaic import find_mosaic_card
from cosmicgate.masking.inpainting import apply_to_each_colour, clean
from cosmicgate.pretrained.card import ModelCard

UNCERTAINTY_POWERS = {"std": 1, "var": 2, "ivar": -2}  # type of uncertainty -> power of the image's unit
MAX_NAME_LENGTH = 40  # characters of a network's name in a header


def exptime_in_header(image: NDData) -> float | None:
    """Look up the exposure time (s) in the header of an NDData; None if there is none."""
    try:
        return header_number(Path(), [header_of(image)], "exptime")
    except ValueError:  # the value is no number
        return None


def is_mosaic_by_header(image: NDData) -> bool:
    """Check by the header of an NDData (H, W), and by its sky, whether it is a colour mosaic."""
    header = header_of(image)
    return bool(mosaic_of((header,)) and find_mosaic_card((header,), *image_and_bad(image))[0])


def header_of(image: NDData) -> Any:
    """Look up the header of an NDData: its FITS header, or a dict of any values, whose keys become upper case.

    A dict is not converted to a FITS header, which refuses nested values. As there, a pair is a value and a comment.
    """
    if isinstance(image.meta, fits.Header):
        return image.meta
    return {
        str(word).upper(): value[0] if isinstance(value, tuple) and value else value
        for word, value in image.meta.items()
    }


def copy_without_hits(
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
        kind, factor = ccd.uncertainty.uncertainty_type, uncertainty_unit_factor(ccd)
        found = clean_uncertainty(np.asarray(ccd.uncertainty.array) * factor, kind, done.data, hits, bad, mosaic)
        done.uncertainty.array = found / factor
    for key, (value, comment) in {
        CRMODEL: (header_name(card), f"cosmicgate {__version__}"),
        CRTHRESH: (float(f"{threshold:.6g}"), "pixels at or above this probability are hits"),
        CRHITPIX: (int(hits.sum()), "pixels hit by cosmic rays, replaced"),
    }.items():
        done.header[key] = (value, comment) if isinstance(done.header, fits.Header) else value
    return done


def uncertainty_unit_factor(ccd: CCDData) -> float:
    """Compute the factor that converts the uncertainties of a CCDData to the unit of its image.

    The target is the image's unit for "std", its square for "var" and the inverse of its square for "ivar". For an
    image in Jy with a standard deviation in mJy the factor is 0.001.
    """
    unit, power = ccd.uncertainty.unit, UNCERTAINTY_POWERS.get(ccd.uncertainty.uncertainty_type)
    if unit is None or power is None or unit == ccd.unit**power:
        return 1.0
    return float(unit.to(ccd.unit**power))


def clean_uncertainty(
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
        return apply_to_each_colour(lambda one, *more: clean_uncertainty(one, kind, *more), *planes)
    power = {"std": 0.5, "var": 1.0, "ivar": -1.0}.get(kind)
    if power is None or not hits.any():
        return np.array(uncertainty)
    array = np.array(np.broadcast_to(uncertainty, hits.shape), np.result_type(uncertainty, np.float32))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        variance = np.asarray(array, np.float64) ** (1 / power)
        steps = np.square(np.diff(np.asarray(cleaned, np.float64), axis=1, append=cleaned[:, -2:-1]))
        if not (np.isfinite(steps) & ~(bad | hits)).any():  # no two good pixels are adjacent, as in interlaced columns
            steps = _steps_over_gaps(cleaned, ~(bad | hits))
        own = clean(variance, hits, bad=bad | ~np.isfinite(variance))
        guess = own[hits] + clean(steps, hits, bad=bad)[hits]
        array[hits] = np.maximum(variance[hits], guess) ** power
    return array


def _steps_over_gaps(image: NDArray[Any], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Square the difference (H, W) of each good pixel to the next one in its row; 0 if no row has two of them."""
    index = np.flatnonzero(good & np.isfinite(image))
    same_row = np.diff(index // image.shape[1]) == 0
    steps = np.full(image.shape, np.nan if same_row.any() else 0.0)
    steps.ravel()[index[:-1][same_row]] = np.square(np.diff(image.ravel()[index].astype(np.float64)))[same_row]
    return steps


def header_name(card: ModelCard) -> str:
    """Make the name of a network for a header: its name, or the last three parts of a run's path."""
    return ascii_of(PurePath(*PurePath(card.name).parts[-3:]).as_posix(), MAX_NAME_LENGTH)
