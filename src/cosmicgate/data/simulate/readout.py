"""From electrons to ADU: defects, blooming, saturation, read noise and converter, in the order of a real CCD."""

from dataclasses import replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from cosmicgate.data.fits.frames import Frame
from cosmicgate.data.simulate.ccd import CCD

SPREAD = 0.1  # gain, read noise and saturation of one frame lie within this fraction of the CCD's
BAD_COLUMNS = 5  # at most, per frame
HOT_PIXELS = 3e-6  # fraction of the pixels
HOT_RATES = (0.5, 100.0)  # electrons per second


def read_out(scene: Frame, rng: np.random.Generator, hits: NDArray[np.float32] | None = None) -> Frame:
    """Add ``hits`` to the charge of ``scene`` and read it out as the CCD does.

    Charge above the full well bleeds along its column; then come read noise, which is added to the whole frame
    once, and the converter, which rounds to whole ADU. Bad pixels keep the values they have. Saturated pixels
    scatter around ``scene.saturation`` by the read noise.

    A frame that is already read out (a real one) has its noise. There ``hits / gain`` is added up to the
    saturation and nothing else is done: a second read noise under the hits would tell a network where they are.

    Parameters
    ----------
    scene : Frame
        Photons or dark current, ADU; it is not changed.
    rng : numpy.random.Generator
        Draws the read noise.
    hits : ndarray (H, W), float32, electrons, optional
        Charge of the particles.

    Raises
    ------
    ValueError
        ``hits`` and ``scene`` differ in shape.
    """
    if hits is not None and hits.shape != scene.shape:
        raise ValueError(f"the hits are {hits.shape}, the frame {scene.name or 'without a name'} is {scene.shape}")
    image: NDArray[np.float32]
    if scene.read_out:
        if hits is None:
            return scene
        clipped = np.minimum(scene.image + hits / scene.gain, scene.saturation)
        image = np.maximum(scene.image, clipped)  # a pixel above the header's saturation stays where it is
    else:
        charge = scene.image * np.float32(scene.gain)
        if hits is not None:
            charge += hits
        bleed(charge, scene.saturation * scene.gain)
        charge += np.float32(scene.read_noise) * rng.standard_normal(charge.shape, dtype=np.float32)
        image = np.rint(charge / np.float32(scene.gain))
    image = np.where(scene.bad, scene.image, image).astype(np.float32)
    return replace(scene, image=image, read_out=True)


def dark(ccd: CCD, exptime: float, rng: np.random.Generator, name: str = "") -> Frame:
    """Return the charge that collects behind a closed shutter, not yet read out: :func:`read_out` adds the hits.

    Parameters
    ----------
    ccd : CCD
        Its gain, read noise and saturation are varied a little from frame to frame.
    exptime : float
        Seconds.
    rng : numpy.random.Generator
        Draws everything.
    name : str
        Of the frame.

    Returns
    -------
    Frame
        ``image`` is electrons over gain, with ``read_out=False`` and no band.
    """
    gain, read_noise, saturation = electronics(ccd, rng)
    expected = np.full(ccd.shape, ccd.dark_current * exptime, np.float32)
    hot = add_hot_pixels(expected, exptime, rng)
    image = (rng.poisson(expected) / gain).astype(np.float32)
    bad = add_bad_columns(image, saturation, rng)
    bad.flat[hot] = True  # as a pipeline's mask names them, or a recipe that knows no hits would take them for some
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
    """Draw gain (electrons per ADU), read noise (electrons) and saturation (ADU) around those of ``ccd``."""
    gain, read_noise, saturation = rng.uniform(1 - SPREAD, 1 + SPREAD, 3)
    return float(gain * ccd.gain), float(read_noise * ccd.read_noise), float(saturation * ccd.saturation)


def add_hot_pixels(expected: NDArray[np.float32], exptime: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Add a few hot pixels to ``expected`` (H, W), electrons, in place; return their places in the flat image.

    They are sharp, and they are no hits.
    """
    number = rng.poisson(HOT_PIXELS * expected.size)
    low, high = np.log(HOT_RATES)
    rates = np.exp(rng.uniform(low, high, number))
    places = rng.integers(0, expected.size, number)
    expected.flat[places] += rates * exptime
    return places


def add_bad_columns(image: NDArray[np.float32], saturation: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Spoil a few columns of ``image`` (H, W), ADU, in place; return where, (H, W), bool.

    A trap spoils what is read out through it: from its row to the far end of the column. Half of the columns
    are dead, half hot.
    """
    rows, columns = image.shape
    bad = np.zeros(image.shape, bool)
    for column in rng.integers(0, columns, rng.integers(0, BAD_COLUMNS + 1)):
        part = slice(int(rng.integers(0, rows)), None) if rng.random() < 0.5 else slice(None)
        value = rng.uniform(0, 0.02) if rng.random() < 0.5 else rng.uniform(0.05, 1)
        image[part, column] = np.rint(value * saturation)
        bad[part, column] = True
    return bad


def bleed(charge: NDArray[np.float32], full_well: float) -> None:
    """Move the charge above ``full_well`` along its column, in place, half up and half down.

    Charge is conserved but for what spills off the two ends of a column.

    Parameters
    ----------
    charge : ndarray (H, W), float32, electrons
        Changed in place; afterwards nothing exceeds ``full_well``.
    full_well : float
        Electrons.
    """
    _bleed(charge, full_well, np.flatnonzero(charge.max(axis=0) > full_well))


@njit(cache=True)
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
