"""Bring an exposure to the pixels of another one, by their WCS or by the stars in both."""

import warnings
from collections.abc import Sequence
from typing import Any, Literal, get_args

import astroalign
import numpy as np
import sep
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray
from reproject import reproject_interp
from scipy.spatial import KDTree
from skimage.transform import SimilarityTransform, warp

from cosmicgate.data.fits.hdus import said

Image = NDArray[np.float32]
How = Literal["auto", "wcs", "stars"]
STAR_SIGMAS, STAR_PIXELS = 3.0, 8  # of a star to align by
BRIGHTEST = (10, 20, 40, 80)  # stars among which the pattern is sought: fainter ones may be in one frame only
NARROW = 0.6  # a thing narrower than this part of what is wide is a hit, not a star
ONE_CAMERA = 0.01  # by which the scales of two exposures of one camera may differ
SAME = 1.5  # pixels between a star and where the first guess puts it


class Alignment:
    """The way between the pixels of several exposures.

    Parameters
    ----------
    signals : sequence of ndarray (H, W), float32
        Images without their sky; NaN where a pixel is bad.
    noises : sequence of float
        Standard deviation of each one's sky.
    headers : sequence of Header
        With their WCS.
    names : sequence of str
        For errors.
    how : {"auto", "wcs", "stars"}
        "auto": by WCS where every header has one that is solved (LCO's WCSERR is 0 then), else by stars.

    Raises
    ------
    ValueError
        There is no WCS, or no star, where one is needed; names the exposure.
    """

    def __init__(
        self,
        signals: Sequence[Image],
        noises: Sequence[float],
        headers: Sequence[fits.Header],
        names: Sequence[str],
        how: How = "auto",
    ) -> None:
        if how not in get_args(How):
            raise ValueError(f"align={how!r}: expected one of {', '.join(get_args(How))}")
        self.signals, self.names = signals, names
        systems = [celestial(header) for header in headers]
        missing = [name for name, wcs in zip(names, systems, strict=True) if wcs is None]
        if how == "wcs" and missing:
            raise ValueError(f"{missing[0]}: its header has no solved celestial WCS to align it by")
        self.how = "stars" if how == "stars" or missing else "wcs"
        self.systems = systems
        self.stars = [stars(s, n) for s, n in zip(signals, noises, strict=True)] if self.how == "stars" else []
        few = [name for name, found in zip(names, self.stars, strict=False) if len(found) < 3]
        if few:
            wcs = "its header has no solved WCS" if few[0] in missing else "it is to be aligned by stars"
            raise ValueError(f"{few[0]}: {wcs}, and fewer than three stars are in it to align it by")

    def __call__(self, which: int, to: int) -> Image:
        """Return exposure ``which`` in the pixels of exposure ``to``, between pixels linearly; NaN: nothing known."""
        if self.how == "stars":
            return self._by_stars(which, to)
        shape = self.signals[to].shape
        way = (self.signals[which], self.systems[which]), self.systems[to]
        how = {"order": "bilinear", "return_footprint": False, "roundtrip_coords": False}
        array = reproject_interp(*way, shape_out=shape, **how)
        return np.asarray(array, np.float32)

    def _by_stars(self, which: int, to: int) -> Image:
        pair = f"{self.names[which]} and {self.names[to]}"
        here, there = self.stars[which], self.stars[to]
        guess = next(filter(None, (_pattern(here, there, number) for number in BRIGHTEST)), None)
        # astroalign draws which triangles it fits; all pairs together give the same transformation every time.
        distances, nearest = KDTree(there).query(guess(here) if guess else here)
        same = distances < SAME
        if guess is None or same.sum() < 3:
            raise ValueError(f"{pair}: expected a pattern of stars that is in both: are they of one field?")
        found = SimilarityTransform.from_estimate(there[nearest[same]], here[same])
        signal = self.signals[which]
        how: dict[str, Any] = {"order": 1, "mode": "constant", "cval": np.nan, "preserve_range": True}
        moved = warp(signal, found, **how)  # type: ignore[no-untyped-call]
        return np.asarray(moved, np.float32)


def _pattern(here: NDArray[np.float64], there: NDArray[np.float64], number: int) -> SimilarityTransform | None:
    """Return the transformation of the ``number`` brightest stars; None if they have no pattern in common."""
    try:
        found = astroalign.find_transform(here, there, max_control_points=number)[0]
    except (astroalign.MaxIterError, ValueError, TypeError):
        return None
    return found if abs(found.scale - 1) < ONE_CAMERA else None


def celestial(header: fits.Header) -> WCS | None:
    """Return the WCS of a header; None if it has none of the sky, or one that its pipeline could not solve."""
    if "WCSERR" in header and said(header, "WCSERR") != 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # dates and units that astropy writes in another way
        try:
            wcs = WCS(header).celestial
        except Exception:  # wcslib's errors are of many classes: a WCS that cannot be read is none
            return None
    return wcs if wcs.naxis == 2 and wcs.has_celestial else None


def stars(signal: Image, noise: float) -> NDArray[np.float64]:
    """Return the places (N, 2), x and y, of the brightest stars, brightest first."""
    bad = ~np.isfinite(signal)
    data = np.ascontiguousarray(np.where(bad, 0, signal))
    sep.set_extract_pixstack(max(300_000, data.size))
    found = sep.extract(data, STAR_SIGMAS, err=noise, mask=bad, minarea=STAR_PIXELS)
    if len(found):
        found = found[found["b"] > NARROW * np.percentile(found["b"], 75)]
    order = np.argsort(found["flux"])[::-1][: BRIGHTEST[-1]]
    return np.column_stack([found["x"], found["y"]])[order].astype(np.float64)
