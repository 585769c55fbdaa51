"""Simulate the read-out of a CCD, from electrons to ADU: defects, blooming, saturation, read noise and converter."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cosmicgate.data.simulation.ccd import CCD
from cosmicgate.data.simulation.compiled import compiled
from cosmicgate.io.fits.frames import Frame

SPREAD = 0.1  # maximum relative difference of a frame's gain, read noise and saturation from the CCD's
MAX_BAD_COLUMNS = 5  # maximum number per frame
HOT_PIXELS = 3e-6  # fraction of the pixels
HOT_RATES = (0.5, 100.0)  # electrons per second, limits of a log-uniform distribution


def read_out(scene: Frame, rng: np.random.Generator, hits: NDArray[np.float32] | None = None) -> Frame:
    """Add ``hits`` to the charge of ``scene`` and read it out as the CCD does.

    Charge above the full well bleeds along its column, or its row (``scene.bleeds_along``); then read noise is added to
    the whole frame once, and the values are rounded to whole ADU. Bad pixels keep their values. Saturated pixels
    scatter around ``scene.saturation`` by the read noise.

    To a frame that is already read out (a real one), only ``hits / gain`` is added, up to the saturation: it has its
    own noise, and more read noise under the hits would reveal their positions to a network.

    Parameters
    ----------
    scene : Frame
        Photons or dark current, ADU; it is not modified.
    rng : numpy.random.Generator
        Source of the read noise.
    hits : ndarray (H, W), float32, electrons, optional
        Charge of the particles.

    Raises
    ------
    ValueError
        If ``hits`` and ``scene`` differ in shape.
    """
    if hits is not None and hits.shape != scene.shape:
        raise ValueError(f"the hits are {hits.shape}, the frame {scene.name or 'without a name'} is {scene.shape}")
    image: NDArray[np.float32]
    if scene.read_out:
        if hits is None:
            return scene
        clipped = np.minimum(scene.image + hits / scene.gain, scene.saturation)
        image = np.maximum(scene.image, clipped)  # a pixel above the header's saturation keeps its value
    else:
        charge = scene.image * np.float32(scene.gain)
        if hits is not None:
            charge += hits
        bleed(charge.T if scene.bleeds_along == "rows" else charge, scene.saturation * scene.gain)
        charge += np.float32(scene.read_noise) * rng.standard_normal(charge.shape, dtype=np.float32)
        image = np.rint(charge / np.float32(scene.gain))
    image = np.where(scene.bad, scene.image, image).astype(np.float32)
    return replace(scene, image=image, read_out=True)


def dark(ccd: CCD, exptime: float, rng: np.random.Generator, name: str = "") -> Frame:
    """Simulate a dark that is not yet read out; :func:`read_out` adds the hits.

    Parameters
    ----------
    ccd : CCD
        Detector, whose gain, read noise and saturation are varied a little from frame to frame.
    exptime : float
        Exposure time, seconds.
    rng : numpy.random.Generator
        Source of all randomness.
    name : str
        Name of the frame.

    Returns
    -------
    Frame
        The dark; ``image`` is electrons divided by gain, with ``read_out=False`` and no band.
    """
    gain, read_noise, saturation = electronics(ccd, rng)
    expected = np.full(ccd.shape, ccd.dark_current * exptime, np.float32)
    hot = add_hot_pixels(expected, exptime, rng)
    image = (rng.poisson(expected) / gain).astype(np.float32)
    bad = add_bad_columns(image, saturation, rng)
    bad.flat[hot] = True  # as in a pipeline's mask; otherwise recipes that detect hits would take them for hits
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


def electronics(ccd: CCD, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw gain (electrons per ADU), read noise (electrons) and saturation (ADU) near those of ``ccd``."""
    gain, read_noise, saturation = rng.uniform(1 - SPREAD, 1 + SPREAD, 3)
    return float(gain * ccd.gain), float(read_noise * ccd.read_noise), float(saturation * ccd.saturation)


def add_hot_pixels(expected: NDArray[np.float32], exptime: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Add a few hot pixels to ``expected`` (H, W), electrons, in place; return their indices in the flat image.

    They are as sharp as hits, but are none.
    """
    number = rng.poisson(HOT_PIXELS * expected.size)
    low, high = np.log(HOT_RATES)
    rates = np.exp(rng.uniform(low, high, number))
    places = rng.integers(0, expected.size, number)
    expected.flat[places] += rates * exptime
    return places


def add_bad_columns(image: NDArray[np.float32], saturation: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Overwrite a few columns of ``image`` (H, W), ADU, with bad values in place; return their mask (H, W), bool.

    Half of them start at a random row, because a trap affects only the pixels that are read out through it; the others
    are whole columns. Half are dead, half are hot.
    """
    rows, columns = image.shape
    bad = np.zeros(image.shape, bool)
    for column in rng.integers(0, columns, rng.integers(0, MAX_BAD_COLUMNS + 1)):
        part = slice(int(rng.integers(0, rows)), None) if rng.random() < 0.5 else slice(None)
        value = rng.uniform(0, 0.02) if rng.random() < 0.5 else rng.uniform(0.05, 1)
        image[part, column] = np.rint(value * saturation)
        bad[part, column] = True
    return bad


def bleed(charge: NDArray[np.float32], full_well: float) -> None:
    """Move the charge above ``full_well`` along its column, in place, half of it in each direction.

    Charge is conserved, except for what flows off the two ends of a column.

    Parameters
    ----------
    charge : ndarray (H, W), float32, electrons
        Image, changed in place; afterwards no pixel exceeds ``full_well``.
    full_well : float
        Full well, electrons.
    """
    _bleed(charge, full_well, np.flatnonzero(charge.max(axis=0) > full_well))


@compiled
def _bleed(charge: NDArray[np.float32], full_well: float, columns: NDArray[np.intp]) -> None:
    rows = charge.shape[0]
    excess = np.empty(rows)
    for column in columns:
        for row in range(rows):
            excess[row] = max(charge[row, column] - full_well, 0.0)
            charge[row, column] -= excess[row]
        for upwards in (True, False):
            carried = 0.0
            for step in range(rows):
                row = step if upwards else rows - 1 - step
                taken = min(carried, max(full_well - charge[row, column], 0.0))
                charge[row, column] += taken
                carried += 0.5 * excess[row] - taken
