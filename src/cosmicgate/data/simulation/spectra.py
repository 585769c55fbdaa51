"""Simulate the photons of a two-dimensional spectrum: lines and traces, which are as sharp as hits.

Four kinds: a long slit (sky lines from edge to edge, traces of objects), an arc lamp through a slit, an echelle (curved
orders of a short slit) and fibres. Wavelength runs along the columns or along the rows. Profiles are integrated over
the pixels, since lines may be narrower than one.

References
----------
.. [1] Hanuschik 2003, A&A 407, 1157: sky lines; hundreds between 300 and 1000 nm, over four decades of brightness.
.. [2] Schroeder, Astronomical Optics, chapters 12 to 15: the tilt and curvature of lines, blaze and orders.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from cosmicgate.data.random_streams import log_uniform
from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.optics import FWHM_PER_SIGMA
from cosmicgate.data.simulation.readout import add_hot_pixels, electronics
from cosmicgate.io.fits.frames import Frame

Kind = Literal["slit", "arc", "echelle", "fibres"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Range = tuple[float, float]

# Our own ranges, chosen to cover spectrographs in use, unless a source is given.
LINE_WIDTH: Range = (0.5, 5.0)  # pixels, full width at half maximum of an unresolved line: undersampled to a wide slit
LINE_DENSITY: Range = (0.02, 0.2)  # lines per pixel of wavelength
LINE_PEAKS: Range = (1.0, 3000.0)  # peaks of the lines in units of the noise without them [1]_
TILT: Range = (-0.15, 0.15)  # pixels along wavelength per pixel along the slit [2]_
BOW: Range = (-40.0, 40.0)  # pixels between the middle and the ends of a slit of 1000 px [2]_
TRACE_WIDTH: Range = (1.2, 8.0)  # pixels, full width at half maximum of an object along the slit
TRACE_PEAKS: Range = (2.0, 2000.0)  # as LINE_PEAKS
TRACE_SLOPE: Range = (-0.04, 0.04)  # pixels along the slit per pixel of wavelength
FIBRE_WIDTH: Range = (1.8, 4.5)  # pixels
FIBRE_PITCH: Range = (2.0, 5.0)  # distance of two fibres in units of their width
ORDER_HEIGHT: Range = (4.0, 100.0)  # pixels, length of the slit in an echelle; LCO's FLOYDS has 90
ORDER_PITCH: Range = (1.2, 2.5)  # distance of two orders in units of that
ORDER_BOW: Range = (0.0, 0.06)  # rise of an order between its middle and its ends, part of its length
CONTINUUM: Range = (0.5, 500.0)  # electrons in a pixel, sky in an exposure
LINE_REACH = 5.0  # sigma at which a line ends
GAUSSIAN_AREA = 1.064  # flux of a Gaussian with a peak of 1 and a FWHM of 1: sqrt(pi / (4 ln 2)), rounded


@dataclass(frozen=True)
class Spectrograph:
    """Geometry of the lines and traces, in pixels; wavelength runs along x, the slit along y.

    Attributes
    ----------
    width : float
        Full width at half maximum of a line.
    tilt, bow : float
        Displacement of a line per pixel along the slit, and the coefficient of its square (1 / pixel).
    slope, sag : float
        The same for traces: displacement along the slit per pixel of wavelength, and of its square.
    """

    width: float
    tilt: float
    bow: float
    slope: float
    sag: float


def draw_spectrum(
    ccd: CCD,
    kind: Kind,
    exptime: float,
    rng: np.random.Generator,
    name: str = "",
    defects: NDArray[np.float32] | None = None,
) -> Frame:
    """Draw the photons of a spectrum, before read noise, saturation and converter.

    Parameters
    ----------
    ccd : CCD
        Shape and electronics.
    kind : {"slit", "arc", "echelle", "fibres"}
        Kind of spectrograph and exposure.
    exptime : float
        Exposure time, seconds; it sets the charge of hot pixels alone.
    rng : numpy.random.Generator
        Source of all randomness.
    name : str
        Name of the frame.
    defects : ndarray (H, W), float32, electrons, optional
        Charge that the detector's warm pixels add.

    Returns
    -------
    Frame
        The exposure; ``image`` is electrons divided by gain, with ``read_out=False`` and no band.

    Raises
    ------
    ValueError
        If ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: expected one of {', '.join(KINDS)}")
    gain, read_noise, saturation = electronics(ccd, rng)
    along_rows = bool(rng.random() < 0.5)  # wavelength runs along the columns' index, or along the rows'
    shape = ccd.shape if along_rows else (ccd.shape[1], ccd.shape[0])
    expected = np.full(shape, ccd.dark_current * exptime + log_uniform((0.1, 10.0), rng), np.float32)  # stray light
    draw = {"slit": _slit, "arc": _arc, "echelle": _echelle, "fibres": _fibres}[kind]
    draw(expected, draw_spectrograph(shape, rng), read_noise, rng)
    if not along_rows:
        expected = np.ascontiguousarray(expected.T)
    add_hot_pixels(expected, exptime, rng)
    if defects is not None:
        expected += defects
    return Frame(
        image=(rng.poisson(np.maximum(expected, 0)) / gain).astype(np.float32),
        gain=gain,
        read_noise=read_noise,
        saturation=saturation,
        exptime=exptime,
        name=name,
        read_out=False,
        bleeds_along="columns" if rng.random() < 0.5 else "rows",
    )


