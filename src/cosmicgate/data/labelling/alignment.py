"""Align exposures by their WCS or by common stars, check the alignment, and resample one to the pixels of another."""

import logging
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cosmicgate.data.star_match import MIN_SHARE, Match, best_shift, match
from cosmicgate.extras import extra
from cosmicgate.io.fits.hdus import header_value

with extra("label"):
    import astroalign
    import sep
    from reproject import reproject_interp
    from skimage.transform import SimilarityTransform, warp

log = logging.getLogger(__name__)

Image = NDArray[np.float32]
Places = NDArray[np.float64]
How = Literal["auto", "wcs", "stars"]
STAR_SIGMAS, STAR_PIXELS = 3.0, 8  # detection threshold and minimum number of pixels of a star
STARS_TRIED = (10, 20, 40, 80)  # numbers of stars tried in pattern matching; fainter ones may be in one frame only
MIN_SMOOTHNESS = 0.5  # minimum fraction of a star's peak left after 3x3 smoothing; for hits it is less than 0.45
MIN_RELATIVE_WIDTH = 0.6  # of a star, as a fraction of the 75th percentile of all widths; narrower ones are hits
MAX_SCALE_DIFFERENCE = 0.01  # maximum difference of the scales of two exposures of one camera
MATCH_RADIUS = 1.5  # pixels, maximum distance of a star from the position given by the first guess


class Alignment:
    """Coordinate transformations between the pixels of several exposures.

    The alignment is checked: the bright stars of each exposure must coincide with those of the others.

    Parameters
    ----------
    signals : sequence of ndarray (H, W), float32
        Sky-subtracted images; NaN in bad pixels.
    noises : sequence of float
        Sigma of the sky of each image.
    headers : sequence of Header
        Headers of the images, with their WCS.
    names : sequence of str
        Names of the exposures, for messages.
    how : {"auto", "wcs", "stars"}
        Method of alignment. "auto": by WCS if every header has a solved one (LCO sets WCSERR to 0) that agrees with
        the stars, otherwise by stars.
    stars_of : sequence of ndarray (N, 2), optional
        Positions of the stars of each image (:func:`stars`); None: they are found.

    Attributes
    ----------
    how : {"wcs", "stars"}
        Method that was used.
    check : Match or None
        Worst match of any two exposures; None if they have too few stars for a check.

    Raises
    ------
    ValueError
        If the method needs a WCS or stars that are missing, or the stars of two exposures do not coincide; the message
        names the exposures.
    """

    def __init__(
        self,
        signals: Sequence[Image],
        noises: Sequence[float],
        headers: Sequence[fits.Header],
        names: Sequence[str],
        how: How = "auto",
        stars_of: Sequence[Places] | None = None,
    ) -> None:
        if how not in get_args(How):
            raise ValueError(f"align={how!r}: expected one of {', '.join(get_args(How))}")
        self.signals, self.names = signals, names
        self.systems = [celestial(header) for header in headers]
        missing = [name for name, wcs in zip(names, self.systems, strict=True) if wcs is None]
        if how == "wcs" and missing:
            raise ValueError(f"{missing[0]}: its header has no solved celestial WCS to align it by")
        self.stars = stars_of or [stars(s, n) for s, n in zip(signals, noises, strict=True)]
        self.how: Literal["wcs", "stars"] = "stars" if how == "stars" or missing else "wcs"
        self._by_stars: dict[tuple[int, int], SimilarityTransform] = {}
        reason = f"{missing[0]}: its header has no solved WCS" if missing else ""
        if self.how == "wcs":
            try:
                self.check = self._checked()
            except ValueError as error:
                if how == "wcs":
                    raise
                self.how, reason = "stars", f"{error}: the WCS does not fit"
                log.warning("%s; the exposures are aligned by their stars", reason)
        if self.how == "stars":
            try:
                self._find_by_stars()
                self.check = self._checked()
            except ValueError as error:
                raise ValueError(f"{reason}, and {error}" if reason else str(error)) from error

    def __call__(self, which: int, to: int) -> Image:
        """Resample exposure ``which`` to the pixels of exposure ``to``, bilinearly; NaN where there is no data."""
        signal = self.signals[which]
        if self.how == "stars":
            how: dict[str, Any] = {"order": 1, "mode": "constant", "cval": np.nan, "preserve_range": True}
            moved = warp(signal, self._by_stars[which, to].inverse, **how)  # type: ignore[no-untyped-call]
            return np.asarray(moved, np.float32)
        shape = self.signals[to].shape
        way = (signal, self.systems[which]), self.systems[to]
        options = {"order": "bilinear", "return_footprint": False, "roundtrip_coords": False}
        array = reproject_interp(*way, shape_out=shape, **options)
        return np.asarray(array, np.float32)

    def places(self, which: int, to: int) -> Callable[[Places], Places]:
        """Build the function that maps positions (N, 2), x and y, in exposure ``which`` to those in ``to``."""
        if self.how == "stars":
            return self._by_stars[which, to]
        here, there = self.systems[which], self.systems[to]

        def way(places: Places) -> Places:
            if here is None or there is None or not len(places):
                return places
            world = here.all_pix2world(places, 0)
            return np.asarray(there.all_world2pix(world, 0, quiet=True), np.float64)

        return way

    def _checked(self) -> Match | None:
        """Compare the stars of every pair of exposures; return the worst match.

        Raises
        ------
        ValueError
            If the stars of two exposures do not coincide; the message gives the distance.
        """
        found = []
        for to in range(len(self.signals)):
            for which in range(to):
                pair = f"{self.names[which]} and {self.names[to]}"
                moved = self.places(which, to)(self.stars[which])
                one = match(moved, self.stars[to], self.signals[to].shape)
                if not one.inside:
                    raise ValueError(f"{pair}: they share no sky: expected exposures of one field")
                if one.wrong:
                    raise ValueError(f"{pair}: {one.wrong}")
                found.append(one)
        known = [one for one in found if one.pairs]
        if not known:
            log.warning("%s: too few stars to check the alignment by", ", ".join(self.names))
            return None
        return max(known, key=lambda one: one.residual)

    def _find_by_stars(self) -> None:
        few = [name for name, found in zip(self.names, self.stars, strict=True) if len(found) < 3]
        if few:
            raise ValueError(f"{few[0]}: fewer than three stars are in it to align it by")
        for to in range(len(self.signals)):
            for which in range(len(self.signals)):
                if which != to:
                    self._by_stars[which, to] = self._similarity(which, to)

    def _similarity(self, which: int, to: int) -> SimilarityTransform:
        """Fit the similarity transformation from the stars of one exposure to those of another."""
        here, there = self.stars[which], self.stars[to]
        guesses = (_pattern(here, there, number) for number in STARS_TRIED)
        guess = next(filter(None, guesses), None) or _shift(here, there, self.signals[which].shape)
        # astroalign fits a random choice of triangles; a fit to all pairs of stars is reproducible.
        distances, nearest = KDTree(there).query(guess(here) if guess else here)
        same = distances < MATCH_RADIUS
        if guess is None or same.sum() < 3:
            pair = f"{self.names[which]} and {self.names[to]}"
            raise ValueError(f"{pair}: expected a pattern of stars that is in both: are they of one field?")
        fitted = SimilarityTransform.from_estimate(here[same], there[nearest[same]])
        if isinstance(fitted, SimilarityTransform) and abs(fitted.scale - 1) < MAX_SCALE_DIFFERENCE:
            return fitted
        return guess


