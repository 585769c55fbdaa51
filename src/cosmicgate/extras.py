"""Name the extra that brings a missing package: ``pip install .`` brings only what masking needs."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Replace the error of a missing package by a sentence that names the extra of pyproject.toml which brings it::

        with extra("wandb"):
            import wandb

    Raises
    ------
    ImportError
        A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("cosmicgate"):
            raise
        said = f"the package {error.name} is not installed: pip install 'cosmicgate[{name}]'"
        raise ImportError(said, name=error.name) from error
