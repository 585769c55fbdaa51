"""Parameters of the simulated CCDs: geometry for the particles, electronics for the read-out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class CCD:
    """Geometry and electronics of one CCD.

    Attributes
    ----------
    shape : tuple of int
        Rows and columns of pixels.
    pixel : float
        Side of a pixel, micrometres.
    thickness : float
        Depth of silicon that collects charge, micrometres.
    substrate : float
        Depth of the inert silicon behind it, which stops and scatters particles, micrometres.
    diffusion_min, diffusion_max : float
        Sigma of the cloud of charge that is released at the gate side and at the far side, micrometres.
    gain : float
        Gain, electrons per ADU.
    read_noise : float
        Read noise, electrons.
    saturation : float
        Full well, ADU.
    pixel_scale : float
        Pixel scale, arcseconds per pixel.
    dark_current : float
        Dark current, electrons per second and pixel.
    """

    shape: tuple[int, int]
    pixel: float
    thickness: float
    diffusion_min: float
    diffusion_max: float
    gain: float
    read_noise: float
    saturation: float
    pixel_scale: float
    substrate: float = 0.0
    dark_current: float = 0.0

    @property
    def area(self) -> float:
        """Collecting area, square centimetres."""
        rows, columns = self.shape
        return rows * columns * (self.pixel * 1e-4) ** 2


# Flaugher et al. 2015, AJ 150, 150: 250 um thick, 15 um pixels, 0.263"/px, gain about 4, read noise 6-7 e-.
DECAM = CCD(
    shape=(4096, 2048),
    pixel=15.0,
    thickness=250.0,
    diffusion_min=2.0,
    diffusion_max=7.3,
    gain=4.0,
    read_noise=6.5,
    saturation=45_000.0,
    pixel_scale=0.263,
    dark_current=0.001,
)

# The LSST ITL sensor, whose real hits the simulation is compared with: 100 um thick, 10 um pixels.
ITL = CCD(
    shape=(4000, 4072),
    pixel=10.0,
    thickness=100.0,
    diffusion_min=1.5,
    diffusion_max=4.0,
    gain=1.7,
    read_noise=6.0,
    saturation=60_000.0,
    pixel_scale=0.2,
)

# Las Cumbres Observatory's three telescope classes, whose hits mostly have one or two pixels. Sources: the
# observatory's page on the Sinistro gives its format, pixel scale, read noise (7.5 to 8 e-), full well (100 000 to
# 120 000 e-) and dark current; the pyobs settings for an SBIG camera give the read noise, full well and dark current of
# its chip, KAF-6303E. Formats and pixel scales of the other two are those quoted by users of the data set. Assumed,
# without a source: the three gains, the Spectral's electronics, and for each class the depth of the silicon that
# collects charge, its diffusion, and the inert silicon behind it (the KAF-6303E is front-illuminated, the other two
# are thinned).
SBIG_6303 = CCD(
    shape=(2048, 3072),
    pixel=9.0,
    thickness=8.0,
    diffusion_min=0.7,
    diffusion_max=1.5,
    gain=1.5,
    read_noise=13.5,
    saturation=65_000.0,
    pixel_scale=0.571,
    substrate=300.0,
    dark_current=0.3,
)
SINISTRO = CCD(
    shape=(4096, 4096),
    pixel=15.0,
    thickness=16.0,
    diffusion_min=0.7,
    diffusion_max=1.5,
    gain=2.3,
    read_noise=7.8,
    saturation=47_000.0,
    pixel_scale=0.389,
    dark_current=0.002,
)
SPECTRAL = CCD(
    shape=(2048, 2048),
    pixel=30.0,  # 15 um pixels, binned 2 x 2
    thickness=16.0,
    diffusion_min=0.7,
    diffusion_max=1.5,
    gain=7.7,
    read_noise=11.0,
    saturation=45_000.0,
    pixel_scale=0.304,
    dark_current=0.002,
)

CCDS = {"decam": DECAM, "itl": ITL, "0m4": SBIG_6303, "1m0": SINISTRO, "2m0": SPECTRAL}


def resolve_ccd(ccd: str | CCD, shape: Sequence[int] | None = None) -> CCD:
    """Look up a CCD if it is given by name, and set its ``shape`` (rows, columns) if that is given."""
    if isinstance(ccd, str):
        if ccd not in CCDS:
            raise ValueError(f"unknown CCD {ccd!r}: expected one of {', '.join(CCDS)}, or a description of one")
        ccd = CCDS[ccd]
    shape = ccd.shape if shape is None else shape  # a list if it comes from a configuration
    if len(shape) != 2 or min(shape) < 1:
        raise ValueError(f"expected a shape of rows and columns, got {list(shape)}")
    return replace(ccd, shape=(shape[0], shape[1]))


def telescope_name(ccd: str | CCD) -> str:
    """Look up the telescope name, by which detectors choose their settings; empty for a user-defined CCD."""
    return ccd if isinstance(ccd, str) else ""
