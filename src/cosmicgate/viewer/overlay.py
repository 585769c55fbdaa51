"""Lay one exposure over another, for blinking: by their WCS if the stars agree with it, otherwise by the stars."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from astropy.io.fits import Header
from numpy.typing import NDArray

from cosmicgate.extras import extra
from cosmicgate.masking.read_images import FitsImage

MESH = 64  # pixels, mesh of the sky map
GRID = 9  # positions along each side by which a transformation is measured


@dataclass(frozen=True)
class Overlay:
    """Place of one exposure on another.

    Attributes
    ----------
    matrix : list of float
        ``[a, b, c, d, e, f]``: pixel x, y (from 0) of the one exposure is a x + b y + c, d x + e y + f of the other.
    by : {"wcs", "stars", "pixels"}
        How the exposures were aligned; "pixels": they were not.
    reason : str
        Why they were not aligned, or not checked by the stars; empty if they were.
    """

    matrix: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    by: Literal["wcs", "stars", "pixels"] = "pixels"
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Convert to values that JSON can hold."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class AlignmentStars:
    """Stars and coordinates by which an exposure is aligned.

    Attributes
    ----------
    name : str
        Name of the exposure, for messages.
    shape : tuple of int
        Rows and columns.
    header : Header
        Header with its WCS.
    stars : ndarray (N, 2)
        Positions x and y of its bright stars, brightest first.
    """

    name: str
    shape: tuple[int, int]
    header: Header
    stars: NDArray[np.float64]

    @classmethod
    def of(cls, fits: FitsImage, name: str) -> "AlignmentStars":
        """Find the stars of an exposure.

        Raises
        ------
        ModuleNotFoundError
            A package of the extra is missing.
        """
        with extra("view"):
            import sep

            from cosmicgate.data.labelling.alignment import stars
        bad = fits.bad | ~np.isfinite(fits.image)
        image = np.ascontiguousarray(np.where(bad, 0, fits.image))
        background = sep.Background(image, mask=bad, bw=MESH, bh=MESH)
        signal = np.where(bad, np.float32(np.nan), image - background.back())
        header, primary = fits.extension.headers
        header = header.copy()
        header.extend(primary, unique=True)
        return cls(name, fits.extension.shape, header, stars(signal, background.globalrms or 1.0))


def overlays(below: AlignmentStars, above: AlignmentStars) -> tuple[Overlay, Overlay]:
    """Align two exposures as ``cosmicgate adapt`` does; return the second on the first, and the first on the second."""
    from cosmicgate.data.labelling.alignment import Alignment

    both = (below, above)
    blank = [np.broadcast_to(np.float32(0), one.shape) for one in both]  # no exposure is resampled
    names, stars = [one.name for one in both], [one.stars for one in both]
    try:
        found = Alignment(blank, [1.0, 1.0], [one.header for one in both], names, star_positions=stars)
        matrices = [_matrix(found.transform(*pair), both[pair[0]].shape) for pair in ((0, 1), (1, 0))]
    except ValueError as error:
        return Overlay(reason=str(error)), Overlay(reason=str(error))
    reason = "" if found.worst_match else "too few stars to check it by"
    first, second = (Overlay(matrix, found.method, reason) for matrix in matrices)
    return first, second


def _matrix(way: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    """Fit the linear transformation to a function of positions (N, 2)."""
    y, x = (np.linspace(0, side - 1, GRID) for side in shape)
    places = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    moved = np.asarray(way(places), np.float64)
    good = np.isfinite(moved).all(axis=1)
    if good.sum() < 3:
        raise ValueError("the WCS of one cannot be applied to the other")
    terms = np.column_stack([places, np.ones(len(places))])[good]
    solved = np.linalg.lstsq(terms, moved[good], rcond=None)[0]
    return tuple(float(value) for value in solved.T.ravel())
