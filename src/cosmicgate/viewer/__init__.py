"""Look at images and their hits in a browser, and correct the masks: ``cosmicgate view``."""
