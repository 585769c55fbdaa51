"""User-facing detection and cleaning: take an image or a FITS file, return a mask or a cleaned copy."""
