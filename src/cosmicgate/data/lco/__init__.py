"""The LCO cosmic-ray data set: files (``io``), test sets (``datamodule``) and simulated sequences (``simulation``)."""
