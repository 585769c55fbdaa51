"""Download real data from archives, with checksums and resuming: ``python -m cosmicgate.data.download --help``.

``client`` makes HTTP requests, ``manifest`` records the requested files and their state, ``resume`` downloads one file,
``pip_source`` a source package, ``unpack`` unpacks zip and tar files, ``prepare`` makes what is used from what came,
``fetch`` downloads all missing files. ``noirlab``, with ``search``, ``zenodo`` and ``real`` know what there is.
"""

from cosmicgate.extras import extra

with extra("train"):
    from cosmicgate.data.download.client import DEFAULT_RETRY, FetchError, RetryPolicy
    from cosmicgate.data.download.manifest import Manifest, Remote
    from cosmicgate.data.download.noirlab import NOIRLAB, Query, fetch_decam
    from cosmicgate.data.download.zenodo import ZENODO, fetch_lco

__all__ = [
    "DEFAULT_RETRY",
    "NOIRLAB",
    "ZENODO",
    "FetchError",
    "Manifest",
    "Query",
    "Remote",
    "RetryPolicy",
    "fetch_decam",
    "fetch_lco",
]
