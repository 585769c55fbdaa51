"""Simulated runs of exposures of one field as LCO's telescopes take them: the same sky, other hits in each.

Between exposures the pointing, the seeing, the sky's brightness and the air's transparency change. Files are those of
the LCO data set (:mod:`cosmicgate.data.lco.masked_fits`), marked as simulated in their headers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.data.clean import SQUARE
from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.lco.masked_fits import (
    HOT,
    SIMULATED,
    SOURCE,
    Exposure,
    MaskedSequence,
    border,
    catalogue_of,
)
from cosmicgate.data.simulate.ccd import CCD, DECAM
from cosmicgate.data.simulate.cosmic_rays import Rates, cosmic_rays
from cosmicgate.data.simulate.readout import add_hot_pixels, electronics, read_out
from cosmicgate.data.simulate.sky import BANDS, Band, Painter, galaxies, sky, stars
from cosmicgate.data.sources import chosen_ccd


@dataclass(frozen=True)
class Telescope:
    """A class of telescopes: aperture (metres), median seeing (arcseconds, of the paper's test data), one camera."""

    aperture: float
    seeing: float
    camera: str


TELESCOPES = {
    "0m4": Telescope(0.4, 2.07, "coj0m403-kb24"),
    "1m0": Telescope(1.0, 2.04, "lsc1m005-fl15"),
    "2m0": Telescope(2.0, 1.44, "coj2m002-fs01"),
}
DECAM_APERTURE = 4.0  # metres, of the telescope for which BANDS has zero points and skies
FILTERS = {"g": "gp", "r": "rp", "i": "ip"}  # band -> LCO's name
EXPTIMES = (100.0, 300.0)  # seconds, drawn between
DITHER = 4.0  # pixels, at most, along each axis
WCS_ERROR = 0.1  # pixels
FIELD_SEEING = 0.15  # scatter of the logarithm of the seeing from field to field; from exposure to exposure:
SEEING, SKY, AIR = 0.08, 0.1, 0.03  # of the logarithms of seeing, sky and transparency
CORE_SIGMAS = 3.0  # a pixel is hit where its charge exceeds this many deviations of its own noise,
SOURCE_SIGMAS = 1.0  # and a source's where its light exceeds this many of the noise
EDGE = 10  # pixels at each border that are ignored; 100 in the data set


@dataclass(frozen=True, eq=False)
class SimulatedExposure:
    """An exposure in electrons with GAIN 1, as LCO's pipeline leaves it, and what only a simulation knows.

    Attributes
    ----------
    charge : ndarray (H, W), float32, electrons
        Of the particles.
    light : ndarray (H, W), float32, electrons
        Expected light of stars and galaxies.
    noise : ndarray (H, W), float32, electrons
        Standard deviation of each pixel without its hits: light, sky, dark current and read noise.
    """

    exposure: Exposure
    charge: NDArray[np.float32]
    light: NDArray[np.float32]
    noise: NDArray[np.float32]

    @property
    def core(self) -> NDArray[np.bool_]:
        """Pixels (H, W) that are hit: the charge can be seen, and the pixel is not full."""
        frame = self.exposure.frame
        return np.asarray((self.charge > CORE_SIGMAS * self.noise) & (frame.image < 0.99 * frame.saturation))


@dataclass(frozen=True, eq=False)
class Triple:
    """Exposures of one field, three as a rule; the detector's ``hot`` pixels (H, W), and its sources (N,)."""

    exposures: tuple[SimulatedExposure, ...]
    hot: NDArray[np.bool_]
    catalogue: NDArray[np.void]

    def masked(self) -> MaskedSequence:
        """Return the true masks as the data set has them: no hit where a source, an edge or a hot pixel is."""
        edge = border(self.hot.shape, EDGE)
        ignore = []
        for e in self.exposures:
            source = binary_dilation(e.light > SOURCE_SIGMAS * e.noise, SQUARE, iterations=2)
            ignore.append((edge + SOURCE * source + HOT * self.hot).astype(np.uint8))
        hits = tuple(e.core & (mask == 0) for e, mask in zip(self.exposures, ignore, strict=True))
        return MaskedSequence(tuple(e.exposure for e in self.exposures), hits, tuple(ignore), self.catalogue)


@dataclass(frozen=True, eq=False)
class _Field:
    """What the exposures of a field have in common."""

    telescope: str
    ccd: CCD
    filter: str
    band: Band
    exptime: float
    electronics: tuple[float, float, float]  # gain, read noise, saturation
    galaxies: NDArray[np.void]
    stars: NDArray[np.void]
    hot: NDArray[np.float32]  # electrons per second
    pointing: tuple[float, float]  # degrees


def simulate_triple(
    telescope: str,
    seed: Sequence[int],
    shape: Sequence[int] | None = None,
    frames: int = 3,
    rate: float = 1.0,
    night: int = 0,
) -> Triple:
    """Draw one field and expose it several times.

    Parameters
    ----------
    telescope : {"0m4", "1m0", "2m0"}
        Class.
    seed : sequence of int
        Determines every pixel.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    frames : int
        Exposures.
    rate : float
        Particles, in units of nature's: a small cut-out needs more of them to hold some.
    night : int
        Of January 2019, from 0: the exposures' names have it.

    Raises
    ------
    ValueError
        The class is unknown, or a number is impossible.
    """
    if telescope not in TELESCOPES:
        raise ValueError(f"unknown class of telescopes {telescope!r}: expected one of {', '.join(TELESCOPES)}")
    if frames < 1 or not rate >= 0:
        raise ValueError(f"frames={frames}, rate={rate}: expected at least one frame and a rate of zero or more")
    field = _field(telescope, chosen_ccd(telescope, shape), np.random.default_rng([*seed, 0]))
    names = [f"{TELESCOPES[telescope].camera}-{20190101 + night}-{n:04d}-e91" for n in range(1, frames + 1)]
    drawn = [_expose(field, np.random.default_rng([*seed, n]), rate, name) for n, name in enumerate(names, start=1)]
    exposures, shifts = zip(*drawn, strict=True)
    sources = np.concatenate([_shifted(part, shifts[frames // 2])[["x", "y", "magnitude"]] for part in _sky(field)])
    rows, columns = field.ccd.shape
    inside = (np.abs(sources["x"] - columns / 2 + 0.5) < columns / 2) & (
        np.abs(sources["y"] - rows / 2 + 0.5) < rows / 2
    )
    flux = 10 ** (0.4 * (field.band.zero_point - sources["magnitude"])) * field.exptime
    catalogue = catalogue_of(sources["x"][inside] + 1, sources["y"][inside] + 1, flux[inside])
    return Triple(exposures, field.hot > 0, catalogue)


def lco_band(telescope: str, filter_: str) -> Band:
    """Return DECam's band as a telescope of the class sees it, in electrons: by its aperture alone."""
    known, (aperture, seeing) = BANDS[filter_], (TELESCOPES[telescope].aperture, TELESCOPES[telescope].seeing)
    factor = DECAM.gain * (aperture / DECAM_APERTURE) ** 2
    return replace(
        known,
        zero_point=float(known.zero_point + 2.5 * np.log10(factor)),
        sky=(known.sky[0] * factor, known.sky[1] * factor),
        seeing=seeing,
        scatter=SEEING,
    )


def _field(telescope: str, ccd: CCD, rng: np.random.Generator) -> _Field:
    filter_ = str(rng.choice(list(FILTERS)))
    band = lco_band(telescope, filter_)
    level = rng.uniform(*band.sky)
    hot = np.zeros(ccd.shape, np.float32)
    add_hot_pixels(hot, 1.0, rng)
    return _Field(
        telescope=telescope,
        ccd=ccd,
        filter=filter_,
        band=replace(band, sky=(level, level), seeing=band.seeing * float(np.exp(rng.normal(0, FIELD_SEEING)))),
        exptime=float(np.round(rng.uniform(*EXPTIMES))),
        electronics=electronics(ccd, rng),
        galaxies=galaxies(ccd, BANDS[filter_], rng),
        stars=stars(ccd, BANDS[filter_], rng),
        hot=hot,
        pointing=(float(rng.uniform(0, 360)), float(rng.uniform(-60, 30))),
    )


def _expose(
    field: _Field, rng: np.random.Generator, rate: float, name: str
) -> tuple[SimulatedExposure, NDArray[np.float64]]:
    """Take an exposure; return also by how much its stars are shifted (x, y), pixels."""
    shift = rng.uniform(-DITHER, DITHER, 2)
    level = field.band.sky[0] * float(np.exp(rng.normal(0, SKY)))
    background = sky(field.ccd, replace(field.band, sky=(level, level)), rng)
    background = (background + field.hot + np.float32(field.ccd.dark_current)) * np.float32(field.exptime)
    expected = background.copy()
    air = float(np.exp(rng.normal(0, AIR)))
    painter = Painter(expected, field.ccd.pixel_scale, field.band, field.exptime * air, rng)
    for part, draw in zip(_sky(field), (painter.galaxy, painter.star), strict=True):
        for source in _shifted(part, shift):
            draw(source)
    gain, read_noise, saturation = field.electronics
    known = Rates()
    rates = replace(known, muons=rate * known.muons, compton=rate * known.compton, spots=rate * known.spots)
    charge = cosmic_rays(field.ccd, field.exptime, rng, rates)
    scene = Frame(
        image=(rng.poisson(np.maximum(expected, 0)) / gain).astype(np.float32),
        gain=gain,
        read_noise=read_noise,
        saturation=saturation,
        exptime=field.exptime,
        band=field.filter,
        name=name,
        telescope=field.telescope,
        read_out=False,
    )
    counted = read_out(scene, rng, charge)
    frame = replace(counted, image=counted.image * np.float32(gain), gain=1.0, saturation=saturation * gain)
    noise = np.sqrt(np.maximum(expected, 0) + np.float32(read_noise) ** 2)
    exposure = Exposure(frame, _header(field, shift + rng.normal(0, WCS_ERROR, 2), name))
    return SimulatedExposure(exposure, charge, expected - background, noise), shift


def _sky(field: _Field) -> tuple[NDArray[np.void], NDArray[np.void]]:
    return field.galaxies, field.stars


def _shifted(catalogue: NDArray[np.void], shift: NDArray[np.float64]) -> NDArray[np.void]:
    moved = catalogue.copy()
    moved["x"] += shift[0]
    moved["y"] += shift[1]
    return moved


def _header(field: _Field, shift: NDArray[np.float64], name: str) -> fits.Header:
    """Return LCO's cards, with a WCS whose reference pixel is ``shift`` away from the middle."""
    wcs = WCS(naxis=2)
    rows, columns = field.ccd.shape
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = field.pointing
    wcs.wcs.crpix = [columns / 2 + shift[0], rows / 2 + shift[1]]
    wcs.wcs.cd = np.array([[-1, 0], [0, 1]]) * field.ccd.pixel_scale / 3600
    header = wcs.to_header()
    telescope, camera, date = name.split("-")[:3]
    header[SIMULATED] = (True, "not seen by a telescope")
    header["SITEID"], header["INSTRUME"] = telescope[:3], camera
    header["TELID"] = f"{field.telescope}a"
    header["DATE-OBS"] = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    header["FILTER"] = FILTERS[field.filter]
    header["OBJECT"] = "simulated field"
    header["PIXSCALE"] = (field.ccd.pixel_scale, "arcsec")
    return header