def draw_spectrograph(shape: tuple[int, int], rng: np.random.Generator) -> Spectrograph:
    """Draw the geometry of a spectrograph; ``shape`` is (slit, wavelength)."""
    return Spectrograph(
        width=log_uniform(LINE_WIDTH, rng),
        tilt=rng.uniform(*TILT),
        bow=rng.uniform(*BOW) / 500**2,
        slope=rng.uniform(*TRACE_SLOPE),
        sag=rng.uniform(-0.02, 0.02) / shape[1],
    )


def add_line(
    expected: NDArray[np.float32],
    centres: NDArray[np.float64],
    fluxes: NDArray[np.float64],
    width: float,
    first: int = 0,
) -> None:
    """Add a line to ``expected`` (H, W), electrons, in place: in each row a Gaussian integrated over the pixels.

    Parameters
    ----------
    expected : ndarray (H, W), float32, electrons
        Image.
    centres : ndarray (N,), pixels
        Centre of the line in the rows from ``first`` on.
    fluxes : ndarray (N,), electrons
        Charge of the line in these rows.
    width : float
        Full width at half maximum, pixels.
    first : int
        First of the rows.
    """
    sigma = width / FWHM_PER_SIGMA
    reach = int(np.ceil(LINE_REACH * sigma)) + 1
    rows = np.arange(first, first + len(centres))
    columns = np.rint(centres).astype(int)[:, None] + np.arange(-reach, reach + 1)
    scale = 1 / (np.sqrt(2) * sigma)
    distance = columns - centres[:, None]
    light = 0.5 * fluxes[:, None] * (erf((distance + 0.5) * scale) - erf((distance - 0.5) * scale))
    inside = (columns >= 0) & (columns < expected.shape[1]) & ((rows >= 0) & (rows < expected.shape[0]))[:, None]
    np.add.at(expected, (np.broadcast_to(rows[:, None], columns.shape)[inside], columns[inside]), light[inside])


def _slit(expected: NDArray[np.float32], optics: Spectrograph, read_noise: float, rng: np.random.Generator) -> None:
    """Draw a long slit: sky continuum, sky lines, and the traces of up to three objects."""
    slit, wavelengths = expected.shape
    response = _smooth(wavelengths, 0.6, rng)
    along = _slit_profile(slit, rng)
    sky = log_uniform(CONTINUUM, rng) * response
    expected += np.outer(along, sky).astype(np.float32)
    noise = np.sqrt(np.median(sky) + read_noise**2)
    _add_lines(expected, optics, along, noise, LINE_PEAKS, rng)
    for _ in range(int(rng.integers(0, 4))):
        _add_trace(expected, optics, rng.uniform(0.05, 0.95) * slit, noise, response, rng)