def _pattern(here: Places, there: Places, number: int) -> SimilarityTransform | None:
    """Match the ``number`` brightest stars by their pattern; return None if they have none in common."""
    try:
        found = astroalign.find_transform(here, there, max_control_points=number)[0]
    except (astroalign.MaxIterError, ValueError, TypeError):
        return None
    return found if abs(found.scale - 1) < MAX_SCALE_DIFFERENCE else None


def _shift(here: Places, there: Places, shape: tuple[int, ...]) -> SimilarityTransform | None:
    """Find a shift, with or without the half turn of a meridian flip, if the stars are too few for a pattern."""
    middle = (np.array(shape[::-1]) - 1) / 2
    for turn in (0.0, np.pi):
        turned = here if not turn else 2 * middle - here
        shift, pairs = best_shift(turned, there)
        if pairs >= max(3, MIN_SHARE * min(len(here), len(there))):
            step = shift + (2 * middle if turn else 0)
            return SimilarityTransform(rotation=turn, translation=step)  # type: ignore[no-untyped-call]
    return None


def celestial(header: fits.Header, solved: bool = True) -> WCS | None:
    """Read the celestial WCS of a header; None if there is none.

    Unless ``solved`` is False, one that the pipeline could not solve (WCSERR) counts as none: it has the telescope's
    nominal pointing.
    """
    if solved and "WCSERR" in header and header_value(header, "WCSERR") != 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)  # non-standard dates and units, which astropy corrects
        try:
            wcs = WCS(header).celestial
        except Exception:  # wcslib raises errors of many classes: an unreadable WCS counts as none
            return None
    return wcs if wcs.naxis == 2 and wcs.has_celestial else None


def stars(signal: Image, noise: float) -> Places:
    """Detect the brightest stars, and return their positions (N, 2), x and y, brightest first."""
    bad = ~np.isfinite(signal)
    data = np.ascontiguousarray(np.where(bad, 0, signal))
    sep.set_extract_pixstack(max(300_000, data.size))
    found = sep.extract(data, STAR_SIGMAS, err=noise, mask=bad, minarea=STAR_PIXELS)
    smooth = found["cpeak"] > MIN_SMOOTHNESS * found["peak"]
    if smooth.sum() >= 3:
        found = found[smooth]
    elif len(found):  # undersampled stars, if any
        found = found[found["b"] > MIN_RELATIVE_WIDTH * np.percentile(found["b"], 75)]
    order = np.argsort(found["flux"])[::-1][: STARS_TRIED[-1]]
    return np.column_stack([found["x"], found["y"]])[order].astype(np.float64)
