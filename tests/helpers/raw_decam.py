"""Write raw DECam exposures in the archive's layout, from simulated darks and a bias."""

from dataclasses import replace

import numpy as np
from astropy.io import fits

from cosmicgate.data.simulation.ccd import DECAM
from cosmicgate.data.simulation.cosmic_rays import cosmic_rays
from cosmicgate.data.simulation.readout import dark

GAINS, NOISES, SATURATIONS = (4.6, 4.2), (7.2, 6.6), (43_266.0, 44_935.0)  # of the amplifiers A and B
PRESCAN, OVERSCAN, POSTSCAN = 6, 50, 50  # columns, columns, rows


def dark_charge(shape, exptime, seed=0):
    """Simulate the charge of a dark (H, W), electrons; return it with its hot pixels, bad columns and hits."""
    rng = np.random.default_rng(seed)
    ccd = replace(DECAM, shape=shape)
    hits = cosmic_rays(ccd, exptime, rng)
    scene = dark(ccd, exptime, rng)
    charge = scene.image * scene.gain
    hot = (charge > 30) & ~scene.bad
    return charge + hits, hot, scene.bad, hits


def raw_hdu(electrons, name="S1", seed=0, noise=NOISES, top=POSTSCAN, fall=20.0):
    """Read out the charge (H, W) of a CCD into a uint16 HDU: two amplifiers with biases that drift by row."""
    rng = np.random.default_rng(seed)
    rows, columns = electrons.shape
    half, left = columns // 2, PRESCAN + OVERSCAN
    image = np.zeros((rows + top, columns + 2 * left))
    right = image.shape[1] - half - left  # where A begins
    header = fits.Header()
    line = f"{top + 1}:{top + rows}"
    sides = {"A": (slice(right, None), columns - half), "B": (slice(0, right), half)}
    image[top:, left : left + columns] = electrons
    for (letter, (side, _)), gain, sigma, full in zip(sides.items(), GAINS, noise, SATURATIONS, strict=True):
        part = image[:, side]
        drift = fall * np.exp(-np.arange(part.shape[0]) / 300) + rng.normal(0, 1, part.shape[0])
        image[:, side] = (
            (part + rng.normal(0, sigma, part.shape)) / gain + 1500 + 100 * (letter == "B") + drift[:, None]
        )
        header[f"GAIN{letter}"], header[f"RDNOISE{letter}"], header[f"SATURAT{letter}"] = gain, sigma, full
    header["DATASECA"] = f"[{right + 1}:{left + columns},{line}]"
    header["BIASSECA"] = f"[{left + columns + 1}:{left + columns + OVERSCAN},{line}]"
    header["DATASECB"] = f"[{left + 1}:{right},{line}]"
    header["BIASSECB"] = f"[{PRESCAN + 1}:{left},{line}]"
    header["TRIMSEC"] = f"[{left + 1}:{left + columns},{line}]"
    header["FPA"], header["BUNIT"] = "DECAM_BKP1", "adu"
    counts = np.clip(np.rint(image), 0, 65_535).astype(np.uint16)
    return fits.CompImageHDU(counts, header, name=name)


def write_raw(path, ccds, exptime, kind="dark", **cards):
    """Write a raw exposure: a primary HDU and a compressed one for each CCD."""
    primary = fits.PrimaryHDU(None, fits.Header({"INSTRUME": "DECam", "OBSTYPE": kind, "EXPTIME": exptime} | cards))
    fits.HDUList([primary, *ccds]).writeto(path, overwrite=True)
    return path
