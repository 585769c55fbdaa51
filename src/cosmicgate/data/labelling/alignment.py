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

from cosmicgate.data.star_match import MIN_MATCHED_FRACTION, Match, best_shift, match
from cosmicgate.extras import extra
from cosmicgate.io.fits.hdus import header_value

with extra("label"):
    import astroalign
    import sep
    from reproject import reproject_interp
    from skimage.transform import SimilarityTransform, warp

log = logging.getLogger(__name__)

Image = NDArray[np.float32]
Positions = NDArray[np.float64]
AlignmentMethod = Literal["auto", "wcs", "stars"]
STAR_SIGMAS, STAR_PIXELS = 3.0, 8  # detection threshold and minimum number of pixels of a star
STARS_TRIED = (10, 20, 40, 80)  # numbers of stars tried in pattern matching; fainter ones may be in one frame only
MIN_SMOOTHNESS = 0.5  # minimum fraction of a star's peak left after 3x3 smoothing; for hits it is less than 0.45
MIN_RELATIVE_WIDTH = 0.6  # minimum width of a star, relative to the 75th percentile of all; narrower ones are hits
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
    method : {"auto", "wcs", "stars"}
        Method of alignment. "auto": by WCS if every header has a solved one (LCO sets WCSERR to 0) that agrees with
        the stars, otherwise by stars.
    star_positions : sequence of ndarray (N, 2), optional
        Positions of the stars of each image (:func:`stars`); None: they are found.

    Attributes
    ----------
    method : {"wcs", "stars"}
        Method that was used.
    worst_match : Match or None
        Worst match of any two exposures; None if they have too few stars for a check.
    unchecked : str
        Number of pairs of exposures that have too few stars for a check, and of all pairs; empty if there are none.

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
        method: AlignmentMethod = "auto",
        star_positions: Sequence[Positions] | None = None,
    ) -> None:
        if method not in get_args(AlignmentMethod):
            raise ValueError(f"align={method!r}: expected one of {', '.join(get_args(AlignmentMethod))}")
        self.signals, self.names = signals, names
        self.wcs = [celestial(header) for header in headers]
        missing = [name for name, wcs in zip(names, self.wcs, strict=True) if wcs is None]
        if method == "wcs" and missing:
            raise ValueError(f"{missing[0]}: its header has no solved celestial WCS to align it by")
        self.stars = star_positions or [stars(s, n) for s, n in zip(signals, noises, strict=True)]
        self.method: Literal["wcs", "stars"] = "stars" if method == "stars" or missing else "wcs"
        self._transforms: dict[tuple[int, int], SimilarityTransform] = {}
        reason = f"{missing[0]}: its header has no solved WCS" if missing else ""
        if self.method == "wcs":
            try:
                self.worst_match = self._find_worst_match()
            except ValueError as error:
                if method == "wcs":
                    raise
                self.method, reason = "stars", f"{error}: the WCS does not fit"
                log.warning("%s; the exposures are aligned by their stars", reason)
        if self.method == "stars":
            try:
                self._find_by_stars()
                self.worst_match = self._find_worst_match()
            except ValueError as error:
                raise ValueError(f"{reason}, and {error}" if reason else str(error)) from error

    def __call__(self, source: int, target: int) -> Image:
        """Resample exposure ``source`` to the pixels of exposure ``target``, bilinearly; NaN where there is no data."""
        signal = self.signals[source]
        if self.method == "stars":
            settings: dict[str, Any] = {"order": 1, "mode": "constant", "cval": np.nan, "preserve_range": True}
            moved = warp(signal, self._transforms[source, target].inverse, **settings)  # type: ignore[no-untyped-call]
            return np.asarray(moved, np.float32)
        shape = self.signals[target].shape
        options = {"order": "bilinear", "return_footprint": False, "roundtrip_coords": False}
        array = reproject_interp((signal, self.wcs[source]), self.wcs[target], shape_out=shape, **options)
        return np.asarray(array, np.float32)

    def transform(self, source: int, target: int) -> Callable[[Positions], Positions]:
        """Build the function that maps positions (N, 2), x and y, in exposure ``source`` to those in ``target``."""
        if self.method == "stars":
            return self._transforms[source, target]
        source_wcs, target_wcs = self.wcs[source], self.wcs[target]

        def map_positions(positions: Positions) -> Positions:
            if source_wcs is None or target_wcs is None or not len(positions):
                return positions
            world = source_wcs.all_pix2world(positions, 0)
            return np.asarray(target_wcs.all_world2pix(world, 0, quiet=True), np.float64)

        return map_positions

    def _find_worst_match(self) -> Match | None:
        """Compare the stars of every pair of exposures; return the worst match.

        Raises
        ------
        ValueError
            If the stars of two exposures do not coincide; the message gives the distance.
        """
        found = []
        for target in range(len(self.signals)):
            for source in range(target):
                pair = f"{self.names[source]} and {self.names[target]}"
                moved = self.transform(source, target)(self.stars[source])
                result = match(moved, self.stars[target], self.signals[target].shape)
                if not result.inside:
                    raise ValueError(f"{pair}: they share no sky: expected exposures of one field")
                if result.problem:
                    raise ValueError(f"{pair}: {result.problem}")
                found.append(result)
        checked = [result for result in found if result.pairs]
        self.unchecked = f"{len(found) - len(checked)} of {len(found)} pairs" if len(checked) < len(found) else ""
        if not checked:
            log.warning("%s: too few stars to check the alignment by", ", ".join(self.names))
            return None
        return max(checked, key=lambda result: result.residual)

    def _find_by_stars(self) -> None:
        few = [name for name, found in zip(self.names, self.stars, strict=True) if len(found) < 3]
        if few:
            raise ValueError(f"{few[0]}: fewer than three stars are in it to align it by")
        for target in range(len(self.signals)):
            for source in range(len(self.signals)):
                if source != target:
                    self._transforms[source, target] = self._similarity(source, target)

    def _similarity(self, source: int, target: int) -> SimilarityTransform:
        """Fit the similarity transformation from the stars of one exposure to those of another."""
        here, there = self.stars[source], self.stars[target]
        guesses = (_pattern(here, there, number) for number in STARS_TRIED)
        guess = next(filter(None, guesses), None) or _shift(here, there, self.signals[source].shape)
        # astroalign fits a random choice of triangles; a fit to all pairs of stars is reproducible.
        distances, nearest = KDTree(there).query(guess(here) if guess else here)
        same = distances < MATCH_RADIUS
        if guess is None or same.sum() < 3:
            pair = f"{self.names[source]} and {self.names[target]}"
            raise ValueError(f"{pair}: expected a pattern of stars that is in both: are they of one field?")
        fitted = SimilarityTransform.from_estimate(here[same], there[nearest[same]])
        if isinstance(fitted, SimilarityTransform) and abs(fitted.scale - 1) < MAX_SCALE_DIFFERENCE:
            return fitted
        return guess


def _pattern(here: Positions, there: Positions, number: int) -> SimilarityTransform | None:
    """Match the ``number`` brightest stars by their pattern; return None if they have none in common."""
    try:
        found = astroalign.find_transform(here, there, max_control_points=number)[0]
    except (astroalign.MaxIterError, ValueError, TypeError):
        return None
    return found if abs(found.scale - 1) < MAX_SCALE_DIFFERENCE else None


def _shift(here: Positions, there: Positions, shape: tuple[int, ...]) -> SimilarityTransform | None:
    """Find a shift, with or without the half turn of a meridian flip, if the stars are too few for a pattern."""
    middle = (np.array(shape[::-1]) - 1) / 2
    for turn in (0.0, np.pi):
        turned = here if not turn else 2 * middle - here
        shift, pairs = best_shift(turned, there)
        if pairs >= max(3, MIN_MATCHED_FRACTION * min(len(here), len(there))):
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


def stars(signal: Image, noise: float) -> Positions:
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
