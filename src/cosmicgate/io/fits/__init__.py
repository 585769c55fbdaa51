"""Open, interpret and check FITS files.

``layout`` and ``raw_hdus`` work on bytes, ``hdus`` opens files, ``file_defects`` reports defects that cost no pixel.
``roles``, ``pixel_statistics``, ``images`` and ``masks`` decide which HDUs are images of the sky and which are planes
of them. ``headers``, ``instruments``, ``colour_mosaics`` and ``saturation`` interpret keywords. ``frames`` puts all
this together. ``quality_flags``, ``pixel_edits`` and ``compressed_tiles`` change single pixels.
"""
