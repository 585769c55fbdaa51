"""Simulate single exposures from a deep coadd: a real sky without hits, with the noise of one exposure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from cosmicgate.data.cache import LazyFrame
from cosmicgate.data.simulation.ccd import CCD, resolve_ccd, telescope_name
from cosmicgate.data.simulation.readout import electronics
from cosmicgate.data.simulation.sky import BANDS, check_bands
from cosmicgate.data.sources.base import DataOrigin
from cosmicgate.data.sources.files import file_fingerprint, find_file
from cosmicgate.data.splits import SPLITS, Split, check_splits
from cosmicgate.io.fits.frames import Frame, read_frame
from cosmicgate.io.fits.hdus import open_fits

CORE_GRADIENT = 1.5  # factor by which a saturated star's light grows with each pixel towards its centre


@dataclass(frozen=True)
class Coadd:
    """Simulated exposures of a deep coadd without hits: scaled to counts, with sky and photon noise, not yet read out.

    Each split has its own vertical strip, ``gap`` pixels from the next, so that no star is in two splits. A g-band
    coadd also serves for the other bands, by their zero points, sky levels and the median colour of sources.

    Attributes
    ----------
    file : str
        FITS file with an image and, optionally, an HDU ``MASK`` of the cores of saturated stars, which are made
        brighter until they bleed. They are sky in the truth, so that a network learns not to mask them. Other bad
        pixels (without data, or by another mask) are bad in the exposures.
    strips : mapping of split to (float, float)
        Start and end of each strip, as fractions of the width.
    frames : mapping of split to int
        Number of exposures of the strip in each band.
    bands : sequence of str
        Bands to simulate.
    exptime : float
        Exposure time, seconds.
    zero_point : float
        Magnitude of one count per second in the image.
    gap : int
        Distance of neighbouring strips, pixels.
    ccd : str or CCD
        Detector whose electronics are simulated.
    """

    file: str
    strips: Mapping[str, Sequence[float]] = field(
        default_factory=lambda: {"train": (0.0, 0.6), "validation": (0.6, 0.7), "test": (0.7, 1.0)}
    )
    frames: Mapping[str, int] = field(default_factory=lambda: {"train": 2, "validation": 1, "test": 1})
    bands: Sequence[str] = ("g", "r", "i", "z")
    exptime: float = 90.0
    zero_point: float = 30.0
    gap: int = 64
    ccd: str | CCD = "decam"
    seed: int = 0
    data_origin: DataOrigin = "semi-real"

    @property
    def camera(self) -> str:
        """Name of the camera, for tables."""
        return telescope_name(self.ccd)

    def lazy_frames(self, which: Split) -> list[LazyFrame]:
        """List the lazy frames of a split, band after band."""
        check_splits(self.strips)
        check_splits(self.frames)
        check_bands(self.bands)
        for name, strip in self.strips.items():
            if len(strip) != 2 or not 0 <= strip[0] < strip[1] <= 1:
                raise ValueError(f"strip of {name}: expected where it begins and ends, from 0 to 1, got {list(strip)}")
        ordered = sorted((tuple(strip), name) for name, strip in self.strips.items())
        for ((_, end), left), ((start, _), right) in pairwise(ordered):
            if start < end:
                raise ValueError(f"the strips of {left} and {right} share sky: {start} lies before {end}")
        numbers = range(self.frames.get(which, 0)) if which in self.strips else ()
        return [self._lazy_frame(which, band, number) for band in self.bands for number in numbers]

    def _lazy_frame(self, which: Split, band: str, number: int) -> LazyFrame:
        path = find_file(self.file)
        seed = [self.seed, 3, SPLITS.index(which), list(BANDS).index(band), number]
        name = f"{which}-coadd-{band}-{number:03d}"
        parts = [
            "coadd",
            *file_fingerprint(path),
            list(self.strips[which]),
            band,
            self.exptime,
            self.zero_point,
        ]
        if _coadd(path)[1].any():
            parts.append("bad pixels")  # key of frames in which bad pixels are not cores of stars

        def build() -> Frame:
            return self._expose(path, which, band, name, np.random.default_rng(seed))

        return LazyFrame(name, [*parts, self.gap, self.ccd, seed], build, field=which)  # its strip of sky

    def _expose(self, path: Path, which: Split, band: str, name: str, rng: np.random.Generator) -> Frame:
        image, bad, cores, saturation = _coadd(path)
        start, end = (round(fraction * image.shape[1]) for fraction in self.strips[which])
        columns = slice(start + self.gap // 2 * (start > 0), end - self.gap // 2 * (end < image.shape[1]))
        of_band = BANDS[band]
        scale = 10 ** (0.4 * (of_band.zero_point + of_band.colour - self.zero_point)) * self.exptime
        sky = rng.uniform(*of_band.sky) * self.exptime
        gain, read_noise, full = electronics(resolve_ccd(self.ccd), rng)
        light = np.maximum(image[:, columns] * scale + sky, 0)
        # The coadd has a plateau where stars are saturated: from its rim inwards, raise the light until it bleeds.
        depth = distance_transform_edt(cores[:, columns])
        light = np.minimum(light * CORE_GRADIENT**depth, 10 * full)
        electrons = rng.poisson(light * gain)
        return Frame(
            image=(electrons / gain).astype(np.float32),
            gain=gain,
            read_noise=read_noise,
            saturation=min(full, saturation * scale + sky),
            exptime=self.exptime,
            band=band,
            telescope=telescope_name(self.ccd),
            name=name,
            bad=bad[:, columns],
            read_out=False,
        )


@cache
def _coadd(path: Path) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], float]:
    """Read image (counts per second at the coadd's zero point), bad pixels, cores of saturated stars and saturation."""
    frame = read_frame(path, gain=1.0, read_noise=0.0, exptime=1.0)  # a coadd's own values are not used
    with open_fits(path) as hdus:
        cores = np.asarray(hdus["MASK"].data) != 0 if "MASK" in hdus else np.zeros(frame.shape, bool)
    if cores.shape != frame.shape:
        raise ValueError(f"{path}: the HDU MASK is {cores.shape}, the image {frame.shape}")
    return frame.image, frame.bad & ~cores, cores, frame.saturation
