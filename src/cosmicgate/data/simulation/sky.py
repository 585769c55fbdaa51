"""Simulate the photons of an exposure with GalSim: stars, galaxies and sky background."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.random_streams import log_uniform
from cosmicgate.data.simulation.ccd import CCD, DECAM
from cosmicgate.data.simulation.optics import Blur
from cosmicgate.data.simulation.readout import add_bad_columns, add_hot_pixels, electronics
from cosmicgate.data.simulation.satellites import SatelliteTrail
from cosmicgate.extras import extra
from cosmicgate.io.fits.frames import Frame

with extra("simulate"):
    import galsim


@dataclass(frozen=True)
class Band:
    """A filter with its zero point, sky and seeing.

    Attributes
    ----------
    zero_point : float
        Magnitude of a source that gives one ADU per second.
    sky : tuple of float
        Minimum and maximum sky level, ADU per second and pixel of ``sky_scale``.
    seeing : float
        Median full width at half maximum, arcseconds.
    colour : float
        Median g magnitude minus magnitude in this band, of stars and galaxies.
    scatter : float
        Sigma of the natural logarithm of the seeing.
    sky_scale : float
        Side of the pixel for which ``sky`` is given, arcseconds; DECam's by default.
    stars : tuple of float
        Minimum and maximum density of stars, in units of that towards the Galactic pole; drawn log-uniformly.
    blur : callable, optional
        Blur of all light from the sky in addition to the seeing:
        :class:`~cosmicgate.data.simulation.trail_defocus.TrailDefocus` or one of
        :mod:`cosmicgate.data.simulation.optics`.
    spikes : bool
        Whether stars have the faint diffraction spikes of DECam's spider.
    """

    zero_point: float
    sky: tuple[float, float]
    seeing: float
    colour: float
    scatter: float = 0.15
    sky_scale: float = DECAM.pixel_scale
    stars: tuple[float, float] = (0.7, 7.0)
    blur: Blur | None = None
    spikes: bool = True


# The sky levels were measured in exposures of 90 s.
BANDS = {
    "g": Band(25.001, (99 / 90, 170 / 90), seeing=1.1, colour=0.0),
    "r": Band(25.209, (289 / 90, 434 / 90), seeing=1.0, colour=0.6),
    "i": Band(25.149, (680 / 90, 890 / 90), seeing=1.0, colour=0.95),
    "z": Band(24.875, (1477 / 90, 2875 / 90), seeing=1.0, colour=1.15),
}

# Stars per square degree and g magnitude near the Galactic pole, and galaxies below: round numbers, not fitted. They
# roughly reproduce the numbers of detections above 30, 100, 300 and 1000 pixels in a coadd of the Dark Energy Survey.
STAR_MAGNITUDES = (7.0, 8.0, 10.0, 12.0, 14.0, 16.0, 18.0, 20.0, 22.0, 24.0, 26.0)
STAR_COUNTS = (0.3, 0.8, 4.0, 18.0, 65.0, 170.0, 380.0, 750.0, 1300.0, 2000.0, 2500.0)

GALAXY_DENSITY = 10.0  # per square arcminute, over all magnitudes
GALAXY_MAGNITUDES = (15.0, 24.1)  # in g
GALAXY_SLOPE = 0.45  # slope of log10(number) per magnitude

# Profile of stars in a coadd of the Dark Energy Survey (g), which we fitted from the peak to 20": a Moffat core, and a
# Moffat halo with this fraction of the light. Each diffraction spike (from the camera's spider) is a narrow Moffat.
CORE_BETA, HALO_BETA = 3.0, 1.34
HALO_FLUX, SPIKE_FLUX = 0.06, 0.0012
MARGIN = 100  # pixels, width of the margin around the CCD in which sources are drawn too
STAMP_EDGE = 0.05  # a stamp ends where the source falls below this fraction of the sky's noise


def check_bands(bands: Sequence[str]) -> None:
    """Raise ValueError if a band is unknown, or there is none."""
    unknown = [band for band in bands if band not in BANDS]
    if unknown or not bands:
        raise ValueError(f"unknown band {unknown[0] if unknown else ''!r}: expected some of {', '.join(BANDS)}")


def scene(ccd: CCD, band: str, exptime: float, rng: np.random.Generator, name: str = "") -> Frame:
    """Draw the photons of one exposure in DECam's filter ``band`` (see :func:`draw`).

    Raises
    ------
    ValueError
        If ``band`` is unknown, or ``exptime`` is not positive.
    """
    if band not in BANDS:
        raise ValueError(f"unknown band {band!r}; known: {', '.join(BANDS)}")
    return replace(draw(ccd, BANDS[band], exptime, rng, name), band=band)


def draw(
    ccd: CCD,
    band: Band,
    exptime: float,
    rng: np.random.Generator,
    name: str = "",
    *,
    trails: Sequence[SatelliteTrail] = (),
    defects: NDArray[np.float32] | None = None,
) -> Frame:
    """Draw the photons of one exposure, before read noise, saturation and converter.

    Seeing, ellipticity, sky, numbers of sources, gain, read noise, saturation and defects vary from frame to frame.
    The stars' profile is the effective one, which includes the pixel. Hot pixels are not marked bad.

    Parameters
    ----------
    ccd : CCD
        Shape, pixel scale and electronics.
    band : Band
        Zero point, sky and seeing.
    exptime : float
        Exposure time, seconds.
    rng : numpy.random.Generator
        Source of all randomness: the same state gives the same pixels.
    name : str
        Name of the frame.
    trails : sequence of SatelliteTrail
        Trails of satellites; they are no hits.
    defects : ndarray (H, W), float32, electrons, optional
        Charge that the detector's warm pixels add (:meth:`cosmicgate.data.simulation.defects.Defects.charge`).

    Returns
    -------
    Frame
        The exposure; ``image`` is electrons divided by gain, with ``read_out=False`` and no band.

    Raises
    ------
    ValueError
        If ``exptime`` is not positive.
    """
    if not exptime > 0:
        raise ValueError(f"exptime = {exptime} is not a positive number of seconds")
    gain, read_noise, saturation = electronics(ccd, rng)
    background = sky(ccd, band, rng) * np.float32(gain * exptime)
    expected = background.copy()
    painter = Painter(expected, ccd.pixel_scale, band, gain * exptime, rng)
    for source in galaxies(ccd, band, rng):
        painter.galaxy(source)
    for source in stars(ccd, band, rng):
        painter.star(source)
    if band.blur is not None:
        expected = background + band.blur(expected - background)
    for trail in trails:
        expected += trail.light(ccd.shape)
    if defects is not None:
        expected += defects
    add_hot_pixels(expected, exptime, rng)
    image = (rng.poisson(np.maximum(expected, 0)) / gain).astype(np.float32)
    bad = add_bad_columns(image, saturation, rng)
    return Frame(
        image=image,
        gain=gain,
        read_noise=read_noise,
        saturation=saturation,
        exptime=exptime,
        name=name,
        bad=bad,
        read_out=False,
    )


def sky(ccd: CCD, band: Band, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw the sky (H, W), float32, ADU per second: a level in the band's range, and a gradient of about 1 %."""
    rows, columns = (np.linspace(-0.5, 0.5, n) for n in ccd.shape)
    level = rng.uniform(*band.sky) * (ccd.pixel_scale / band.sky_scale) ** 2
    up, right = rng.normal(0, 0.01, 2)
    background: NDArray[np.float64] = level * (1 + up * rows[:, None] + right * columns)
    return background.astype(np.float32)


