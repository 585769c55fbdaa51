"""What is written for a FITS file: masks, probabilities, a cleaned copy; how, and when it is left as it is."""
