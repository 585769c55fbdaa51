"""Name the extra that brings a missing package: ``pip install .`` brings only what masking needs."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def extra(name: str, module: str = "") -> Iterator[None]:
    """Replace the error of a missing package by a sentence that names the extra of pyproject.toml which brings it::

        with extra("wandb"):
            import wandb

    Of nested blocks the outermost names the extra: a command knows all that it needs.

    Parameters
    ----------
    name : str
        Name of the extra; of several ones, with a comma between them.
    module : str
        ``__name__`` of a module that is run as a command: the command ends with the sentence, without a traceback.

    Raises
    ------
    ModuleNotFoundError
        A package is missing.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("cosmicgate"):
            raise
        package = error.name.partition(".")[0]
        message = f"the package {package} is not installed: pip install '.[{name}]' in a clone of cosmicgate"
        if module == "__main__":
            sys.exit(f"error: {message}")
        raise ModuleNotFoundError(message, name=package) from error