def stars(ccd: CCD, band: Band, rng: np.random.Generator) -> NDArray[np.void]:
    """Draw the stars of one field, from saturated ones to ones below the noise.

    Returns
    -------
    ndarray (N,) with the fields ``x``, ``y`` (pixels) and ``magnitude``
        Stars on the CCD and up to ``MARGIN`` pixels beyond it.
    """
    magnitudes = np.arange(STAR_MAGNITUDES[0], STAR_MAGNITUDES[-1], 0.02)
    counts = np.exp(np.interp(magnitudes, STAR_MAGNITUDES, np.log(STAR_COUNTS)))
    density = log_uniform(band.stars, rng)
    number = rng.poisson(density * counts.sum() * 0.02 * _area(ccd) / 3600)
    catalogue = _scatter(ccd, number, ["magnitude"], rng)
    drawn = rng.choice(magnitudes, number, p=counts / counts.sum()) + rng.uniform(0, 0.02, number)
    catalogue["magnitude"] = drawn - band.colour
    return catalogue


def galaxies(ccd: CCD, band: Band, rng: np.random.Generator) -> NDArray[np.void]:
    """Draw the galaxies of one field, each with a disk (Sersic index 1) and a bulge (4).

    Returns
    -------
    ndarray (N,) with the fields ``x``, ``y`` (pixels), ``magnitude``, ``radius`` (half-light radius of the disk,
    arcseconds), ``bulge`` (fraction of the light), ``ratio`` (axis ratio of the disk) and ``angle`` (radians)
        About ``GALAXY_DENSITY`` galaxies per square arcminute, on the CCD and up to ``MARGIN`` pixels beyond it.
    """
    number = rng.poisson(GALAXY_DENSITY * _area(ccd))
    catalogue = _scatter(ccd, number, ["magnitude", "radius", "bulge", "ratio", "angle"], rng)
    bright, faint = (10 ** (GALAXY_SLOPE * m) for m in GALAXY_MAGNITUDES)
    magnitude = np.log10(rng.uniform(bright, faint, number)) / GALAXY_SLOPE
    cosine = rng.uniform(0, 1, number)  # of the inclination; a disk is a fifth as thick as it is wide
    catalogue["magnitude"] = magnitude - band.colour
    catalogue["radius"] = 0.5 * 10 ** (-0.15 * (magnitude - 23) + rng.normal(0, 0.15, number))
    catalogue["bulge"] = rng.beta(0.8, 2.0, number)
    catalogue["ratio"] = np.sqrt(cosine**2 + 0.2**2 * (1 - cosine**2))
    catalogue["angle"] = rng.uniform(0, np.pi, number)
    return catalogue


