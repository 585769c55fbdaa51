"""What detectors start from: an image that every library can take, and the files of optional packages."""

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmicgate.detectors import Unavailable

BRIDGED = "bridged"  # in the identity of a network, for what bad pixels are to it determines its answers
INSTALL = "pip install --no-deps -r requirements-baselines.txt"


def usable(image: NDArray[Any], bad: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a copy of an image that every library can take, and which of its pixels say nothing.

    Parameters
    ----------
    image : ndarray (H, W)
        ADU; of any type, byte order and layout, read-only or not.
    bad : ndarray (H, W), bool
        Bad pixels.

    Returns
    -------
    ndarray (H, W), float32
        Native byte order, rows one after the other; what was not finite is the median of the good pixels.
    ndarray (H, W), bool
        Bad pixels and those that were not finite.
    """
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, so bad
        filled = np.array(image, dtype=np.float32, order="C")
    lost = ~np.isfinite(filled)
    if (bad | lost).all():
        raise ValueError(f"expected an image with a good pixel, got {filled.size} bad ones")
    if lost.any():
        filled[lost] = np.median(filled[~(bad | lost)])
    return filled, bad | lost


def bridged(image: NDArray[Any], bad: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what :func:`usable` does, each bad pixel between the good ones to its left and right.

    For networks, which take no mask and call the flanks of a hot column hits. Pipelines interpolate so, and it is their
    frames that the published networks learned from.
    """
    image, bad = usable(image, bad)
    blank = bad.all(axis=1)
    if blank.any():
        image[blank] = np.median(image[~bad])
    for row in np.flatnonzero(bad.any(axis=1) & ~blank):
        good = np.flatnonzero(~bad[row])
        image[row, bad[row]] = np.interp(np.flatnonzero(bad[row]), good, image[row, good])
    return image, bad


def installed(package: str, title: str) -> str:
    """Return the version of a package that the detector ``title`` needs.

    Raises
    ------
    Unavailable
        It is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise Unavailable(f"{title}: the package {package} is not installed; to install it: {INSTALL}") from error


def packaged(package: str, file: str, title: str) -> Path:
    """Return the path of a file that an installed package brings along. The package is not imported.

    Raises
    ------
    Unavailable
        The package is not installed, or has no such file.
    """
    version = installed(package, title)
    path = Path(str(metadata.distribution(package).locate_file(file)))
    if not path.is_file():
        raise Unavailable(f"{title}: {package} {version} has no file {file!r}; to install the one that has: {INSTALL}")
    return path
