"""Download real data from archives, with checksums and resuming: ``python -m cosmicgate.data.download --help``.

``client`` makes HTTP requests, ``manifest`` records the requested files and their state, ``resume`` downloads one file,
``pip_source`` a source package, ``unpack`` unpacks zip and tar files, ``prepare`` makes what is used from the
downloaded files, ``fetch`` downloads all missing files. ``noirlab``, with ``search``, ``zenodo`` and ``real`` know what
there is.
"""
