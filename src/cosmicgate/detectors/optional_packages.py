"""Find the optional packages whose detectors or weights are used, without importing them."""

from importlib import metadata
from pathlib import Path

from cosmicgate.detectors.base import MissingDependency

INSTALL = "pip install --no-deps -r requirements-baselines.txt"
TRAIN = ("astroscrappy",)  # in the extra ``train``


def installed_version(package: str, detector: str) -> str:
    """Look up the installed version of a package that ``detector`` needs.

    Raises
    ------
    MissingDependency
        The package is not installed.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError as error:
        how = "pip install '.[train]' in a clone of cosmicgate" if package in TRAIN else INSTALL
        raise MissingDependency(f"{detector}: the package {package} is not installed; to install it: {how}") from error


def package_file(package: str, file: str, detector: str) -> Path:
    """Find a file that is part of an installed package, without importing the package.

    Raises
    ------
    MissingDependency
        The package is not installed, or has no such file.
    """
    version = installed_version(package, detector)
    path = Path(str(metadata.distribution(package).locate_file(file)))
    if not path.is_file():
        raise MissingDependency(
            f"{detector}: {package} {version} has no file {file!r}; to install the one that has: {INSTALL}"
        )
    return path
