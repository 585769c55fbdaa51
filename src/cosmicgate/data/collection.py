"""Several data sets for one evaluation, and the choice between the real and the simulated LCO data set."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmicgate.data.datamodule import TestSet, check_unique_names
from cosmicgate.data.download.zenodo import lco_is_fetched
from cosmicgate.data.lco.datamodule import LCO

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Collection:
    """Data sets whose test sets are scored one after the other and reported together; not for training.

    Attributes
    ----------
    parts : mapping of str to data set
        The data sets, each with ``prepare_test`` and ``test_sets``.
    name : str
        Name of the collection, for messages.
    """

    parts: Mapping[str, Any]
    name: str = "collection"

    def prepare_test(self) -> None:
        """Make the test frames that are missing on disk."""
        for part in self.parts.values():
            part.prepare_test()

    def test_sets(self) -> list[TestSet]:
        """List the test sets of all parts, in order."""
        return check_unique_names([test_set for part in self.parts.values() for test_set in part.test_sets()])


def choose_lco_data(fetched: LCO | None, simulated: LCO) -> LCO:
    """Choose the real LCO data set if it is on disk; otherwise the simulated one, with a warning.

    Parameters
    ----------
    fetched : LCO, optional
        The real data set, used if its ``folder`` is given or its ``root`` holds the whole archive. None: always use
        the simulated one.
    simulated : LCO
        The simulated data set; its name differs, so that its table rows are not mistaken for those of the real one.
    """
    if fetched is None or fetched.folder is not None or lco_is_fetched(Path(fetched.root).expanduser()):
        return fetched or simulated
    log.warning(
        "LCO: the data set is not (or not whole) in %s, which `make data-lco` fills: simulated sequences are scored "
        "instead, as %s",
        *(fetched.root, simulated.name),
    )
    return simulated
