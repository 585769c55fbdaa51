"""Write exposures of simulated fields, with stars, hits and headers, as a user's camera does."""

from pathlib import Path

import numpy as np
from astropy.io import fits

GAIN, READ_NOISE, SATURATION, SCALE = 2.0, 8.0, 60_000.0, 1 / 3600


def write_field(
    folder: Path,
    name: str,
    seed: int,
    shape: tuple[int, int] = (96, 112),
    exposures: int = 3,
    stars: int = 14,
    length: float = 1.0,
    pointing: tuple[float, float] = (150.0, 2.0),
    **cards: object,
) -> list[Path]:
    """Write exposures of one field, ``name``-0.fits and so on; return the paths.

    Parameters
    ----------
    folder : Path
        Folder of the files, created if necessary.
    name : str
        Beginning of the names of the files; OBJECT of the headers.
    seed : int
        Seed of all randomness.
    shape : tuple of int
        Rows and columns.
    exposures, stars : int
        Numbers of exposures and of stars.
    length : float
        Ratio of length to width of the stars.
    pointing : tuple of float
        Right ascension and declination, degrees.
    **cards
        Further cards of the headers; None removes one.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    places = rng.uniform(8, np.array(shape) - 8, (stars, 2))
    fluxes = 10 ** rng.uniform(4.0, 4.7, stars)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(exposures):
        shift = rng.uniform(-2, 2, 2)
        light = np.full(shape, 300.0)
        for (y, x), flux in zip(places + shift, fluxes, strict=True):
            light += flux / (8 * np.pi) * np.exp(-(((rows - y) / 1.7) ** 2 + ((columns - x) / 1.7 / length) ** 2) / 2)
        electrons = rng.poisson(light) + rng.normal(0, READ_NOISE, shape)
        for y, x in rng.integers(14, np.array(shape) - 14, (12, 2)):
            step = np.arange(rng.integers(2, 6))
            electrons[y + step // 2, x + step] += rng.uniform(300, 900)
        header = fits.Header({"GAIN": GAIN, "RDNOISE": READ_NOISE, "SATURATE": SATURATION, "EXPTIME": 60.0})
        header.update({"FILTER": "r", "OBJECT": name, "DATE-OBS": f"2026-01-{1 + seed % 28:02d}T00:{number:02d}:00.0"})
        header.update({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": pointing[0], "CRVAL2": pointing[1]})
        header.update({"CRPIX1": shape[1] / 2 + shift[1], "CRPIX2": shape[0] / 2 + shift[0]})
        header.update({"CD1_1": -SCALE, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": SCALE})
        for key, value in cards.items():
            if value is None:
                del header[key]
            else:
                header[key] = value
        paths.append(folder / f"{name}-{number}.fits")
        fits.writeto(paths[-1], np.rint(electrons / GAIN).astype(np.int32), header)
    return paths