def _arc(expected: NDArray[np.float32], optics: Spectrograph, read_noise: float, rng: np.random.Generator) -> None:
    """Draw an arc lamp: bright lines on nearly no continuum."""
    along = _slit_profile(expected.shape[0], rng)
    _add_lines(expected, optics, along, read_noise, (LINE_PEAKS[0], 30 * LINE_PEAKS[1]), rng)


def _echelle(expected: NDArray[np.float32], optics: Spectrograph, read_noise: float, rng: np.random.Generator) -> None:
    """Draw curved orders of a short slit, each with its blaze, sky lines and the trace of one object, or an arc."""
    slit, wavelengths = expected.shape
    height = log_uniform(ORDER_HEIGHT, rng)
    bow, tilt = rng.uniform(*ORDER_BOW) * rng.choice([-1, 1]), rng.uniform(-0.3, 0.3)
    x = (np.arange(wavelengths) - wavelengths / 2) / wavelengths
    width = min(log_uniform(TRACE_WIDTH, rng), height)
    place = rng.uniform(-0.25, 0.25) * height
    sky, peak = log_uniform(CONTINUUM, rng), log_uniform(TRACE_PEAKS, rng)
    noise = np.sqrt(sky + read_noise**2)
    is_arc, density = rng.random() < 0.25, log_uniform(LINE_DENSITY, rng) / 2
    middle = -abs(bow) * wavelengths
    while middle < slit + abs(bow) * wavelengths:
        centres = middle + bow * wavelengths * 4 * x**2 + optics.slope * wavelengths * x
        blaze = np.sinc(1.2 * (x + rng.uniform(-0.1, 0.1))) ** 2
        if not is_arc:
            _add_band(expected, centres, height, sky * blaze)
            spectrum = peak * noise * width * blaze * _object_spectrum(wavelengths, rng)
            add_line(expected.T, centres + place, spectrum, width)
        for _ in range(rng.poisson(density * wavelengths)):
            at = rng.uniform(0, wavelengths - 1)
            flux = _peak_flux(noise, optics.width, LINE_PEAKS, rng) * blaze[int(at)]
            first = int(np.rint(centres[int(at)] - height / 2))
            rows = np.arange(int(np.ceil(height)))
            add_line(expected, at + tilt * (rows - height / 2), np.full(rows.size, flux), optics.width, first)
        middle += height * rng.uniform(*ORDER_PITCH)


def _fibres(expected: NDArray[np.float32], optics: Spectrograph, read_noise: float, rng: np.random.Generator) -> None:
    """Draw the spectra of many fibres, with the same sky lines in all of them."""
    slit, wavelengths = expected.shape
    width = rng.uniform(*FIBRE_WIDTH)
    pitch = width * rng.uniform(*FIBRE_PITCH)
    x = np.arange(wavelengths) - wavelengths / 2
    sky = log_uniform(CONTINUUM, rng)
    noise = np.sqrt(sky + read_noise**2)
    response = _smooth(wavelengths, 0.6, rng)
    lines = [
        (rng.uniform(0, wavelengths), _peak_flux(noise, optics.width, LINE_PEAKS, rng) * width)
        for _ in range(rng.poisson(log_uniform(LINE_DENSITY, rng) * wavelengths))
    ]
    for place in np.arange(rng.uniform(0, pitch), slit, pitch):
        centres = place + optics.slope * x + optics.sag * x**2
        spectrum = sky * width * response
        if rng.random() < 0.7:  # the others see the sky alone
            peak = log_uniform(TRACE_PEAKS, rng)
            spectrum = spectrum + peak * noise * width * response * _object_spectrum(wavelengths, rng)
        spots = np.zeros((1, wavelengths), np.float32)
        shift = optics.tilt * (place - slit / 2) + optics.bow * (place - slit / 2) ** 2
        for at, flux in lines:
            add_line(spots, np.array([at + shift]), np.array([flux]), optics.width)
        add_line(expected.T, centres, rng.uniform(0.7, 1.0) * (spectrum + spots[0]), width)


