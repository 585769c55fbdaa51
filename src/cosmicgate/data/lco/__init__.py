"""The LCO cosmic-ray data set: its files (``masked_fits``), a test of them (``by_class``), simulated ones like them."""
