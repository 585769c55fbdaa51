"""Read and write files: atomic writes, remote URLs and FITS."""
