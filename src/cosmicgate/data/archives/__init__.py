"""Real data from the archives that keep them, checked and resumable: ``python -m cosmicgate.data.archives --help``.

``client`` speaks HTTP, ``listing`` is the manifest of what was asked and what is there, ``download`` brings one file,
``unpack`` opens archives of files, ``fetch`` brings all that is missing. ``noirlab``, with ``search``, and ``zenodo``
know what their archives call things.
"""

from cosmicgate.data.archives.client import POLITE, FetchError, Manners
from cosmicgate.data.archives.listing import Manifest, Remote
from cosmicgate.data.archives.noirlab import NOIRLAB, Query, fetch_decam
from cosmicgate.data.archives.zenodo import ZENODO, fetch_lco

__all__ = [
    "NOIRLAB",
    "POLITE",
    "ZENODO",
    "FetchError",
    "Manifest",
    "Manners",
    "Query",
    "Remote",
    "fetch_decam",
    "fetch_lco",
]