def _area(ccd: CCD) -> float:
    """Compute the area of the CCD and its margin, square arcminutes."""
    rows, columns = ccd.shape
    return (rows + 2 * MARGIN) * (columns + 2 * MARGIN) * (ccd.pixel_scale / 60) ** 2


def _scatter(ccd: CCD, number: int, fields: list[str], rng: np.random.Generator) -> NDArray[np.void]:
    catalogue = np.zeros(number, [(field, float) for field in ["x", "y", *fields]])
    rows, columns = ccd.shape
    catalogue["x"] = rng.uniform(-MARGIN, columns + MARGIN, number)
    catalogue["y"] = rng.uniform(-MARGIN, rows + MARGIN, number)
    return catalogue


class Painter:
    """Add sources to an image of expected electrons (H, W), in place, all with the same point-spread function.

    Stars are drawn in real space, galaxies by Fourier transform, each on a stamp that ends where the source is lost in
    the noise of the initial image. ``electrons`` is the number of electrons that a source of one ADU per second (the
    band's zero point) gives in the exposure.
    """

    def __init__(
        self, expected: NDArray[np.float32], scale: float, band: Band, electrons: float, rng: np.random.Generator
    ) -> None:
        self.image = galsim.Image(expected, xmin=0, ymin=0, scale=scale)
        self.scale = scale
        self.zero_point = band.zero_point + 2.5 * np.log10(electrons)
        seeing = band.seeing * np.exp(rng.normal(0, band.scatter))
        shear = galsim.Shear(g=min(abs(rng.normal(0, 0.03)), 0.1), beta=rng.uniform(0, np.pi) * galsim.radians)
        self.psf = _point_spread(seeing, rng, band.spikes).shear(shear)
        # Galaxies show neither halo nor spikes. GalSim transforms a Moffat of this index three times as fast as one of
        # CORE_BETA.
        self.blur = galsim.Moffat(3.5, fwhm=seeing).shear(shear)
        # For the size of stamps: brightness (per pixel, for a flux of 1) against radius (pixels), between the spikes.
        self.radii = np.geomspace(4, 3000, 100)
        across = galsim.PositionD(np.cos(0.4), np.sin(0.4)) * scale
        self.brightness = np.array([self.psf.xValue(across * r) for r in self.radii]) * scale**2
        self.faint = STAMP_EDGE * np.sqrt(np.median(expected))

    def star(self, source: np.void) -> None:
        """Add a star."""
        flux = self._flux(source)
        self._draw(self.psf.withFlux(flux), source, self._reach(flux))

    def galaxy(self, source: np.void) -> None:
        """Add a galaxy."""
        flux = self._flux(source)
        angle = source["angle"] * galsim.radians
        disk = galsim.Exponential(half_light_radius=source["radius"]).shear(q=source["ratio"], beta=angle)
        bulge = galsim.DeVaucouleurs(half_light_radius=0.4 * source["radius"])
        bulge = bulge.shear(q=(1 + source["ratio"]) / 2, beta=angle)
        profile = galsim.Add([(1 - source["bulge"]) * disk, source["bulge"] * bulge])
        reach = self._reach(flux) + 5 * source["radius"] / self.scale
        self._draw(galsim.Convolve(profile, self.blur).withFlux(flux), source, reach)

    def _flux(self, source: np.void) -> float:
        """Compute the electrons of a source in the exposure."""
        return float(10 ** (0.4 * (self.zero_point - source["magnitude"])))

    def _reach(self, flux: float) -> float:
        """Compute the radius (pixels) at which a star of ``flux`` electrons is lost in the noise of the sky."""
        return float(np.interp(-self.faint / flux, -self.brightness, self.radii))

    def _draw(self, profile: galsim.GSObject, source: np.void, reach: float) -> None:
        x, y = source["x"], source["y"]
        stamp = galsim.BoundsI(int(x - reach), int(x + reach), int(y - reach), int(y + reach)) & self.image.bounds
        if stamp.isDefined():
            center = galsim.PositionD(x, y)
            profile.drawImage(self.image[stamp], method="no_pixel", add_to_image=True, center=center)


def _point_spread(seeing: float, rng: np.random.Generator, with_spikes: bool) -> galsim.GSObject:
    """Make the profile of a star whose core is ``seeing`` arcseconds wide: core, halo and four spikes, or none."""
    core = galsim.Moffat(CORE_BETA, fwhm=seeing)
    halo = galsim.Moffat(HALO_BETA, fwhm=seeing, flux=HALO_FLUX * np.exp(rng.normal(0, 0.2)))
    spike = galsim.Moffat(1.5, fwhm=7 * seeing, flux=SPIKE_FLUX * np.exp(rng.normal(0, 0.3)))
    turn = np.pi / 4 + rng.normal(0, 0.05)
    spikes = [spike.shear(q=0.03, beta=(turn + side) * galsim.radians) for side in (0, np.pi / 2)]
    return galsim.Add([core, halo, *(spikes if with_spikes else [])]).withFlux(1)