def _add_lines(
    expected: NDArray[np.float32],
    optics: Spectrograph,
    along: NDArray[np.float64],
    noise: float,
    peaks: Range,
    rng: np.random.Generator,
) -> None:
    """Add lines with the profile ``along`` (H,) the slit, in place; their peaks are in units of ``noise``."""
    slit, wavelengths = expected.shape
    y = np.arange(slit) - slit / 2
    bend = optics.tilt * y + optics.bow * y**2
    for _ in range(rng.poisson(log_uniform(LINE_DENSITY, rng) * wavelengths)):
        at = rng.uniform(-0.1, 1.1) * wavelengths
        add_line(expected, at + bend, _peak_flux(noise, optics.width, peaks, rng) * along, optics.width)


def _add_trace(
    expected: NDArray[np.float32],
    optics: Spectrograph,
    place: float,
    noise: float,
    response: NDArray[np.float64],
    rng: np.random.Generator,
) -> None:
    """Add the spectrum of an object at ``place`` (pixels) along the slit, in place."""
    x = np.arange(expected.shape[1]) - expected.shape[1] / 2
    width = log_uniform(TRACE_WIDTH, rng)
    peak = log_uniform(TRACE_PEAKS, rng) * noise
    spectrum = peak * width * response * _object_spectrum(x.size, rng)
    add_line(expected.T, place + optics.slope * x + optics.sag * x**2, spectrum, width)


def _add_band(
    expected: NDArray[np.float32], centres: NDArray[np.float64], height: float, light: NDArray[np.float64]
) -> None:
    """Add a band of ``height`` pixels around ``centres`` (W,) with ``light`` (W,), electrons in a pixel, in place."""
    rows = np.arange(expected.shape[0])[:, None] - centres
    inside = np.clip(height / 2 + 0.5 - np.abs(rows), 0, 1)  # part of the pixel that is in the band
    expected += (inside * light).astype(np.float32)


def _slit_profile(slit: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the illumination (slit,) along the slit: 1 with a few percent of structure, 0 beyond its ends."""
    profile = 1 + 0.1 * (_smooth(slit, 0.5, rng) - 1) + rng.normal(0, 0.01, slit)
    if rng.random() < 0.4:
        y = np.arange(slit)
        low, high = rng.uniform(0, 0.3) * slit, rng.uniform(0.7, 1) * slit
        profile = profile * np.clip(y - low, 0, 1) * np.clip(high - y, 0, 1)
    return np.asarray(np.maximum(profile, 0))


def _smooth(number: int, amplitude: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw a smooth positive curve (number,) with a maximum of 1."""
    knots = np.exp(amplitude * rng.normal(size=6))
    curve = np.interp(np.linspace(0, 5, number), np.arange(6), knots)
    kernel = np.hanning(max(number // 6, 3))
    curve = np.convolve(np.pad(curve, kernel.size, mode="edge"), kernel / kernel.sum(), mode="same")
    curve = curve[kernel.size : -kernel.size]
    return np.asarray(curve / curve.max())


def _object_spectrum(number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw the spectrum (number,) of an object: a continuum with absorption lines, and some emission lines."""
    x = np.arange(number)
    spectrum = _smooth(number, 0.4, rng)
    for _ in range(rng.poisson(number / 60)):
        width, depth = np.exp(rng.uniform(np.log(0.7), np.log(8))), rng.beta(0.6, 2)
        spectrum *= 1 - depth * np.exp(-0.5 * ((x - rng.uniform(0, number)) / width) ** 2)
    if rng.random() < 0.4:
        if rng.random() < 0.5:
            spectrum = spectrum * 0.05  # a nebula or a galaxy, of which little but the lines is seen
        for _ in range(int(rng.integers(1, 9))):
            width, height = rng.uniform(0.6, 3.0), log_uniform((0.2, 20), rng)
            spectrum = spectrum + height * np.exp(-0.5 * ((x - rng.uniform(0, number)) / width) ** 2)
    return spectrum


def _peak_flux(noise: float, width: float, peaks: Range, rng: np.random.Generator) -> float:
    """Draw the flux (electrons in a row) of a line whose peak, if it were well sampled, is a multiple of ``noise``."""
    return log_uniform(peaks, rng) * noise * max(width * GAUSSIAN_AREA, 1.0)
