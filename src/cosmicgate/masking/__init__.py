"""What astronomers use: an image or a FITS file in, a mask or a cleaned copy out; in Python and as a command."""
