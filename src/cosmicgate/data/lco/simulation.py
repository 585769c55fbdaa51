"""Simulate sequences of exposures of one field with LCO's telescopes: the same sky with different hits in each.

Pointing, seeing, sky brightness and atmospheric transparency vary between exposures. Files have the format of the LCO
data set (:mod:`cosmicgate.data.lco.io`), and headers that mark them as simulated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from cosmicgate.data.lco.io import (
    IGNORE_HOT,
    IGNORE_SOURCE,
    SIMULATED,
    Exposure,
    MaskedSequence,
    border,
    catalogue_of,
)
from cosmicgate.data.pixel_labels import KERNEL_3X3
from cosmicgate.data.simulation.ccd import CCD, DECAM, resolve_ccd
from cosmicgate.data.simulation.cosmic_rays import Rates, cosmic_rays
from cosmicgate.data.simulation.readout import add_hot_pixels, electronics, read_out
from cosmicgate.data.simulation.sky import BANDS, Band, Painter, galaxies, sky, stars
from cosmicgate.io.fits.frames import Frame


@dataclass(frozen=True)
class Telescope:
    """A telescope class: aperture (metres), median seeing of the paper's test data (arcseconds), and one camera."""

    aperture: float
    seeing: float
    camera: str


TELESCOPES = {
    "0m4": Telescope(0.4, 2.07, "coj0m403-kb24"),
    "1m0": Telescope(1.0, 2.04, "lsc1m005-fl15"),
    "2m0": Telescope(2.0, 1.44, "coj2m002-fs01"),
}
DECAM_APERTURE = 4.0  # metres, aperture of the telescope for which BANDS has zero points and sky levels
FILTERS = {"g": "gp", "r": "rp", "i": "ip"}  # band -> LCO's name
EXPTIMES = (100.0, 300.0)  # seconds, limits of a uniform distribution
DITHER = 4.0  # pixels, maximum along each axis
WCS_ERROR = 0.1  # pixels
FIELD_SEEING = 0.15  # scatter of the logarithm of the seeing from field to field
SEEING, SKY, AIR = 0.08, 0.1, 0.03  # scatter from exposure to exposure: logarithms of seeing, sky, transparency
CORE_SIGMAS = 3.0  # a pixel is core if its charge exceeds this many sigma of its own noise
SOURCE_SIGMAS = 1.0  # a pixel is part of a source if its light exceeds this many sigma of the noise
EDGE = 10  # pixels at each border that are ignored; 100 in the data set


@dataclass(frozen=True, eq=False)
class SimulatedExposure:
    """An exposure in electrons with GAIN 1, as LCO's pipeline makes it, and its true charge, light and noise.

    Attributes
    ----------
    exposure : Exposure
        The simulated frame and its header.
    charge : ndarray (H, W), float32, electrons
        Charge of the particles.
    light : ndarray (H, W), float32, electrons
        Expected light of stars and galaxies.
    noise : ndarray (H, W), float32, electrons
        Sigma of each pixel without its hits: light, sky, dark current and read noise.
    """

    exposure: Exposure
    charge: NDArray[np.float32]
    light: NDArray[np.float32]
    noise: NDArray[np.float32]

    @property
    def core(self) -> NDArray[np.bool_]:
        """Core pixels (H, W) of the hits: their charge exceeds the noise, and they are not saturated."""
        frame = self.exposure.frame
        return np.asarray((self.charge > CORE_SIGMAS * self.noise) & (frame.image < 0.99 * frame.saturation))


@dataclass(frozen=True, eq=False)
class Triple:
    """Exposures of one field (usually three), the detector's ``hot`` pixels (H, W), and the field's sources (N,)."""

    exposures: tuple[SimulatedExposure, ...]
    hot: NDArray[np.bool_]
    catalogue: NDArray[np.void]

    def masked(self) -> MaskedSequence:
        """Make the true masks with the data set's conventions: no hits on sources, edges and hot pixels."""
        edge = border(self.hot.shape, EDGE)
        ignore = []
        for e in self.exposures:
            source = binary_dilation(e.light > SOURCE_SIGMAS * e.noise, KERNEL_3X3, iterations=2)
            ignore.append((edge + IGNORE_SOURCE * source + IGNORE_HOT * self.hot).astype(np.uint8))
        hits = tuple(e.core & (mask == 0) for e, mask in zip(self.exposures, ignore, strict=True))
        return MaskedSequence(tuple(e.exposure for e in self.exposures), hits, tuple(ignore), self.catalogue)


@dataclass(frozen=True, eq=False)
class _Field:
    """Properties that the exposures of a field share."""

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
    """Draw one random field, and simulate several exposures of it.

    Parameters
    ----------
    telescope : {"0m4", "1m0", "2m0"}
        Telescope class.
    seed : sequence of int
        Seed, which determines every pixel.
    shape : sequence of int, optional
        Rows and columns; the whole CCD if None.
    frames : int
        Number of exposures.
    rate : float
        Particle rate, in units of the natural rate; raise it to get enough hits in a small image.
    night : int
        Night of January 2019, counted from 0, for the names of the exposures.

    Raises
    ------
    ValueError
        If the class is unknown, or a number is out of range.
    """
    if telescope not in TELESCOPES:
        raise ValueError(f"unknown class of telescopes {telescope!r}: expected one of {', '.join(TELESCOPES)}")
    if frames < 1 or not rate >= 0:
        raise ValueError(f"frames={frames}, rate={rate}: expected at least one frame and a rate of zero or more")
    field = _field(telescope, resolve_ccd(telescope, shape), np.random.default_rng([*seed, 0]))
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
    """Scale a DECam band to a telescope class, in electrons, by the aperture alone; the seeing is that of the class."""
    published_band, (aperture, seeing) = BANDS[filter_], (TELESCOPES[telescope].aperture, TELESCOPES[telescope].seeing)
    factor = DECAM.gain * (aperture / DECAM_APERTURE) ** 2
    return replace(
        published_band,
        zero_point=float(published_band.zero_point + 2.5 * np.log10(factor)),
        sky=(published_band.sky[0] * factor, published_band.sky[1] * factor),
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
    """Simulate an exposure; return it with the shift of its stars (x, y), pixels."""
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
    natural = Rates()
    rates = replace(
        natural,
        charged=rate * natural.charged,
        compton=rate * natural.compton,
        x_rays=rate * natural.x_rays,
    )
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
    """Make a header with LCO's cards, and a WCS whose reference pixel is ``shift`` away from the centre."""
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
