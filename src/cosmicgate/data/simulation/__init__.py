"""Simulation of CCD frames: the sky, the particles, and the electronics that read both out."""
