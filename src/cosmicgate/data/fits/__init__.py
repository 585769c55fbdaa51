"""FITS files: ``hdus`` opens, ``images`` and ``masks`` choose, ``headers`` knows numbers, ``frames`` has it all."""
